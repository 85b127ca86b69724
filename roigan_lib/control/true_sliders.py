"""The painter of synthfaces as a model whose sliders are known."""

import torch

from ..checks import check_seed
from ..data import synthfaces, to_uint8
from ..errors import RoiganError


class TrueSliders:
    """The painter as a model: `inpaint` moves true factors of portraits it knows. The ideal.

    names: the factors that are its continuous codes, -1 and 1 the ends of a factor's range; all
    others stay each portrait's own, and there is no noise. people: an ImageSet of synthfaces; only
    its images can be inpainted. Scores measured on it are what a perfect generator would get.
    RoiganError for an unknown or categorical name and for people without factors.
    """

    n_discrete = n_noise = 0
    n_categories = 1
    name = "true factors"

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
        self.names, self.size, self.n_continuous = list(names), people.size, len(names)
        keys = (pixels.numpy().tobytes() for pixels in people.uint8)
        self._factors = dict(zip(keys, people.factors))

    def sample_codes(self, n, seed=0):
        """n rows of codes, (n, n_continuous), uniform in [-1, 1]."""
        generator = torch.Generator().manual_seed(check_seed(seed))
        return torch.rand(n, self.n_continuous, generator=generator) * 2 - 1

    def inpaint(self, images, masks, codes=None, seed=0):
        """Portraits (n, 3, S, S) painted anew inside masks, with codes (n or 1, n_continuous).

        RoiganError for an image that is not one of its people.
        """
        codes = self.sample_codes(len(images), seed) if codes is None else codes
        codes = torch.as_tensor(codes, dtype=torch.float32).reshape(-1, self.n_continuous)
        keys = (pixels.numpy().tobytes() for pixels in to_uint8(images.cpu()))
        try:
            rows = torch.stack([self._factors[key] for key in keys])
        except KeyError:
            raise RoiganError(
                "TrueSliders knows the factors of its own people only; give images of the same "
                "split, size and limit, unchanged."
            ) from None
        for column, code in zip(self.columns, codes.expand(len(images), -1).T):
            low, high = synthfaces.FACTORS[column].low, synthfaces.FACTORS[column].high
            rows[:, column] = low + (high - low) * (code + 1) / 2
        return torch.where(masks.cpu() > 0.5, synthfaces.render(rows, self.size), images.cpu())
