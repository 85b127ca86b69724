"""What a user hands in is refused in one sentence before any work: seeds, devices, busy folders."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from roigan_lib import load_config, load_model, sample_masks
from roigan_lib.checks import (
    check_device,
    check_folder,
    check_images,
    check_output,
    check_seed,
    only_run,
)
from roigan_lib.data import ImageSet
from roigan_lib.data.synthfaces import sample_factors
from roigan_lib.errors import RoiganError
from roigan_lib.metrics import check_rows, kernel_distance

BAD_SEEDS = (None, 1.5, 3.0, "3", True, -1, 2**64, np.float64(3), np.arange(2), [1], torch.rand(2))


def sentence(error):
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 300, text
    return text


@pytest.mark.parametrize("seed", [3, np.int64(3), np.uint8(3), torch.tensor(3), np.array(3)])
def test_whole_numbers_are_seeds(seed):
    assert check_seed(seed) == 3 and type(check_seed(seed)) is int
    assert load_config("smoke", seed=seed).hash() == load_config("smoke", seed=3).hash()
    assert torch.equal(
        sample_masks("mixed", 2, 16, seed=seed), sample_masks("mixed", 2, 16, seed=3)
    )


def test_nothing_else_is_a_seed():
    gan = load_model("synthfaces")
    images, features, hole = (
        torch.zeros(1, 3, 64, 64),
        torch.rand(6, 2),
        sample_masks("elliptic", 1, 64),
    )
    for what in (
        check_seed,
        lambda s: load_config("smoke", seed=s),
        lambda s: sample_masks("elliptic", 1, 16, seed=s),
        lambda s: gan.inpaint(images, hole, seed=s),
        lambda s: gan.sample_codes(2, s),
        lambda s: gan.sample_noise(2, s),
        lambda s: sample_factors(2, s),
        lambda s: kernel_distance(features, features, seed=s),
    ):
        for seed in BAD_SEEDS:
            with pytest.raises(RoiganError, match="seed is") as error:
                what(seed)
            sentence(error)
    with pytest.raises(RoiganError, match="seed is"):
        load_config("smoke", seed=2**32)


def test_devices():
    assert check_device("cpu") == check_device(torch.device("cpu")) == torch.device("cpu")
    absent = ["cudda", "gpu", "", 3.5, "cuda:99"] + ["cuda"] * (not torch.cuda.is_available())
    gan = load_model("synthfaces")
    for device in absent:
        for use in (
            check_device,
            gan.to,
            lambda d: load_model("synthfaces", device=d),
            lambda d: sample_masks("elliptic", 1, 16, device=d),
        ):
            with pytest.raises(RoiganError, match="no device .* choose cpu") as error:
                use(device)
            sentence(error)


def test_images():
    data = ImageSet("x", "train", 32, torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    assert check_images(data, 32) is data
    for what, words in (
        (data[:], "not as a Tensor"),
        ("faces", "not as a str"),
        (None, "NoneType"),
    ):
        with pytest.raises(RoiganError, match=words) as error:
            check_images(what, 32)
        sentence(error)
    with pytest.raises(RoiganError, match="32×32 pixels and the configuration has size=64"):
        check_images(data, 64)


def test_folders_and_files(tmp_path):
    (tmp_path / "file").write_text("")
    assert check_folder(tmp_path / "a" / "b").is_dir()
    path = check_output(str(tmp_path / "c" / "x.PNG"), (".png", ".jpg"))
    assert path.parent.is_dir() and not path.exists()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "a\0b", "/proc/nothing"):
        with pytest.raises(
            RoiganError, match="could not be written to|is no path of a folder"
        ) as error:
            check_folder(folder)
        sentence(error)
    for path, words in (
        (tmp_path, "is a folder"),
        ("", "is empty"),
        (tmp_path / "x.gif", "end in .png or .jpg"),
        (tmp_path / "file" / "x.png", "could not be written to"),
    ):
        with pytest.raises(RoiganError, match=words) as error:
            check_output(path, (".png", ".jpg") if Path(path).suffix else None)
        sentence(error)


def test_a_folder_without_the_right_to_write(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "x.png").write_text("")
    (tmp_path / "x.png").chmod(0o444)
    with pytest.raises(RoiganError, match="write-protected"):
        check_output(tmp_path / "x.png")
    tmp_path.chmod(0o555)
    with pytest.raises(RoiganError, match="Permission denied"):
        check_folder(tmp_path)
    tmp_path.chmod(0o755)


def test_row_files(tmp_path):
    assert check_rows(tmp_path / "new" / "rows.jsonl").parent.is_dir()
    (tmp_path / "rows.jsonl").write_text('{"metric": "l1"}\n[]\n')
    with pytest.raises(RoiganError, match="Line 2"):
        check_rows(tmp_path / "rows.jsonl")


@pytest.mark.slow
def test_one_run_a_folder_and_a_killed_one_does_not_block(tmp_path):
    hold = (
        "import time; from roigan_lib.checks import only_run\n"
        f"with only_run({str(tmp_path)!r}): print('in', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "in\n"
    with (
        pytest.raises(RoiganError, match=f"^Process {other.pid} is at work in ") as error,
        only_run(tmp_path),
    ):
        pass
    sentence(error)
    other.send_signal(signal.SIGKILL)
    other.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with only_run(tmp_path):
                assert (tmp_path / ".lock").read_text() == str(os.getpid())
                with (
                    pytest.raises(RoiganError, match=f"Process {os.getpid()} "),
                    only_run(tmp_path),
                ):
                    pass
            break
        except RoiganError:
            time.sleep(0.1)
    else:
        pytest.fail("the lock of a killed process blocks")
    with only_run(tmp_path):
        pass
