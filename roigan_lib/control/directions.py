"""Sliders found after training: principal directions (GANSpace).

Härkönen et al. 2020 take the principal components of what a generator computes and regress the
latent on them. Here they are those of the redrawn regions, so the first direction shows most.
"""

import dataclasses
import hashlib

import torch

from ..checks import check_number, check_pair, check_whole, numbers
from ..errors import RoiganError
from ..files import path_of, trouble, write_atomically


@dataclasses.dataclass(frozen=True)
class Directions:
    """k directions, most visible first: codes (k, n_continuous), noise (k, n_noise), share (k,).

    Codes and noise are the step that goes with `reach` standard deviations of a component, share
    its part of the variance of the sampled regions, 0 … 1.
    """

    codes: torch.Tensor
    noise: torch.Tensor
    share: torch.Tensor

    def save(self, path):
        """Write them to `path` (.safetensors), for `load_directions`; the path, or RoiganError."""
        from safetensors.torch import save

        return write_atomically(path, save(dataclasses.asdict(self)))


def load_directions(path):
    """The `Directions` saved to a path; RoiganError: missing, broken or foreign file."""
    from safetensors.torch import load

    path = path_of(path, "file of directions")
    if trouble(path):
        raise RoiganError(
            f"There is no file of directions at {path}: write one by `roigan directions` or "
            "Directions.save()."
        )
    try:
        return Directions(**load(path.read_bytes()))
    except Exception:  # a broken file raises nearly anything
        raise RoiganError(
            f"{path} holds no directions of this kit: write them by Directions.save()."
        ) from None


def principal_directions(gan, images, masks, k=6, samples=300, seed=0, reach=2.0):
    """The k principal directions of a model on images (n, 3, S, S), masks (n or 1, 1, S, S).

    `samples` draws of codes (categories at 0) and noise, the same ones on every image, are
    completed; the principal components of the holes are those of their kernel (samples × samples);
    a linear regression of codes and noise on a component is its direction, and one end of it lies
    `reach` standard deviations from the middle. RoiganError: images or masks that do not fit, k
    below 1, fewer than 2 k + 2 samples, a reach that is not above 0.
    """
    k = check_whole("k", k, 1, 2**16)
    samples = check_whole("samples", samples, 2 * k + 2)
    reach = check_number("reach", reach, 0, 100)
    images, masks = check_pair(images, masks)
    n_codes = gan.n_continuous
    codes, noise = gan.sample_codes(samples, seed), gan.sample_noise(samples, seed)
    codes[:, n_codes:] = 0
    inside = torch.as_tensor(masks).expand(len(images), 3, -1, -1) > 0.5
    drawn = (gan.inpaint(images, masks, codes=c, noise=z)[inside] for c, z in zip(codes, noise))
    seen = torch.stack(list(drawn)).double()
    seen -= seen.mean(0)
    values, vectors = torch.linalg.eigh(seen @ seen.T)  # rising order
    values, scores = values.flip(0)[:k].clamp_min(0), vectors.flip(1)[:, :k]  # unit length
    latent = torch.cat([codes[:, :n_codes], noise], 1).double()
    latent -= latent.mean(0)
    steps = reach * (scores.T @ latent) / samples**0.5  # reach · cov(latent, component) / its sd
    turned = steps[:, :n_codes].sum(1, keepdim=True) < 0
    steps *= torch.where(turned, -1.0, 1.0)  # one sign of the two
    share = values / seen.square().sum().clamp_min(1e-30)
    return Directions(*(t.float() for t in (steps[:, :n_codes], steps[:, n_codes:], share)))


class Directed:
    """A model with the directions as further sliders, for anything that takes a model.

    Its code rows hold the model's continuous codes, k direction sliders in [-1, 1], then the
    categories. With the direction sliders at 0 it is the model itself; all else is the model's.
    RoiganError: directions of another model.
    """

    def __init__(self, gan, directions):
        n_codes, n_noise = directions.codes.shape[1], directions.noise.shape[1]
        if (n_codes, n_noise) != (gan.n_continuous, gan.n_noise):
            raise RoiganError(
                f"These directions move {n_codes} codes and {n_noise} numbers of noise; the model "
                f"has {gan.n_continuous} and {gan.n_noise}: find its own."
            )
        self.gan, self.directions = gan, directions
        self.n_continuous = gan.n_continuous + len(directions.share)
        moves = torch.cat([directions.codes, directions.noise], 1).contiguous().numpy().tobytes()
        digits = hashlib.sha256(moves).hexdigest()[:6]
        self.checkpoint_hash = f"{gan.checkpoint_hash}+{digits}"
        found = {
            f"c{gan.n_continuous + j}": f"direction {j}"
            for j in range(1, len(directions.share) + 1)
        }
        self.slider_names = dict(getattr(gan, "slider_names", {})) | found

    def __getattr__(self, name):
        return getattr(self.__dict__["gan"], name)

    def sample_codes(self, n, seed=0):
        """As the model's, with the direction sliders at 0: (n, n_codes)."""
        own, kinds = self.gan.sample_codes(n, seed).tensor_split([self.gan.n_continuous], 1)
        return torch.cat([own, torch.zeros(n, len(self.directions.share)), kinds], 1)

    def inpaint(self, images, masks, codes=None, seed=0, reach=None):
        """Completed images (n, 3, S, S) from rows with direction sliders; `reach` bounds none."""
        n = len(images) if images.ndim == 4 else 1
        codes = self.sample_codes(n, seed) if codes is None else codes
        rows = torch.atleast_2d(numbers("codes", codes).float())
        sizes = self.gan.n_continuous, len(self.directions.share), self.gan.n_discrete
        if rows.ndim != 2 or rows.shape[1] != sum(sizes) or len(rows) not in (1, n):
            raise RoiganError(
                f"codes have shape {tuple(rows.shape)}; with its directions this model takes "
                f"({n}, {sum(sizes)})."
            )
        own, slid, kinds = rows.split(sizes, 1)
        codes = torch.cat([own + slid @ self.directions.codes, kinds], 1)
        noise = self.gan.sample_noise(n, seed) + slid @ self.directions.noise
        return self.gan.inpaint(images, masks, codes, seed, noise, reach=999)
