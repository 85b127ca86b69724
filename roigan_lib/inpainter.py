"""A trained generator that completes pictures: `RoIGAN.inpaint`. `stored` loads one."""

from __future__ import annotations

import torch

from .checks import check_codes, check_device, check_noise, check_pair, check_seed, check_whole
from .config_checks import check_generator, flat
from .data.labels import label_names, shown_name
from .errors import RoiganError, enough_memory
from .files import weights_hash
from .models import Generator


class RoIGAN:
    """A trained generator with its codes: `inpaint`, `generate`, `sample_codes`.

    Attributes: size (pixels), n_continuous, n_discrete, n_categories, n_noise, name,
    checkpoint_hash (12 hex digits), card (what is known of the training), generator (the torch
    module).
    """

    def __init__(self, generator: Generator, name="untitled", checkpoint_hash=None, card=None):
        cfg = check_generator(generator).cfg
        self.generator = generator.eval().requires_grad_(False)
        self.config, self.name, self.card = cfg, name, card or {}
        self.size, self.n_noise = cfg.size, cfg.n_noise
        self.n_continuous, self.n_discrete = cfg.n_continuous, cfg.n_discrete
        self.n_categories = cfg.n_categories
        self.checkpoint_hash = checkpoint_hash or weights_hash(generator.state_dict())
        self._last = None  # images and masks as checked, and what the encoder made of them

    @property
    def slider_names(self):
        """{code: name} of the sliders that were told their factor in training."""
        told = label_names(flat(self.card.get("training", {})).get("labels"))
        return {f"c{k}": shown_name(name) for k, name in enumerate(told, 1)}

    @property
    def device(self):
        """Where the weights lie."""
        return next(self.generator.parameters()).device

    def to(self, device):
        """Move to a device; returns self."""
        self.generator.to(check_device(device))
        self._last = None
        return self

    def sample_codes(self, n: int, seed: int = 0) -> torch.Tensor:
        """n code rows from the prior, (n, n_codes): U(−1, 1), then category indices.

        A told slider is above 0 as often as the training images have its label: one face in
        fifteen wears glasses.
        """
        n = check_whole("n", n, 1, 2**20)
        codes = sample_codes(self.config, n, torch.Generator().manual_seed(check_seed(seed)))
        for k, share in enumerate(self.card.get("label_shares", ())):
            at = (codes[:, k] + 1) / 2 - (1 - share)  # above 0 in `share` of all rows
            codes[:, k] = torch.where(at > 0, at / share, at / (1 - share))
        return codes

    def sample_noise(self, n: int, seed: int = 0) -> torch.Tensor:
        """The noise z0 ~ N(0, 1) that `seed` stands for in a batch of n images, (n, n_noise)."""
        generator = torch.Generator().manual_seed(check_seed(seed) + 1_000_003)
        n = check_whole("n", n, 1, 2**20)
        return torch.randn(n, self.n_noise, generator=generator, dtype=torch.float32)

    def generate(self, images, masks, codes=None, seed=0, noise=None, reach=1.0) -> torch.Tensor:
        """The raw output of the generator for the whole frame, (n, 3, S, S), clamped to [-1, 1].

        images (n, 3, S, S) in [-1, 1]; masks (n, 1, S, S) or one mask for all, 1 = the region to
        fill; codes (n, n_codes) or one row for all, None draws them from the prior with `seed`,
        which also fixes the noise z0; noise (n, n_noise) or one row for all, in its place; reach:
        how far a slider may go from 0, 1 in training. Raises RoiganError for anything else.
        """
        images, masks = self._pair(images, masks)
        return self._redraw(images, masks, codes, seed, noise, reach).clone()  # no inference tensor

    def _pair(self, images, masks):
        """`check_pair`, but not once more for what it gave the last time."""
        return (self._remembered(images, masks) or check_pair(images, masks))[:2]

    def _remembered(self, *pair):
        """What was made of this pair with these weights, or None. `_last` is read once, as another
        thread may put its own there.
        """
        last = self._last
        same = last is not None and last[3] == self._version()
        for new, old in zip(pair, last or ()):
            same = same and isinstance(new, torch.Tensor) and new.layout == torch.strided
            same = same and (new.dtype, new.device) == (old.dtype, old.device)
            same = same and torch.equal(new, old)
        return last if same else None

    def _version(self):
        """A number that changes with the weights, unless behind their `.data`."""
        return sum(p._version for p in self.generator.parameters())

    def _redraw(self, images, masks, codes, seed, noise, reach):
        if images.shape[-1] != self.size or images.shape[-2] != self.size:
            raise RoiganError(
                f"This model works at {self.size}×{self.size} pixels and the images have "
                f"{images.shape[-1]}×{images.shape[-2]}; resize them first."
            )
        check_generator(self.generator)  # which the caller may have turned to halves
        n, device, seed = len(images), self.device, check_seed(seed)
        codes = self.sample_codes(n, seed) if codes is None else codes
        codes = check_codes(codes, n, self.config, reach)
        noise = self.sample_noise(n, seed) if noise is None else check_noise(noise, n, self.n_noise)
        out = []
        with enough_memory("the number of images"), torch.inference_mode():
            for i in range(0, n, 32):
                part = slice(i, i + 32)
                x, m = images[part].to(device), masks[part].to(device)
                f = self._features(images, masks, x, m)
                z = self.generator.join_codes(codes[part].to(device), noise[part].to(device))
                out.append(self.generator.decode(f, m, z).clamp(-1, 1).cpu())
            return torch.cat(out) if len(out) > 1 else out[0]

    def inpaint(self, images, masks, codes=None, seed=0, noise=None, reach=1.0) -> torch.Tensor:
        """Completed images (3.9), (n, 3, S, S); outside the region bit for bit the input.

        Arguments and errors as in `generate`.
        """
        images, masks = self._pair(images, masks)
        drawn = self._redraw(images, masks, codes, seed, noise, reach)
        return torch.where(masks.cpu() > 0.5, drawn, images.cpu())

    def _features(self, images, masks, x, m):
        """What does not depend on the sliders: of a small batch a slider's next move reuses it."""
        if len(images) > 16:
            return self.generator.features_of(x, m)
        last = self._remembered(images, masks)
        if last is None:
            found = self.generator.features_of(x, m)
            self._last = last = images.clone(), masks.clone(), found, self._version()
        return last[2]


def sample_codes(cfg, n, generator):
    """n code rows from the prior of cfg, drawn with a CPU torch.Generator: (n, n_codes)."""
    c0 = torch.rand(n, cfg.n_continuous, generator=generator, dtype=torch.float32) * 2 - 1
    c1 = torch.randint(0, cfg.n_categories, (n, cfg.n_discrete), generator=generator)
    return torch.cat([c0, c1.float()], 1)
