"""Inpainting without learning, to compare against. A new baseline is one file and one line of BASELINES."""
from .telea import telea

BASELINES = {"telea": telea}

__all__ = ["BASELINES", "telea"]
