"""Nothing is lost: kills, signals, closed pipes, full and read-only disks, two writers, threads,
clocks set back, homes that are missing, settings changed midway.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_training import differences, state_of, tiny

from roigan_lib import checkpoint, files, load_model, sample_masks
from roigan_lib import training as T
from roigan_lib.__main__ import main
from roigan_lib.data import ImageSet, open_dataset
from roigan_lib.errors import RoiganError
from roigan_lib.metrics.rows import load_rows, write_rows

posix = pytest.mark.skipif(os.name == "nt", reason="signals, pipes and file limits of POSIX")


@pytest.fixture(scope="module")
def data():
    pixels = torch.arange(14 * 3 * 32 * 32).view(14, 3, 32, 32) * 37 % 251
    return ImageSet("stripes", "train", 32, pixels.to(torch.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of eight small pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for k in range(8):
        Image.linear_gradient("L").rotate(40 * k).resize((32, 32)).save(folder / f"{k}.png")
    return folder


def training(pictures, out, steps, *more):
    words = "train --profile smoke --dataset folder --size 32 --batch 4 --perceptual-net none"
    words += f" --log-every 1 --checkpoint-every 1 --grid-every 1000 --steps {steps}"
    return [*words.split(), "--root", str(pictures), "--out", str(out), *more]


def shell(*words, **options):
    """The command in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    command = [sys.executable, "-m", "roigan_lib", *map(str, words)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, **options
    )


def one_line(text):
    assert text.count("\n") == 1 and text.startswith("error: ") and text.endswith(".\n"), text
    return text


# ---- killed and stopped

# The parent has loaded everything once; each life of the training is a fork of it.
LIVES = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from roigan_lib import cli, making, parallel, stored, training
from roigan_lib.__main__ import main

words, folder, wanted = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def life(name):
    child = os.fork()
    if child:
        return child
    log = os.open(folder / f"{name}.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1), os.dup2(log, 2)
    try:
        os._exit(main([*words, "--out", str(folder / name)]))
    except KeyboardInterrupt:  # before main listens
        os._exit(130)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)

began = time.monotonic()
assert os.waitpid(life("whole"), 0)[1] == 0
whole, draw = time.monotonic() - began, random.Random(0)
todo = [9] * 12 + [2, 15] * 3
draw.shuffle(todo)
name, left = "cut", list(todo)
while left:
    child = life(name)
    time.sleep(draw.uniform(0.02, 1.5 * whole / len(todo)))
    os.kill(child, left[-1])  # a child that has ended waits for its parent, and takes a signal
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 130, -left[-1]), code
    left.pop()
    state = folder / name / "checkpoint.pt"
    if left and state.exists() and torch.load(state, weights_only=True)["step"] == wanted:
        os.rename(folder / name, folder / f"early{len(left)}")  # too quick: all over again
        left, whole = list(todo), whole / 2
assert os.waitpid(life(name), 0)[1] == 0
"""


@posix
@pytest.mark.slow
def test_twelve_kills_and_the_run_is_bit_for_bit_the_whole_one(pictures, tmp_path):
    words = training(pictures, tmp_path, 24)[:-2]
    command = [sys.executable, "-c", LIVES, json.dumps(words), str(tmp_path), "24"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    whole, cut = (state_of(tmp_path / name / "checkpoint.pt") for name in ("whole", "cut"))
    assert whole["step"] == 24 and not differences(whole, cut)
    weights = [load_model(tmp_path / name).checkpoint_hash for name in ("whole", "cut")]
    assert weights[0] == weights[1]
    left = {path.name for path in (tmp_path / "cut").iterdir()}
    assert left == {"checkpoint.pt", "log.jsonl", "model.safetensors", ".lock"}
    steps = [row["step"] for row in files.read_rows(tmp_path / "cut" / "log.jsonl")]
    assert steps == list(range(1, 25))
    assert "Traceback" not in (tmp_path / "cut.txt").read_text()


SLOW_IMPORT = """
import sys, time
class Slow:
    def find_spec(self, name, path, target=None):
        if name == "roigan_lib.config":
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from roigan_lib.__main__ import main
sys.exit(main(["models"]))
"""


@posix
@pytest.mark.parametrize("how", [2, 15])
@pytest.mark.slow
def test_a_signal_while_modules_load_is_no_traceback(how):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen([sys.executable, "-c", SLOW_IMPORT], **pipes)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(how)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if how == 2 else -15) and said == ""


@posix
def test_ctrl_c_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = files.write_atomically(tmp_path / "a.png", b"old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as scratch:
        scratch.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


# ---- outputs that break


@posix
@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(pictures, tmp_path):
    """As in `roigan models | head -1` and `roigan train | head -1`, which saves."""
    for words in (["models"], ["--help"], training(pictures, tmp_path / "run", 400)):
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        command = [sys.executable, "-m", "roigan_lib", *words]
        process = subprocess.Popen(command, **pipes)
        start = "step 1/" if words[0] == "train" else ""
        assert any(line.startswith(start) for line in iter(process.stdout.readline, ""))
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=300) in (0, 141) and said == "", (words[0], said)
    step = state_of(tmp_path / "run" / "checkpoint.pt")["step"]
    assert 1 <= step < 400


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.slow
@pytest.mark.parametrize("words", ["models", "--help", "train --help"])
def test_an_output_that_takes_nothing_is_one_sentence(words):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "roigan_lib", *words.split()]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 2
    assert "No space left on device" in one_line(done.stderr)


@contextlib.contextmanager
def small_disk(place, megabytes):
    """A real file system of that size at `place`; skips where none can be mounted."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    try:
        made = subprocess.run(words, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    if made.returncode:
        pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_keeps_the_old_checkpoint_and_says_so(data, tmp_path):
    T.train(tiny(steps=1), tmp_path / "try", data, progress=None)
    needs = (tmp_path / "try" / "checkpoint.pt").stat().st_size
    with small_disk(tmp_path / "disk", int(1.7 * needs / 2**20) + 1) as disk:
        T.train(tiny(steps=1), disk / "run", data, progress=None)
        before = (disk / "run" / "checkpoint.pt").read_bytes()
        with pytest.raises(RoiganError, match="no space is left on the disk; an earlier") as error:
            T.train(tiny(steps=2), disk / "run", data, progress=None)
        assert "\n" not in str(error.value)
        assert (disk / "run" / "checkpoint.pt").read_bytes() == before
        assert not list((disk / "run").glob(".*.tmp"))
        (disk / "fill").write_bytes(bytes(max(0, free(disk))))
        for words in (
            ["inpaint", picture(tmp_path), "--out", disk / "done.png"],
            ["inpaint", picture(tmp_path), "--out", disk / "new" / "folder" / "done.png"],
        ):
            assert main([str(word) for word in words]) == 2
        assert not list(disk.glob("*.png"))
        assert state_of(disk / "run" / "checkpoint.pt")["step"] == 1


def free(disk):
    about = os.statvfs(disk)
    return about.f_bavail * about.f_frsize


def picture(folder):
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(folder / "face.png")
    return folder / "face.png"


def test_a_cache_on_a_full_disk_leaves_the_pictures_in_memory(pictures, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", 1) as disk:
        monkeypatch.setenv("ROIGAN_CACHE", str(disk))
        with pytest.warns(UserWarning, match="the pictures stay in memory"):
            there = open_dataset("folder", "all", 256, pictures)
        monkeypatch.setenv("ROIGAN_CACHE", str(tmp_path / "cache"))
        assert torch.equal(there[:], open_dataset("folder", "all", 256, pictures)[:])


def test_a_read_only_disk_is_one_sentence_before_the_work(data, tmp_path, monkeypatch, capsys):
    def no_step(self):
        raise AssertionError("a step was made")

    monkeypatch.setattr(T.Trainer, "step", no_step)
    with small_disk(tmp_path / "disk", 1) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(RoiganError, match="Read-only file system"):
            T.train(tiny(), disk / "run", data, progress=None)
        assert main(["inpaint", str(picture(tmp_path)), "--out", str(disk / "a.png")]) == 2
        assert "Read-only file system" in one_line(capsys.readouterr().err)
        monkeypatch.setenv("ROIGAN_CACHE", str(disk / "cache"))
        assert files.cache_folder() == disk / "cache"  # who writes there says so


@posix
def test_a_limit_on_the_size_of_files_is_one_sentence(tmp_path):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "from roigan_lib.files import write_atomically as w; from roigan_lib.errors import *\n"
        f"p = {str(tmp_path / 'a')!r}; w(p, b'old')\n"
        "try: w(p, bytes(10**6))\n"
        "except RoiganError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "could not be written: File too large; an earlier one is intact" in done.stdout
    assert (tmp_path / "a").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


# ---- two at once


def test_two_writers_of_rows_lose_none(tmp_path):
    row = lambda who, k: {"metric": "l1", "method": who, "seed": k, "value": k / 10}
    work = lambda who: [write_rows(tmp_path / "rows.jsonl", [row(who, k)]) for k in range(25)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(work, ["a", "b", "c"]))
    there = load_rows(tmp_path / "rows.jsonl")
    assert sorted(zip(there["method"], there["seed"])) == [(w, k) for w in "abc" for k in range(25)]


def test_two_writers_of_a_file_leave_one_of_the_two(tmp_path):
    work = lambda k: files.write_atomically(tmp_path / "a", bytes([k]) * 100_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(64)))
    content = (tmp_path / "a").read_bytes()
    assert len(content) == 100_000 and len(set(content)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
def test_threads_share_a_model_and_each_gets_its_own_picture():
    gan = load_model("synthfaces")
    images = torch.rand(6, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    masks = [sample_masks("elliptic", 1, 64, seed=k) for k in range(6)]
    asked = lambda k: gan.inpaint(images[k % 6], masks[k % 6], seed=k)
    wanted = [asked(k) for k in range(6)]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                for k, done in enumerate(pool.map(asked, range(6))):
                    assert torch.equal(done, wanted[k])
    finally:
        sys.setswitchinterval(switch)


def test_another_threads_pair_never_comes_back_as_ones_own():
    """The moment between a look at what is remembered and its use, made long."""
    gan, one = load_model("synthfaces"), torch.zeros(1, 3, 64, 64)
    other, mask = one + 0.5, sample_masks("elliptic", 1, 64, seed=1)
    wanted, inner = gan.inpaint(one, mask), torch.equal

    def slow(a, b):
        same = inner(a, b)
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            left.wait(30)
        return same

    entered, left, found = threading.Event(), threading.Event(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "equal", slow)
        thread = threading.Thread(target=lambda: found.append(gan.inpaint(one, mask)))
        thread.start()
        assert entered.wait(30)
        gan.inpaint(other, mask)  # takes the place of what was remembered
        left.set()
        thread.join(60)
    assert inner(found[0], wanted)


def test_changed_weights_are_not_answered_from_what_was_remembered():
    gan, image = load_model("synthfaces"), torch.zeros(1, 3, 64, 64)
    mask = sample_masks("elliptic", 1, 64, seed=1)
    before = gan.inpaint(image, mask)
    state = gan.generator.state_dict()
    gan.generator.load_state_dict({k: v * 1.1 for k, v in state.items()})
    after = gan.inpaint(image, mask)
    gan._last = None  # forget, and draw from nothing
    assert not torch.equal(before, after) and torch.equal(after, gan.inpaint(image, mask))


# ---- surroundings that are not as usual


@pytest.mark.slow
def test_a_clock_that_is_set_back_changes_nothing(data, tmp_path, monkeypatch):
    T.train(tiny(), tmp_path / "whole", data, progress=None)
    now = iter(range(2_000_000_000, 0, -100_000))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    T.train(tiny(steps=4, stop_after_minutes=60.0), tmp_path / "back", data, progress=None)
    states = [state_of(tmp_path / name / "checkpoint.pt") for name in ("whole", "back")]
    for state in states:
        state["config"]["run"].pop("stop_after_minutes")
    assert not differences(*states)


def test_a_picture_that_was_replaced_by_an_older_one_is_read_anew(tmp_path):
    Image.new("RGB", (32, 32), "white").save(tmp_path / "a.png")
    first = open_dataset("folder", "all", 32, tmp_path)[:]
    Image.new("RGB", (32, 32), "black").save(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", (0, 0))  # the clock was set back, or a backup came back
    assert not torch.equal(first, open_dataset("folder", "all", 32, tmp_path)[:])


@pytest.mark.slow
def test_neither_home_nor_temporary_folder_is_needed(tmp_path, monkeypatch):
    nowhere = {name: str(tmp_path / "none") for name in ("HOME", "TMPDIR", "USERPROFILE")}
    done = shell("inpaint", picture(tmp_path), "--out", tmp_path / "a.png", env=nowhere)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").is_file() and not (tmp_path / "none").exists()


@posix
def test_without_a_home_the_cache_is_this_users_own(tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ROIGAN_CACHE")
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = files.cache_folder()
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    assert files.cache_folder() == folder
    folder.chmod(0o777)  # as another user would leave it there
    with pytest.raises(RoiganError, match="set ROIGAN_CACHE to a folder of yours"):
        files.cache_folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RoiganError, match="set ROIGAN_CACHE"):
        files.cache_folder()
    other = os.geteuid() + 1  # this folder is as private, and another user's
    monkeypatch.setattr(files.os, "geteuid", lambda: other)
    (tmp_path / f"roigan-{other}").mkdir(mode=0o700)
    with pytest.raises(RoiganError, match="set ROIGAN_CACHE"):
        files.cache_folder()


# ---- settings and logs of an earlier part of the run


@pytest.mark.slow
def test_settings_that_changed_midway_are_named_and_stay_on_the_card(data, tmp_path):
    said = []
    T.train(tiny(steps=2), tmp_path, data, progress=None)
    run = T.train(tiny(steps=3, lr_g=1e-5), tmp_path, data, progress=said.append)
    told = ["steps 2 → 3 at step 2", f"lr_g {tiny().optimisation.lr_g} → 1e-05 at step 2"]
    assert [line for line in said if "not the run that its settings name" in line]
    assert sorted(run.model.card["changed"]) == sorted(told) and run.finished
    said.clear()
    run = T.train(tiny(steps=4, lr_g=1e-5), tmp_path, data, progress=said.append)
    assert sorted(run.model.card["changed"]) == sorted([*told, "steps 3 → 4 at step 3"])
    assert load_model(tmp_path).card["changed"] == run.model.card["changed"]
    whole = T.train(tiny(log_every=2), tmp_path / "whole", data, progress=None)
    assert "changed" not in whole.model.card
    again = T.train(tiny(log_every=1), tmp_path / "whole", data, progress=None)
    assert "changed" not in again.model.card  # no step depends on it


@pytest.mark.parametrize("change", [dict(seed=1), dict(batch=5), dict(learns="discriminator")])
def test_what_would_end_exactness_is_refused(change, data, tmp_path):
    T.train(tiny(steps=1), tmp_path, data, progress=None)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    name = next(iter(change))
    with pytest.raises(RoiganError, match=f"was trained with {name}=.*fresh=True") as error:
        T.train(tiny(steps=2, **change), tmp_path, data, progress=None)
    assert "\n" not in str(error.value)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.slow
def test_fewer_steps_than_there_are_is_refused(data, tmp_path):
    T.train(tiny(steps=3), tmp_path, data, progress=None)
    with pytest.raises(RoiganError, match="has 3 steps already and this run asks for steps=2"):
        T.train(tiny(steps=2), tmp_path, data, progress=None)
    assert state_of(tmp_path / "checkpoint.pt")["step"] == 3


def test_a_checkpoint_without_the_right_to_read_is_not_called_damaged(data, tmp_path, monkeypatch):
    T.train(tiny(steps=1), tmp_path, data, progress=None)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torch, "load", refused)
    for read in (checkpoint.read, load_model):
        with pytest.raises(RoiganError, match="cannot be read.*Permission denied"):
            read(tmp_path / "checkpoint.pt")


def test_a_full_disk_is_one_sentence_before_the_first_step(data, tmp_path):
    with small_disk(tmp_path / "disk", 1) as disk:
        (disk / "fill").write_bytes(bytes(free(disk)))
        with pytest.raises(RoiganError, match="takes no more.*No space left"):
            T.train(tiny(steps=1), disk / "run", data, progress=None)


@pytest.mark.parametrize("processes", ["x", "2"])
def test_several_processes_that_nobody_started_are_one_sentence(processes, monkeypatch):
    from roigan_lib import parallel

    monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RoiganError, match="WORLD_SIZE asks for several") as error:
        parallel.start()
    assert "\n" not in str(error.value)


@posix
def test_a_signal_that_the_parent_ignores_stays_ignored():
    """As of a training that `nohup` or a shell's `&` started."""
    import signal

    from roigan_lib.checks import on_signals

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with on_signals(signal.default_int_handler, signal.SIGTERM):
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_mark_of_byte_order_before_a_text_is_no_damage(tmp_path):
    """Editors of Windows put one there."""
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"metric": "l1"}\n')
    (tmp_path / "own.toml").write_bytes(b'\xef\xbb\xbfbase = "improved"\n')
    assert files.read_rows(tmp_path / "rows.jsonl") == [{"metric": "l1"}]
    from roigan_lib.recipes import read_recipe

    assert read_recipe(str(tmp_path / "own.toml")) == read_recipe("improved")


@pytest.mark.parametrize("cfg", ["smoke", 5])
def test_a_configuration_that_is_none_is_one_sentence(cfg, data, tmp_path):
    with pytest.raises(RoiganError, match="has to be a Config"):
        T.train(cfg, tmp_path, data, progress=None)
