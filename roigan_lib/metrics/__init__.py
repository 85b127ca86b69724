"""Measures of inpainting: distances between image sets, errors inside the hole, seams, diversity; and `compare`."""

from .comparison import THESIS_TABLE_4_2, compare, complete, mask_hash, versions
from .features import (
    factor_features,
    inception_available,
    inception_dims,
    inception_features,
    to_uint8,
)
from .frechet import frechet_distance, frechet_from_moments
from .inpainting import METRICS, border_ratio, diversity, l1_hole, outside_change, psnr, ssim
from .kernel import kernel_distance, polynomial_mmd2
from .precision import precision_recall
from .table import Table, load_rows, write_rows

__all__ = [
    "METRICS",
    "THESIS_TABLE_4_2",
    "Table",
    "border_ratio",
    "compare",
    "complete",
    "diversity",
    "factor_features",
    "frechet_distance",
    "frechet_from_moments",
    "inception_available",
    "inception_dims",
    "inception_features",
    "kernel_distance",
    "l1_hole",
    "load_rows",
    "mask_hash",
    "outside_change",
    "polynomial_mmd2",
    "precision_recall",
    "psnr",
    "ssim",
    "to_uint8",
    "versions",
    "write_rows",
]
