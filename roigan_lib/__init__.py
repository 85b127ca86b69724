"""RoI-GAN: redraw the region a user selects, steer it with sliders.

Public names load on first use, so that `import roigan_lib` stays quick.
"""

from importlib import import_module

__version__ = "0.2.0"

_HOME = {
    "RoiganError": "errors",
    "load_config": "config",
    "Config": "config",
    "open_dataset": "data",
    "sample_masks": "masks",
    "check_pair": "checks",
    "load_mask": "picture_files",
    "load_model": "stored",
    "load_steered": "control.steering",
    "RoIGAN": "inpainter",
    "SelfEnsemble": "ensemble",
    "train": "training",
    "telea": "baselines",
    "navier_stokes": "baselines",
    "load_glcic": "baselines",
    "train_glcic": "baselines",
    "compare": "metrics",
    "explore": "explorer",
    "pick_eyes": "explorer",
    "open_photo": "picture_files",
    "face_frame": "photo",
    "find_eyes": "photo",
    "inpaint_photo": "photo",
}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name in _HOME:
        try:
            return getattr(import_module(f"roigan_lib.{_HOME[name]}"), name)
        except ModuleNotFoundError as error:
            from .errors import RoiganError, missing_package

            raise RoiganError(missing_package(error)) from error
    raise AttributeError(f"roigan_lib has no name {name!r}; it offers {', '.join(__all__)}")


def __dir__():
    return __all__
