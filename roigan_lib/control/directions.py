"""Sliders found after training: principal directions (GANSpace), and new life for a dead code.

Härkönen et al. 2020 take the principal components of what a generator computes and regress the
latent on them. Here they are those of the redrawn regions, so the first direction shows most.
"""

import copy
import dataclasses
import hashlib
from pathlib import Path

import torch

from ..checks import check_pair
from ..errors import RoiganError
from ..files import WEIGHTS, write_atomically
from ..inpainter import RoIGAN
from ..regularizers import visible_change
from . import BATCH, ends, sweep

DIRECTIONS = WEIGHTS / "directions"


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


def load_directions(name_or_path):
    """The `Directions` of a shipped model, or those saved to a path; RoiganError: missing, broken
    or foreign file.
    """
    from safetensors.torch import load

    path = Path(name_or_path)
    if not path.suffix and not path.exists():
        path = DIRECTIONS / f"{path.name}.safetensors"
    if not path.is_file():
        found = ", ".join(sorted(p.stem for p in DIRECTIONS.glob("*.safetensors")))
        raise RoiganError(
            f"There are no directions at {path}: write them by `roigan directions` or "
            f"Directions.save(); those of {found} ship."
        )
    try:
        return Directions(**load(Path(path).read_bytes()))
    except Exception:  # a broken file raises nearly anything
        raise RoiganError(
            f"{path} holds no directions of this kit: write them by Directions.save()."
        ) from None


def principal_directions(gan, images, masks, k=6, samples=300, seed=0, reach=2.0):
    """The k principal directions of a model on images (n, 3, S, S), masks (n or 1, 1, S, S).

    `samples` draws of codes (categories at 0) and noise, the same ones on every image, are
    completed; the principal components of the holes are those of their kernel (samples × samples);
    a linear regression of codes and noise on a component is its direction, and one end of it lies
    `reach` standard deviations from the middle. RoiganError: k below 1, or fewer than 2 k + 2
    samples.
    """
    if k < 1 or samples < 2 * k + 2:
        raise RoiganError(
            f"{k} directions cannot be found from {samples} samples: ask for one or more, and give "
            f"at least two samples for each and two more."
        )
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


def revive(gan, code, images, masks, visible=None, seed=0):
    """A copy of a `RoIGAN` whose continuous code number `code` (0 …) moves something of its own.

    For a code that died in training; nothing is trained. Each free dimension behind the first dense
    layer in turn becomes the code's column of weights, and the change of the hole from the code at
    -1/2 to 1/2 is drawn for every image (n, 3, S, S) in [-1, 1] under masks (n or 1, 1, S, S), all
    else drawn by `seed`, less the part along what the other codes do to that very picture. The
    direction of the largest mean change that is left stays, as long as gives the visible change
    `visible`, see `amplify`; by default the median of the others. Akin to SeFa (Shen and Zhou
    2021), which asks the weights where this asks the pictures.
    RoiganError: no such code, no free dimension (thesis recipe), a change out of reach.
    """
    layer, column = gan.generator.dense[0], _column(gan, code)
    if gan.n_continuous < 2:
        raise RoiganError(
            "The only code of a model has no others to differ from; revive needs two or more."
        )
    inputs = gan.generator.z_dim
    if not isinstance(layer, torch.nn.Linear) or layer.out_features < inputs:
        raise RoiganError(
            f"The first dense layer of this model leaves no room for a new direction beside its "
            f"{inputs} inputs; train one of the improved recipe with less noise or fewer codes."
        )
    images, masks = check_pair(images, masks)
    codes, noise = gan.sample_codes(len(images), seed), gan.sample_noise(len(images), seed)
    others = [k for k in range(gan.n_continuous) if k != code]
    gan, weight = _copy(gan)
    length = weight[:, [gan.n_noise + k for k in others]].norm(dim=0).median()
    taken = torch.cat([weight[:, :column], weight[:, column + 1 :]], 1)
    free = torch.linalg.qr(taken, mode="complete").Q[:, inputs - 1 :].T * length  # (free, hidden)

    def change(rows, k):
        """Between code k at -1/2 and at 1/2: (n, 3 · S · S), 0 outside the holes."""
        low, high = codes[rows].clone(), codes[rows].clone()
        low[:, k], high[:, k] = -0.5, 0.5
        low, high = (gan.inpaint(images[rows], masks[rows], c, 0, noise[rows]) for c in (low, high))
        return (high - low).flatten(1)

    new = torch.zeros(len(free), images[0].numel())
    for rows in torch.arange(len(images)).split(BATCH):
        weight[:, column] = 0
        basis = torch.linalg.qr(torch.stack([change(rows, k) for k in others], 2)).Q
        for j, direction in enumerate(free):
            weight[:, column] = direction
            found = change(rows, code)[:, :, None]
            new[j] += (found - basis @ (basis.mT @ found)).sum(0)[:, 0]
    weight[:, column] = torch.linalg.eigh(new @ new.T).eigenvectors[:, -1].to(weight.device) @ free
    if visible is None:
        changes = [_loudness(gan, k, images, masks, seed) for k in others]
        visible = torch.stack(changes).median().item()
    return amplify(gan, code, images, masks, visible, seed)


def amplify(gan, code, images, masks, visible, seed=0):
    """A copy of a `RoIGAN` whose continuous code number `code` is louder or fainter; not trained.

    The code's column in the first dense layer is made longer or shorter, until its visible change
    (`regularizers.visible_change`, the other codes at rest, noise by `seed`) on images (n, 3, S, S)
    in [-1, 1] under masks (n or 1, 1, S, S) is `visible`, a share of the range, 0 … 1.
    RoiganError: no such code, a change that no length up to eight times today's reaches.
    """
    column = _column(gan, code)
    images, masks = check_pair(images, masks)
    gan, weight = _copy(gan)
    today, low, high = weight[:, column].clone(), 0.0, 8.0
    for _ in range(12):  # the change grows with the length
        weight[:, column] = today * (low + high) / 2
        faint = _loudness(gan, code, images, masks, seed).item() < visible
        low, high = ((low + high) / 2, high) if faint else (low, (low + high) / 2)
    if high == 8:
        raise RoiganError(
            f"No length of this direction changes the region by {visible:.1%} of the range; ask "
            f"for less with `visible`, or give the code a new direction by revive()."
        )
    return RoIGAN(gan.generator, gan.name, card=gan.card)


def _copy(gan):
    """A copy of a RoIGAN to change, and the weight of its first dense layer."""
    generator = copy.deepcopy(gan.generator)
    gan = RoIGAN(generator, gan.name, checkpoint_hash="under change", card=gan.card)
    return gan, gan.generator.dense[0].weight


def _loudness(gan, k, images, masks, seed):
    return visible_change(sweep(gan, images, masks, ends(gan, k), seed), masks).mean()


def _column(gan, code):
    """The column of a continuous code in the weights of the first dense layer, or RoiganError."""
    if not 0 <= code < gan.n_continuous:
        raise RoiganError(
            f"There is no continuous code number {code}: the model has {gan.n_continuous}, counted "
            f"from 0."
        )
    return gan.n_noise + code


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

    def inpaint(self, images, masks, codes=None, seed=0):
        """Completed images (n, 3, S, S), as the model's, from rows with the direction sliders."""
        n = len(images) if images.ndim == 4 else 1
        codes = self.sample_codes(n, seed) if codes is None else codes
        rows = torch.atleast_2d(torch.as_tensor(codes, dtype=torch.float32))
        sizes = self.gan.n_continuous, len(self.directions.share), self.gan.n_discrete
        if rows.ndim != 2 or rows.shape[1] != sum(sizes) or len(rows) not in (1, n):
            raise RoiganError(
                f"codes have shape {tuple(rows.shape)}; with its directions this model takes "
                f"({n}, {sum(sizes)})."
            )
        own, slid, kinds = rows.split(sizes, 1)
        codes = torch.cat([own + slid @ self.directions.codes, kinds], 1)
        noise = self.gan.sample_noise(n, seed) + slid @ self.directions.noise
        return self.gan.inpaint(images, masks, codes, seed, noise)
