import io
import os
import shutil
import warnings
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from roigan_lib import RoiganError, open_dataset
from roigan_lib.data import DATASETS, ImageSet, folder
from roigan_lib.data.decode import decode
from roigan_lib.data.folder import FileSet


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ROIGAN_DATA", raising=False)
    return tmp_path / "cache"


def picture(seed=0, width=20, height=20, mode="RGB"):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values).convert(mode)


def fill(place, n, prefix="", **kwargs):
    place.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        picture(i, **kwargs).save(place / f"{prefix}{i:03}.png")
    return place


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def refusal(*args, **kwargs):
    """The one sentence with which opening is refused."""
    with pytest.raises(RoiganError) as caught:
        open_dataset(*args, **kwargs)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith("."), sentence
    return sentence


# ---- ImageSet


def test_image_set_hands_out_floats_by_every_kind_of_index():
    pixels = torch.arange(5 * 3 * 8 * 8).remainder(256).to(torch.uint8).view(5, 3, 8, 8)
    ds = ImageSet("toy", "train", 8, pixels, torch.arange(10).view(5, 2), ["a", "b"])
    assert (len(ds), ds.name, ds.split, ds.size, ds.factor_names) == (
        5,
        "toy",
        "train",
        8,
        ["a", "b"],
    )
    assert ds.uint8 is pixels and ds.factors.dtype == torch.float32
    assert (
        ds[0].shape == (3, 8, 8)
        and ds[0].dtype == torch.float32
        and ds[0].min() == -1
        and ds[:].max() == 1
    )
    assert ds[1:3].shape == (2, 3, 8, 8) and torch.equal(ds[-1], ds[4])
    for index in ([4, 0], (4, 0), np.array([4, 0]), torch.tensor([4, 0])):
        assert torch.equal(ds[index], torch.stack([ds[4], ds[0]]))
    assert (
        ds[[]].shape == (0, 3, 8, 8)
        and ds[torch.tensor([True, False, True, False, False])].shape[0] == 2
    )
    assert torch.equal(((ds[:] + 1) * 127.5).round().to(torch.uint8), pixels)  # nothing lost
    assert len(list(ds)) == 5
    with pytest.raises(IndexError):
        ds[5]


def test_fingerprint_is_of_the_content():
    pixels = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    first = ImageSet("a", "train", 8, pixels).fingerprint
    assert (
        len(first) == 12
        and int(first, 16) >= 0
        and first == ImageSet("b", "test", 8, pixels.clone()).fingerprint
    )
    pixels[0, 0, 0, 0] = 1
    assert first != ImageSet("a", "train", 8, pixels).fingerprint


def test_image_set_refuses_floats_and_missing_factors():
    with pytest.raises(RoiganError, match="uint8 pixels"):
        ImageSet("a", "train", 8, torch.zeros(1, 3, 8, 8))
    with pytest.raises(RoiganError, match="2 rows of factors"):
        ImageSet("a", "train", 8, torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 1))


# ---- open_dataset


def test_unknown_names_suggest(tmp_path):
    assert "did you mean 'synthfaces'" in refusal(
        "synthface"
    ) and "did you mean 'celeba'" in refusal("celebrity")
    assert "did you mean 'train'" in refusal("folder", "trian", root=tmp_path)
    assert "'folder'" in refusal("synthfaces", root=tmp_path)
    assert set(DATASETS) >= {"synthfaces", "folder"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 4},
        {"size": 64.0},
        {"size": True},
        {"limit": 0},
        {"limit": "ten"},
        {"crop": "sqare"},
        {"crop": 3},
        {"crop": 0.5},
    ],
)
def test_wrong_options_are_named(wrong, tmp_path):
    ((key, value),) = wrong.items()
    told = refusal("folder", root=fill(tmp_path / "p", 1), **wrong)
    assert key in told and repr(value) in told


def test_a_new_data_set_is_one_declaration(tmp_path, monkeypatch):
    class Dogs(FileSet):
        name, title, official = "dogs", "pictures of dogs", {"train": 4, "test": 1}

        def members(self):
            return [path for path in sorted(self.pictures) if "dogs" in path]

        def splits(self, members):
            return {path: "test" if path.endswith("0.png") else "train" for path in members}

        def cuts(self, members, crop, size):
            upper = lambda image: image.crop((0, 0, size, size))
            return {path: ("upper left", upper) for path in members}

        def known(self, members):
            return {"attributes": torch.tensor([["1" in path] for path in members])}

    monkeypatch.setitem(DATASETS, "dogs", Dogs.load)
    fill(tmp_path / "dogs", 4, width=30), fill(tmp_path / "cats", 2)
    ds = open_dataset("dogs", "train", size=8, root=tmp_path)
    assert (len(ds), ds.name, ds.names[0]) == (3, "dogs", "dogs/001.png")
    assert ds.attributes.tolist() == [[True], [False], [False]]
    expected = np.asarray(picture(1, 30, 20))[:8, :8].transpose(2, 0, 1)
    assert np.array_equal(ds.uint8[0].numpy(), expected)
    assert "dogs has no valid split" in refusal("dogs", "valid", root=tmp_path)
    assert "holds no pictures of dogs" in refusal("dogs", root=tmp_path / "cats")
    with Dogs(tmp_path) as files:
        assert files.counts() == {"train": 3, "test": 1}


# ---- where the pictures are


def test_no_root_missing_root_empty_root_and_not_a_folder(tmp_path):
    assert "set ROIGAN_DATA" in refusal("folder")
    assert "there is no folder" in refusal("folder", root=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in refusal("folder", root=tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("hello")
    assert "neither a folder nor a readable .zip" in refusal("folder", root=tmp_path / "notes.txt")
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    (tmp_path / "empty" / ".hidden.png").write_bytes(encoded(picture()))
    assert "holds no pictures" in refusal("folder", root=tmp_path / "empty")


def test_root_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ROIGAN_DATA", str(fill(tmp_path / "p", 3)))
    assert len(open_dataset("folder", "all", size=16)) == 3


def test_folder_of_archives_names_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("a.png", encoded(picture()))
    assert "faces.zip" in refusal("folder", root=tmp_path)


@pytest.mark.parametrize("outer", ["", "wrapped/"])
@pytest.mark.parametrize("packed", [False, True])
def test_split_folders(outer, packed, tmp_path):
    for split, n in (("train", 5), ("val", 2), ("test", 3)):
        fill(tmp_path / "set" / outer / split, n, prefix=split)
    root = tmp_path / "set"
    if packed:
        root = tmp_path / "set.zip"
        with zipfile.ZipFile(root, "w") as archive:
            for path in sorted((tmp_path / "set").rglob("*.png")):
                archive.write(path, path.relative_to(tmp_path / "set"))
    counts = {
        split: len(open_dataset("folder", split, 16, root))
        for split in ("train", "valid", "test", "all")
    }
    assert counts == {"train": 5, "valid": 2, "test": 3, "all": 10}
    assert len(open_dataset("folder", "train", size=16, root=root, limit=2)) == 2


def test_a_folder_called_test_is_the_test_split(tmp_path):
    root = fill(tmp_path / "set" / "test", 3)
    assert len(open_dataset("folder", "test", size=16, root=root)) == 3
    assert "you asked for train" in refusal("folder", "train", size=16, root=root)
    assert "no train pictures, only test" in refusal("folder", "train", size=16, root=root.parent)


def test_several_data_sets_in_one_folder_are_not_mixed(tmp_path):
    fill(tmp_path / "cats" / "train", 1), fill(tmp_path / "dogs" / "train", 1)
    assert "several data sets (cats, dogs)" in refusal("folder", root=tmp_path)


def test_flat_folder_is_split_by_a_hash_that_stays(tmp_path):
    root = fill(tmp_path / "p", 120, width=8, height=8)
    parts = {
        split: open_dataset("folder", split, size=8, root=root)
        for split in ("train", "valid", "test")
    }
    assert (
        sum(map(len, parts.values())) == 120
        and 80 < len(parts["train"]) < 110
        and min(map(len, parts.values())) > 3
    )
    rows = [tuple(p.flatten().tolist()) for ds in parts.values() for p in ds.uint8]
    assert len(set(rows)) == 120
    before = {split: {tuple(p.flatten().tolist()) for p in ds.uint8} for split, ds in parts.items()}
    fill(root / "more", 40, prefix="new", width=8, height=8)
    for split, old in before.items():
        assert old <= {
            tuple(p.flatten().tolist())
            for p in open_dataset("folder", split, size=8, root=root).uint8
        }


def test_a_split_that_stays_empty_says_so(tmp_path):
    root = fill(tmp_path / "p", 1)
    assert any(
        "split='all'" in refusal("folder", split, size=16, root=root) for split in ("valid", "test")
    )


# ---- decoding


def test_modes_become_rgb():
    ramp = np.linspace(0, 255, 16 * 16).round().astype(np.uint8).reshape(16, 16)
    rgb = np.stack([ramp] * 3, -1)
    grey = Image.fromarray(ramp)
    deep = Image.fromarray(ramp.astype(np.uint16) * 257)
    assert deep.mode == "I;16"
    same = [encoded(grey.convert(mode)) for mode in ("L", "RGB", "RGBA", "LA", "P")]
    for data in (
        *same,
        encoded(deep),
        encoded(deep, "TIFF"),
        encoded(grey, "BMP"),
        encoded(grey, "WEBP", lossless=True),
    ):
        assert np.array_equal(decode(data, "full", 16), rgb)
    cmyk = decode(encoded(grey.convert("RGB").convert("CMYK"), "JPEG", quality=98), "full", 16)
    assert cmyk.shape == (16, 16, 3) and abs(cmyk.astype(int) - rgb).mean() < 3


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    half = Image.new("RGBA", (16, 16), (0, 0, 0, 128))
    palette = Image.new("L", (16, 16), 3).convert("P")
    assert (decode(encoded(clear), "full", 16) == 255).all()
    assert abs(decode(encoded(half), "full", 16).astype(int) - 127).max() <= 1
    assert (decode(encoded(palette, transparency=3), "full", 16) == 255).all()


def test_exif_orientation_is_obeyed():
    image = Image.new("RGB", (16, 16), "black")
    image.paste("white", (0, 0, 16, 8))  # upper half white
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    upright = decode(encoded(image, exif=exif), "full", 16)
    assert (upright[:8] == 0).all() and (upright[8:] == 255).all()


@pytest.mark.parametrize(
    "width, height, crop, box",
    [
        (178, 218, "thesis", (25, 45, 128)),
        (89, 109, "thesis", (12, 22, 64)),
        (30, 20, None, (5, 0, 20)),
        (20, 30, "square", (0, 5, 20)),
        (40, 30, 16, (12, 7, 16)),
        (40, 30, np.int64(16), (12, 7, 16)),
    ],
)
def test_crops_are_exactly_the_centre_pixels(width, height, crop, box, tmp_path):
    left, top, side = box
    root = fill(tmp_path / "p", 1, width=width, height=height)
    ds = open_dataset("folder", "all", size=side, root=root, crop=crop)
    expected = np.asarray(picture(0, width, height))[top : top + side, left : left + side]
    assert np.array_equal(ds.uint8[0].numpy(), expected.transpose(2, 0, 1))


def test_full_crop_squashes_and_resizing_averages(tmp_path):
    image = Image.new("RGB", (64, 32), "black")
    image.paste("white", (0, 0, 32, 32))
    full = decode(encoded(image), "full", 16)
    assert (full[:, :7] == 255).all() and (full[:, 9:] == 0).all()
    checks = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    assert (
        abs(decode(encoded(checks), "square", 16).astype(int) - 127).max() <= 2
    )  # no moiré: antialiased


def test_crops_that_do_not_fit(tmp_path):
    root = fill(tmp_path / "p", 2, width=64, height=64)
    assert "64x64 was found" in refusal("folder", "all", root=root, crop="thesis")
    assert "crop=65 does not fit" in refusal("folder", "all", root=root, crop=65)


# ---- bad files


def test_a_few_unreadable_files_are_named_counted_and_left_out(tmp_path):
    root = fill(tmp_path / "p", 60)
    whole = (root / "000.png").read_bytes()
    (root / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (root / "text.jpg").write_text("this is no picture")
    picture(1, 4, 4).save(root / "tiny.png")
    with pytest.warns(UserWarning, match="left out 3 of 63") as caught:
        ds = open_dataset("folder", "all", size=16, root=root)
    sentence = str(caught[0].message)
    assert (
        all(name in sentence for name in ("truncated.png", "text.jpg", "tiny.png"))
        and "\n" not in sentence
    )
    assert len(ds) == 60 and ds.uint8.shape == (60, 3, 16, 16)
    with pytest.warns(UserWarning, match="3 of 63"):  # from the cache, still said
        assert open_dataset("folder", "all", size=16, root=root).fingerprint == ds.fingerprint


def test_truncated_jpeg_is_not_half_grey(tmp_path):
    data = encoded(picture(0, 64, 64), "JPEG")
    with pytest.raises(OSError):
        decode(data[: len(data) // 2])


def test_more_than_five_percent_unreadable_is_refused(tmp_path):
    root = fill(tmp_path / "p", 18)
    (root / "bad.png").write_text("no")
    assert "1 of 19 pictures" in refusal("folder", "all", size=16, root=root)
    for path in root.glob("0*.png"):
        path.unlink()
    assert "1 of 1 pictures" in refusal("folder", "all", size=16, root=root)


def test_a_damaged_archive_and_a_dangling_link(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"no archive" * 50)
    assert "neither a folder nor a readable .zip" in refusal("folder", root=tmp_path / "bad.zip")
    root = fill(tmp_path / "p", 30)
    os.symlink(tmp_path / "gone.png", root / "link.png")
    with pytest.warns(UserWarning, match="link.png"):
        assert len(open_dataset("folder", "all", size=16, root=root)) == 30


# ---- the cache


def test_pixels_are_decoded_once(tmp_path, own_cache, monkeypatch):
    root = fill(tmp_path / "p", 4)
    first = open_dataset("folder", "all", size=16, root=root)
    monkeypatch.setattr(folder, "decode", lambda *a: pytest.fail("decoded again"))
    again = open_dataset("folder", "all", size=16, root=root)
    assert torch.equal(first.uint8, again.uint8) and len(list(own_cache.iterdir())) == 1
    again.uint8.zero_()  # a private copy: the cache keeps its content
    assert torch.equal(first.uint8, open_dataset("folder", "all", size=16, root=root).uint8)


def test_cache_follows_files_crop_and_size(tmp_path, own_cache):
    root = fill(tmp_path / "p", 2, width=30)
    prints = {
        open_dataset("folder", "all", size=16, root=root).fingerprint,
        open_dataset("folder", "all", size=8, root=root).fingerprint,
        open_dataset("folder", "all", size=16, root=root, crop="full").fingerprint,
    }
    picture(9, 30, 20).save(root / "000.png")
    os.utime(root / "000.png", ns=(1, 1))
    prints.add(open_dataset("folder", "all", size=16, root=root).fingerprint)
    assert len(prints) == 4 == len(list(own_cache.iterdir()))


def test_a_damaged_cache_is_made_again(tmp_path, own_cache):
    root = fill(tmp_path / "p", 2)
    first = open_dataset("folder", "all", size=16, root=root).fingerprint
    file = next(own_cache.iterdir()).name
    for spoiled in (b"", b"nonsense", (own_cache / file).read_bytes()[:200]):
        next(own_cache.iterdir()).unlink()  # a file of its own: the old one may still be mapped
        (own_cache / file).write_bytes(spoiled)
        assert open_dataset("folder", "all", size=16, root=root).fingerprint == first


def test_a_full_disk_falls_back_to_memory(tmp_path, own_cache, monkeypatch):
    root = fill(tmp_path / "p", 2)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.warns(UserWarning, match="stay in memory.*No space left on device"):
        assert len(open_dataset("folder", "all", size=16, root=root)) == 2
    assert list(own_cache.iterdir()) == []  # nothing half-written
    monkeypatch.setenv("ROIGAN_CACHE", str(root / "000.png" / "below"))
    with pytest.warns(UserWarning, match="stay in memory"):
        assert len(open_dataset("folder", "all", size=16, root=root)) == 2


def test_opening_is_quiet_when_all_is_well(tmp_path, capfd):
    root = fill(tmp_path / "p", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            open_dataset("folder", "all", size=16, root=root)[:]
    assert capfd.readouterr() == ("", "")


# ---- real pictures


def test_real_pictures(real_images):
    assert real_images.shape[1:] == (3, 64, 64) and len(real_images) >= 8
    assert -1 <= real_images.min() and real_images.max() <= 1 and real_images.std() > 0.1
    assert real_images.flatten(1).unique(dim=0).shape[0] == len(real_images)
