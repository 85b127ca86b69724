"""The networks of the thesis, of the improved recipe and of the author's release."""

from .additions import ProjectedHeads
from .classifier import Classifier
from .discriminator import Discriminator, Reader
from .generator import Generator, pyramid_fill
from .grown import GrownDiscriminator, GrownGenerator
from .published import PublishedDiscriminator, PublishedGenerator

__all__ = [
    "Classifier",
    "Discriminator",
    "Generator",
    "ProjectedHeads",
    "Reader",
    "networks",
    "pyramid_fill",
]


def networks(cfg):
    """The classes of generator and discriminator that cfg.architecture asks for."""
    grown = GrownGenerator, GrownDiscriminator
    released = PublishedGenerator, PublishedDiscriminator
    own = {"published": released, "grown": grown}
    return own.get(cfg.architecture, (Generator, Discriminator))
