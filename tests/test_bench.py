"""The benchmark runs, gives ratios of the same work, and says what it leaves out."""

import time

import pytest

from roigan_lib.config import load_config
from roigan_lib.errors import RoiganError
from roigan_lib.studies import bench
from roigan_lib.training import Trainer


def test_ways_take_turns_and_the_median_counts(monkeypatch):
    clock, order = iter(range(10**6)), []
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    took = bench.in_turn(
        {"a": lambda: order.append("a"), "b": lambda: (order.append("b"), next(clock))}, repeats=3
    )
    assert took == {"a": 1, "b": 2} and order == ["a", "b"] * 4
    with pytest.raises(RoiganError, match="at least one round"):
        bench.in_turn({}, repeats=0)


def test_the_generator_row_compares_the_same_drawing():
    rows = bench.generator_forward(width=0.125, batch=2, repeats=1)
    assert [row["metric"] for row in rows] == [
        "generator, a batch, width 0.125",
        "slider, width 0.125",
    ]
    assert all(
        row["value"] == pytest.approx(row["plain_ms"] / row["kit_ms"], rel=0.05) for row in rows
    )
    assert rows[0]["largest_difference"] < 2e-4 and rows[0]["largest_difference_double"] < 1e-5


@pytest.mark.slow
def test_the_train_step_row_runs_the_plain_step_with_the_same_losses():
    rows = bench.train_step(width=0.125, batch=2, repeats=1)
    assert [row["metric"].partition("term")[2] for row in rows] == ["", ", bfloat16"]
    assert all(row["value"] > 0 for row in rows)
    assert rows[0]["plain_ms"] == rows[1]["plain_ms"]
    cfg = load_config("thesis", recipe="published", width=0.125, batch=2, perceptual_net="none")
    trainer = Trainer(cfg, bench.noise_images(8), "cpu")
    logs = trainer.step()  # what the plain step has, the kit's step has too
    assert {
        "adversarial",
        "matching",
        "variation",
        "kl",
        "info_c",
        "info_d",
        "penalty",
        "d",
    } <= logs.keys()
    more = ("l1_hole", "l1_prior", "l1_border", "l1_outside", "tone", "prior")
    assert not any(cfg.objective.weight(name) for name in more)


@pytest.mark.slow
def test_a_lazy_penalty_is_rarer_and_stronger():
    few = dict(width=0.125, batch=2, perceptual=0.0)
    cfg = load_config("thesis", penalty_every=2, **few)
    trainer = Trainer(cfg, bench.noise_images(8), "cpu")
    seen = []
    for _ in range(4):
        logs = trainer.step()
        seen.append("penalty" in logs)
    assert seen == [True, False, True, False]
    usual = load_config("thesis", **few)
    first, twice = (Trainer(c, bench.noise_images(8), "cpu").step()["d"] for c in (usual, cfg))
    assert first < twice


def test_stored_rows_stand_in_a_table_with_their_machine(monkeypatch, tmp_path):
    row = bench._row("a step", {"slow": 0.2, "quick": 0.1}, "slow", "quick")
    line = bench.to_markdown([row]).splitlines()[-1]
    assert (
        "| 200.00 | 100.00 | **2.00** |" in line
        and row["processor"] in line
        and row["torch"] in line
    )
    assert bench.stored() and all("value" in row for row in bench.stored())
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    assert bench.stored() == []  # an installed package has none


def test_outside_a_clone_one_sentence_says_where_to_run_it(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    with pytest.raises(RoiganError, match="run the benchmark from a clone"):
        bench.run(quick=True)
