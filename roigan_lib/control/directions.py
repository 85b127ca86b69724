"""Sliders found after training: principal directions of codes and noise (GANSpace), and new life for a dead code.

Härkönen et al. 2020 take the principal components of what a generator computes and regress the latent on them. Here the
components are those of the redrawn regions themselves, so that the first direction is the one that shows most.
"""

import copy
import dataclasses
import hashlib
from pathlib import Path

import torch

from ..checks import check_pair
from ..errors import RoiganError
from ..files import write_atomically
from ..inpainter import RoIGAN
from ..regularizers import visible_change
from . import BATCH, ends, sweep


@dataclasses.dataclass(frozen=True)
class Directions:
    """k directions, the most visible first: `codes` (k, n_continuous) and `noise` (k, n_noise) are the step that goes
    with two standard deviations of a component, `share` (k,) its part of the variance of the sampled regions, 0 … 1."""

    codes: torch.Tensor
    noise: torch.Tensor
    share: torch.Tensor

    def save(self, path):
        """Write them to `path` (.safetensors), for `load_directions`; the path, or a RoiganError if it cannot."""
        from safetensors.torch import save

        return write_atomically(path, save(dataclasses.asdict(self)))


def load_directions(path):
    """The `Directions` that were saved to `path`; RoiganError for a missing, broken or foreign file."""
    from safetensors.torch import load

    if not Path(path).is_file():
        raise RoiganError(f"There are no directions at {path}: write them by Directions.save().")
    try:
        return Directions(**load(Path(path).read_bytes()))
    except Exception:  # a broken file raises nearly anything
        raise RoiganError(
            f"{path} holds no directions of this kit: write them by Directions.save()."
        ) from None


def principal_directions(gan, images, masks, k=6, samples=300, seed=0):
    """The k principal directions of a model on these images (n, 3, S, S) and masks (n, 1, S, S) or (1, 1, S, S).

    `samples` draws of codes (categories at 0) and noise, the same ones on every image, are completed; the principal
    components of the holes, all images side by side, are those of their kernel (samples × samples); a linear regression
    of codes and noise on a component is its direction.
    RoiganError: k below 1, or fewer than 2 k + 2 samples.
    """
    if k < 1 or samples < 2 * k + 2:
        raise RoiganError(
            f"{k} directions cannot be found from {samples} samples: ask for one or more, and give at "
            f"least two samples for each and two more."
        )
    codes, noise = gan.sample_codes(samples, seed), gan.sample_noise(samples, seed)
    codes[:, gan.n_continuous :] = 0
    inside = torch.as_tensor(masks).expand(len(images), 3, -1, -1) > 0.5
    seen = torch.stack(
        [gan.inpaint(images, masks, codes=c, noise=z)[inside] for c, z in zip(codes, noise)]
    ).double()
    seen -= seen.mean(0)
    values, vectors = torch.linalg.eigh(seen @ seen.T)  # rising order
    values, scores = (
        values.flip(0)[:k].clamp_min(0),
        vectors.flip(1)[:, :k],
    )  # scores (samples, k), unit length
    latent = torch.cat([codes[:, : gan.n_continuous], noise], 1).double()
    latent -= latent.mean(0)
    steps = 2 * (scores.T @ latent) / samples**0.5  # cov(latent, component) / its sd, twice
    steps *= torch.where(
        steps[:, : gan.n_continuous].sum(1, keepdim=True) < 0, -1.0, 1.0
    )  # one sign of the two
    share = values / seen.square().sum().clamp_min(1e-30)
    return Directions(
        *(t.float() for t in (steps[:, : gan.n_continuous], steps[:, gan.n_continuous :], share))
    )


def revive(gan, code, images, masks, visible=None, seed=0):
    """A copy of a `RoIGAN` whose continuous code number `code` (0 …) moves something of its own; nothing is trained.

    For a code that died in training. Behind the generator's first dense layer lie more dimensions than noise and codes
    take together. Each free one in turn becomes the code's column of weights, and the change of the hole between the
    code at -1/2 and at 1/2 is drawn for every image (n, 3, S, S) in [-1, 1] under masks (n, 1, S, S) or (1, 1, S, S),
    the rest of codes and noise drawn by `seed`. From each such change the part along what the other continuous codes do
    to that very picture is removed. The direction with the largest change that is left in the mean over all pictures
    does something new, and the same on every face: it stays. Its length makes the code's visible change, the others at
    rest, `visible`, a share of the range, 0 … 1 (`regularizers.visible_change`); by default the median of the others.
    Akin to SeFa (Shen and Zhou 2021), which asks the weights where this asks the pictures.
    RoiganError: no such code, no free dimension (thesis recipe), a change that this direction cannot reach.
    """
    cfg, layer, column = gan.config, gan.generator.dense[0], _column(gan, code)
    if cfg.n_continuous < 2:
        raise RoiganError(
            "The only code of a model has no others to differ from; revive needs two or more."
        )
    inputs = gan.generator.z_dim
    if not isinstance(layer, torch.nn.Linear) or layer.out_features < inputs:
        raise RoiganError(
            f"The first dense layer of this model leaves no room for a new direction beside its {inputs} "
            f"inputs; train one of the improved recipe with less noise or fewer codes."
        )
    images, masks = check_pair(images, masks)
    masks = masks.expand(len(images), -1, -1, -1)
    codes, noise = gan.sample_codes(len(images), seed), gan.sample_noise(len(images), seed)
    others = [k for k in range(cfg.n_continuous) if k != code]
    gan = RoIGAN(
        copy.deepcopy(gan.generator), gan.name, checkpoint_hash="under change", card=gan.card
    )
    weight = gan.generator.dense[0].weight
    length = weight[:, [cfg.n_noise + k for k in others]].norm(dim=0).median()
    taken = torch.cat([weight[:, :column], weight[:, column + 1 :]], 1)
    free = torch.linalg.qr(taken, mode="complete").Q[:, inputs - 1 :].T * length  # (free, hidden)

    def change(rows, k):
        """Between code k at -1/2 and at 1/2: (n, 3 · S · S), 0 outside the holes."""
        low, high = codes[rows].clone(), codes[rows].clone()
        low[:, k], high[:, k] = -0.5, 0.5
        low, high = (
            gan.inpaint(images[rows], masks[rows], c, noise=noise[rows]) for c in (low, high)
        )
        return (high - low).flatten(1)

    new = torch.zeros(len(free), images[0].numel())
    for rows in torch.arange(len(images)).split(
        BATCH
    ):  # so many keep what the encoder made of them
        weight[:, column] = 0
        basis = torch.linalg.qr(
            torch.stack([change(rows, k) for k in others], 2)
        ).Q  # (n, pixels, others)
        for j, direction in enumerate(free):
            weight[:, column] = direction
            found = change(rows, code)[:, :, None]
            new[j] += (found - basis @ (basis.mT @ found)).sum(0)[:, 0]
    best = torch.linalg.eigh(new @ new.T).eigenvectors[:, -1].to(weight.device) @ free

    weight[:, column] = best
    if visible is None:
        change_of = [
            visible_change(sweep(gan, images, masks, ends(gan, k), seed), masks).mean()
            for k in others
        ]
        visible = torch.stack(change_of).median().item()
    return amplify(gan, code, images, masks, visible, seed)


def amplify(gan, code, images, masks, visible, seed=0):
    """A copy of a `RoIGAN` whose continuous code number `code` (0 …) is louder or fainter; nothing is trained.

    The code's column in the first dense layer is made longer or shorter, which takes the code further along its own
    way or less far, until its visible change (`regularizers.visible_change`, the other codes at rest, noise by
    `seed`) on images (n, 3, S, S) in [-1, 1] under masks (n, 1, S, S) or (1, 1, S, S) is `visible`, a share of the
    range, 0 … 1. Far beyond what a model was trained with the pictures break: measure them after it.
    RoiganError: no such code, a change that no length up to eight times today's reaches.
    """
    column = _column(gan, code)
    images, masks = check_pair(images, masks)
    gan = RoIGAN(
        copy.deepcopy(gan.generator), gan.name, checkpoint_hash="under change", card=gan.card
    )
    weight = gan.generator.dense[0].weight
    today, low, high = weight[:, column].clone(), 0.0, 8.0
    for _ in range(12):  # the change grows with the length
        weight[:, column] = today * (low + high) / 2
        change = (
            visible_change(sweep(gan, images, masks, ends(gan, code), seed), masks).mean().item()
        )
        low, high = ((low + high) / 2, high) if change < visible else (low, (low + high) / 2)
    if high == 8:
        raise RoiganError(
            f"No length of this direction changes the region by {visible:.1%} of the range; ask for less "
            f"with `visible`, or give the code a new direction by revive()."
        )
    return RoIGAN(gan.generator, gan.name, card=gan.card)


def _column(gan, code):
    """The column of a continuous code in the weights of the first dense layer; RoiganError if there is no such code."""
    if not 0 <= code < gan.n_continuous:
        raise RoiganError(
            f"There is no continuous code number {code}: the model has {gan.n_continuous}, counted from "
            f"0."
        )
    return gan.n_noise + code


class Directed:
    """A model with the directions as further sliders: anything that takes a model, the explorer too, takes this one.

    Its code rows hold the model's continuous codes, k direction sliders in [-1, 1], then the categories. With the
    direction sliders at 0 it is the model itself. Everything else is the model's.
    """

    def __init__(self, gan, directions):
        if (
            directions.codes.shape[1] != gan.n_continuous
            or directions.noise.shape[1] != gan.n_noise
        ):
            raise RoiganError(
                f"These directions move {directions.codes.shape[1]} codes and {directions.noise.shape[1]} "
                f"numbers of noise; the model has {gan.n_continuous} and {gan.n_noise}: find its own."
            )
        self.gan, self.directions = gan, directions
        self.n_continuous = gan.n_continuous + len(directions.share)
        moves = torch.cat([directions.codes, directions.noise], 1).contiguous().numpy().tobytes()
        self.checkpoint_hash = (
            f"{gan.checkpoint_hash}+{hashlib.sha256(moves).hexdigest()[:6]}"  # names are theirs
        )

    def __getattr__(self, name):
        return getattr(self.__dict__["gan"], name)

    def sample_codes(self, n, seed=0):
        """As the model's, with the direction sliders at 0: (n, n_codes)."""
        rows = self.gan.sample_codes(n, seed)
        new = torch.zeros(n, len(self.directions.share))
        return torch.cat(
            [rows[:, : self.gan.n_continuous], new, rows[:, self.gan.n_continuous :]], 1
        )

    def inpaint(self, images, masks, codes=None, seed=0):
        """Completed images (n, 3, S, S), as the model's `inpaint`, from rows of codes with the direction sliders."""
        n = len(images) if images.ndim == 4 else 1
        rows = (
            self.sample_codes(n, seed)
            if codes is None
            else torch.as_tensor(codes, dtype=torch.float32)
        )
        rows = rows[None] if rows.ndim == 1 else rows
        wanted = self.n_continuous + self.gan.n_discrete
        if rows.ndim != 2 or rows.shape[1] != wanted or len(rows) not in (1, n):
            raise RoiganError(
                f"codes have shape {tuple(rows.shape)}; with its directions this model takes "
                f"({n}, {wanted})."
            )
        own, slid, kinds = rows.split(
            [self.gan.n_continuous, len(self.directions.share), self.gan.n_discrete], 1
        )
        return self.gan.inpaint(
            images,
            masks,
            torch.cat([own + slid @ self.directions.codes, kinds], 1),
            seed,
            self.gan.sample_noise(n, seed) + slid @ self.directions.noise,
        )
