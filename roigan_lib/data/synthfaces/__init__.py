"""synthfaces: portraits painted from named factors (`painter`), and the network that reads those back (`reader`)."""

from .painter import (
    FACTORS,
    MIRRORED,
    NAMES,
    Factor,
    index,
    load,
    render,
    sample_factors,
    to_uint8,
    traversal,
)

__all__ = [
    "FACTORS",
    "MIRRORED",
    "NAMES",
    "Factor",
    "index",
    "load",
    "render",
    "sample_factors",
    "to_uint8",
    "traversal",
]
