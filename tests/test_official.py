"""Table 4.1's data sets in miniature, in every layout a user may have; check, prepare, download."""

import hashlib
import http.server
import io
import threading
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from roigan_lib.__main__ import main
from roigan_lib.data import cars, cats, open_dataset, sources
from roigan_lib.errors import RoiganError

IDS = (1, 162_770, 162_771, 182_637, 182_638, 202_599)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ROIGAN_DATA", raising=False)


def photo(seed, width=178, height=218):
    small = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    return out.getvalue()


def put(root, files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def zipped(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def refusal(*args, **kwargs):
    with pytest.raises(RoiganError) as caught:
        open_dataset(*args, **kwargs)
    return str(caught.value)


# ---- CelebA


def faces(folder="img_align_celeba/", suffix=".jpg"):
    return {f"{folder}{i:06d}{suffix}": jpeg(photo(i)) for i in IDS}


def partition(change=()):
    part = {i: min(2, (i > 162_770) + (i > 182_637)) for i in IDS} | dict(change)
    return "".join(f"{i:06d}.jpg {k}\n" for i, k in part.items())


ATTRIBUTES = "6\nSmiling Young\n" + "".join(
    f"{i:06d}.jpg {1 if i % 2 else -1:2d}  1\n" for i in IDS
)


@pytest.mark.parametrize(
    "layout", ["official", "images alone", "zip", "folder of zip", "kaggle", "torchvision"]
)
def test_celeba_in_every_layout(layout, tmp_path):
    lists = {"list_eval_partition.txt": partition(), "list_attr_celeba.txt": ATTRIBUTES}
    if layout == "official":
        root = put(tmp_path / "r", faces() | lists)
    elif layout == "images alone":
        root = put(tmp_path / "r", faces() | lists) / "img_align_celeba"
    elif layout == "zip":
        root = zipped(tmp_path / "r" / "img_align_celeba.zip", faces())
        put(tmp_path / "r", lists)
    elif layout == "folder of zip":
        zipped(tmp_path / "r" / "img_align_celeba.zip", faces())
        root = put(tmp_path / "r", lists)
    elif layout == "kaggle":
        lists = {
            k.replace("txt", "csv"): "\n".join(",".join(row.split()) for row in text.splitlines())
            for k, text in lists.items()
        }
        lists["list_attr_celeba.csv"] = (
            "image_id,Smiling,Young\n" + lists["list_attr_celeba.csv"].split("\n", 2)[2]
        )
        root = put(tmp_path / "r", faces("img_align_celeba/img_align_celeba/") | lists)
    else:
        root = put(
            tmp_path / "r",
            faces("celeba/img_align_celeba/") | {"celeba/" + k: v for k, v in lists.items()},
        )
    sets = {split: open_dataset("celeba", split, 64, root) for split in ("train", "valid", "test")}
    assert [len(s) for s in sets.values()] == [2, 2, 2]
    assert [int(n[-10:-4]) for n in sets["test"].names] == [182_638, 202_599]
    assert sets["train"].attribute_names == ["Smiling", "Young"]
    assert sets["train"].attributes.tolist() == [[True, True], [False, True]]
    assert len(open_dataset("celeba", "all", 64, root, limit=4)) == 4


def test_celeba_crop_is_that_of_the_thesis(tmp_path):
    from torchvision import transforms

    root = put(tmp_path / "r", faces())
    for size in (64, 128):
        cut = transforms.Compose([transforms.CenterCrop(128), transforms.Resize(size)])
        ours = open_dataset("celeba", "train", size, root).uint8
        for i, pixels in zip((1, 162_770), ours):
            theirs = np.asarray(cut(Image.open(root / f"img_align_celeba/{i:06d}.jpg")))
            np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), theirs)
    whole = open_dataset("celeba", "train", 64, root, crop="full").uint8[0]
    theirs = np.asarray(
        Image.open(root / "img_align_celeba/000001.jpg").resize((64, 64), Image.Resampling.BILINEAR)
    )
    np.testing.assert_array_equal(whole.permute(1, 2, 0).numpy(), theirs)


def test_celeba_without_its_list_is_split_by_id_and_a_list_is_obeyed(tmp_path):
    root = put(tmp_path / "r", faces())
    assert sources.counts("celeba", root) == {"train": 2, "valid": 2, "test": 2}
    put(root, {"list_eval_partition.txt": partition({1: 2})})
    assert sources.counts("celeba", root) == {"train": 1, "valid": 2, "test": 3}
    put(root, {"list_eval_partition.txt": "000001.jpg 0\n"})
    assert "no split for 5 of 6" in refusal("celeba", root=root)


def test_celeba_refusals(tmp_path):
    empty = put(tmp_path / "r", {"holiday.jpg": jpeg(photo(0))})
    assert "no CelebA images" in refusal("celeba", root=empty)
    few = put(tmp_path / "few", {"000001.jpg": jpeg(photo(0))})
    assert "no test CelebA images, only train" in refusal("celeba", "test", root=few)
    put(few, {"list_attr_celeba.txt": "1\nSmiling\n000002.jpg 1\n"})
    assert "no full row for 1 images, such as 000001" in refusal("celeba", root=few)


def test_attributes_stay_with_their_images_when_one_is_spoiled(tmp_path, monkeypatch):
    names = {f"{i:06d}.jpg": jpeg(photo(i)) for i in range(1, 31)}
    names["000003.jpg"] = names["000003.jpg"][:300]
    rows = "".join(f"{i:06d}.jpg {1 if i < 5 else -1}\n" for i in range(1, 31))
    root = put(tmp_path / "r", names | {"list_attr_celeba.txt": "30\nSmiling\n" + rows})
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UserWarning, match="left out 1 of 30 .*000003.jpg"):
            data = open_dataset("celeba", "train", 16, root)
        assert len(data) == len(data.names) == len(data.attributes) == 29
        assert data.attributes[:, 0].sum() == 3 and "000003.jpg" not in data.names


# ---- cats


def cat(eyes, width=300, height=260):
    """A grey photograph with a red spot on the left eye and a blue one on the right."""
    y, x = np.mgrid[:height, :width]
    pixels = np.full((height, width, 3), 128, np.uint8)
    for (ex, ey), colour in zip(eyes, ((255, 0, 0), (0, 0, 255))):
        pixels[(x - ex) ** 2 + (y - ey) ** 2 < 12**2] = colour
    return jpeg(Image.fromarray(pixels))


def marks(eyes):
    return "9 " + " ".join(f"{v}" for eye in eyes for v in eye) + " 150 200" + " 1 1" * 6 + " "


PLACES = [((90, 110), (200, 110)), ((100, 150), (190, 90)), ((120, 80), (180, 140))]


def test_cats_are_aligned_by_the_eyes(tmp_path):
    files = {f"CAT_0{i}/{i:08d}_000.jpg": cat(eyes) for i, eyes in enumerate(PLACES)}
    files |= {f"CAT_0{i}/{i:08d}_000.jpg.cat": marks(eyes) for i, eyes in enumerate(PLACES)}
    for size in (32, 64):
        data = open_dataset("cats", "all", size, put(tmp_path / "r", files))
        assert len(data) == 3
        for image in data[:]:
            for channel, (ex, ey) in zip((0, 2), cats.EYES):
                spot = (image[channel] - image[1] > 0.7).nonzero().float().mean(0) + 0.5
                assert (spot - size * torch.tensor([ey, ex])).abs().max() < 0.03 * size


def test_cats_twice_packed_and_spoiled(tmp_path):
    files = {f"CAT_00/{i:08d}_000.jpg": cat(eyes) for i, eyes in enumerate(PLACES)}
    files |= {f"CAT_00/{i:08d}_000.jpg.cat": marks(eyes) for i, eyes in enumerate(PLACES)}
    twice = files | {"cats/" + name: data for name, data in files.items()}
    whole = open_dataset("cats", "all", 32, zipped(tmp_path / "cat-dataset.zip", twice))
    assert len(whole) == 3  # Kaggle packs every photograph twice
    half = [dict(list(files.items())[k::2]) for k in (0, 1)]
    (
        zipped(tmp_path / "two" / "CAT_DATASET_01.zip", half[0]),
        zipped(tmp_path / "two" / "CAT_DATASET_02.zip", half[1]),
    )
    apart = {n: d for n, d in files.items()}
    parts = open_dataset("cats", "all", 32, put(tmp_path / "plain", apart))
    assert torch.equal(parts.uint8, whole.uint8)
    spoiled = apart | {"CAT_00/00000001_000.jpg.cat": "9 1 x"}
    assert len(open_dataset("cats", "all", 32, put(tmp_path / "spoiled", spoiled))) == 2
    ready, lines = sources.check("cats", tmp_path / "plain")
    assert ready and "no landmarks" not in " ".join(lines)


def test_two_archives_are_read_as_one(tmp_path):
    for k, eyes in enumerate(PLACES[:2]):
        zipped(
            tmp_path / f"CAT_DATASET_0{k}.zip",
            {f"CAT_0{k}/1.jpg": cat(eyes), f"CAT_0{k}/1.jpg.cat": marks(eyes)},
        )
    data = open_dataset("cats", "all", 32, tmp_path)
    assert len(data) == 2 and data.names[0].startswith("CAT_DATASET_00.zip!/CAT_00/")


def test_ready_cats_lose_their_duplicates_and_keep_their_folders(tmp_path):
    small = {f"train/{i}.jpg": jpeg(photo(i, 64, 64)) for i in range(5)}
    root = put(
        tmp_path / "r",
        small | {"train/copy.jpg": small["train/0.jpg"], "test/9.jpg": jpeg(photo(9, 64, 64))},
    )
    assert sources.counts("cats", root) == {"train": 5, "test": 1}
    assert len(open_dataset("cats", "train", 64, root)) == 5
    assert "needs them: use crop='square'" in refusal("cats", root=root, crop="eyes")
    assert sources.check("cats", root)[1][-1].startswith("no landmarks")


# ---- cars


def annotations(rows):
    from scipy.io import savemat

    kinds = [(k, object) for k in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    out = io.BytesIO()
    savemat(
        out, {"annotations": np.array([tuple(row) for row in rows], dtype=kinds).reshape(1, -1)}
    )
    return out.getvalue()


def garage(nested=False, devkit="devkit/", test_mat="cars_test_annos.mat"):
    extra = lambda part: f"{part}/{part}/" if nested else f"{part}/"
    files = {
        f"{extra(part)}{i:05d}.jpg": jpeg(photo(i, 120, 80))
        for part in ("cars_train", "cars_test")
        for i in (1, 2)
    }
    rows = [(11, 21, 70, 60, 1, "00001.jpg"), (1, 1, 120, 80, 2, "00002.jpg")]
    return files | {
        devkit + "cars_train_annos.mat": annotations(rows),
        devkit + test_mat: annotations(rows),
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "nested, test_mat", [(False, "cars_test_annos.mat"), (True, "cars_test_annos_withlabels.mat")]
)
def test_cars_are_cropped_by_their_boxes(packed, nested, test_mat, tmp_path):
    files = garage(nested, test_mat=test_mat)
    root = zipped(tmp_path / "cars.zip", files) if packed else put(tmp_path / "r", files)
    for split in ("train", "test"):
        data = open_dataset("cars", split, 60, root)
        name = next(n for n in files if f"cars_{split}" in n and n.endswith("00001.jpg"))
        whole = Image.open(io.BytesIO(files[name])).convert("RGB")
        # the box is 60 x 40 pixels from (10, 20), 60 x 60 around the same centre
        np.testing.assert_array_equal(
            data.uint8[0].permute(1, 2, 0).numpy(), np.asarray(whole.crop((10, 10, 70, 70)))
        )
        assert len(data) == 2
    assert len(open_dataset("cars", "all", 16, root)) == 4


def test_ready_crops_of_cars_keep_their_splits(tmp_path):
    root = put(
        tmp_path,
        {f"{p}/{i}.jpg": jpeg(photo(i, 16, 16)) for p in ("train", "test") for i in (1, 2)},
    )
    data = open_dataset("cars", "test", 16, root)
    assert data.names == ["test/1.jpg", "test/2.jpg"] and data.name == "cars"
    whole = np.asarray(Image.open(root / data.names[0]).convert("RGB"))
    np.testing.assert_array_equal(data.uint8[0].permute(1, 2, 0).numpy(), whole)
    assert not any("devkit" in line for line in sources.check("cars", root)[1])


def test_squares_stay_within_the_picture():
    assert cars.square((10, 20, 70, 60), 120, 80) == (10, 10, 70, 70)
    assert cars.square((0, 20, 60, 60), 120, 80) == (0, 10, 60, 70)
    assert cars.square((80, 50, 120, 80), 120, 80) == (80, 40, 120, 80)
    assert cars.square((0, 0, 120, 80), 120, 80) == (
        0,
        0,
        120,
        80,
    )  # as much of the square as there is


def test_cars_without_boxes_or_with_a_spoiled_devkit(tmp_path):
    files = garage()
    root = put(tmp_path / "r", {k: v for k, v in files.items() if not k.startswith("devkit")})
    assert "has no box for 2 of 2" in refusal("cars", root=root)
    assert len(open_dataset("cars", "train", 16, root, crop="square")) == 2
    assert any("only crop='square'" in line for line in sources.check("cars", root)[1])
    put(root, {"devkit/cars_train_annos.mat": b"no matlab"})
    assert "no annotation file of Stanford Cars" in refusal("cars", root=root)
    assert "no valid split" in refusal("cars", "valid", root=root)


# ---- check and prepare


def test_check_names_what_is_wrong(tmp_path):
    assert sources.check("celeba", tmp_path / "gone")[0] is False
    page = put(
        tmp_path / "a", {"img_align_celeba.zip": "<!DOCTYPE html><title>Quota exceeded</title>"}
    )
    ready, lines = sources.check("celeba", page)
    assert not ready and len(lines) == 1 and "is a web page, not an archive" in lines[0]
    assert "is a web page" in refusal("celeba", root=page)
    whole = zipped(tmp_path / "b" / "img_align_celeba.zip", faces()).read_bytes()
    cut = put(tmp_path / "c", {"img_align_celeba.zip": whole[: len(whole) // 2]})
    assert "is cut short" in sources.check("celeba", cut)[1][0] and "is cut short" in refusal(
        "celeba", root=cut
    )
    put(tmp_path / "b", {"img_align_celeba.zip.part": b"PK"})
    ready, lines = sources.check("celeba", tmp_path / "b")
    assert ready and "did not finish" in lines[0] and "2 of the official 162,770" in " ".join(lines)
    with pytest.raises(RoiganError, match="unknown data set made of files"):
        sources.check("celebs")


def test_the_commands(tmp_path, capsys, monkeypatch):
    root = put(
        tmp_path / "r",
        faces() | {"list_eval_partition.txt": partition(), "list_attr_celeba.txt": ATTRIBUTES},
    )
    assert main(["data", "check", "celeba", "--root", str(root)]) == 0
    assert "2 train, 2 valid, 2 test" in capsys.readouterr().out
    assert main(["data", "prepare", "celeba", "--root", str(root), "--size", "32"]) == 0
    assert capsys.readouterr().out.count("2 of 2 pictures at 32x32") == 3
    assert main(["data", "check", "cars", "--root", str(tmp_path / "gone")]) == 1
    assert main(["data", "download", "cars"]) == 2
    assert "cars has no download; by hand" in capsys.readouterr().err


# ---- downloads, from a server on this machine


class Server(http.server.BaseHTTPRequestHandler):
    content, breaks_at, kind, seen = b"", None, "application/zip", []

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        self.seen.append(start)
        if self.path != "/file":
            return self.send_error(404)
        if start >= len(self.content):
            return self.send_error(416)
        body = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.breaks_at is None or start else body[: self.breaks_at])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Server,), {"content": bytes(range(256)) * 4000, "seen": []})
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{service.server_port}/file"
    handler.md5 = hashlib.md5(handler.content).hexdigest()
    yield handler
    service.shutdown()


def test_a_download_that_breaks_goes_on_where_it_stopped(server, tmp_path):
    path, said = tmp_path / "deep" / "file.zip", []
    server.breaks_at = 300_000
    with pytest.raises(RoiganError, match="broke off .* the same command goes on from there"):
        sources.fetch(server.url, path, server.md5, said.append)
    assert not path.exists() and 0 < (tmp_path / "deep" / "file.zip.part").stat().st_size <= 300_000
    sources.fetch(server.url, path, server.md5, said.append)
    assert (
        path.read_bytes() == server.content
        and server.seen[1] == 300_000
        and "checksum right" in said[-1]
    )
    assert [p.name for p in path.parent.iterdir()] == ["file.zip"]
    sources.fetch(server.url, path, server.md5, said.append)
    assert len(server.seen) == 2 and "already there" in said[-1]


def test_a_part_that_is_already_whole_is_taken(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(server.content)
    sources.fetch(server.url, tmp_path / "file.zip", server.md5, str)
    assert (tmp_path / "file.zip").read_bytes() == server.content


def test_wrong_checksum_web_page_missing_file_and_no_server(server, tmp_path):
    path = tmp_path / "file.zip"
    with pytest.raises(RoiganError, match="another MD5 checksum"):
        sources.fetch(server.url, path, "0" * 32, str)
    assert list(tmp_path.iterdir()) == []
    server.kind, server.content = "text/html; charset=utf-8", b"<html>Quota exceeded</html>"
    with pytest.raises(RoiganError, match="web page in place of file.zip.*quota"):
        sources.fetch(server.url, path, None, str, "celeba")
    with pytest.raises(RoiganError, match="refused .*404"):
        sources.fetch(server.url + "s", path, None, str)
    with pytest.raises(RoiganError, match="cannot be reached"):
        sources.fetch("http://127.0.0.1:9/file", path, None, str)
    assert list(tmp_path.iterdir()) == []


# ---- the real thing, where it is


def test_real_celeba_frames(real_celeba):
    data = open_dataset("celeba", "train", 64, real_celeba, limit=200)
    assert len(data) == 200 and data.names[0].endswith("000001.jpg")
    eyes = data[:].mean((0, 1))[28:38]  # on average the eyes are dark, at a third of the height
    assert (
        eyes[:, 18:27].mean() < eyes[:, 29:35].mean()
        and eyes[:, 37:46].mean() < eyes[:, 29:35].mean()
    )
