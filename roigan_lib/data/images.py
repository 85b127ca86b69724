"""`ImageSet`: images kept as bytes and handed out as floats, with what is known about each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..checks import whole
from ..errors import RoiganError, shown


def to_uint8(images):
    """Images in [-1, 1] as bytes, the nearest of 0…255, as in a file: same shape, uint8."""
    return ((images.detach() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass(eq=False, repr=False)
class ImageSet:
    """Images kept as bytes and handed out as floats, with what is known about each.

    Indexing converts to float32 in [-1, 1]: `ds[i]` is (3, H, W), while `ds[a:b]` and
    `ds[list, array or tensor of indices]` are (n, 3, H, W). RoiganError: pixels of another kind,
    factors that do not fit them.
    """

    name: str
    split: str
    size: int
    uint8: torch.Tensor  # (n, 3, H, W), the pixels
    factors: torch.Tensor | None = None  # (n, F) float32, the known causes of each image
    factor_names: list[str] | None = None
    names: list[str] | None = None  # of the files
    attributes: torch.Tensor | None = None  # (n, A) bool, labels that came along: CelebA's 40
    attribute_names: list[str] | None = None

    def __post_init__(self):
        self.uint8 = pixels = self._pixels()
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
            raise RoiganError(
                f"an ImageSet needs uint8 pixels of shape (n, 3, H, W), not {pixels.dtype} "
                f"{tuple(pixels.shape)}: convert the images first."
            )
        if self.factors is not None:
            if len(self.factors) != len(pixels):
                raise RoiganError(
                    f"{len(self.factors)} rows of factors cannot describe {len(pixels)} images: "
                    "give one row an image."
                )
            self.factors = torch.as_tensor(self.factors, dtype=torch.float32)

    def _pixels(self):
        try:
            return torch.as_tensor(self.uint8)
        except (TypeError, ValueError, RuntimeError):
            return torch.tensor(0.0)  # the sentence about other kinds is that about this one

    def __len__(self):
        return len(self.uint8)

    def __getitem__(self, index):
        try:
            if isinstance(index, (list, tuple, range, np.ndarray)):
                index = torch.as_tensor(np.asarray(index) if len(index) else np.zeros(0, np.int64))
            if index is None:
                raise TypeError
            return self.uint8[index].float().div_(127.5).sub_(1.0)
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            if whole(index) is not None:
                raise  # past the end: how a loop over a sequence stops
            raise RoiganError(
                f"{shown(index)} is no index of {self!r}: give whole numbers below {len(self)}, a "
                "slice, or a list of such numbers."
            ) from error

    def __repr__(self):
        what = f"{len(self)} images of {self.size}x{self.size}"
        return f"ImageSet({self.name!r}, {self.split!r}, {what})"

    @cached_property
    def fingerprint(self):
        """12 hex digits of the pixels."""
        digest = hashlib.sha256(repr(tuple(self.uint8.shape)).encode())
        for block in self.uint8.split(4096):
            digest.update(block.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]
