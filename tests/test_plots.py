"""Sheets show exactly the pixels given; curves and bars show the numbers; files are small."""

import base64
import inspect
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from roigan_lib import plots
from roigan_lib.errors import RoiganError
from roigan_lib.metrics import frame


def pixels(fig):
    return np.asarray(Image.open(io.BytesIO(plots.png(fig))))


def test_a_sheet_holds_each_pixel_as_a_whole_block():
    images = torch.rand(7, 3, 16, 20) * 2 - 1
    drawn = pixels(plots.sheet(images, ncols=3, scale=2, gap=4))
    assert drawn.shape == (3 * 32 + 2 * 4, 3 * 40 + 2 * 4, 3)
    for i in range(7):
        y, x = i // 3 * 36, i % 3 * 44
        block = plots.to_uint8(images[i]).repeat(2, 0).repeat(2, 1)
        assert (drawn[y : y + 32, x : x + 40] == block).all()
    assert (drawn[72:, 44:] == 255).all()  # the places left over


def test_labels_leave_the_images_whole():
    images = torch.rand(4, 3, 24, 24) * 2 - 1
    plain = plots.to_uint8(images).repeat(4, 1).repeat(4, 2)
    drawn = pixels(
        plots.sheet(
            images, 2, titles=["one", "two"], rows=["a", "a longer name"], captions=list("wxyz")
        )
    )
    assert (
        (drawn[-96:, -96:] == plain[3]).all() and drawn.shape[0] > 194 and drawn.shape[1] > 194 + 60
    )
    assert (drawn[:12] < 128).any() and (
        drawn[:, 0] == 255
    ).all()  # a title is there, no label is cut


def test_comparison_and_traversal():
    images, masks = torch.rand(6, 3, 16, 16) * 2 - 1, torch.zeros(6, 1, 16, 16)
    masks[:, :, 4:12, 4:12] = 1
    shown = plots.masked(images, masks)
    assert torch.equal(shown * (1 - masks), images * (1 - masks))
    assert len(shown[masks.expand_as(shown) > 0].unique()) == 1
    drawn = pixels(plots.comparison_sheet(images, masks, {"x": -images}, n=2, scale=1, gap=0))
    assert drawn.shape == (15 + 32, 48, 3)
    assert (drawn[15:31, 32:] == plots.to_uint8(-images[0])).all()
    with pytest.raises(RoiganError, match="'x'"):
        plots.comparison_sheet(images, masks, {"x": images[:3]})
    walk = images.reshape(2, 3, 3, 16, 16)
    drawn = pixels(
        plots.traversal_sheet(walk, names=["c1", "c2"], values=[-1, 0, 1], scale=1, gap=0)
    )
    assert (drawn[-16:, -16:] == plots.to_uint8(images[5])).all()
    with pytest.raises(RoiganError, match="traversal"):
        plots.traversal_sheet(images)


def test_to_uint8_is_channels_last_bytes():
    out = plots.to_uint8(torch.tensor([-1.0, 0, 1]).view(3, 1, 1))
    assert (
        out.shape == (1, 1, 3) and out.dtype == np.uint8 and out.ravel().tolist() == [0, 128, 255]
    )
    assert plots.to_uint8(torch.zeros(2, 1, 4, 4)).shape == (
        2,
        4,
        4,
        3,
    )  # masks and grey images too
    with pytest.raises(RoiganError, match="n, 3, H, W"):
        plots.to_uint8(torch.zeros(2, 4))


def test_curves_from_a_log(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"step": i, "loss": float(i % 2), "other": 2.0, "note": "words"} for i in range(50)] + [
        {"event": "stop"}
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    fig = plots.curves(path, ["loss", ("loss", "other")], smooth=0.9)
    assert len(fig.axes) == 2 and fig.axes[0].get_title(loc="left") == "loss"
    raw, smooth = (line.get_ydata() for line in fig.axes[0].lines)
    assert raw.tolist() == [float(i % 2) for i in range(50)] and abs(smooth[-1] - 0.5) < 0.05
    with pytest.raises(RoiganError, match="'lost'.*loss, other, step"):
        plots.curves(path, ["lost"])


def test_one_nan_does_not_blank_the_curve():
    fig = plots.curves(
        [{"step": i, "loss": float("nan") if i == 3 else 1.0} for i in range(9)], ["loss"]
    )
    assert np.isfinite(fig.axes[0].lines[1].get_ydata()).all()


def test_bars_have_the_tables_heights():
    table = frame(
        {"metric": m, "method": who, "mask_law": law, "value": i + 1.0, "spread": 0.1}
        for i, (m, who, law) in enumerate(
            [
                ("fid768_n10", "a", "e"),
                ("fid768_n10", "b", "e"),
                ("fid768_n10", "a", "r"),
                ("outside_change", "a", "e"),
            ]
        )
    )
    fig = plots.bars(table)
    assert len(fig.axes) == 1
    heights = [[bar.get_height() for bar in group] for group in fig.axes[0].containers]
    np.testing.assert_equal(heights, [[1, 3], [2, np.nan]])
    assert plots.bars(table, ["fid768"]) is not None
    with pytest.raises(RoiganError, match="fid768_n10"):
        plots.bars(table, ["psnr"])


def test_saved_files(tmp_path):
    fig = plots.sheet(torch.rand(4, 3, 16, 16) * 2 - 1, 2)
    path = plots.save(fig, tmp_path / "figures" / "sheet.png")
    assert (np.asarray(Image.open(path)) == pixels(fig)).all()
    assert plots.save(fig, tmp_path / "few.png", colours=16).stat().st_size < path.stat().st_size
    with pytest.raises(RoiganError, match="sheet.png"):
        plots.save(fig, tmp_path / "sheet.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(RoiganError, match="could not be written"):
        plots.save(fig, tmp_path / "file" / "x.png")


@pytest.mark.slow
def test_a_notebook_shows_one_small_png():
    bundle = plots.sheet(torch.rand(20, 3, 64, 64) * 2 - 1)._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"}
    assert (
        Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).mode == "P"
    )  # too large without a palette
    small = plots.sheet(torch.zeros(4, 3, 64, 64))._repr_mimebundle_()
    assert len(small["image/png"]) < 5000 and bundle["image/png"].startswith("iVBORw0KGgo")


def test_wrong_label_counts_and_nothing_to_draw():
    images = torch.zeros(4, 3, 8, 8)
    for wrong in ({"titles": ["a"]}, {"rows": ["a"]}, {"captions": ["a"]}):
        with pytest.raises(RoiganError, match="give one each"):
            plots.sheet(images, 2, **wrong)
    with pytest.raises(RoiganError, match="at least one"):
        plots.sheet(images[:0])


def test_source_shows_the_code_that_runs_without_docstrings():
    from roigan_lib.models.layers import GatedConv

    shown = plots.source(GatedConv).data
    assert "sigmoid(gate)" in shown and '"""' not in shown and '"""' in inspect.getsource(GatedConv)
    assert {line for line in shown.splitlines()} <= set(inspect.getsource(GatedConv).splitlines())
