"""Measures of inpainting: distances between image sets, errors in the hole, seams, diversity."""

from .comparison import THESIS_TABLE_4_2, about, compare, complete, mask_hash, versions
from .distances import frechet_distance, frechet_from_moments, kernel_distance, precision_recall
from .features import factor_features, inception_available, inception_dims, inception_features
from .inpainting import METRICS, border_ratio, diversity, l1_hole, outside_change, psnr, ssim
from .rows import check_rows, frame, keep, load_rows, records, write_rows
from .seeds import over_seeds, trained
from .table import best, markdown_lines, pivot, show, to_markdown, value
