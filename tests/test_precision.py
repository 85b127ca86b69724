"""One place decides the precision: it asks the machine once, and what was used is on record."""

import json
import time

import pytest
import torch

from roigan_lib import precision
from roigan_lib import training as T
from roigan_lib.baselines import glcic
from roigan_lib.config import load_config
from roigan_lib.errors import RoiganError
from roigan_lib.studies import bench

REAL_AUTOCAST = torch.autocast


@pytest.fixture(autouse=True)
def asked(monkeypatch, tmp_path):
    """As for a user: nothing told, nothing known."""
    monkeypatch.delenv("ROIGAN_BF16")
    monkeypatch.setenv("ROIGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def machine(monkeypatch):
    """A made-up processor: machine(float32, bfloat16) sets the seconds of a round; the rounds."""

    def build(single, half):
        now, rounds = [0.0], []

        def autocast(kind, dtype, enabled):
            now[0] += half if enabled else single
            rounds.append(enabled)
            return REAL_AUTOCAST(kind, dtype, enabled=enabled)

        monkeypatch.setattr(torch, "autocast", autocast)
        monkeypatch.setattr(time, "perf_counter", lambda: now[0])
        return rounds

    return build


def half(**changes):
    fields = dict(steps=2, batch=4, log_every=1, dataset="noise", precision="bf16")
    return load_config("smoke", **fields | changes)


@pytest.mark.parametrize(
    "single, half, rounds",
    [
        (0.002, 0.001, 16),
        (0.002, 0.004, 16),  # all, where the two are alike
        (0.002, 0.088, 4),
        (0.2, 0.1, 4),
    ],
)  # one to warm up and three: hopeless, or half a second over
@pytest.mark.slow
def test_the_probe_ends_early_where_it_knows_enough_or_takes_too_long(
    single, half, rounds, machine
):
    seen = machine(single, half)
    assert precision.probe() == pytest.approx((single, half))
    assert seen == [False, True] * rounds


def test_the_probe_times_this_machine():
    single, half = precision.probe()
    assert 1e-5 < single < 10 and 0.01 < half / single < 1000


def test_the_answer_is_kept_for_this_machine_and_asked_anew_where_the_machine_changes(
    monkeypatch, tmp_path
):
    answers = iter([(1.0, 7.0), (2.0, 1.0), (4.0, 1.0)])
    monkeypatch.setattr(precision, "probe", lambda: next(answers))
    for name in precision.ISA:
        monkeypatch.delenv(name, raising=False)
    assert precision.ratio() == precision.ratio() == 7.0
    ((key, value),) = json.loads((tmp_path / "cache" / "precision.json").read_text()).items()
    assert (
        value == 7.0
        and precision.processor() in key
        and torch.__version__ in key
        and "1 threads" in key
    )
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert precision.ratio() == 0.5
    monkeypatch.setattr(precision, "processor", lambda: "another")
    assert precision.ratio() == 0.25


@pytest.mark.parametrize("content", ["", "[]", "[1]", "{", '{"a": 1}', "null"])
def test_a_damaged_record_is_measured_again(content, monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "probe", lambda: (1.0, 3.0))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "precision.json").write_text(content)
    assert precision.ratio() == 3.0
    monkeypatch.setattr(precision, "probe", None)
    assert precision.ratio() == 3.0


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setattr(precision, "probe", lambda: (1.0, 3.0))
    assert precision.decide("bf16")[0] == "fp32"


def test_float32_asks_nobody(monkeypatch):
    monkeypatch.setattr(precision, "probe", None)
    assert precision.decide("fp32") == ("fp32", "")


def test_where_bfloat16_is_slow_one_sentence_says_so_unless_it_is_forced(monkeypatch):
    monkeypatch.setattr(precision, "probe", lambda: (1.0, 44.0))
    used, sentence = precision.decide("bf16")
    assert (
        used == "fp32"
        and "44.0 times" in sentence
        and "ROIGAN_BF16=fast" in sentence
        and "\n" not in sentence
    )
    monkeypatch.setenv("ROIGAN_BF16", "fast")
    assert precision.decide("bf16") == ("bf16", "")
    monkeypatch.setattr(precision, "probe", lambda: (2.0, 1.0))
    monkeypatch.setenv("ROIGAN_BF16", "slow")
    assert precision.decide("bf16")[0] == "fp32"
    monkeypatch.setenv("ROIGAN_BF16", "quick")
    with pytest.raises(RoiganError, match="'quick'; set it to fast or slow"):
        precision.decide("fp32")


def test_a_gpu_is_asked_whether_it_multiplies_bfloat16_itself(monkeypatch):
    monkeypatch.setattr(precision, "probe", None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old card")
    for itself in (True, False):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: including_emulation or itself,
        )
        assert precision.decide("bf16", "cuda")[0] == ("bf16" if itself else "fp32")
    assert "an old card" in precision.decide("bf16", "cuda")[1]


@pytest.mark.slow
@pytest.mark.parametrize("told, used", [("slow", "fp32"), ("fast", "bf16")])
def test_a_run_says_and_records_what_it_computed_in(told, used, monkeypatch, tmp_path):
    monkeypatch.setenv("ROIGAN_BF16", told)
    said, halved = [], []

    def autocast(*args, **options):
        halved.append(torch.bfloat16 in args and options.get("enabled", True))
        return REAL_AUTOCAST(*args, **options)

    monkeypatch.setattr(torch, "autocast", autocast)
    run = T.train(half(), tmp_path / "run", bench.noise_images(8), progress=said.append)
    assert any(halved) == (used == "bf16")  # the networks, not only the record
    assert len([line for line in said if "going on in float32" in line]) == (used == "fp32")
    assert run.model.card["precision"] == used and {row["precision"] for row in run.rows} == {used}
    assert run.model.card["training"]["optimisation"]["precision"] == "bf16"  # what was asked for
    again = T.train(half(steps=3), tmp_path / "run", bench.noise_images(8), progress=None)
    assert again.finished and again.model.card["steps"] == 3


def test_float32_in_place_of_bfloat16_is_float32_bit_for_bit(monkeypatch):
    monkeypatch.setenv("ROIGAN_BF16", "slow")
    stepped, plain = (
        T.Trainer(half(precision=p), bench.noise_images(8), "cpu") for p in ("bf16", "fp32")
    )
    assert stepped.step() == plain.step()


def test_glcic_follows_the_same_decision(monkeypatch, tmp_path):
    monkeypatch.setenv("ROIGAN_BF16", "slow")
    said = []
    net = glcic.train_glcic(
        bench.noise_images(8),
        tmp_path,
        width=0.03,
        batch=4,
        steps=2,
        precision="bf16",
        progress=said.append,
    )
    assert (
        net.card["precision"] == "fp32" and sum("going on in float32" in line for line in said) == 1
    )


@pytest.mark.slow
def test_the_benchmark_leaves_out_what_is_slower_and_says_so(monkeypatch):
    monkeypatch.setenv("ROIGAN_BF16", "slow")
    said, small = [], dict(width=0.125, batch=2)
    rows = bench.train_step(repeats=1, say=said.append, **small)
    assert len(rows) == 1 and "bfloat16" not in rows[0]["metric"] and len(said) == 1
    assert rows[0]["processor"] == precision.processor() and rows[0]["torch"] == torch.__version__
