"""Where files lie, and how they are written: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import RoiganError


def place(variable: str, name: str) -> Path:
    """The folder that an environment variable names, else `name` in the repository, else below the current folder."""
    if os.environ.get(variable):
        return Path(os.environ[variable])
    root = Path(__file__).resolve().parent.parent
    return (root if (root / "notebooks").is_dir() else Path.cwd()) / name


def write_atomically(path, data):
    """Put bytes at path in one step, so that a killed run leaves the old file or the new one, never half of either.

    Raises RoiganError where it cannot be written, such as on a full disk.
    """
    path = Path(path)
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except OSError as error:
        raise RoiganError(
            f"Cannot write {path} ({error.strerror or error}): free some space or choose another place."
        ) from error
    finally:
        if scratch and os.path.exists(scratch):
            os.unlink(scratch)
    return path
