"""Section 4.3's figures: what each picture shows, on a model whose codes have a known effect."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from roigan_lib import RoiganError, plots
from roigan_lib.masks import FACE, HAIR, region
from roigan_lib.studies import traversals


class Brightness:
    """Its codes add 0.05, 0.4 and 0.1 to the hole; the drop-down does nothing."""

    size, n_continuous, n_discrete, n_categories = 64, 3, 1, 2

    def inpaint(self, images, masks, codes=None, seed=0):
        codes = torch.as_tensor(codes).float().reshape(-1, 4)
        add = (codes[:, :3] * torch.tensor([0.05, 0.4, 0.1])).sum(1).view(-1, 1, 1, 1)
        return torch.where(masks > 0.5, (images + add).clamp(-1, 1), images)


@pytest.fixture
def pixels():
    return torch.zeros(9, 3, 64, 64)


def cells(figure, ncols, top=15, left=0, gap=2):
    """The 128-pixel squares of a sheet, (rows, columns, 128, 128)."""
    page = np.asarray(Image.open(io.BytesIO(plots.png(figure))).convert("RGB"))[top:, left:, 0]
    step = 128 + gap
    return np.stack(
        [
            [page[r : r + 128, c * step : c * step + 128] for c in range(ncols)]
            for r in range(0, page.shape[0] - 127, step)
        ]
    )


def test_loudest_comes_first_and_edits_add_up(pixels):
    gan, mask = Brightness(), region(64, *FACE)
    assert traversals.loudest(gan, pixels, mask) == ["c2", "c3", "c1"]
    rows = traversals.cumulative(gan, ["c2", "c3"])
    assert rows.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]]
    assert traversals.settings(gan, "d1", [0, 1]).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]


def test_region_is_the_ellipse_it_says():
    mask = region(64, 0.5, 0.25, 0.25, 0.125)
    rows, columns = mask[0, 0].nonzero().unbind(1)
    assert mask.shape == (1, 1, 64, 64) and abs(mask.mean() - torch.pi * 0.25 * 0.125) < 0.002
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 23, 16, 47)


def test_columns_and_rows_bear_the_names_of_the_sliders(pixels, monkeypatch):
    named, words = Brightness(), []
    named.slider_names = {"c2": "brightness"}
    draw = lambda stack, **options: words.append(options) or (stack, options)
    monkeypatch.setattr(plots, "sheet", draw)
    monkeypatch.setattr(plots, "traversal_sheet", lambda stack, names, *_, **__: names)
    traversals.figure_4_5(named, pixels, ["c2", "c3"])
    assert words[0]["titles"][3:] == ["+ brightness", "+ c3"]
    mask = region(64, *FACE)
    assert traversals.figure_a_3(named, pixels[:1], ["c3", "c2"], mask) == ["c3", "brightness"]


def test_figure_4_5_shows_each_edit_on_each_picture(pixels):
    shown = cells(traversals.figure_4_5(Brightness(), pixels, ["c2", "c3"]), 5)
    assert shown.shape[:2] == (9, 5)
    middle, corner = shown[:, :, 64, 64], shown[:, :, 2, 2]
    assert (corner == corner[0, 0]).all() and (middle == middle[0]).all()
    value = lambda v: round((v + 1) * 127.5)
    assert (
        np.abs(middle[0][[0, 2, 3, 4]].astype(int) - [value(v) for v in (0, 0, 0.4, 0.5)]).max()
        <= 1
    )


def test_strips_sweep_one_code_in_the_region_asked_for(pixels):
    gan = Brightness()
    left = 10 + round(6.4 * 2)
    masks = [region(64, *where) for where in (FACE, HAIR)]
    face, hair = (
        cells(traversals.figure_a_3(gan, pixels[:1], ["c2", "c1"], mask), 11, left=left)
        for mask in masks
    )
    assert face.shape[:2] == hair.shape[:2] == (2, 11)
    assert (np.diff(face[:, 2:, 66, 64].astype(int)) > 0).all() and len(
        np.unique(face[:, :, 4, 64])
    ) == 1
    assert (np.diff(hair[:, 2:, 14, 64].astype(int)) > 0).all() and len(
        np.unique(hair[:, :, 70, 64])
    ) == 1


def test_an_animation_loops_and_moves_only_what_moves(tmp_path):
    frames = torch.zeros(8, 9, 3, 64, 64)
    frames[:, :, :, 20:44, 20:44] = torch.linspace(-1, 1, 8).view(8, 1, 1, 1, 1)
    path = plots.animation(frames, tmp_path / "motion.gif")
    with Image.open(path) as gif:
        assert gif.n_frames >= 8 and gif.info["loop"] == 0 and gif.size == (3 * 128, 3 * 128)
        frames = []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("L")))
    frames = np.stack(frames)
    assert len(np.unique(frames[:, 66, 64])) > 3 and len(np.unique(frames[:, 2, 2])) == 1


def test_the_front_page_opens_with_a_film_of_six_sliders():
    root = Path(__file__).resolve().parent.parent
    first = re.search(r"!\[(.*?)\]\((.*?)\)", (root / "README.md").read_text("utf-8"))
    assert first[2] == "figures/sliders.gif" and "smiling" in first[1]
    with Image.open(root / first[2]) as gif:
        assert gif.n_frames > 6 and gif.width >= 4 * 256
    assert (root / first[2]).stat().st_size <= 1_000_000


def test_bad_animations_are_one_sentence(tmp_path):
    frames = torch.zeros(2, 1, 3, 8, 8)
    with pytest.raises(RoiganError, match="frames"):
        plots.animation(frames[0], tmp_path / "a.gif")
    with pytest.raises(RoiganError, match="a.gif"):
        plots.animation(frames, tmp_path / "a.mp4")
    with pytest.raises(RoiganError, match="colours"):
        plots.animation(frames, tmp_path / "a.gif", colours=1000)
