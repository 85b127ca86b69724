"""The painter of synthfaces as a model whose sliders are known."""

from __future__ import annotations

import torch

from ..checks import check_seed
from ..data import synthfaces, to_uint8
from ..errors import RoiganError


class TrueSliders:
    """The painter as a model: `inpaint` moves true factors of portraits it knows. So far a slider can go.

    names: the factors that are its continuous codes, -1 and 1 being the ends of a factor's range; all others stay each
    portrait's own, and there is no noise. people: an ImageSet of synthfaces; only its images can be inpainted.
    Scores of controllability measured on it are what a perfect generator with these codes would get.
    RoiganError for an unknown or categorical name and for people without factors.
    """

    n_discrete = n_noise = 0
    n_categories = 1

    def __init__(self, people, names):
        if people.factors is None or list(people.factor_names) != synthfaces.NAMES:
            raise RoiganError(
                f"{people!r} has no factors; TrueSliders needs open_dataset('synthfaces')."
            )
        self.columns = [synthfaces.index(name) for name in names]
        for name, k in zip(names, self.columns):
            if synthfaces.FACTORS[k].kind != "continuous":
                raise RoiganError(
                    f"{name} is categorical and cannot be a slider; choose a continuous factor."
                )
        self.names, self.size, self.n_continuous, self.name = (
            list(names),
            people.size,
            len(names),
            "true factors",
        )
        self._factors = {
            pixels.numpy().tobytes(): row for pixels, row in zip(people.uint8, people.factors)
        }

    def sample_codes(self, n, seed=0):
        """n rows of codes, (n, n_continuous), uniform in [-1, 1]."""
        return (
            torch.rand(
                n, self.n_continuous, generator=torch.Generator().manual_seed(check_seed(seed))
            )
            * 2
            - 1
        )

    def inpaint(self, images, masks, codes=None, seed=0):
        """Portraits (n, 3, S, S) painted anew inside masks (n or 1, 1, S, S), with codes (n or 1, n_continuous) or a row.

        Outside they are the input bit for bit. RoiganError for an image that is not one of its people.
        """
        codes = torch.as_tensor(
            self.sample_codes(len(images), seed) if codes is None else codes, dtype=torch.float32
        )
        codes = codes.reshape(-1, self.n_continuous).expand(len(images), -1)
        try:
            rows = torch.stack(
                [
                    self._factors[pixels.numpy().tobytes()]
                    for pixels in to_uint8(images.cpu())
                ]
            )
        except KeyError:
            raise RoiganError(
                "TrueSliders knows the factors of its own people only; give images of the same split, "
                "size and limit, unchanged."
            ) from None
        for column, code in zip(self.columns, codes.T):
            low, high = synthfaces.FACTORS[column].low, synthfaces.FACTORS[column].high
            rows[:, column] = low + (high - low) * (code + 1) / 2
        return torch.where(masks.cpu() > 0.5, synthfaces.render(rows, self.size), images.cpu())
