"""The one error that the kit raises for bad input: a sentence for the person at the keyboard."""

import difflib


class RoiganError(ValueError):
    """Bad input, in one sentence: what is wrong and what to do. Commands print it and exit by 2."""


def suggest(word, known):
    """'did you mean …? ' with the known word nearest to this one, or nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""


_EXTRA = {"anywidget": "explorer", "ipywidgets": "explorer", "IPython": "explorer"}
_EXTRA |= {"matplotlib": "explorer", "traitlets": "explorer", "skimage": "photo", "onnx": "page"}


def missing_package(error):
    """What to say of a ModuleNotFoundError: the extra to install, as pyproject.toml groups them."""
    name = (error.name or "?").partition(".")[0]
    return f"{name} is not installed: pip install 'roigan-lib[{_EXTRA.get(name, 'notebooks')}]'."
