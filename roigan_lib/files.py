"""Where files lie, how they are written (whole or not at all), and the one reader of weights."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import RoiganError, shown

try:
    import fcntl
except ImportError:  # Windows: programs are not told apart there
    fcntl = None

WEIGHTS = Path(__file__).resolve().parent / "weights"


def place(variable: str, name: str) -> Path:
    """The folder that an environment variable names, else `name` in the repository, else here."""
    if told := os.environ.get(variable):
        return path_of(told, f"folder for {variable}")
    root = Path(__file__).resolve().parent.parent
    return (root if (root / "notebooks").is_dir() else Path.cwd()) / name


def cache_folder() -> Path:
    """$ROIGAN_CACHE, else ~/.cache/roigan, for this user alone where it is made here.

    Without a home, a folder of the temporary one. RoiganError where that is another user's.
    """
    try:
        told = os.environ.get("ROIGAN_CACHE")
        folder = path_of(told, "folder for ROIGAN_CACHE") if told else None
        folder, shared = folder or Path.home() / ".cache" / "roigan", False
    except RuntimeError:  # HOME is unset and the system knows no other
        shared = hasattr(os, "geteuid")  # Windows has a temporary folder for each user
        folder = Path(tempfile.gettempdir(), f"roigan-{os.geteuid()}" if shared else "roigan")
    with suppress(OSError):  # who writes there says so
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if shared and folder.is_dir():
        about = folder.lstat()
        if about.st_uid != os.geteuid() or about.st_mode & 0o077 or folder.is_symlink():
            raise RoiganError(
                f"{folder} may be written by another user: set ROIGAN_CACHE to a folder of yours."
            )
    return folder


KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def path_of(value, what="file") -> Path:
    """The path that a text or a Path names, there or not; RoiganError for what names none."""
    try:
        text = os.fspath(value)
        path = Path(text).expanduser()
        if text.strip():
            with suppress(FileNotFoundError, NotADirectoryError):
                path.stat()
            return path
        why = "it is empty"
    except TypeError:
        why = "a path is a text or a Path"
    except (OSError, ValueError, RuntimeError) as error:  # zero bytes, too long, looping, no home
        why = getattr(error, "strerror", None) or error
    raise RoiganError(f"{shown(value)} is no path of a {what} ({why}); give another one.")


def trouble(path, most=2**31) -> str | None:
    """Why a path is not to be opened and read whole, or None: it is a file of up to `most` bytes.

    A pipe would hang a reader, a device never end.
    """
    try:
        found = path.stat()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        link = gone and path.is_symlink()
        return "is a link to nothing" if link else "is not there" if gone else error.strerror
    if not stat.S_ISREG(found.st_mode):
        return KINDS.get(stat.S_IFMT(found.st_mode), "is no file")
    if not os.access(path, os.R_OK):
        return "may not be read by this user"
    if found.st_size > most:
        return f"has {found.st_size / 2**20:,.0f} MiB, and {most / 2**20:,.0f} are the most"
    return None if found.st_size else "is empty"


def plain_file(value, what, missing="check the path", most=2**31) -> Path:
    """The path of a file to read; RoiganError for none and for what only has a file's name."""
    path = path_of(value, what)
    if why := trouble(path, most):
        if why == "is not there":
            raise RoiganError(f"There is no {what} {path}; {missing}.")
        raise RoiganError(f"The {what} {path} {why}; give another one.")
    return path


@contextmanager
def replacing(path):
    """A temporary path beside `path`, which takes its place at the end: a killed run leaves the old
    file or the new one, never half of either. RoiganError where it cannot be written.
    """
    path = path_of(path)
    if path.exists() and not path.is_file():  # the superuser may replace a device
        raise RoiganError(f"{path} could not be written: it {trouble(path)}; give a file's path.")
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")  # nobody can guess it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # as umask says
        yield scratch
        os.replace(scratch, path)
    except (OSError, RuntimeError) as error:
        if isinstance(error, RoiganError):
            raise
        full = getattr(error, "errno", None) == errno.ENOSPC or any(
            words in str(error) for words in ("PytorchStreamWriter", "inline_container", "No space")
        )
        why = "no space is left on the disk" if full else getattr(error, "strerror", 0) or error
        raise RoiganError(
            f"{path} could not be written: {why}; an earlier one is intact: free some space or "
            f"choose another place."
        ) from None
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(path):
    """Within it no other program merges into the file at `path`; others wait for their turn."""
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if fcntl:
            with suppress(OSError):  # a file system without locks: nobody can be told apart
                fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        if fcntl:
            os.close(held)


def write_atomically(path, data: bytes) -> Path:
    """Put bytes at path in one step; see `replacing`."""
    with replacing(path) as scratch:
        scratch.write_bytes(data)
    return Path(path)


def read_rows(path) -> list[dict]:
    """The rows of a .jsonl file. RoiganError if it is missing or a line is not a JSON object."""
    rows, path, why = [], path_of(path), None
    try:
        why = trouble(path)
        lines = [] if why else path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
    if why and why != "is empty":
        raise RoiganError(
            f"Cannot read rows from {path} ({why}): run the notebook or command that writes it."
        )
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):
                rows.append(None)
            if not isinstance(rows[-1], dict):
                raise RoiganError(
                    f"Line {number} of {path} is not a JSON object: mend or delete that line."
                )
    return rows


def write_weights(path, state, **header) -> Path:
    """A state dict as float16 safetensors; header: what `read_weights` gives back, as JSON."""
    from safetensors.torch import save

    tensors = {
        k: (v.detach().half() if v.is_floating_point() else v).cpu().contiguous()
        for k, v in state.items()
    }
    named = {k: v if isinstance(v, str) else json.dumps(v) for k, v in header.items()}
    return write_atomically(path, save(tensors, named))


def weights_at(name_or_path) -> Path:
    """The file that a shipped name, a run's folder or a path means, whether it is there or not."""
    path = named(name_or_path, WEIGHTS, "checkpoint")
    inside = path / "model.safetensors"
    return inside if inside.is_file() else path


def named(name_or_path, folder, what) -> Path:
    """The .safetensors file of that name in `folder`, where it is a bare name; else the path."""
    path = path_of(name_or_path, what)
    bare = not path.suffix and os.fspath(name_or_path) == path.name and not path.exists()
    return folder / f"{path.name}.safetensors" if bare else path


def read_weights(path, form, what):
    """State dict (float32) and header of a file that `write_weights` made with format=`form`.

    what: words for such a file, as in "a generator of this kit". RoiganError for anything else.
    """
    from safetensors import safe_open

    path = Path(path)
    try:
        if why := trouble(path):
            raise OSError(why)
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            state = {k: file.get_tensor(k) for k in file.keys()}
            right = header.pop("format", None) == form
            header = {k: json.loads(v) for k, v in header.items()} if right else {}
    except Exception:
        raise RoiganError(
            f"{path.name} is damaged or no safetensors file; copy or train it again."
        ) from None
    if not right:
        raise RoiganError(f"{path.name} is a safetensors file, but not {what}.")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, header


def fits(build, state) -> bool:
    """Whether tensors have the names and shapes of the network that `build` makes, which takes no
    memory for the question: a header may ask for any size.
    """
    import torch

    class Undrawn(torch.overrides.TorchFunctionMode):
        """Draws no first weights: of tensors without memory PyTorch would load its compiler."""

        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is torch.Tensor.normal_ or getattr(func, "__module__", "") == "torch.nn.init":
                return None
            return func(*args, **(kwargs or {}))

    with torch.device("meta"), Undrawn():
        wanted = build().state_dict()
    return {k: v.shape for k, v in wanted.items()} == {k: v.shape for k, v in state.items()}


def weights_hash(state) -> str:
    """Twelve hex digits of the weights as they ship, in float16."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
