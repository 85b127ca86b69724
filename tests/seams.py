"""The seam of what is pasted, on ten photographs that are made here.

`python tests/seams.py` writes figures/seams.jsonl: `border_ratio` at the photographs'
full size, each alone and all together. The portrait and the cat are in the public domain and come
with scikit-image; the painted faces are synthfaces. Focus, light, grain and JPEG are put on top.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from roigan_lib.data import open_dataset
from roigan_lib.explorer.places import eye_places, regions
from roigan_lib.masks import region
from roigan_lib.metrics import border_ratio, versions, write_rows
from roigan_lib.photo import Frame, astronaut, crop_frame, inpaint_photo, mask_to_photo, open_photo
from roigan_lib.stored import load_model

ROWS = Path(__file__).parents[1] / "figures" / "seams.jsonl"
KINDS = ("eyes", "nose", "mouth")
EYES = {"portrait": ((203.5, 101.2), (247, 103.5)), "cat": ((172, 117), (318, 137))}
MODELS = {"portrait": ("celeba", "celeba128"), "cat": ("cats",), "painted": ("synthfaces",)}
# Name: whose it is, its enlargement, degrees of turn, blur and fineness of the grain in pixels,
# grain in grey levels, gain, quality of its JPEG (0 = none).
PHOTOGRAPHS = {
    "as it is": ("portrait", 1, 0, 0, 0, 0, 1, 0),
    "twice, turned": ("portrait", 2, 10, 0, 0, 0, 1, 0),
    "small": ("portrait", 0.625, 0, 0, 0, 0, 1, 0),
    "grain": ("portrait", 1.5, -6, 0, 0, 10, 1, 85),
    "dark, soft grain": ("portrait", 3, 0, 1, 1, 6, 0.5, 0),
    "cat": ("cat", 1, 0, 0, 0, 0, 1, 0),
    "cat, large": ("cat", 2.5, 8, 0.7, 0, 3, 1, 75),
    "painted": ("painted", 1, 0, 0, 0, 0, 1, 0),
    "painted, grain": ("painted", 1, 0, 0, 0, 4, 1, 0),
    "painted, soft": ("painted", 1.5, 5, 2, 0.8, 6, 0.8, 80),
}


def photograph(number, whose, scale, turn, blur, fine, grain, gain, quality):
    """A photograph, uint8 (H, W, 3), and the matrix (2, 3) from the source's pixels to its own."""
    if whose == "painted":
        source = open_dataset("synthfaces", "test", 640, limit=number + 1)[number : number + 1]
        source = np.asarray((source[0].permute(1, 2, 0) + 1) * 127.5)
    else:
        source = astronaut() if whose == "portrait" else _cat()
    height, width = (round(scale * n) for n in source.shape[:2])
    matrix = cv2.getRotationMatrix2D([(n - 1) / 2 for n in source.shape[1::-1]], turn, scale)
    matrix[:, 2] += [(now - was) / 2 for now, was in zip((width, height), source.shape[1::-1])]
    source = cv2.GaussianBlur(source.astype(np.float32), (0, 0), max(0.01, 0.5 / scale - 0.5))
    how = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REFLECT}
    pixels = cv2.warpAffine(source, matrix, (width, height), **how)
    noise = np.random.default_rng(number).normal(0, 1, pixels.shape).astype(np.float32)
    pixels, noise = (
        cv2.GaussianBlur(p, (0, 0), b or 0.01) for p, b in ((pixels, blur), (noise, fine))
    )
    pixels = (gain * pixels + grain * noise / noise.std()).round().clip(0, 255).astype(np.uint8)
    if quality:
        Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG", quality=quality)
        pixels = open_photo(file.getvalue())
    return pixels, matrix


def _cat():
    import skimage.data

    return skimage.data.chelsea()


def frame_of(whose, matrix, model, size):
    """The frame that puts the eyes of a source, seen through `matrix`, where a model has them."""
    if whose == "painted":
        first = crop_frame(640, 640, size).matrix
    else:
        (a, b), (c, d) = (
            [complex(*p) for p in eyes] for eyes in (EYES[whose], eye_places(model, size))
        )
        turn = (d - c) / (b - a)
        shift = c - turn * a
        first = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    back = np.vstack([cv2.invertAffineTransform(matrix), [0, 0, 1]])
    return Frame(first @ back, size)


def rows():
    """For each photograph and model the ratio over the regions of KINDS; the means of a model."""
    gans, found = {}, []
    for number, (name, how) in enumerate(PHOTOGRAPHS.items()):
        photo, matrix = photograph(number, *how)
        for model in MODELS[how[0]]:
            gan = gans.setdefault(model, load_model(model))
            frame, done, holes = frame_of(how[0], matrix, model, gan.size), [], []
            for kind in KINDS:
                ellipses = [region(gan.size, *e) for e in regions(model, gan.size)[kind]]
                mask = torch.stack(ellipses).amax(0).reshape(1, 1, gan.size, gan.size)
                done.append(inpaint_photo(gan, photo, mask, frame))
                holes.append(mask_to_photo(mask, frame, *photo.shape[1::-1]))
            fakes, reals = (to_images(p) for p in (done, [photo] * len(KINDS)))
            value = border_ratio(fakes, reals, torch.from_numpy(np.stack(holes))[:, None].float())
            about = {
                "method": model,
                "checkpoint": gan.checkpoint_hash,
                "reference": "same",
                "seed": 0,
                "versions": versions(),
            }
            about |= {"dataset": name, "mask_law": ", ".join(KINDS), "split": "made", "n_real": 3}
            found.append({"metric": "border_ratio_full", "value": value, "spread": None} | about)
            print(f"{model}, {name}: {value:.3f}", flush=True)
    for model in gans:
        values = [row["value"] for row in found if row["method"] == model]
        last = {"value": float(np.mean(values)), "spread": float(np.std(values))}
        found.append(
            found[-1] | last | {"method": model, "dataset": "all", "n_real": 3 * len(values)}
        )
    return found


def to_images(photographs):
    """float32 (n, 3, H, W) in [-1, 1] of photographs uint8 (H, W, 3)."""
    return torch.from_numpy(np.stack(photographs)).permute(0, 3, 1, 2) / 127.5 - 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    write_rows(ROWS, rows())
