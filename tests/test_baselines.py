"""The classic methods: outside the hole nothing moves by a bit, inside it is OpenCV's own
answer.
"""

import numpy as np
import pytest
import torch

from roigan_lib.baselines import BASELINES, navier_stokes, telea
from roigan_lib.errors import RoiganError
from roigan_lib.masks import sample_masks


@pytest.fixture
def pair():
    return torch.rand(5, 3, 32, 40) * 2 - 1, sample_masks("elliptic", 5, (32, 40), seed=3)


@pytest.mark.parametrize("method, flag", [(telea, "INPAINT_TELEA"), (navier_stokes, "INPAINT_NS")])
def test_outside_is_bit_equal_and_inside_is_opencv(pair, method, flag):
    cv2 = pytest.importorskip("cv2")
    images, masks = pair
    done = method(images, masks)
    hole = masks.expand_as(images) > 0.5
    assert (
        done.dtype == images.dtype
        and torch.equal(done[~hole], images[~hole])
        and not torch.equal(done, images)
    )
    pixels = ((images[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy().copy()
    expected = cv2.inpaint(pixels, masks[0, 0].byte().numpy(), 3, getattr(cv2, flag))
    inside = masks[0, 0].numpy() > 0.5
    ours = ((done[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours[inside], expected[inside], atol=1e-3)


def test_a_constant_image_stays_constant(pair):
    images = torch.full((5, 3, 32, 40), 64 / 127.5 - 1)
    assert torch.allclose(telea(images, pair[1]), images, atol=1e-6)


def test_deterministic_and_does_not_touch_its_input(pair):
    images, masks = pair
    before = images.clone()
    assert torch.equal(telea(images, masks), telea(images, masks)) and torch.equal(images, before)
    assert BASELINES["telea"] is telea


def test_bad_input_is_one_sentence(pair):
    images, masks = pair
    for wrong, words in ((masks[:3], "do not pair"), (masks[..., :20], "resize one")):
        with pytest.raises(RoiganError, match=words):
            telea(images, wrong)
    with pytest.raises(RoiganError, match="one or more"):
        telea(images[:0], masks[:0])
    with pytest.raises(RoiganError, match="radius is 0"):
        telea(images, masks, 0)
    assert torch.equal(telea(images, masks[:, 0]), telea(images, masks))
