"""Methods to compare against: two without learning, and GLCIC, which learns. A new one is one file
and one line here.
"""

from .classic import navier_stokes, telea
from .glcic import load_glcic, train_glcic

BASELINES = {
    "telea": telea,
    "navier-stokes": navier_stokes,
}  # callables (images, masks) -> completed images

__all__ = ["BASELINES", "load_glcic", "navier_stokes", "telea", "train_glcic"]
