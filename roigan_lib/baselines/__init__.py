"""Methods to compare against; a new one is one file and one line here."""

from .classic import navier_stokes, telea
from .glcic import load_glcic, train_glcic

# callables (images, masks) -> completed images
BASELINES = {"telea": telea, "navier-stokes": navier_stokes}

__all__ = ["BASELINES", "load_glcic", "navier_stokes", "telea", "train_glcic"]
