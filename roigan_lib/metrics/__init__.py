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
from .rows import (
    best,
    check_rows,
    frame,
    load_rows,
    pivot,
    records,
    show,
    to_markdown,
    value,
    write_rows,
)

__all__ = [
    "METRICS",
    "THESIS_TABLE_4_2",
    "best",
    "border_ratio",
    "check_rows",
    "compare",
    "complete",
    "diversity",
    "factor_features",
    "frame",
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
    "pivot",
    "polynomial_mmd2",
    "precision_recall",
    "psnr",
    "records",
    "show",
    "ssim",
    "to_markdown",
    "to_uint8",
    "value",
    "versions",
    "write_rows",
]
