"""The study of claims: trainings are made once, verdicts follow the rule."""

import csv
import re
from pathlib import Path

import pytest
import torch

import roigan_lib as rg
from roigan_lib import losses
from roigan_lib.cli import main
from roigan_lib.config import ARCHITECTURES
from roigan_lib.files import read_rows
from roigan_lib.studies import experiments as study

ROOT = Path(__file__).resolve().parent.parent


def rows(penalty, without, steps=9, metric="frechet"):
    values = {"thesis": penalty, "thesis, penalty=0": without}
    return [
        dict(method=m, dataset="synthfaces", metric=metric, seed=s, steps=steps, value=v)
        for m, column in values.items()
        for s, v in enumerate(column)
    ]


def verdict(*columns, **kw):
    (line,) = study.judge(rows(*columns, **kw), ["penalty"]).to_dict("records")
    return line


def test_a_claim_holds_where_all_seeds_agree_and_the_mean_exceeds_the_spread():
    line = verdict([1.0, 1.1, 1.2], [2.0, 2.1, 2.2])
    assert line["verdict"] == "holds" and line["same"] == 3 and line["shown"]
    assert line["gap"] == pytest.approx(-1) and line["spread"] == pytest.approx(0.1)
    assert verdict([2.0, 2.1, 2.2], [1.0, 1.1, 1.2])["verdict"] == "not reproduced"  # other sign
    assert verdict([1.0, 1.1, 1.2], [1.1, 1.0, 1.3])["verdict"] == "not reproduced"  # mixed signs
    assert verdict([1.0, 2.0, 3.0], [1.1, 2.1, 3.1])["verdict"] == "not reproduced"  # in the spread


def test_without_three_pairs_there_is_no_verdict():
    assert verdict([1.0, 1.1], [2.0, 2.1])["verdict"] == "no rows"
    other = rows([1.0, 1.1, 1.2], [], steps=8) + rows([], [2.0, 2.1, 2.2], steps=9)
    assert study.judge(other, ["penalty"])["verdict"].tolist() == ["no rows"]


def test_summaries_quote_the_verdict_and_are_not_judged():
    found = rows([1.0, 1.1, 1.2], [2.0, 2.1, 2.2])
    table = study.judge(found, ["penalty"])
    (summary,) = study.summaries(table)
    assert summary["metric"] == "gap_frechet" and summary["verdict"] == "holds"
    assert summary["value"] == pytest.approx(-1) and summary["n"] == 3
    assert study.judge([*found, summary], ["penalty"]).equals(table)


def test_the_command_prints_the_verdicts(tmp_path, monkeypatch, capsys):
    table = study.judge(rows([1.0, 1.1, 1.2], [2.0, 2.1, 2.2]))
    monkeypatch.setattr(study, "run", lambda *_: table)
    assert main(["experiments", "--out", str(tmp_path / "x.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "holds" in said and "no rows" in said and "frechet" in said


def test_each_set_needs_a_best_setting_of_its_own():
    def rows_of(wide_is_best):
        return [
            dict(metric="l1_hole", steps=9, seed=seed, dataset=name, method=method, value=value)
            for name in study.PHOTOGRAPHS
            for seed in range(3)
            for method, value in {
                "improved": 2.0,
                "improved, width=0.25": 1.0 if name in wide_is_best else 3.0,
                "improved, refine=1": 4.0,
            }.items()
        ]

    judged = lambda *wide: study.judge(rows_of(wide), ["size"]).iloc[0]
    assert judged("cats")["verdict"] == "holds" and "cats: wider" in judged("cats")["first"]
    assert judged()["verdict"] == "not reproduced"


def test_every_experiment_names_a_row_of_the_ledger_and_settings_that_exist():
    with open(ROOT / "notebooks" / "ledger.csv", encoding="utf-8", newline="") as file:
        ledger = {line["row"] for line in csv.DictReader(file)}
    for experiment in study.EXPERIMENTS.values():
        assert experiment["row"] in ledger
        for arm in experiment["arms"].values():
            planned = study.plan(arm)
            assert set(planned[4]) <= set(ARCHITECTURES["thesis"])
            assert planned[3] is None or planned[3] in study.SWAPS
            study.name_of(planned, 9, 0)  # an unknown setting raises


def test_the_ledger_quotes_what_the_rule_says():
    """A row that quotes these rows holds where all its quoted comparisons hold."""
    stored = ROOT / "figures" / "experiments.jsonl"
    rows = read_rows(stored)
    said = {r["method"]: r["verdict"] for r in rows if "verdict" in r}
    assert said == {r["method"]: r["verdict"] for r in study.summaries(study.judge(rows))}
    with open(ROOT / "notebooks" / "ledger.csv", encoding="utf-8", newline="") as file:
        quoted = [line for line in csv.DictReader(file) if "experiments?" in line["number"]]
    assert quoted
    for line in quoted:
        methods = re.findall(r"method=([^&|]+?)(?:&| \||$)", line["number"])
        holds = all(said[method] == "holds" for method in methods)
        assert line["verdict"] == ("holds" if holds else "not reproduced"), line["row"]


def test_swaps_end_with_their_context():
    scores = torch.tensor([[0.5]]), torch.tensor([[0.25]])
    for name in ("standard", "non-saturating", "least squares", "Wasserstein"):
        before = losses.hinge_discriminator(*scores)
        with study.SWAPS[name]():
            assert losses.hinge_discriminator(*scores) != before
        assert losses.hinge_discriminator(*scores) == before


def test_a_full_posterior_explains_errors_that_go_together():
    generator = torch.Generator().manual_seed(0)
    errors = torch.randn(400, 1, generator=generator) * torch.ones(3)
    errors = errors + 0.3 * torch.randn(400, 3, generator=generator)
    found = {}
    for full in (False, True):
        posterior = study.Posterior(full)
        for part in errors.split(8):
            found[full] = posterior(part, torch.zeros_like(part), None)
    assert found[True] < found[False] - 0.5


@pytest.mark.slow
def test_rows_are_made_once_and_missing_photographs_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "PEOPLE", 16)
    monkeypatch.setattr(study, "IMAGES", 16)
    out, said = tmp_path / "rows.jsonl", []
    table = study.run(out, "vae", steps=4, seeds=1, say=said.append)
    assert table["verdict"].tolist() == ["no rows"] and len(said) == 2
    found = rg.metrics.load_rows(out)
    assert set(found["method"]) == {"thesis", "thesis, kl=0"} and set(found["n_train"]) == {16}
    assert found["value"].notna().all() and found["config"].nunique() == 2
    assert found["checkpoint"].nunique() == 2  # the swapped term has moved the weights
    before = out.read_bytes()
    study.run(out, "vae", steps=4, seeds=1, say=said.append)
    assert len(said) == 2 and out.read_bytes() == before
    study.run(out, "size", steps=2, seeds=1, say=said.append)
    assert "size" in said[-1] and "--cats" in said[-1] and out.read_bytes() == before


def test_the_command_names_the_nearest_experiment(tmp_path, capsys):
    assert main(["experiments", "--only", "penality", "--out", str(tmp_path / "x.jsonl")]) == 2
    assert "did you mean 'penalty'?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
