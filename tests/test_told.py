"""The judge of told sliders: an attribute reader, and what it says of a model's sliders."""

import pytest
import torch

from roigan_lib.control import attributes as A
from roigan_lib.data.images import ImageSet
from roigan_lib.errors import RoiganError
from roigan_lib.studies import told


class Painter:
    """Adds its first code to the hole's red channel and takes a quarter of it from blue; the second
    code takes from blue, but only of dark pictures.
    """

    n_continuous, n_discrete, n_categories, size, name = 2, 1, 3, 32, "painter"
    slider_names = {"c1": "red", "c2": "no blue"}
    card = {"training": {"labels": "Red,-Blue"}}
    checkpoint_hash = "0" * 12

    def inpaint(self, images, masks, codes=None, seed=0):
        one, two = codes.reshape(-1).tolist()[:2]
        dark = (images.mean((1, 2, 3), keepdim=True) < 0).float()
        change = torch.zeros_like(images)
        change[:, 0], change[:, 2] = 0.2 * one, -0.05 * one
        change[:, 2:] -= 0.2 * two * dark
        return images + change * masks


def test_effects_are_what_the_sliders_do():
    x, mask = torch.full((4, 3, 32, 32), 0.1), torch.ones(1, 1, 32, 32)
    x[0] = -0.1  # the one dark picture
    net = lambda images: images.mean((2, 3)).flip(1) / 2 + 0.5
    net.names = ["Blue", "Green", "Red"]
    read = A.attribute_reading(net, Painter())
    red, blue = A.told_effects(Painter(), x, mask, read)
    assert (red["slider"], blue["slider"], red["spill_of"]) == ("red", "no blue", "no blue")
    assert red["high"] - red["low"] == pytest.approx(0.2, abs=1e-6) and red["same_sign"] == 1
    assert red["visible"] == pytest.approx((0.4 + 0.1) / 3 / 2, abs=1e-6)
    assert red["spill"] == pytest.approx(0.05, abs=1e-6) and blue["spill"] < 1e-6
    assert blue["high"] - blue["low"] == pytest.approx(0.2 / 4, abs=1e-6)
    assert blue["same_sign"] == 0.25  # the bright pictures do not move


def test_rows_and_sheet_of_a_model():
    data = ImageSet("celeba", "valid", 32, torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    reader = A.AttributeReader(["Red", "Blue"]).eval()
    rows = told.effects(Painter(), data, reader=reader)
    assert len(rows) == 2 * len(told.METRICS) and set(rows["method"]) == {"red", "no blue"}
    assert set(rows["split"]) == {"valid"} and set(rows["n"]) == {3}
    assert told.sheet(Painter(), data[:]) is not None


def test_real_faces_are_read_by_what_they_show():
    data = ImageSet("celeba", "valid", 32, torch.zeros(3, 3, 32, 32, dtype=torch.uint8))
    data.attribute_names = ["Blue", "Green", "Red"]
    data.attributes = torch.tensor([[1, 0, 1], [1, 1, 0], [0, 1, 1]]).bool()
    read = torch.tensor([[0.75, 0.25], [0.0, 0.5], [0.25, 1.0]])  # of red, of no blue
    red, blue = told.real_faces(Painter(), data, read)
    assert red == {"with": 0.5, "without": 0.0} and blue == {"with": 1.0, "without": 0.375}
    data.attributes[:, 2] = True
    assert told.real_faces(Painter(), data, read)[0] == {"with": pytest.approx(1 / 3)}
    rows = told.effects(Painter(), data, reader=A.AttributeReader(["Red", "Blue"]).eval())
    assert set(rows["metric"]) >= {"told_with", "told_without"} and len(rows) == 2 * 7 - 1
    data.attribute_names[0] = "Orange"  # a list without a label of the model tells nothing
    assert told.real_faces(Painter(), data, read) == [{}, {}]


def test_a_row_of_the_sheet_is_a_slider_and_two_columns_are_a_face(monkeypatch):
    monkeypatch.setattr(told.plots, "sheet", lambda stack, **options: (stack, options))
    faces = torch.linspace(0.1, 0.3, 3).view(3, 1, 1, 1).expand(3, 3, 32, 32)
    stack, options = told.sheet(Painter(), faces)
    assert options["rows"] == ["original, all at 0", "red", "no blue"] and options["ncols"] == 6
    red = stack.view(3, 6, 3, 32, 32)[:, :, 0, 18, 16]  # rows, columns; a pixel of the region
    base = faces[:, 0, 0, 0].repeat_interleave(2)
    ends = torch.tensor([-0.2, 0.2]).repeat(3)
    torch.testing.assert_close(red, torch.stack([base, base + ends, base]))


def test_the_shipped_reader_reads_and_refuses_what_it_does_not_know():
    net = A.load_attribute_reader()
    assert len(net.names) == 40 and "Smiling" in net.names and "images" in net.card["data"]
    p = net(torch.zeros(2, 3, 64, 64))
    assert p.shape == (2, 40) and ((p >= 0) & (p <= 1)).all()
    with pytest.raises(RoiganError, match="knows nothing of 'Red'"):
        A.attribute_reading(net, Painter())


@pytest.mark.slow
def test_a_reader_learns_its_attributes_and_comes_back_from_its_file(tmp_path):
    pixels = torch.randint(90, 110, (48, 3, 32, 32), dtype=torch.uint8)
    bright = torch.arange(48) % 2 == 0
    pixels[bright] += 120
    data = ImageSet(
        "celeba", "train", 32, pixels, attributes=bright[:, None], attribute_names=["B"]
    )
    net = A.train_attribute_reader(data, epochs=16, batch=16, progress=None)
    assert ((net(data[:])[:, 0] > 0.5) == bright).all()
    A.save_attribute_reader(net, tmp_path / "reader.safetensors", data="grey")
    back = A.load_attribute_reader(tmp_path / "reader.safetensors")
    assert back.names == ["B"] and back.card == {"data": "grey"}
    assert torch.allclose(back(data[:]), net(data[:]), atol=0.02)
    with pytest.raises(RoiganError, match="no attributes to learn"):
        A.train_attribute_reader(ImageSet("x", "train", 32, pixels))
