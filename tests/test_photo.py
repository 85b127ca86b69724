"""A photograph placed by its eyes, redrawn at the model's size and pasted back at full size."""

import cmath
import io
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from roigan_lib import photo as ph
from roigan_lib import picture_files as pf
from roigan_lib.errors import RoiganError

EYE_PLACES = (
    (22.45, 33.4),
    (41.7, 33.35),
)  # of CelebA's mean landmarks, from the corner of the crop at 64 pixels


class Same:
    """A model that gives its input back, the hole filled by what `fill` makes of the picture."""

    def __init__(self, size=64, fill=None):
        self.size, self.fill, self.seen = size, fill or (lambda images: images), None

    def inpaint(self, images, masks, codes=None, seed=0):
        self.seen, self.asked = (images * (1 - masks)).clone(), (codes, seed)
        return torch.where(masks > 0.5, self.fill(images), images)


def scene(width=300, height=240, seed=0):
    """A smooth colourful picture, uint8 (height, width, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def dots(eyes, width=400, height=360, radius=10):
    y, x = np.mgrid[:height, :width]
    picture = np.full((height, width, 3), 128, np.uint8)
    for (ex, ey), colour in zip(eyes, ((255, 0, 0), (0, 0, 255))):
        picture[(x - ex) ** 2 + (y - ey) ** 2 < radius**2] = colour
    return picture


def blob(width, height, x, y, radius):
    yy, xx = np.mgrid[:height, :width]
    return (xx - x) ** 2 + (yy - y) ** 2 < radius**2


def refusal(work, *args, **kwargs):
    with pytest.raises(RoiganError) as caught:
        work(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "eyes",
    [
        ((150, 170), (230, 170)),
        ((230, 170), (150, 170)),
        ((160, 140), (220, 200)),
        ((190, 160), (205, 158)),
    ],
)
def test_eyes_come_to_where_celeba_has_them(eyes):
    left, right = sorted(eyes)
    image = ph.to_model(
        dots((left, right), radius=max(3, math.dist(*eyes) / 8)), ph.face_frame(eyes, 64)
    )[0]
    assert image.shape == (3, 64, 64) and image.min() >= -1 and image.max() <= 1
    for channel, place in zip((0, 2), EYE_PLACES):
        weight = (image[channel] - image[1]).clamp_min(0)
        y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        found = ((weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum())
        assert math.dist(found, place) < 0.3


def test_the_frame_of_a_celeba_image_is_its_own_crop():
    image = scene(178, 218)
    frame = ph.face_frame(ph.EYES, 128)
    ours = (ph.to_model(image, frame)[0].permute(1, 2, 0).numpy() + 1) * 127.5
    np.testing.assert_allclose(ours, image[45:173, 25:153], atol=0.6)
    whole = ph.to_model(image, ph.face_frame(ph.EYES, 64, "full"))
    theirs = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BOX)).astype(float)
    assert np.abs((whole[0].permute(1, 2, 0).numpy() + 1) * 127.5 - theirs).mean() < 2


SITES = [
    (300, 240, ((130, 100), (180, 100))),
    (300, 240, ((120, 90), (170, 130))),
    (90, 80, ((38, 36), (52, 36))),
    (1200, 900, ((500, 400), (720, 380))),
]  # level, turned, the photograph coarser than the model, much finer


@pytest.mark.parametrize("width, height, eyes", SITES)
def test_what_the_model_returns_unchanged_comes_back_in_place(width, height, eyes):
    picture, frame = scene(width, height), ph.face_frame(eyes, 64)
    (x1, y1), (x2, y2) = eyes
    mask = blob(width, height, (x1 + x2) / 2, (y1 + y2) / 2, 0.8 * math.dist(*eyes))
    back = ph.inpaint_photo(Same(), picture, mask, frame)
    assert back.shape == picture.shape and back.dtype == np.uint8
    assert np.array_equal(back[~mask], picture[~mask])
    error = np.abs(back[mask].astype(int) - picture[mask]).mean()
    shifts = [
        np.abs(back[mask].astype(int) - np.roll(picture, s, (0, 1))[mask]).mean()
        for s in ((0, 3), (3, 0), (0, -3), (-3, 0))
    ]
    assert error < 6 and error < min(shifts)
    down, right = np.gradient(
        picture.astype(float), axis=(0, 1)
    )  # the shift between the two, by least squares
    slopes = np.stack([right[mask].ravel(), down[mask].ravel()], 1)
    shift = np.linalg.lstsq(slopes, (picture.astype(float) - back)[mask].ravel(), rcond=None)[0]
    assert np.abs(shift).max() < 0.1 * max(1, frame.step()), shift


def test_the_model_is_asked_with_the_codes_and_the_seed():
    model, codes = Same(), torch.ones(1, 3)
    ph.inpaint_photo(
        model, scene(), blob(300, 240, 150, 120, 20), ph.crop_frame(300, 240, 64), codes, seed=7
    )
    assert model.asked == (codes, 7)


def test_the_border_is_repeated_beyond_the_photograph():
    picture = scene(60, 40)
    frame = ph.face_frame(((10, 5), (30, 5)), 64)  # begins above and to the left of the photograph
    image = ph.to_model(picture, frame)[0]
    corner = torch.from_numpy(picture[0, 0] / 127.5 - 1).float()
    assert torch.allclose(image[:, :10, :5], corner[:, None, None].expand(-1, 10, 5), atol=1e-6)


def test_large_photographs_are_averaged_and_not_sampled():
    grain = np.random.default_rng(0).integers(0, 256, (640, 640, 3), np.uint8)
    frame = ph.crop_frame(640, 640, 64)
    ours = (ph.to_model(grain, frame)[0].permute(1, 2, 0).numpy() + 1) * 127.5
    np.testing.assert_allclose(ours, grain.reshape(64, 10, 64, 10, 3).mean((1, 3)), atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("crop", ["thesis", "full"])
@pytest.mark.parametrize(
    "width, height, eyes", SITES + [(300, 240, ((30, 20), (180, 40)))]
)  # a border repeated
@pytest.mark.filterwarnings("ignore:.*outside the frame")
def test_nothing_under_the_mask_reaches_the_model(width, height, eyes, crop):
    frame, first, second = ph.face_frame(eyes, 64, crop), Same(), Same()
    mask = blob(width, height, *eyes[0], 0.7 * math.dist(*eyes))
    mask[: height // 2, width // 2] = mask[height // 3] = True  # and lines a pixel wide
    picture = scene(width, height)
    other = np.where(mask[..., None], 255 - picture, picture)
    ph.inpaint_photo(first, picture, mask, frame), ph.inpaint_photo(second, other, mask, frame)
    assert torch.equal(first.seen, second.seen) and first.seen.abs().sum() > 0


@pytest.mark.slow
def test_a_pixel_of_the_mask_marks_a_pixel_of_the_model():
    frame = ph.face_frame(((500, 400), (720, 380)), 64)
    for x, y in np.random.default_rng(0).integers(420, 640, (20, 2)):
        mask = np.zeros((900, 1200), bool)
        mask[y, x] = True
        small = ph.mask_to_model(mask, frame)[0, 0]
        column, row = np.rint(frame.matrix @ (x, y, 1)).astype(int)
        assert small[row, column] == 1 and 1 <= small.sum() <= 4


def steps(picture, mask):
    """The mean jump of neighbouring pixels across the border of the mask."""
    picture = picture.astype(float)
    return np.concatenate(
        [np.abs(np.diff(picture, axis=axis)).mean(-1)[np.diff(mask, axis=axis)] for axis in (0, 1)]
    ).mean()


@pytest.mark.parametrize("width, height, eyes", SITES)
@pytest.mark.parametrize("offset", [0, 0.3, -0.3])
@pytest.mark.slow
def test_the_mismatch_along_the_border_is_taken_off(width, height, eyes, offset, monkeypatch):
    grain = np.random.default_rng(1).integers(-12, 13, (height, width, 3))
    picture = (scene(width, height) * 0.5 + 60 + grain).astype(np.uint8)
    frame, mask = (
        ph.face_frame(eyes, 64),
        blob(width, height, *np.mean(eyes, 0), 0.8 * math.dist(*eyes)),
    )
    arguments = Same(fill=lambda x: (x + offset).clamp(-1, 1)), picture, mask, frame
    corrected = steps(ph.inpaint_photo(*arguments), mask)
    monkeypatch.setattr(ph, "_mismatch", lambda difference, hole, blend: 0)
    pasted = steps(ph.inpaint_photo(*arguments), mask)
    assert corrected < pasted if offset == 0 else corrected < 0.6 * pasted
    assert (
        corrected < 1.5 * steps(picture, mask) or frame.step() < 1
    )  # there a pixel holds old and new alike


@pytest.mark.parametrize("level, fineness", [(0, 0), (6, 0), (6, 0.7)])
def test_what_is_pasted_has_the_grain_of_its_surroundings(level, fineness):
    grain = np.random.default_rng(2).normal(0, 1, (400, 480, 3))
    grain = ph.cv2.GaussianBlur(grain, (0, 0), fineness) if fineness else grain
    picture = scene(480, 400) * 0.3 + 90 + level * grain / grain.std()
    picture = picture.round().clip(0, 255).astype(np.uint8)
    frame, mask = ph.face_frame(((190, 180), (290, 180)), 64), blob(480, 400, 240, 200, 60)
    pasted = ph.inpaint_photo(Same(), picture, mask, frame)  # which draws without grain
    rough = pasted - ph.cv2.GaussianBlur(pasted.astype(np.float32), (0, 0), 1.5)
    inside, around = blob(480, 400, 240, 200, 55), blob(480, 400, 240, 200, 90) & ~mask
    there, here = rough[around].std(0), rough[inside].std(0)
    assert (here < 1.1 * there + 0.15).all() and (here > 0.65 * there - 0.15).all()

    def alike(places):
        pairs = places[:, 1:] & places[:, :-1]
        return np.corrcoef(rough[:, 1:][pairs].ravel(), rough[:, :-1][pairs].ravel())[0, 1]

    assert not level or abs(alike(inside) - alike(around)) < 0.2
    assert (ph.inpaint_photo(Same(), picture, mask, frame) == pasted).all()


def test_a_region_of_the_model_in_the_photograph_and_back():
    frame = ph.face_frame(((130, 100), (180, 112)), 64)
    small = torch.zeros(1, 1, 64, 64)
    small[..., 20:40, 25:45] = 1
    large = ph.mask_to_photo(small, frame, 300, 240)
    assert large.shape == (240, 300) and large.dtype == bool
    again = ph.mask_to_model(large, frame)
    assert (again >= small).all() and again.sum() < 1.3 * small.sum()


def test_regions_at_the_edge_of_the_frame():
    frame = ph.crop_frame(300, 240, 64, (0, 0, 100, 100))
    with pytest.warns(UserWarning, match="outside the frame"):
        ph.mask_to_model(blob(300, 240, 95, 50, 20), frame)
    assert "outside the frame" in refusal(ph.mask_to_model, blob(300, 240, 250, 200, 20), frame)
    assert "mask is empty" in refusal(ph.mask_to_model, np.zeros((240, 300)), frame)
    assert "leave it more to go by" in refusal(
        ph.mask_to_model, np.ones((240, 300), bool)[:100, :100], frame
    )


def test_photographs_of_every_mode(tmp_path):
    grey = scene(60, 40)[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    assert np.array_equal(pf.open_photo(tmp_path / "16.png"), grey[..., None].repeat(3, 2))
    clear = Image.fromarray(np.dstack([scene(60, 40), np.zeros((40, 60), np.uint8)]))
    assert (pf.open_photo(clear) == 255).all()
    palette = Image.fromarray(grey).quantize(8)
    palette.save(tmp_path / "p.png", transparency=int(np.asarray(palette)[0, 0]))
    opened, index = pf.open_photo(str(tmp_path / "p.png")), np.asarray(palette)
    assert (opened[index == index[0, 0]] == 255).all() and not (opened == 255).all()


@pytest.mark.parametrize("kind", ["path", "bytes", "pil", "grey", "alpha", "turned"])
def test_photographs_of_every_kind(kind, tmp_path):
    picture = scene(60, 40)
    out = io.BytesIO()
    if kind == "turned":
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(np.rot90(picture).copy()).save(out, "PNG", exif=exif)
    else:
        Image.fromarray(picture).save(out, "PNG")
    (tmp_path / "p.png").write_bytes(out.getvalue())
    source = {
        "path": tmp_path / "p.png",
        "bytes": out.getvalue(),
        "turned": out.getvalue(),
        "pil": Image.fromarray(picture),
        "grey": picture[..., 0],
        "alpha": np.dstack([picture, np.full((40, 60), 255, np.uint8)]),
    }[kind]
    opened = pf.open_photo(source)
    assert opened.shape == (40, 60, 3) and opened.dtype == np.uint8
    want = picture if kind != "grey" else picture[..., :1].repeat(3, 2)
    np.testing.assert_array_equal(opened, want)


def test_photograph_refusals(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    whole = io.BytesIO()
    Image.fromarray(scene()).save(whole, "JPEG")
    assert "no photograph" in refusal(pf.open_photo, tmp_path / "gone.jpg")
    assert "is a folder" in refusal(pf.open_photo, tmp_path)
    assert "(no known format): save it as JPEG or PNG." in refusal(
        pf.open_photo, tmp_path / "text.jpg"
    )
    assert "the picture cannot be read" in refusal(pf.open_photo, b"")
    assert "cannot be read" in refusal(pf.open_photo, whole.getvalue()[:2000])
    assert "16 to" in refusal(pf.open_photo, np.zeros((8, 40, 3), np.uint8))
    assert "16 to 32,000 a side" in refusal(pf.open_photo, np.zeros((20, 33_000), np.uint8))
    assert "uint8" in refusal(pf.open_photo, np.zeros((40, 40, 3)))
    assert "(40, 40, 2) of uint8 but must" in refusal(
        pf.open_photo, np.zeros((40, 40, 2), np.uint8)
    )
    assert "float" in refusal(pf.open_photo, 1.0)


def test_frame_and_mask_refusals(tmp_path):
    assert "pixels apart" in refusal(ph.face_frame, ((10, 10), (12, 10)))
    assert "not two points" in refusal(ph.face_frame, ((10, 10),))
    assert "not two points" in refusal(ph.face_frame, ((10, 10), (float("nan"), 10)))
    assert "crop 'ful'" in refusal(ph.face_frame, ((10, 10), (30, 10)), crop="ful")
    assert "crop=90 does not fit" in refusal(ph.crop_frame, 100, 80, 64, 90)
    assert "not two points" in refusal(ph.face_frame, "left and right")
    assert "whole number from 8 to 4096" in refusal(ph.face_frame, ((10, 10), (30, 10)), 6.4)
    frame = ph.crop_frame(300, 240, 64)
    assert "must be (H, W)" in refusal(ph.mask_to_model, np.ones((240, 300, 3)), frame)
    assert "must be a tensor or an array" in refusal(ph.mask_to_model, "mask.png", frame)
    assert "open it with open_mask" in refusal(
        ph.inpaint_photo, Same(), scene(), np.ones((10, 10)), frame
    )
    assert "make it with that size" in refusal(
        ph.inpaint_photo, Same(32), scene(), blob(300, 240, 150, 120, 20), frame
    )
    Image.new("L", (40, 30)).save(tmp_path / "black.png")
    assert "is empty: paint" in refusal(pf.open_mask, tmp_path / "black.png", 300, 240)
    assert "There is no mask" in refusal(pf.open_mask, tmp_path / "gone.png", 300, 240)
    assert refusal(pf.open_mask, b"no picture", 300, 240).startswith("upload cannot be read")
    dot = np.zeros((300, 400), np.uint8)
    dot[0, 0] = 255
    Image.fromarray(dot).save(tmp_path / "dot.png")
    small = pf.open_mask(tmp_path / "dot.png", 40, 30)
    assert np.argwhere(small).tolist() == [[0, 0]]  # it shrinks, and stays
    other = refusal(pf.open_mask, tmp_path / "dot.png", 30, 40)
    assert "400x300 pixels and the photograph, upright, 30x40" in other
    assert "or the model's 64x64 pixels" in refusal(pf.open_mask, tmp_path / "dot.png", 30, 40, 64)
    nine, region = np.zeros((9, 3, 64, 64)), np.ones((1, 1, 32, 32))
    assert "the drawing has the shape (9, 3, 64, 64)" in refusal(
        ph.paste, scene(), nine, None, frame
    )
    assert "the region has the shape (1, 1, 32, 32)" in refusal(
        ph.inpaint_photo, Same(), scene(), region, frame
    )


def test_mask_pictures_come_to_the_size_of_the_photograph(tmp_path):
    small = np.zeros((30, 40), np.uint8)
    small[10:20, 8:24] = 255
    Image.fromarray(small).save(tmp_path / "m.png")
    mask = pf.open_mask(tmp_path / "m.png", 400, 300)
    np.testing.assert_array_equal(mask, small.repeat(10, 0).repeat(10, 1) > 0)
    strokes = Image.fromarray(
        np.dstack([0 * small] * 3 + [small])
    )  # black ink on a transparent layer, as bytes
    strokes.save(out := io.BytesIO(), "PNG")
    np.testing.assert_array_equal(pf.open_mask(out.getvalue(), 400, 300), mask)


@pytest.mark.parametrize(
    "form",
    [
        lambda m: m,
        lambda m: m * 1.0,
        lambda m: m.astype(np.uint8),
        lambda m: m.astype(np.uint8) * 255,
    ],
)
def test_masks_of_every_kind_are_the_same(form):
    mask, frame = blob(300, 240, 150, 120, 30), ph.crop_frame(300, 240, 64)
    assert torch.equal(ph.mask_to_model(form(mask), frame), ph.mask_to_model(mask, frame))


@pytest.mark.slow
def test_the_astronaut_has_eyes_and_a_wall_has_none():
    face = ph.astronaut()
    assert face.shape == (512, 512, 3)
    (x1, y1), (x2, y2) = ph.find_eyes(face)
    assert (
        math.dist((x1, y1), (204, 101)) < 4 and math.dist((x2, y2), (246, 103)) < 4
    )  # read off the picture
    large = Image.fromarray(face).resize((1024, 1024)).rotate(10, Image.Resampling.BICUBIC)
    for found, (x, y) in zip(ph.find_eyes(large), ((203.5, 101.2), (247, 103.5))):
        expected = complex(511.5, 511.5) + complex(2 * x - 511, 2 * y - 511) * cmath.exp(
            -1j * math.radians(10)
        )
        assert abs(complex(*found) - expected) < 9  # a tenth of the distance of the eyes
    assert "give the two eyes by hand" in refusal(
        ph.find_eyes, np.full((200, 200, 3), 90, np.uint8)
    )
    assert "no face was found" in refusal(ph.find_eyes, np.full((16, 3000, 3), 90, np.uint8))


def test_without_scikit_image_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    for work in (ph.astronaut, lambda: ph.find_eyes(scene())):
        assert "pip install 'roigan-lib[photo]'" in refusal(work)
