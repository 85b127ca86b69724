"""A model in other clothes: two answers averaged, or one of a smaller side enlarged."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .checks import check_model, check_pair
from .inpainter import RoIGAN
from .models.additions import shrunk


class SelfEnsemble:
    """A model that completes each picture twice, as it is and mirrored, and answers with the mean
    of both.

    The geometric self-ensemble of super-resolution (Timofte et al. 2016; EDSR+, Lim et al. 2017).
    Faces know no left and right, so half of the difference between the two answers is error: the
    mean lies closer to the original, at twice the time. It is a little smoother, and a code that
    means left or right cancels itself. Takes a `RoIGAN` and goes wherever one goes; all but
    `inpaint` is that model's.
    """

    def __init__(self, gan: RoIGAN):
        check_model(gan, "inpaint", "generator", "checkpoint_hash")
        self.gan, self.checkpoint_hash = gan, f"{gan.checkpoint_hash}+mirror"
        # keeps features of its own
        self._twin = RoIGAN(gan.generator, gan.name, gan.checkpoint_hash, gan.card)

    def __getattr__(self, name):
        if "gan" not in self.__dict__:  # as in a copy that is being made
            raise AttributeError(name)
        return getattr(self.gan, name)

    def to(self, device):
        """Move to a device; returns self."""
        for gan in (self.gan, self._twin):
            gan.to(device)
        return self

    def inpaint(self, images, masks, codes=None, seed=0, noise=None, reach=1.0) -> torch.Tensor:
        """Completed images (n, 3, S, S); arguments, errors, outside as in `RoIGAN.inpaint`."""
        images, masks = check_pair(images, masks)
        how = codes, seed, noise, reach
        one = self.gan.inpaint(images, masks, *how)
        two = self._twin.inpaint(images.flip(-1), masks.flip(-1), *how).flip(-1)
        return torch.where(masks.cpu() > 0.5, (one + two) / 2, one)


class Enlarged:
    """A model that completes larger pictures: it draws at its own side, and its drawing is enlarged
    (bilinear) and pasted. What a larger model has to beat.
    """

    def __init__(self, gan: RoIGAN):
        self.gan, self.checkpoint_hash = gan, gan.checkpoint_hash

    def inpaint(self, images, masks, codes=None, seed: int = 0, noise=None) -> torch.Tensor:
        """Completed images (n, 3, S, S), S a multiple of the model's size; as `RoIGAN.inpaint`."""
        images, masks = check_pair(images, masks)
        drawn = self.gan.generate(*shrunk(images, masks, self.gan.size), codes, seed, noise)
        drawn = F.interpolate(drawn, images.shape[-2:], mode="bilinear", align_corners=False)
        return torch.where(masks.cpu() > 0.5, drawn, images.cpu())
