"""The explorer without a browser: messages as one sends them, pictures that go back, bad input."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

anywidget = pytest.importorskip("anywidget")

from roigan_lib.errors import RoiganError  # noqa: E402
from roigan_lib.explorer import Explorer, explore  # noqa: E402

SIZE = 16


class Stub:
    """Fills the region with a colour of codes and seed; counts its calls; refuses a full mask."""

    name, size, n_continuous, n_discrete, n_categories = "stub", SIZE, 10, 2, 4

    def __init__(self):
        self.calls = []

    def inpaint(self, images, masks, codes=None, seed=0):
        self.calls.append((masks.sum().item(), codes.tolist(), seed))
        assert images.shape == (len(codes), 3, SIZE, SIZE) and masks.shape == (
            len(codes),
            1,
            SIZE,
            SIZE,
        )
        if bool(masks.all()):
            raise RoiganError("The mask covers the whole picture: leave some of it.")
        colour = (codes[:, :3, None, None] + codes[:, -1:, None, None] + seed) / 16
        return torch.where(masks.bool(), colour.expand_as(images), images)


@pytest.fixture
def images():
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def widget(images):
    return explore(Stub(), images)


def send(widget, **values):
    """What arrives when the browser saves: all values in one message, binary as a memoryview."""
    values = {k: memoryview(v) if isinstance(v, bytes) else v for k, v in values.items()}
    widget.set_state({**values, "tick": widget.tick + 1})


def ask(widget, monkeypatch, buffers=(), **question):
    """What a button of the browser asks for, and the answer: (error or None, bytes or None)."""
    answers = []
    monkeypatch.setattr(widget, "send", lambda content, buffers: answers.append((content, buffers)))
    widget._message(widget, {**question, "id": "7"}, list(buffers))
    ((content, buffers),) = answers
    assert content["id"] == "7"
    return content.get("error"), buffers[0] if buffers else None


def as_bytes(image):
    return ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def screen(widget, name="completed_rgb"):
    return np.frombuffer(getattr(widget, name), np.uint8).reshape(SIZE, SIZE, 3)


def test_begins_with_something_to_see(widget):
    assert isinstance(widget, Explorer)
    assert 0 < widget.mask.sum() < SIZE * SIZE / 2 and widget.mask.shape == (1, 1, SIZE, SIZE)
    assert widget.codes.tolist() == [[0.0] * 12]
    assert widget.status.startswith(f"mask {int(widget.mask.sum())} px, rendered in")
    assert (screen(widget) != screen(widget, "original_rgb")).any()


def test_stroke_redraws_the_region_and_nothing_else(widget, images):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[2:5, 3:9] = 1
    calls = len(widget.gan.calls)
    send(widget, mask_bytes=mask.tobytes(), code_values=[0.5] * 10 + [1.0, 2.0], seed=3)
    assert len(widget.gan.calls) == calls + 1  # one message, one rendering
    assert widget.gan.calls[-1] == (18, [[0.5] * 10 + [1.0, 2.0]], 3)
    assert torch.equal(widget.mask[0, 0], torch.from_numpy(mask).float())
    assert widget.answered == widget.tick == 1 and widget.status.startswith(
        "mask 18 px, rendered in"
    )
    outside = widget.mask.expand_as(images[:1]) == 0
    assert torch.equal(widget.completed[outside], images[:1][outside])
    hole = mask.astype(bool)
    assert np.array_equal(screen(widget)[~hole], screen(widget, "original_rgb")[~hole])
    assert (screen(widget)[hole] == round(((0.5 + 2 + 3) / 16 + 1) * 127.5)).all()


def test_bytes_on_the_screen_are_the_picture(widget, images):
    expected = as_bytes(images[0])
    assert np.array_equal(screen(widget, "original_rgb"), expected)
    strip = Image.open(io.BytesIO(widget.thumbs))
    assert strip.size == (3 * SIZE, SIZE) and np.array_equal(np.asarray(strip)[:, :SIZE], expected)


def test_every_request_is_answered_but_only_changes_are_rendered(widget):
    calls = len(widget.gan.calls)
    send(widget)
    assert widget.answered == 1 and len(widget.gan.calls) == calls
    send(widget, code_values=[1.0] + [0.0] * 11)
    assert widget.answered == 2 and len(widget.gan.calls) == calls + 1


def test_answer_goes_back_as_one_message(widget, monkeypatch):
    sent = []
    monkeypatch.setattr(
        widget, "send_state", lambda key=None: key and sent.append(set(key))
    )  # no keys, no message
    send(widget, mask_bytes=bytes([1] * 8 + [0] * (SIZE * SIZE - 8)))
    assert len(sent) == 1 and {"completed_rgb", "status", "answered"} <= sent[0]


@pytest.mark.parametrize(
    "values, message",
    [
        ({"mask_bytes": base64.b64encode(bytes(SIZE**2)).decode()}, "mask came as str, not bytes"),
        ({"mask_bytes": None}, "The mask came as NoneType"),
        ({"mask_bytes": b"\1" * 5}, "The mask has 5 bytes: 256 of 0 or 1 are wanted."),
        ({"mask_bytes": b"\2" * SIZE * SIZE}, "256 of 0 or 1"),
        ({"code_values": [0.0] * 5}, "5 codes"),
        ({"code_values": [2.01] * 12}, r"\[-1, 1\], or up to 2 beyond"),
        ({"code_values": ["high"] * 12}, "not taken from the browser"),
        ({"index": 3}, "no image 3"),
        ({"index": "2", "seed": 4}, "index is '2', not of type int"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"batch": "yes"}, "batch is 'yes'"),
        ({"names": {"c99": "smile"}}, "no code 'c99'"),
        ({"names": 7}, "names is 7"),
    ],
)
def test_what_the_browser_must_not_send_gets_a_sentence(widget, monkeypatch, values, message):
    def state():
        return {
            name: getattr(widget, name)
            for name in ("mask_bytes", "code_values", "index", "seed", "batch", "names")
        }

    before, sent = state(), []
    monkeypatch.setattr(widget, "send_state", lambda key=None: sent.append(key))
    send(widget, **values)
    assert state() == before
    assert widget.failed and re.search(message, widget.status) and "\n" not in widget.status
    assert widget.answered == widget.tick == 1
    assert set(values) <= set(sent[-1])  # the screen is put right again
    send(widget, seed=2)
    assert not widget.failed and "rendered in" in widget.status


def test_nothing_is_pasted_but_a_drawing(widget):
    from roigan_lib.photo import crop_frame

    photo, frame = np.full((40, 40, 3), 90, np.uint8), crop_frame(40, 40, SIZE)
    assert (widget.in_photo(photo, frame) != photo).any()
    widget.set_mask(torch.ones(SIZE, SIZE))
    with pytest.raises(RoiganError, match="no drawing to paste: The mask covers the whole picture"):
        widget.in_photo(photo, frame)
    widget.set_mask(torch.eye(SIZE))
    widget.batch = True
    with pytest.raises(RoiganError, match="leave the batch view"):
        widget.in_photo(photo, frame)


def test_another_image(widget, images):
    send(widget, index=2)
    assert torch.equal(widget.original, images[2:3])
    assert np.array_equal(screen(widget, "original_rgb"), as_bytes(images[2]))
    with pytest.raises(RoiganError, match="no image 3"):
        widget.index = 3


def test_empty_and_full_masks_give_a_sentence(widget, images):
    send(widget, mask_bytes=bytes(SIZE * SIZE))
    assert "nothing painted" in widget.status and not widget.failed
    assert torch.equal(widget.completed, images[:1]) and widget.completed_rgb == widget.original_rgb
    send(widget, mask_bytes=bytes([1]) * SIZE * SIZE)
    assert (
        widget.failed
        and "whole picture" in widget.status
        and torch.equal(widget.completed, images[:1])
    )
    assert Image.open(io.BytesIO(widget.sheet())).width > 500  # the sheet survives it too
    widget.set_mask(torch.eye(SIZE))
    assert not widget.failed and "rendered" in widget.status


def test_a_model_that_breaks_says_so_in_the_status(widget):
    def broken(*args, **kwargs):
        raise RuntimeError("out of memory")

    widget.gan.inpaint = broken
    widget.set_codes([0.1] * 10 + [0, 0])
    assert widget.failed and widget.status == "the model failed: RuntimeError: out of memory"


def test_display_leaves_a_contact_sheet(widget, monkeypatch, tmp_path):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **options: shown.append(data))
    widget._ipython_display_()
    assert (
        "application/vnd.jupyter.widget-view+json" in shown[0]
        and "kernel" in shown[0]["text/plain"]
    )
    png = shown[1]["image/png"]
    sheet = Image.open(io.BytesIO(png if isinstance(png, bytes) else base64.b64decode(png)))
    assert sheet.format == "PNG" and sheet.width > 500 and len(set(sheet.getdata())) > 100
    path = widget.export_sheet(tmp_path / "sheet.png")
    assert Image.open(path).size == sheet.size
    with pytest.raises(RoiganError, match="could not be written"):
        widget.export_sheet(path / "sheet.png")  # below a file


def test_traversal_changes_one_code_at_a_time(widget):
    widget.set_codes([0.25] * 10 + [1, 3])
    before = len(widget.gan.calls)
    widget.sheet(rows=2)
    rows = torch.tensor([codes[0] for _, codes, _ in widget.gan.calls[before:]])
    assert rows.shape == (18, 12)
    assert rows[:9, 0].tolist() == rows[9:, 1].tolist() == torch.linspace(-1, 1, 9).tolist()
    assert (rows[:9, 1:10] == 0.25).all() and (rows[9:, 0] == 0.25).all()
    assert (rows[:, 10:] == torch.tensor([1.0, 3.0])).all()


def test_a_model_without_codes(images):
    gan = Stub()
    gan.n_continuous = gan.n_discrete = 0
    gan.inpaint = lambda images, masks, codes=None, seed=0: torch.where(masks.bool(), 0.0, images)
    widget = explore(gan, images)
    assert widget.codes.shape == (1, 0) and Image.open(io.BytesIO(widget.sheet())).width > 500


class Plain:
    def inpaint(self, images, masks):
        return torch.where(masks.bool(), 0.5, images)


def test_anything_with_inpaint_will_do(images):
    widget = explore(Plain(), images)
    assert widget.size == SIZE and widget.codes.shape == (1, 0) and not widget.failed
    assert (widget.completed[widget.mask.expand(1, 3, -1, -1) == 1] == 0.5).all()
    with pytest.raises(RoiganError, match="has none"):
        widget.strip()


def test_batch_redraws_nine_pictures_at_once_inside_the_region_only(images):
    images = images.repeat(4, 1, 1, 1)
    widget = explore(Stub(), images)
    calls = len(widget.gan.calls)
    send(widget, batch=True)
    send(widget, code_values=[0.5] + [0.0] * 11)
    assert (
        len(widget.gan.calls) == calls + 2 and len(widget.gan.calls[-1][1]) == 9
    )  # one call for the nine
    assert widget.original.shape == widget.completed.shape == (9, 3, SIZE, SIZE)
    kept = widget.mask.expand_as(widget.original) == 0
    assert torch.equal(widget.completed[kept], images[:9][kept])
    assert ((widget.completed != widget.original) | kept).all()
    assert len(widget.completed_rgb) == len(widget.original_rgb) == 9 * 3 * SIZE**2
    assert "9 pictures rendered in" in widget.status and "9 images at once" in repr(widget)
    assert Image.open(io.BytesIO(widget.sheet())).width > 500
    strip = Image.open(io.BytesIO(widget.strip(steps=3)))
    assert strip.height > 9 * 64 and strip.width < 4 * 70
    send(widget, index=2, batch=False)
    assert torch.equal(widget.original, images[2:3]) and len(widget.completed_rgb) == 3 * SIZE**2
    widget = explore(Stub(), images[:2])
    widget.batch = True  # there are not always nine
    assert widget.completed.shape == (2, 3, SIZE, SIZE) and widget.answered == widget.tick


def test_other_codes_and_seeds_are_looked_at_beside_the_picture(widget, monkeypatch):
    before, codes = (
        (widget.completed_rgb, widget.status, widget.seed),
        [2.0, *widget.code_values[1:]],
    )
    error, picture = ask(widget, monkeypatch, do="look", codes=codes, seed=2)
    assert error is None and (widget.completed_rgb, widget.status, widget.seed) == before
    widget.seed = 2
    widget.set_codes(codes)
    assert picture == widget.completed_rgb
    send(widget, mask_bytes=bytes(SIZE * SIZE))
    look = {"do": "look", "seed": 5, "codes": codes}
    assert ask(widget, monkeypatch, **look) == (None, widget.original_rgb)
    assert "Continuous codes" in ask(widget, monkeypatch, **{**look, "codes": [3.0] * 12})[0]
    send(widget, mask_bytes=bytes([1]) * SIZE * SIZE)
    assert "whole picture" in ask(widget, monkeypatch, **look)[0]


def test_a_photograph_of_the_browser_joins_the_pictures(widget, images, monkeypatch):
    face = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    answer = ask(widget, monkeypatch, buffers=[memoryview(face.tobytes())], do="take", name="me")
    assert answer == (None, None)
    assert (widget.index, widget.n_images, widget.image_names[-1]) == (3, 4, "me")
    assert (screen(widget, "original_rgb") == face).all() and "rendered in" in widget.status
    sprite = Image.open(io.BytesIO(widget.thumbs))
    assert (np.asarray(sprite)[:, 3 * SIZE :] == face).all()
    assert torch.equal(widget.images[:3], images)
    error, _ = ask(widget, monkeypatch, buffers=[b"no picture"], do="take", name="me")
    assert error == "The picture has 10 bytes: 768 are wanted." and widget.n_images == 4
    monkeypatch.setattr("roigan_lib.explorer.TAKEN", 1)
    error, _ = ask(widget, monkeypatch, buffers=[face.tobytes()], do="take", name="me")
    assert "run the cell again" in error and widget.n_images == 4


def test_eyes_are_found_for_the_browser_or_it_hears_why_not(widget, monkeypatch):
    from roigan_lib.photo import astronaut, find_eyes

    def found(picture):
        file, answers = io.BytesIO(), []
        Image.fromarray(picture).save(file, "PNG")
        monkeypatch.setattr(widget, "send", lambda content, buffers: answers.append(content))
        widget._message(widget, {"do": "find", "id": "1"}, [memoryview(file.getvalue())])
        return answers[0]

    pytest.importorskip("skimage")
    assert found(astronaut())["eyes"] == find_eyes(astronaut())
    assert "no face was found" in found(np.full((40, 40, 3), 128, np.uint8))["error"]


@pytest.mark.parametrize("name", ["celeba", "synthfaces", "cats"])
def test_regions_hold_what_they_are_called_after(name):
    from roigan_lib.explorer.places import eye_places, regions

    y, x = np.mgrid[:64, :64]
    inside = {
        kind: np.any(
            [
                ((x + 0.5) / 64 - a) ** 2 / c**2 + ((y + 0.5) / 64 - b) ** 2 / d**2 <= 1
                for a, b, c, d in ellipses
            ],
            0,
        )
        for kind, ellipses in regions(name, 64).items()
    }
    for ex, ey in eye_places(name, 64):
        assert inside["eyes"][round(ey), round(ex)] and inside["whole face"][round(ey), round(ex)]
    left, right = np.nonzero(inside["eyes"])[1].min(), np.nonzero(inside["eyes"])[1].max()
    apart = eye_places(name, 64)[1][0] - eye_places(name, 64)[0][0]
    assert right - left > 1.5 * apart  # both eyes whole
    assert np.nonzero(inside["mouth"])[0].mean() > np.nonzero(inside["nose"])[0].mean() > 32
    assert regions("someone's", 64) == {}


def test_strip_is_of_the_code_moved_last(widget, tmp_path):
    assert widget.moved == "c1"
    send(widget, code_values=[0.0, 0.25] + [0.0] * 10)
    assert widget.moved == "c2"
    send(widget, code_values=[0.1] * 10 + [1.0, 3.0])  # all at once: none of them in particular
    assert widget.moved == "c2"
    shown, calls = widget.completed_rgb, len(widget.gan.calls)
    strip = Image.open(io.BytesIO(widget.strip(steps=5)))
    rows = torch.tensor([codes[0] for _, codes, _ in widget.gan.calls[calls:]])
    assert rows[:, 1].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert (rows[:, [0, *range(2, 10)]] == 0.1).all() and (
        rows[:, 10:] == torch.tensor([1.0, 3.0])
    ).all()
    assert strip.size == (5 * 70 + 6, 2 * 24 + 70) and widget.completed_rgb == shown
    tiles = [strip.getpixel((6 + 32 + 70 * k, 48 + 36))[1] for k in range(5)]  # green follows c2
    assert tiles == sorted(set(tiles))
    widget.names = {"c1": "c2", "d2": "glasses"}  # a misleading name does not hide a code
    assert widget.strip(code="glasses") == widget.strip("d2")
    assert (
        Image.open(widget.export_strip(tmp_path / "d2.png", "d2")).width == 4 * 70 + 6
    )  # its four categories
    for code, steps, message in [
        ("c11", 9, "no code 'c11'"),
        ("c1", 1, "2 to 33"),
        ("c1", 999, "2 to 33"),
    ]:
        with pytest.raises(RoiganError, match=message):
            widget.strip(code, steps)
    widget.set_mask(torch.zeros(SIZE, SIZE))
    with pytest.raises(RoiganError, match="Nothing is painted"):
        widget.strip()


def test_names_are_saved_and_loaded(widget, images, tmp_path):
    calls = len(widget.gan.calls)
    widget.set_state({"names": {"d1": "glasses", "c1": "  усмішка "}})  # as the browser does
    assert widget.names == {"c1": "усмішка", "d1": "glasses"} and len(widget.gan.calls) == calls
    assert Image.open(io.BytesIO(widget.sheet())).width > 500
    path = widget.save_names(tmp_path / "names.json")
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "model": "stub",
        "checkpoint": None,
        "n_continuous": 10,
        "n_discrete": 2,
        "names": widget.names,
    }
    other = explore(Stub(), images)
    other.load_names(path)
    assert other.names == widget.names
    with pytest.raises(RoiganError, match="could not be written"):
        widget.save_names(path / "names.json")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.update(model="cats"), r"belong to cats .*, not to stub"),
        (
            lambda c: c.update(checkpoint="0123456789ab"),
            r"belong to stub \(checkpoint 0123456789ab",
        ),
        (lambda c: c.update(n_continuous=9), r"9 \+ 2 codes"),
        (lambda c: c.update(names={"c11": "hat"}), "no code 'c11'"),
        (lambda c: c.update(names={"c1": 3}), "1 to 40"),
        (lambda c: c.update(names={"c1": "x" * 41}), "1 to 40"),
        (lambda c: c.update(names={"c1": " "}), "1 to 40"),
        (lambda c: c.update(names=7), "no complete file"),
        (lambda c: c.pop("names"), "no complete file"),
        (lambda c: c.pop("model"), "no complete file"),
    ],
)
def test_names_of_another_model_or_none_change_nothing(widget, tmp_path, change, message):
    content = json.loads(widget.save_names(tmp_path / "names.json").read_text())
    widget.names = {"c1": "kept"}
    change(content)
    (tmp_path / "names.json").write_text(json.dumps(content))
    refused(widget, tmp_path / "names.json", message)
    assert widget.names == {"c1": "kept"}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"7", b"\xff\xfe\x00", b"[" * 100_000])
def test_broken_or_missing_names_change_nothing(widget, tmp_path, data):
    widget.names = {"c1": "kept"}
    path = tmp_path / "names.json"
    refused(widget, path, "Cannot read")
    refused(widget, tmp_path, "Cannot read")
    path.write_bytes(data)
    refused(widget, path, "no complete file of names")
    widget.save_names(path)
    path.write_bytes(path.read_bytes()[:-20])
    refused(widget, path, "no complete file of names")


def refused(widget, path, message):
    with pytest.raises(RoiganError, match=message) as error:
        widget.load_names(path)
    assert (
        widget.names == {"c1": "kept"}
        and "\n" not in str(error.value)
        and str(error.value).endswith(".")
    )


def test_image_sets_and_single_pictures(images):
    class Set:
        def __len__(self):
            return 1000

        def __getitem__(self, key):
            assert key.stop <= 12  # only what is shown is read
            return images[:1].repeat(key.stop - key.start, 1, 1, 1)

    assert explore(Stub(), Set()).n_images == 12
    assert explore(Stub(), Set(), limit=5).n_images == 5
    assert explore(Stub(), images[0]).n_images == 1
    assert explore(Stub(), [images[0], images[1]]).n_images == 2
    assert explore(Stub(), images.numpy()).n_images == 3


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda x: x[:, :1], "RGB"),
        (lambda x: x[0, 0], "shape"),
        (lambda x: x[:0], "no image"),
        (lambda x: [], "no image"),
        (lambda x: x[:, :, :8, :8], "8x8 but the model works at 16x16"),
        (lambda x: x * 3, r"\[-1, 1\]"),
        (lambda x: x.byte(), r"\[-1, 1\]"),
        (lambda x: x / 0, r"\[-1, 1\]"),
        (lambda x: 7, "not int"),
        (lambda x: "faces", "not str"),
        (lambda x: [x[0], x[0, :, :8]], "differ in shape"),
    ],
)
def test_bad_images(images, make, message):
    with pytest.raises(RoiganError, match=message) as error:
        explore(Stub(), make(images))
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_bad_model_mask_and_codes(images, widget):
    with pytest.raises(RoiganError, match="lacks inpaint"):
        explore(object(), images)
    with pytest.raises(RoiganError, match="resize"):
        explore(Plain(), images[..., :12])
    for mask, message in [(torch.ones(8, 8), "shape"), (torch.full((SIZE, SIZE), 0.5), "only 0")]:
        with pytest.raises(RoiganError, match=message):
            widget.set_mask(mask)
    for codes, message in [
        ([0.0] * 5, "5 codes"),
        ([-2.01] + [0.0] * 11, "Continuous"),
        ([0.0] * 11 + [4], "Discrete"),
        ([0.0] * 11 + [0.5], "Discrete"),
    ]:
        with pytest.raises(RoiganError, match=message):
            widget.set_codes(codes)


def test_one_core_is_left_to_the_browser(images, monkeypatch):
    """Also where the model fails; outside the explorer the threads are the reader's again."""
    seen = []

    class Counting(Stub):
        def inpaint(self, images, masks, codes=None, seed=0):
            seen.append(torch.get_num_threads())
            return super().inpaint(images, masks, codes, seed)

    monkeypatch.setattr("os.cpu_count", lambda: 2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        widget = explore(Counting(), images)
        send(widget, mask_bytes=bytes(b"\x01" * SIZE * SIZE))
        assert (
            widget.failed and set(seen) == {1} and len(seen) >= 2 and torch.get_num_threads() == 2
        )
    finally:
        torch.set_num_threads(before)


def test_a_shipped_model_draws_at_the_sliders_far_ends():
    import roigan_lib as rg

    gan = rg.load_model("synthfaces")
    widget = explore(gan, rg.open_dataset("synthfaces", "test", limit=1))
    send(widget, code_values=[widget.reach, -widget.reach, *widget.code_values[2:]])
    assert not widget.failed and "rendered in" in widget.status, widget.status
    far = widget.completed
    send(widget, code_values=[1.0, -1.0, *widget.code_values[2:]])
    assert (widget.completed != far).any() and (far != widget.original).any()


def test_a_model_that_was_told_its_factors_brings_their_names(images):
    class Told(Stub):
        slider_names = {"c1": "gaze"}

    view = explore(Told(), images)
    assert view.names == {"c1": "gaze"}
    view.names = {"c1": "where they look"}  # and the reader may call them otherwise
    assert view.names == {"c1": "where they look"}


class Uneven(Stub):
    """c3 is loudest, then c1; c4 lies just above the threshold, c2 just below; d3 does nothing."""

    n_continuous, n_discrete, n_categories = 4, 3, 2
    weights = torch.tensor([0.2, 0.0049, 0.4, 0.0051, 0.1, 0.3, 0.0])

    def inpaint(self, images, masks, codes=None, seed=0):
        self.calls.append(codes.tolist())
        grey = (codes * self.weights).sum(1).view(-1, 1, 1, 1)
        return torch.where(masks.bool(), grey.expand_as(images), images)


def test_sliders_are_listed_by_what_they_move_and_the_dead_apart(images):
    view = explore(Uneven(), images)
    assert view.order == ["c3", "c1", "c4", "c2", "d2", "d1", "d3"]
    assert view.dead == ["c2", "d3"] and view.moved == "c3"
    assert {"order", "dead"} <= set(view.get_state())  # the browser hears of both
    assert view.code_keys == ["c1", "c2", "c3", "c4", "d1", "d2", "d3"]
    view.set_codes([0.1, 0.2, 0.3, 0.4, 1, 0, 1])  # the model's own order here
    assert view.gan.calls[-1] == [pytest.approx([0.1, 0.2, 0.3, 0.4, 1, 0, 1])]
    before = len(view.gan.calls)
    view.set_mask(torch.eye(SIZE))
    assert len(view.gan.calls) == before + 1  # measured once, not at each stroke


def test_told_sliders_come_first(images):
    class Told(Uneven):
        slider_names = {"c1": "smiling", "c2": "glasses", "c4": "young"}

    view = explore(Told(), images)
    assert view.order == ["c1", "c4", "c2", "c3", "d2", "d1", "d3"] and view.dead == ["c2", "d3"]


def test_sheet_shows_the_first_sliders_and_no_dead_one(images):
    view = explore(Uneven(), images)
    before = len(view.gan.calls)
    view.sheet(rows=4)
    rows = torch.tensor([codes[0] for codes in view.gan.calls[before:]]).view(-1, 9, 7)
    assert [row.std(0).argmax().item() for row in rows] == [2, 0, 3]


def test_a_model_that_cannot_be_measured_keeps_its_own_order(images, monkeypatch):
    own = ["c1", "c2", "c3", "c4", "d1", "d2", "d3"]

    class Fragile(Uneven):
        def inpaint(self, images, masks, codes=None, seed=0):
            if codes.any():
                raise RuntimeError("out of memory")
            return super().inpaint(images, masks, codes, seed)

    for gan, mask in [(Fragile(), None), (Uneven(), torch.zeros(SIZE, SIZE))]:
        view = explore(gan, images, mask=mask)
        assert (view.order, view.dead, view.moved, view.failed) == (own, [], "c1", False)
    assert explore(Plain(), images).order == [] == explore(Plain(), images).dead
    monkeypatch.setattr("roigan_lib.explorer.PATIENCE", -1)
    slow = explore(Uneven(), images)
    assert slow.order == own and len(slow.gan.calls) == 1  # the first picture and nothing else
