"""Fixtures shared by all tests: one thread, a fixed seed, a cache of its own, real pictures where
there are some.
"""

import os
import signal
from pathlib import Path

import pytest
import torch

# A shell starts its background jobs deaf to Ctrl-C, and their children inherit that; the tests of
# Ctrl-C need ears.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # small tensors: a second thread costs more than it brings
os.environ["ROIGAN_BF16"] = "fast"  # tests that ask for bfloat16 test it on any processor


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
    return 0


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """One cache for the whole run, so that tests neither read nor fill the user's; an explicit
    ROIGAN_CACHE is kept.
    """
    if "ROIGAN_CACHE" not in os.environ:
        os.environ["ROIGAN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return Path(os.environ["ROIGAN_CACHE"])


def real_root():
    """(root, split) of real test pictures under $ROIGAN_DATA, or the reason why there are none."""
    place = os.environ.get("ROIGAN_DATA")
    if not place:
        return None, "ROIGAN_DATA is not set: real pictures are absent"
    place = Path(place).expanduser()
    for name, split in (
        ("celeba64_thesis_crop/test", "test"),
        ("celeba64_thesis_crop_test.zip", "all"),
    ):
        if (place / name).exists():
            return (place / name, split), None
    if place.is_dir() and not any(place.glob("*.zip")) or place.suffix == ".zip" and place.exists():
        return (place, "all"), None
    return None, f"ROIGAN_DATA={place} holds no celeba64_thesis_crop pictures"


@pytest.fixture(scope="session")
def real_images(cache):
    """Up to 200 real pictures (n, 3, 64, 64) in [-1, 1]; skips with the reason where there are
    none.
    """
    found, reason = real_root()
    if found is None:
        pytest.skip(reason)
    from roigan_lib import open_dataset

    root, split = found
    return open_dataset("folder", split, size=64, root=root, limit=200)[:]


@pytest.fixture(scope="session")
def real_celeba():
    """A folder or archive with real aligned frames of CelebA, $ROIGAN_DATA, below or beside it;
    else skips, saying why.
    """
    place = Path(os.environ.get("ROIGAN_DATA") or os.devnull).expanduser()
    for name in (
        "img_align_celeba",
        "img_align_celeba.zip",
        "celeba",
        "celeba_89x109_train_10000.zip",
    ):
        found = (place if place.is_dir() else place.parent) / name
        if found.exists():
            return found
    pytest.skip("ROIGAN_DATA is not set or holds no img_align_celeba: real frames are absent")
