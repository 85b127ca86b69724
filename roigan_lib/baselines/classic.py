"""Two methods of OpenCV that know nothing of faces: Telea (the thesis' "FMM"), Navier-Stokes."""

import numpy as np
import torch

from ..checks import check_number, check_pair
from ..data import to_uint8


def telea(images, masks, radius=3):
    """Fill each hole from its border inwards (A. Telea, J. Graphics Tools 9(1), 2004; thesis 2.1).

    images, masks: as in `check_pair`, 1 = the region to fill. radius: pixels around a point that it
    is filled from; OpenCV's usual 3. Returns float (n, 3, H, W) on the images' device: the hole
    filled from an 8-bit copy (steps of 2/255), every other pixel bit-equal to the input.
    Deterministic. RoiganError: what `check_pair` refuses, another radius.
    """
    return _by_opencv("INPAINT_TELEA", images, masks, radius)


def navier_stokes(images, masks, radius=3):
    """Continue the lines of equal brightness into each hole (Bertalmio, Bertozzi, Sapiro 2001).

    Arguments, result and errors as for `telea`.
    """
    return _by_opencv("INPAINT_NS", images, masks, radius)


def _by_opencv(method, images, masks, radius):
    import cv2

    images, masks = check_pair(images, masks)
    radius = check_number("radius", radius, 0, 1000)
    hole, filled = masks > 0.5, images.clone()
    pixels = to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()  # (n, H, W, 3)
    holes = hole[:, 0].to(torch.uint8).cpu().numpy()  # (n, H, W)
    for i, (picture, region) in enumerate(zip(pixels, holes)):
        done = cv2.inpaint(np.ascontiguousarray(picture), region, radius, getattr(cv2, method))
        filled[i] = torch.from_numpy(done).permute(2, 0, 1).to(images) / 127.5 - 1
    return torch.where(hole, filled, images)
