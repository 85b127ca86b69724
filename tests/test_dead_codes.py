"""The experiment on dead discrete codes: what each suspect changes, and complete rows."""

from dataclasses import asdict

import pytest

from roigan_lib.config import RECIPES, THESIS_TRAINING, load_config
from roigan_lib.studies import dead_codes

pytestmark = pytest.mark.usefixtures("one_thread")


def test_suspects_change_what_they_say_and_no_more():
    plain = asdict(load_config("laptop", **dead_codes.SMALL))
    changed = {
        name: asdict(load_config("laptop", **dead_codes.SMALL | changes))
        for name, changes in dead_codes.SUSPECTS.items()
    }
    differs = {name: {k for k in plain if plain[k] != cfg[k]} for name, cfg in changed.items()}
    assert (
        plain["recipe"] == "thesis-scaled" and plain["perceptual"] == 5 and not plain["own_reader"]
    )
    assert {cfg["batch"] for cfg in changed.values()} == {16}
    assert differs["as in the thesis"] == set() and differs["no loss that knows the original"] == {
        "perceptual",
        "matching",
    }
    two_paths = differs["two paths, Q reads the original"]
    assert two_paths == {"own_reader", "path_b", "prior", "code_noise"}
    networks, losses = set(RECIPES["thesis"]), set(THESIS_TRAINING)
    assert differs["two paths and our networks"] == networks | two_paths
    assert (
        two_paths
        < differs["two paths and our losses"]
        <= losses - {"penalty", "perceptual_net"} | {"own_reader"}
    )
    ours = changed["the improved recipe"]
    assert all(changed["two paths and our networks"][k] == ours[k] for k in networks)
    assert all(
        changed["two paths and our losses"][k] == ours[k]
        for k in losses - {"penalty", "perceptual_net"}
    )


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
