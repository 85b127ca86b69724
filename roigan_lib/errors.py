"""The one error that the kit raises for bad input: a sentence for the person at the keyboard."""

import difflib
import re
from contextlib import contextmanager


class RoiganError(ValueError):
    """Bad input, in one sentence: what is wrong and what to do. Commands print it and exit by 2.

    What a user handed in and the sentence quotes stays on its line: no line breaks, no control
    characters, no addresses of objects, nothing that is longer than a screen.
    """

    def __init__(self, sentence=""):
        sentence = re.sub(r" (?:object )?at 0x\w+", "", " ".join(str(sentence).split()))
        sentence = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in sentence)
        super().__init__(re.sub(r"\S{200,}", lambda word: word[0][:80] + "…", sentence))


def shown(value):
    """What was handed in, as a sentence quotes it: its `repr`, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def suggest(word, known):
    """'did you mean …? ' with the known word nearest to this one, or nothing."""
    close = difflib.get_close_matches(str(word)[:60], list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""


@contextmanager
def enough_memory(lower):
    """RoiganError that says what to lower, where memory, of the GPU or not, runs out within it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = re.search("allocate memory|out of memory", str(error), re.IGNORECASE)
        if not told and not isinstance(error, MemoryError):
            raise
        raise RoiganError(f"The memory does not suffice; lower {lower}.") from None


_EXTRA = {"anywidget": "explorer", "ipywidgets": "explorer", "IPython": "explorer"}
_EXTRA |= {"matplotlib": "explorer", "traitlets": "explorer", "skimage": "photo", "onnx": "page"}


def missing_package(error):
    """What to say of a ModuleNotFoundError: the extra to install, as pyproject.toml groups them."""
    name = (error.name or "?").partition(".")[0]
    return f"{name} is not installed: pip install 'roigan-lib[{_EXTRA.get(name, 'notebooks')}]'."
