"""The experiment on dead discrete codes: what each suspect changes, and complete rows."""

from dataclasses import asdict

import pytest

from roigan_lib.config import WEIGHTS, flat, load_config
from roigan_lib.studies import dead_codes


def settings(**changes):
    """Every setting of a suspect by name, a term that it lacks with the weight 0."""
    cfg = load_config("laptop", **dead_codes.SMALL | changes)
    return dict.fromkeys(WEIGHTS, 0.0) | flat(asdict(cfg))


def test_suspects_change_what_they_say_and_no_more():
    plain = settings()
    changed = {name: settings(**changes) for name, changes in dead_codes.SUSPECTS.items()}
    differs = {name: {k for k in plain if plain[k] != cfg[k]} for name, cfg in changed.items()}
    assert plain["recipe"] == "thesis-scaled" and plain["perceptual"] == 5
    assert plain["reduction"] != "relative" and not plain["own_reader"]
    assert {cfg["batch"] for cfg in changed.values()} == {16}
    assert differs["as in the thesis"] == set()
    assert differs["no loss that knows the original"] == {"perceptual", "matching"}
    two_paths = {"own_reader", "path_b", "prior", "code_noise"}
    assert differs["two paths, Q reads the original"] == two_paths
    assert differs["two paths and our networks"] == {"architecture"} | two_paths
    ours, losses = changed["the improved recipe"], changed["two paths and our losses"]
    told = differs["two paths and our losses"]
    assert two_paths < told and not told & {"architecture", "penalty", "perceptual_net"}
    assert changed["two paths and our networks"]["architecture"] == ours["architecture"]
    assert all(losses[k] == ours[k] for k in told)
    assert differs["the improved recipe"] - told <= {"architecture", "penalty", "recipe"}


@pytest.mark.slow
def test_a_run_gives_its_rows_and_is_not_trained_twice(tmp_path, monkeypatch):
    monkeypatch.setitem(dead_codes.SMALL, "log_every", 1)
    monkeypatch.setitem(dead_codes.SMALL, "width", 0.125)
    name = "two paths, Q reads the original"
    rows = dead_codes.run(tmp_path, 2, [name], faces=16, progress=None)
    metrics = list(rows["metric"])
    assert len(set(metrics)) == len(metrics) and set(rows["method"]) == {name}
    assert {
        "information_discrete_00001",
        "information_discrete_00002",
        "visible_change_d3",
        "visible_change_z0",
        "trace_discrete_z 1",
        "trace_noise_x_g",
    } <= set(metrics)
    said = []
    again = dead_codes.run(tmp_path, 2, [name], faces=16, progress=said.append)
    assert any("continuing" in line for line in said) and not any(
        "step 1/2" in line for line in said
    )
    assert list(again["value"]) == list(rows["value"])
