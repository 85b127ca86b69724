"""Section 4.2 from checkpoints: rows and figures of one call, the table, and which FID it holds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from roigan_lib import metrics
from roigan_lib.errors import RoiganError
from roigan_lib.studies import table_4_2


@pytest.fixture
def faces(tmp_path):
    folder = tmp_path / "faces" / "test"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(48):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((64, 64)).save(folder / f"{i:03d}.png")
    return folder.parent


@pytest.fixture
def of_pixels(monkeypatch):
    """Features that need no network: the pixels, averaged."""

    def features(images, dims):
        found = {
            d: torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)[:, :d] for d in dims
        }
        return found

    monkeypatch.setattr(table_4_2, "inception_features", features)
    monkeypatch.setattr(table_4_2, "inception_hash", lambda: "0" * 12)
    monkeypatch.setattr(table_4_2, "inception_dims", lambda: (8, 16))


def test_the_cards_of_the_kit_are_those_of_the_shipped_models():
    """And each model of photographs names the terms of its data, whatever its file is called; and
    what began with `celeba_found`, by however many stages, counts the images of that."""
    figures = Path(__file__).parents[1] / "figures"
    cards = (figures / "model_cards.md").read_text(encoding="utf-8")
    assert cards == table_4_2.model_cards(figures)
    for card in cards.split("\n## ")[1:]:
        painted = "| data | synthfaces" in card
        assert ("| terms of the data | none |" in card) == painted, card.partition("\n")[0]
        if card.startswith(("celeba\n", "cats\n", "cars\n")):
            assert "897,776 images of celeba" in card


@pytest.mark.slow
def test_one_call_makes_rows_and_figures(faces, tmp_path):
    lines = []
    rows = table_4_2.run(
        {"celeba": faces, "cats": None}, tmp_path / "out", n=12, dims=None, say=lines.append
    )
    made = {p.name for p in (tmp_path / "out").iterdir()}
    assert {
        "card_celeba.png",
        "fig_4_3.png",
        "fig_4_4.png",
        "model_cards.md",
        "real_images.jsonl",
    } <= made
    assert {"fig_4_5.png", "fig_a_3.png", "fig_a_4.png"} <= made
    cards = (tmp_path / "out" / "model_cards.md").read_text()
    assert (
        f"{metrics.value(rows, 'psnr', 'roi-gan', 'mixed-released'):.4g}" in cards
        and "(card_celeba.png)" in cards
    )
    assert "## celeba\n" in cards and "non-commercial" in cards and "## synthfaces\n" in cards
    assert len(metrics.load_rows(tmp_path / "out" / "real_images.jsonl")) == len(rows)
    methods = set(rows["method"])
    assert {*table_4_2.ROWS.values()} == methods and set(rows["dataset"]) == {"celeba"}
    assert set(table_4_2.FAMILIES) < set(rows["mask_law"]) and any(
        "12 test images" in line for line in lines
    )
    assert (rows.value[rows.metric == "outside_change"] == 0).all()
    width, height = Image.open(tmp_path / "out" / "fig_4_3.png").size
    assert width > 128 * (2 + len(methods)) - 50 and height > 12 * 128
    text = table_4_2.summary(rows, "l1_hole")
    assert "| FMM (Telea) | 0.539 |" in text and "| ours, improved recipe | 0.323 |" in text
    assert f"{metrics.value(rows, 'l1_hole', 'telea', 'elliptic'):.3f}" in text and text.count(
        "\n"
    ) == 1 + len(methods)


@pytest.mark.slow
def test_which_fid_has_a_row_for_every_choice(of_pixels):
    torch.manual_seed(0)
    pixels, others = torch.rand(24, 3, 64, 64) * 2 - 1, torch.rand(20, 3, 64, 64) * 2 - 1
    rows = table_4_2.which_fid(pixels, others, seeds=3, dims=(8, 16))
    assert len(rows) == 2 + 4 * 3 * 2 * 2
    assert not rows.duplicated(["metric", "mask_law", "seed", "reference"]).any()
    means = rows.groupby(["reference", "mask_law"]).value.mean()
    assert means["same", "elliptic"] < means["other", "elliptic"]
    of_law = (
        rows[(rows.metric == "fid8_n24") & (rows.reference == "same")].groupby("mask_law").value
    )
    assert of_law.nunique()["mixed"] == 3
    lines = table_4_2.which_fid_table(rows).splitlines()
    assert len(lines) == 2 + 4 + 1 and "thesis, FMM" in lines[-1] and "0.539" in lines[-1]
    values = of_law.get_group("elliptic").tolist()
    mean, sd = np.mean(values), np.std(values, ddof=1)
    assert f"| fid8_n24, same images | {mean:.3f} ± {sd:.3f} |" in lines[2]


def test_the_study_wants_other_images(faces, tmp_path, of_pixels):
    with pytest.raises(RoiganError, match="only 18 others"):
        table_4_2.run(
            {"celeba": faces}, tmp_path / "out", n=30, dims=None, study=1, say=lambda line: None
        )
    with pytest.raises(RoiganError, match="--celeba"):
        table_4_2.run({"cats": faces}, tmp_path / "out", dims=None, study=1, say=lambda line: None)


@pytest.mark.slow
def test_a_set_without_a_model_is_left_out(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(table_4_2, "compare", lambda *a, **k: metrics.frame([]))
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "celeba.safetensors").touch()
    monkeypatch.setattr(table_4_2, "WEIGHTS", tmp_path / "shipped")
    monkeypatch.setattr(table_4_2, "model_cards", lambda folder: "")
    for study, name in (("traversals", "figures"), ("told", "effects"), ("discovered", "effects")):
        monkeypatch.setattr(getattr(table_4_2, study), name, lambda *a, **k: metrics.frame([]))
    lines = []
    table_4_2.run(
        {"celeba": faces, "cars": faces}, tmp_path / "out", n=8, dims=None, say=lines.append
    )
    assert any(line.startswith("left out: No model for 'cars'") for line in lines)


@pytest.mark.slow
def test_bad_requests_are_one_sentence(tmp_path, faces, monkeypatch):
    with pytest.raises(RoiganError, match="no photographs"):
        table_4_2.run({"celeba": None}, tmp_path)
    monkeypatch.setattr(table_4_2, "WEIGHTS", tmp_path)
    with pytest.raises(RoiganError, match="No model for 'cars' ships"):
        table_4_2.run({"cars": faces}, tmp_path)


def test_readme_and_results_show_the_rows():
    root = Path(table_4_2.__file__).resolve().parents[2]
    rows = metrics.load_rows(root / "figures" / "real_images.jsonl").query("dataset == 'celeba'")
    whole = table_4_2.summary(rows)
    assert whole in (root / "docs" / "results.md").read_text()
    head, rule, *lines = whole.splitlines()
    chosen = [line for line in lines if line.startswith(("| ours, improved", "| GLCIC", "| FMM"))]
    assert "\n".join([head, rule, *chosen]) in (root / "README.md").read_text()
