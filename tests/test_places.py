"""A region stays where it was painted: fast code against a literal composition; what is saved."""

import functools
import io
import itertools
import math
import warnings
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, JpegImagePlugin

from roigan_lib import photo as ph
from roigan_lib import picture_files as pf
from roigan_lib.__main__ import main
from roigan_lib.errors import RoiganError


def steady(examples):
    return settings(derandomize=True, database=None, deadline=None, max_examples=examples)


TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # what a camera does to the upright picture, by its EXIF note


class Painter:
    """A model that fills the hole with noise of its own, and remembers what it was asked."""

    name, n_continuous, n_discrete, n_categories = "painter", 0, 0, 0

    def __init__(self, size):
        self.size = size
        self.noise = (
            torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
        )

    def inpaint(self, images, masks, codes=None, seed=0):
        self.images, self.masks = images.clone(), masks.clone()
        return torch.where(masks > 0.5, self.noise.expand_as(images), images)


def encoded(pixels, turn=1, form="PNG", **options):
    """The bytes of an upright picture as a camera held that way stores it."""
    image, exif = Image.fromarray(pixels), options.pop("exif", Image.Exif())
    exif[274] = turn
    image = image if turn == 1 else image.transpose(TURNS[turn])
    out = io.BytesIO()
    image.save(out, form, exif=exif, **options)
    return out.getvalue()


def noise(width, height, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def command(folder, size, photo, mask=None, *more, out="done.png"):
    """`inpaint` on these bytes with a Painter: the file that it writes, and the model asked."""
    gan = Painter(size)
    (folder / "photo").write_bytes(photo)
    if mask is not None:
        (folder / "mask.png").write_bytes(mask)
        more += "--mask", folder / "mask.png"
    arguments = ["inpaint", folder / "photo", "--out", folder / out, *more]
    with mock.patch("roigan_lib.stored.load_model", lambda *_: gan), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some of the region may lie outside the frame
        assert main([str(a) for a in arguments]) == 0
    return folder / out, gan


# ---- the literal composition


def overlap(a, b, c, d):
    return min(b, d) - max(a, c) > 0


def literal_box(width, height, crop):
    if crop == "full":
        return 0, 0, width, height
    side = min(width, height) if crop == "square" else crop
    return round((width - side) / 2), round((height - side) / 2), side, side


def literal_crop(mask, crop, size):
    """The model's pixels that some touched pixel of the photograph overlaps, in exact fractions."""
    left, top, across, down = literal_box(mask.shape[1], mask.shape[0], crop)
    kx, ky = Fraction(across, size), Fraction(down, size)
    hole = np.zeros((size, size), bool)
    for (y, x), row, column in itertools.product(
        np.argwhere(mask).tolist(), range(size), range(size)
    ):
        hole[row, column] |= overlap(
            x, x + 1, left + kx * column, left + kx * (column + 1)
        ) and overlap(y, y + 1, top + ky * row, top + ky * (row + 1))
    return hole


def clipped(polygon, axis, sign, at):
    """The part of a polygon on one side of a line (Sutherland and Hodgman)."""
    kept = []
    for p, q in zip(polygon, polygon[1:] + polygon[:1]):
        dp, dq = sign * (at - p[axis]), sign * (at - q[axis])
        if dp >= 0:
            kept.append(p)
        if dp * dq < 0:
            t = dp / (dp - dq)
            kept.append(tuple(a + t * (b - a) for a, b in zip(p, q)))
    return kept


def area(polygon):
    return (
        abs(sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(polygon, polygon[1:] + polygon[:1]))) / 2
    )


def literal_turned(mask, matrix, size, reach=0.5):
    """The model's pixels that squares of half a side `reach` around touched pixels overlap."""
    height, width = mask.shape
    hole = np.zeros((size, size), bool)
    for y, x in np.argwhere(mask).tolist():
        box = [x - reach, y - reach, x + reach, y + reach]
        if reach > 0.5:  # a border pixel goes on beyond the photograph
            box = [
                v if near else far
                for v, near, far in zip(
                    box, (x > 0, y > 0, x < width - 1, y < height - 1), (-9e3, -9e3, 9e3, 9e3)
                )
            ]
        corners = [
            matrix @ (u, v, 1)
            for u, v in ((box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3]))
        ]
        for row, column in itertools.product(range(size), range(size)):
            piece = [tuple(c) for c in corners]
            for axis, at in ((0, column), (1, row)):
                for sign in (1, -1):
                    piece = clipped(piece, axis, sign, at + sign / 2) if piece else piece
            hole[row, column] |= bool(piece) and area(piece) > 1e-9
    return hole


def literal_region(small, matrix, width, height):
    """The photograph's pixels centred in the region, and those that its pixels without any meet."""
    size, region, met = len(small), np.zeros((height, width), bool), np.zeros_like(small)
    for y, x in itertools.product(range(height), range(width)):
        u, v = (math.floor(value + 0.5) for value in matrix @ (x, y, 1))
        if 0 <= u < size and 0 <= v < size and small[v, u]:
            region[y, x] = met[v, u] = True
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    for v, u in np.argwhere(small & ~met).tolist():
        x, y = (math.floor(value + 0.5) for value in back[:2] @ (u, v, 1))
        if 0 <= x < width and 0 <= y < height:
            region[y, x] = True
    return region


# ---- what hypothesis draws


@st.composite
def painted(draw, least=16, most=40):
    """A photograph's width and height and a mask on it: pixels, strokes a pixel wide, blocks."""
    width, height = draw(st.integers(least, most)), draw(st.integers(least, most))
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(1, 3))):
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        across, down = draw(st.sampled_from([(1, 1), (6, 1), (1, 6), (4, 3)]))
        mask[y : y + down, x : x + across] = True
    return width, height, mask


turns = st.sampled_from(sorted(TURNS))


@pytest.mark.slow
@steady(60)
@given(
    painted(),
    turns,
    turns,
    st.sampled_from([8, 11, 16]),
    st.sampled_from(["square", "full", "some"]),
    st.integers(1, 2),
)
def test_a_mask_goes_through_the_crop_and_both_turns(
    tmp_path_factory, drawn, turn, mask_turn, size, crop, scale
):
    width, height, mask = drawn
    crop = crop if crop != "some" else max(size, min(width, height) - 5)
    hole = literal_crop(mask, crop, size)
    photo, folder = noise(width, height), tmp_path_factory.mktemp("places")
    region = encoded((mask * np.uint8(255)).repeat(scale, 0).repeat(scale, 1), mask_turn)
    if not 0 < hole.mean() <= 0.9:
        with pytest.raises(RoiganError, match="outside the frame" if not hole.any() else "covers"):
            ph.mask_to_model(
                pf.open_mask(region, width, height), ph.crop_frame(width, height, size, crop)
            )
        return
    out, gan = command(folder, size, encoded(photo, turn), region, "--crop", str(crop))
    assert np.array_equal(gan.masks[0, 0] > 0, hole)
    left, top, across, down = literal_box(width, height, crop)
    seen = Image.fromarray(photo[top : top + down, left : left + across]).resize(
        (size, size), Image.Resampling.BILINEAR
    )
    wanted = np.where(
        hole[..., None], ((gan.noise[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy(), seen
    )
    assert np.array_equal(np.asarray(Image.open(out)), wanted)


@pytest.mark.slow
@steady(40)
@given(
    painted(),
    turns,
    turns,
    st.tuples(st.floats(4, 14), st.floats(4, 14), st.floats(-8, 8)),
    st.integers(8, 10),
)
def test_by_the_eyes_the_mask_reaches_the_model_whole_and_only_its_pixels_change(
    tmp_path_factory, drawn, turn, mask_turn, place, size
):
    width, height, mask = drawn
    x, y, tilt = place
    frame = ph.face_frame(eyes := ((x, y), (x + 9, y + tilt)), size)
    inside = mask & literal_region(np.ones((size, size), bool), frame.matrix, width, height)
    touched, reach = (
        literal_turned(mask, frame.matrix, size, r) for r in (0.5, 1.04)
    )  # bilinear reaches 1 pixel
    if not inside.any() or reach.mean() > 0.9:
        return
    photo = noise(width, height)
    out, gan = command(
        tmp_path_factory.mktemp("places"),
        size,
        encoded(photo, turn),
        encoded(mask * np.uint8(255), mask_turn),
        "--eyes",
        ",".join(str(v) for eye in eyes for v in eye),
    )
    hole = gan.masks[0, 0].numpy() > 0
    assert (hole >= touched).all() and (hole <= reach).all()
    done = np.asarray(Image.open(out))
    assert np.array_equal(done[~inside], photo[~inside]) and (done != photo)[inside].any()
    other = Painter(size)  # what is under the mask never reaches the model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ph.inpaint_photo(other, np.where(mask[..., None], 255 - photo, photo), mask, frame)
    assert torch.equal(*((g.images * (1 - g.masks)) for g in (gan, other)))


@steady(40)
@given(
    st.integers(16, 40),
    st.integers(16, 40),
    st.tuples(st.floats(4, 14), st.floats(4, 14), st.floats(-8, 8)),
    st.integers(4, 30),
    st.integers(0, 99),
)
@pytest.mark.slow
def test_a_region_of_the_model_goes_to_the_model_as_it_is_and_to_its_place(
    width, height, place, apart, seed
):
    x, y, tilt = place
    frame = ph.face_frame(((x, y), (x + apart, y + tilt)), 24)
    small = np.random.default_rng(seed).random((24, 24)) < 0.3
    region = literal_region(small, frame.matrix, width, height)
    if not region.any():
        return
    photo, gan = noise(width, height), Painter(24)
    done = ph.inpaint_photo(gan, photo, torch.from_numpy(small)[None, None].float(), frame)
    assert np.array_equal(gan.masks[0, 0] > 0, small)
    assert np.array_equal(ph.mask_to_photo(small, frame, width, height), region)
    assert np.array_equal(done[~region], photo[~region]) and (done != photo)[region].any()
    drawn = gan.inpaint(ph.to_model(photo, frame), gan.masks)
    assert np.array_equal(ph.paste(photo, drawn, small[None, None], frame), done)


@steady(60)
@given(painted(8, 40), st.integers(8, 40), st.integers(8, 40))
@pytest.mark.slow
def test_a_mask_at_another_size_holds_every_touched_pixel_and_no_other(drawn, height, width):
    mask = drawn[2]
    placed = pf.place_mask(mask, pf.scaling(mask.shape, (height, width)), height, width)
    for row, column in itertools.product(range(height), range(width)):
        y, x = (
            range(i * have // want, -(-(i + 1) * have // want))
            for i, have, want in zip((row, column), mask.shape, (height, width))
        )
        assert placed[row, column] == any(mask[i, j] for i in y for j in x)
    turned = pf._place_turned(mask, pf.scaling(mask.shape, (height, width)), height, width)
    assert np.array_equal(turned, placed)


# ---- each fault by its right value


def test_the_mask_goes_through_the_crop_of_its_photograph(tmp_path):
    """Columns 180 to 284 of 512: in the crop, from 106 by 300 / 64, 15 to 38; squashed 22 to 35."""
    mask = np.zeros((300, 512), np.uint8)
    mask[100:200, 180:285] = 255
    _, gan = command(tmp_path, 64, encoded(noise(512, 300)), encoded(mask))
    assert np.flatnonzero(gan.masks[0, 0].any(0)).tolist() == list(range(15, 39))


def test_a_thin_stroke_keeps_every_pixel_it_touches(tmp_path):
    stroke = Image.new("L", (512, 512))
    ImageDraw.Draw(stroke).line((37, 91, 470, 333), fill=255)
    stroke.save(tmp_path / "stroke.png")
    touched = np.asarray(stroke).reshape(64, 8, 64, 8).any((1, 3))
    assert touched.sum() == 80 and np.array_equal(
        pf.load_mask(tmp_path / "stroke.png", 64)[0, 0] > 0, touched
    )
    dot = Image.new("L", (512, 512))
    dot.paste(255, (197, 197, 202, 202))
    dot.save(tmp_path / "dot.png")
    kept = pf.load_mask(tmp_path / "dot.png", 64)[0, 0].nonzero()
    assert kept.tolist() == [[24, 24], [24, 25], [25, 24], [25, 25]]


def test_a_sliver_of_a_touched_pixel_counts_too():
    """Pixel 1 reaches over the border of column 0 by a hundredth of its side."""
    mask = np.zeros((16, 16), bool)
    mask[5, 1] = True
    frame = ph.Frame(np.array([[0.5, 1e-9, 0.245], [1e-9, 0.5, 0]]), 8)
    assert np.flatnonzero(ph.mask_to_model(mask, frame)[0, 0].any(0)).tolist() == [0, 1]


@pytest.mark.parametrize("more", [(), ("--eyes", "40,40,80,40")])
def test_masks_of_other_proportions_are_refused_and_the_models_own_is_not(tmp_path, capsys, more):
    photo = encoded(noise(128, 96))
    small = np.zeros((64, 64), np.uint8)
    small[30:40, 20:44] = 255
    _, gan = command(tmp_path, 64, photo, encoded(small), *more)
    assert np.array_equal(gan.masks[0, 0] > 0, small > 0)
    turned = np.zeros((128, 96), np.uint8)
    turned[50:60, 40:60] = 255
    with pytest.raises(AssertionError):
        command(tmp_path, 64, photo, encoded(turned), *more)
    said = capsys.readouterr().err
    assert (
        "the mask has 96x128 pixels and the photograph, upright, 128x96" in said
        and said.count("\n") == 1
    )


def test_what_the_explorer_shows_is_what_is_pasted():
    pytest.importorskip("anywidget")
    from roigan_lib.explorer import explore

    photo, gan = noise(200, 160), Painter(64)
    frame = ph.face_frame(((70, 60), (115, 63)), 64)
    view = explore(gan, ph.to_model(photo, frame))
    shown = view.mask[0, 0].numpy() > 0
    assert shown.sum() == 670 and np.array_equal(gan.masks[0, 0] > 0, shown)
    done, region = view.in_photo(photo, frame), ph.mask_to_photo(view.mask, frame, 200, 160)
    assert (
        np.array_equal(done[~region], photo[~region])
        and (done != photo).any(2)[region].mean() > 0.9
    )
    again = Painter(64)
    assert np.array_equal(ph.inpaint_photo(again, photo, view.mask, frame), done)
    assert torch.equal(again.masks, view.mask) and torch.equal(again.images, view.original)
    view.set_mask(torch.zeros(64, 64))
    with pytest.raises(RoiganError, match="mask is empty"):
        view.in_photo(photo, frame)


# ---- what is saved


@functools.cache  # it holds the time it was made at
def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def notes():
    exif = Image.Exif()
    exif[271], exif[315] = "Maker", "Photographer"
    exif[34665] = {33434: 0.01, 40962: 3000}  # by its tag: Pillow 10 writes no other
    exif.load(exif.tobytes())
    return exif


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("more", [(), ("--eyes", "40,40,80,44")])
def test_colour_profile_and_notes_are_kept_and_the_turn_is_not_applied_twice(
    tmp_path, capsys, ending, form, more
):
    photo = encoded(noise(128, 96), 6, form, exif=notes(), icc_profile=profile())
    out, _ = command(tmp_path, 64, photo, None, *more, out="done" + ending)
    with Image.open(out) as done:
        assert (
            done.size == ((128, 96) if more else (64, 64)) and done.info["icc_profile"] == profile()
        )
        exif = done.getexif()
        assert (exif[271], exif[315], exif.get(274, 1)) == ("Maker", "Photographer", 1)
        assert exif.get_ifd(34665) == {33434: pytest.approx(0.01), 40962: done.width}
    said = capsys.readouterr().out
    assert "dropped" not in said and ("JPEG is lossy" in said) == (ending == ".jpg")


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif"])
def test_transparency_is_kept_with_the_colours_under_it(tmp_path, capsys, ending):
    pixels = noise(128, 96, 4)
    pixels[:, :64, 3] = 255
    out, gan = command(
        tmp_path, 64, encoded(pixels), None, "--eyes", "40,40,80,44", out="done" + ending
    )
    done = np.asarray(Image.open(out))
    region = ph.mask_to_photo(gan.masks, ph.face_frame(((40, 40), (80, 44)), 64), 128, 96)
    assert np.array_equal(done[..., 3], pixels[..., 3]) and np.array_equal(
        done[~region], pixels[~region]
    )
    redrawn = ph.inpaint_photo(gan, pixels, gan.masks, ph.face_frame(((40, 40), (80, 44)), 64))
    solid = region & (pixels[..., 3] == 255)
    assert np.array_equal(done[solid][:, :3], redrawn[solid])
    assert capsys.readouterr().out.count("\n") == 1  # nothing is dropped, and no loss to tell of


def test_a_transparent_crop_looks_on_white_as_the_model_drew_it(tmp_path):
    pixels = noise(64, 64, 4)
    pixels[..., 3] = pixels[..., 3] // 2 + 128
    out, gan = command(tmp_path, 32, encoded(pixels), None, "--crop", "40")
    done = np.asarray(Image.open(out)).astype(float)
    hole = gan.masks[0, 0].numpy() > 0
    drawn = (gan.inpaint(gan.images, gan.masks)[0].permute(1, 2, 0).numpy() + 1) * 127.5
    white = done[..., :3] * done[..., 3:] / 255 + 255 - done[..., 3:]
    could = np.maximum(drawn, 255 - done[..., 3:])  # no colour is darker there
    assert np.abs(white - could)[hole].max() < 1 and np.abs(white - drawn)[~hole].mean() < 1
    assert (
        np.abs(
            done[..., 3] - np.asarray(Image.fromarray(pixels[12:52, 12:52, 3]).resize((32, 32), 2))
        ).max()
        <= 1
    )


@pytest.mark.parametrize(
    "photo, ending, said",
    [
        (
            lambda: encoded(noise(64, 64, 4)),
            ".jpg",
            "dropped: the transparency, which JPEG did not take.",
        ),
        (
            lambda: encoded(noise(64, 64), exif=notes(), icc_profile=profile()),
            ".bmp",
            "dropped: the colour profile and EXIF notes, which BMP did not take.",
        ),
        (
            lambda: encoded(noise(64, 64, 4)),
            ".bmp",
            "dropped: the transparency, which BMP did not take.",
        ),
        (
            lambda: encoded(
                noise(64, 64)[..., 0], icc_profile=profile().replace(b"RGB ", b"GRAY", 1)
            ),
            ".png",
            "dropped: the GRAY colour profile, as the result is RGB.",
        ),
        (
            lambda: encoded(noise(64, 64)[..., 0] * np.uint16(257)),
            ".png",
            "dropped: all but 8 bits of each pixel.",
        ),
    ],
)
def test_what_a_format_cannot_hold_is_named_in_one_line(tmp_path, capsys, photo, ending, said):
    command(tmp_path, 64, photo(), out="done" + ending)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == said and len(lines) == 2 + (ending == ".jpg")


def test_a_jpeg_keeps_all_colours_at_high_quality_and_tells_how_far_it_is(tmp_path, capsys):
    photo = np.array(Image.fromarray(noise(9, 8)).resize((160, 120), Image.Resampling.BICUBIC))
    out, gan = command(tmp_path, 64, encoded(photo), None, "--eyes", "60,50,100,50", out="done.jpg")
    frame = ph.face_frame(((60, 50), (100, 50)), 64)
    picture = ph.inpaint_photo(gan, photo, gan.masks, frame)
    with Image.open(out) as done:
        assert JpegImagePlugin.get_sampling(done) == 0  # 4:4:4
        Image.fromarray(photo).save(best := io.BytesIO(), "JPEG", quality=95)
        wanted = Image.open(best).quantization
        assert all(a <= b for key in wanted for a, b in zip(done.quantization[key], wanted[key]))
        error = np.abs(np.asarray(done).astype(int) - picture)
    said = capsys.readouterr().out.splitlines()[1]
    assert said == (
        f"JPEG is lossy, outside the region too: {(error > 0).any(2).mean():.0%} of the "
        f"pixels differ from the picture, by {error.mean():.2g} of 255 levels on average "
        f"and {error.max()} at most."
    )
    far = np.abs(error[~ph.mask_to_photo(gan.masks, frame, 160, 120)])
    assert far.mean() < 1.5


def test_notes_that_are_too_long_do_not_stop_the_picture(tmp_path, capsys):
    exif = Image.Exif()
    exif[37510] = b"x" * 70_000
    command(tmp_path, 64, encoded(noise(64, 64), exif=exif), out="done.jpg")
    assert "dropped: EXIF notes, which JPEG did not take." in capsys.readouterr().out


def test_save_photo_takes_arrays_and_refuses_other_endings(tmp_path):
    pixels = noise(64, 48, 4)
    assert pf.save_photo(tmp_path / "a.png", pf.open_photo(pixels), pixels) == []
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    assert pf.save_photo(tmp_path / "b.PNG", pixels[..., :3].copy()) == []
    with pytest.raises(RoiganError, match=r"has to end in \.png or \.jpg"):
        pf.save_photo(tmp_path / "a.xyz", pixels[..., :3].copy())
