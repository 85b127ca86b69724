"""The grid: its plan where snakemake is installed, its rows, means over seeds, what a run costs."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from roigan_lib import cli, load_config, load_model, open_dataset, sample_masks
from roigan_lib.checks import only_run
from roigan_lib.errors import RoiganError
from roigan_lib.files import read_rows
from roigan_lib.metrics import over_seeds, to_markdown, trained
from roigan_lib.stored import in_bits
from roigan_lib.studies import bench, cost, grid, reading, sizes
from roigan_lib.studies import reproduce as rp

SNAKEMAKE = os.environ.get("ROIGAN_SNAKEMAKE") or shutil.which("snakemake")


def row(seed, value, **more):
    kept = dict(metric="l1_hole", method="roi-gan", dataset="synthfaces", seed=0, mask_law="mixed")
    named = dict(recipe="improved", profile="smoke", train_steps=12, train_seed=seed)
    return kept | named | {"value": value} | more


def test_means_over_seeds_have_spread_and_number():
    rows = [row(0, 1.0), row(1, 2.0), row(2, 6.0), row(2, 3.0), row(0, 9.0, recipe="thesis")]
    rows += [row(3, None), row(None, 7.0, method="telea", recipe=None, profile=None)]
    table = over_seeds(rows)
    first, other, telea = table.to_dict("records")
    assert first["value"] == 2.0 and first["spread"] == 1.0  # the last row of a seed counts
    assert first["n_seeds"] == 3 and first["seeds"] == [0, 1, 2] and first["seed"] is None
    assert first["method"] == "roi-gan, improved, smoke" and telea["method"] == "telea"
    assert other["value"] == 9.0 and other["spread"] is None and other["n_seeds"] == 1
    assert "2.000 ± 1.000" in to_markdown(table)


def test_rows_of_experiments_are_told_apart_by_their_seed():
    rows = [{"metric": "control", "method": "thesis", "seed": s, "value": s} for s in (0.0, 2.0)]
    (mean,) = over_seeds(rows).to_dict("records")
    assert mean["value"] == 1.0 and mean["n_seeds"] == 2 and mean["method"] == "thesis"


def test_means_come_from_files_and_go_to_one(tmp_path, capsys):
    files = [tmp_path / f"{seed}.jsonl" for seed in (0, 1)]
    for seed, path in enumerate(files):
        path.write_text(json.dumps(row(seed, 1.0 + seed)) + "\n")
    assert cli.main(["seeds", *map(str, files), "--out", str(tmp_path / "means.jsonl")]) == 0
    assert "synthfaces: mean" in capsys.readouterr().out
    (mean,) = map(json.loads, (tmp_path / "means.jsonl").read_text().splitlines())
    assert mean["value"] == 1.5 and mean["n_seeds"] == 2
    assert cli.main(["seeds", str(tmp_path / "none.jsonl")]) == 2


@pytest.mark.slow
def test_control_rows_say_what_codes_do_and_where_faces_are_known_what_they_mean():
    gan, faces = bench._untrained("smoke"), open_dataset("synthfaces", "test", limit=16)
    found = grid.control(gan, faces).set_index("metric")
    known = {"mig_n16", "sap_n16", "disentanglement_n16", "completeness_n16", "agreement_n16"}
    assert set(found.index) == {"visible_c_n16", "visible_d_n16"} | known
    assert found["value"].between(0, 1).all() and found.loc["visible_c_n16", "value"] > 0
    assert found["checkpoint"].unique() == [gan.checkpoint_hash]
    faces.factors = None  # as a photograph's
    assert set(grid.control(gan, faces)["metric"]) == {"visible_c_n16", "visible_d_n16"}
    with pytest.raises(RoiganError, match="two images or more, not on 1"):
        grid.control(gan, open_dataset("synthfaces", "test", limit=1))


def test_a_model_says_how_it_was_trained():
    told, card = trained(load_model("synthfaces")), load_model("synthfaces").card
    assert told["train_seed"] == card["training"]["seed"]  # as cards of before had it
    assert told["profile"] == "laptop"
    assert told["train_steps"] == card["steps"]
    assert set(trained(object()).values()) == {None}


def test_nodes_of_other_notebooks_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(rp, "_run_series", lambda *_: None)
    monkeypatch.setenv("ROIGAN_RUNS", str(tmp_path / "runs"))
    out = tmp_path / "out"
    ask = dict(profile="smoke", out=out, pages=False)
    with only_run(out / ".locks" / "03_roi_block"):
        assert rp.reproduce(only=["04"], **ask) == out
        with pytest.raises(RoiganError, match="03_roi_block"):
            rp.reproduce(only=["03"], **ask)
        with pytest.raises(RoiganError, match="03_roi_block"):
            rp.reproduce("smoke", out=out)


@pytest.mark.slow
def test_a_cost_row_adds_up():
    found = cost.named("run", cost.measure(1, profile="smoke"))
    cfg = load_config("smoke").optimisation
    assert sum(found[part] for part in cost.PARTS) == pytest.approx(1, abs=1e-3)
    assert all(found[part] >= 0 for part in cost.PARTS)
    early = 3 * found["warmup_step_s"] + (cfg.steps - 3) * found["step_s"]
    assert found["value"] == pytest.approx(early, abs=0.1)
    assert found["images"] == cfg.steps * cfg.batch and found["tflop_step"] > 0
    assert found["kwh"] == pytest.approx(found["seconds"] * found["watts"] / 3.6e6, abs=1e-5)


def test_the_clocks_see_each_network_both_ways(monkeypatch):
    clock = iter(range(10**9))
    monkeypatch.setattr(cost, "_now", lambda device="cpu": next(clock))
    cfg = load_config("smoke", warmup=0.0, ramp=0.0)
    trainer = cost.Trainer(cfg, cost.noise_images(8), "cpu")
    seen = trainer.perceptual.forward
    watch = cost._Watch(trainer)
    trainer.step()
    assert trainer.perceptual.forward is not seen
    assert watch.spent["perceptual"] >= 3  # real, completed, and back
    assert watch.spent["discriminator"] > 0 and watch.spent["data"] == 1


def test_the_tables_of_docs_are_those_of_the_rows():
    rows, page = cost.stored(), (rp.ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    assert cost.to_markdown(rows) in page and cost.to_markdown(rows, "step") in page
    assert sizes.to_markdown(read_rows(rp.ROOT / "figures" / "sizes.jsonl")) in page
    assert sizes.bits_to_markdown(read_rows(rp.ROOT / "figures" / "bits.jsonl")) in page
    reads = read_rows(rp.ROOT / "figures" / "reading.jsonl")
    scaling = (rp.ROOT / "docs" / "scaling.md").read_text("utf-8")
    assert reading.to_markdown(reads) in scaling and cost.projection(rows) in scaling
    assert {r["profile"] for r in rows} == {"smoke", "laptop", "thesis"}
    assert all(r["processor"] and r["load"] >= 0 for r in rows)
    (whole,) = (r for r in rows if r["method"] == "thesis, thesis" and r["metric"] == "run")
    readme = (rp.ROOT / "README.md").read_text("utf-8")
    assert f"{whole['seconds'] / 86400:.0f} days of one thread" in readme
    assert f"{whole['memory_gib']:.1f} GiB at batch {whole['batch']}" in readme


def test_a_model_in_int8_takes_half_the_place_and_draws_nearly_the_same():
    gan, x = bench._untrained("smoke"), bench.noise_images(2)[:]
    masks, n = sample_masks("elliptic", 2, gan.size, seed=0), weights(gan.generator)
    drawn, gaps = gan.inpaint(x, masks), []
    for bits in (8, 4):
        small, megabytes = in_bits(gan, bits)
        assert 0 < megabytes - bits / 8 * 1e-6 * n < 0.1 * megabytes
        rows = [p.flatten(1) for p in small.generator.parameters() if p.ndim > 1]
        assert max(len(row.unique()) for p in rows for row in p) < 2**bits
        gaps.append((small.inpaint(x, masks) - drawn).abs().mean().item())
    assert 0 < gaps[0] < gaps[1] / 4 and gan.inpaint(x, masks).equal(drawn)


def weights(network):
    return sum(p.numel() for p in network.parameters())


def plan(tmp_path, *targets, **config):
    """Commands of the small grid's nodes, {rule: [command]}, from a dry run."""
    config = {"out": tmp_path / "grid", "series": tmp_path, "python": "python"} | config
    ask = [SNAKEMAKE, "--dry-run", "--printshellcmds", "--nolock", "--configfile"]
    ask += ["workflow/small.yaml", "--cores", "1", "--workflow-profile", "workflow/profiles/local"]
    ask += ["--config", *(f"{k}={v}" for k, v in config.items()), "--", *targets]
    done = subprocess.run(ask, cwd=rp.ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr + done.stdout
    found, rule = {}, None
    for line in (done.stdout + done.stderr).splitlines():
        if named := re.match(r"(?:local)?rule (\w+):", line):
            rule = named[1]
        elif line.startswith("Shell command: ") and rule != "all":
            found.setdefault(rule, []).append(line.removeprefix("Shell command: "))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not SNAKEMAKE, reason="snakemake is not installed: pip install '.[grid]'")
def test_the_small_grid_is_planned_whole_and_each_command_can_be_typed(tmp_path):
    found = plan(tmp_path)
    counts = {rule: len(commands) for rule, commands in found.items()}
    counts.pop("discs", None)  # made before
    crossed = dict.fromkeys(("training", "rows", "sliders"), 8)  # 2 profiles, data sets and seeds
    assert counts == crossed | dict(ablation=1, notebook=1, over_seeds=2, pages=1)
    for command in {c for rule in found for c in found[rule] if "-m roigan_lib" in c}:
        cli.command(words(command))


def words(command):
    """The arguments of a node's `roigan`, as the shell gives them."""
    asked = re.split(r" > | 2>|;", command.partition("-m roigan_lib ")[2])[0]
    return shlex.split(re.sub(r"\$\(dirname (\S+)\)", lambda m: str(Path(m[1]).parent), asked))


def ran(monkeypatch, command):
    """(name of the notebook, folder of the result) of what a `roigan reproduce` would run."""
    seen = []
    monkeypatch.setattr(rp, "check_folder", lambda folder: None)
    monkeypatch.setattr(rp, "only_run", lambda folder: contextlib.nullcontext())
    monkeypatch.setattr(rp, "write_pages", lambda out, *_: out)
    keep = lambda series, chosen, values, out, *_: seen.extend((p.stem, Path(out)) for p in chosen)
    monkeypatch.setattr(rp, "_run_series", keep)
    assert cli.command(command).run() == 0
    return seen


@pytest.mark.slow
@pytest.mark.skipif(not SNAKEMAKE, reason="snakemake is not installed: pip install '.[grid]'")
def test_the_grid_and_make_reproduce_run_the_same_notebooks_into_the_same_folder(
    tmp_path, monkeypatch
):
    found = plan(tmp_path, "site", notebooks='["03", "05", "06"]', series="build/none")
    nodes = [node for command in found["notebook"] for node in ran(monkeypatch, words(command))]
    ask = ["reproduce", "--profile", "smoke", "--only", "03", "05", "06"]
    by_one = [(stem, rp.ROOT / "build" / "none" / out.name) for stem, out in ran(monkeypatch, ask)]
    assert sorted((stem, rp.ROOT / out) for stem, out in nodes) == by_one and len(by_one) == 3
    text = (rp.ROOT / "workflow" / "config.yaml").read_text("utf-8")
    assert re.search(r"^series: build\s", text, re.M)  # where `make reproduce` has its own


@pytest.mark.slow
@pytest.mark.skipif(not SNAKEMAKE, reason="snakemake is not installed: pip install '.[grid]'")
def test_another_option_of_training_is_another_place(tmp_path):
    places = [
        {re.search(r"dirname (\S+)\)", c)[1] for c in plan(tmp_path, "train", **more)["training"]}
        for more in ({}, {"train": "--steps=3"})
    ]
    assert len(places[0]) == len(places[1]) == 8 and not places[0] & places[1]
