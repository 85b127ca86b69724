"""The measures of control, on a stub whose codes move known pixels by known amounts."""
import pytest
import torch

from roigan_lib.errors import RoiganError
from roigan_lib.metrics import control


class Stub:
    """Inside the hole: red = 0.3 c1, green = 0.1 per category of d1, blue = noise of the seed; c2 does nothing."""
    n_continuous, n_discrete, n_categories = 2, 1, 3

    def inpaint(self, images, masks, codes=None, seed=0):
        codes = torch.as_tensor(codes).reshape(1, -1).expand(len(images), -1)
        blue = torch.rand(len(images), generator=torch.Generator().manual_seed(seed))
        new = torch.stack([0.3 * codes[:, 0], 0.1 * codes[:, 2], blue], 1)[:, :, None, None].expand_as(images)
        return torch.where(masks > 0.5, new, images)


@pytest.fixture
def faces():
    masks = torch.zeros(20, 1, 8, 8)
    masks[:, :, 2:6, 3:7] = 1
    masks[0, :, 0] = 1                                   # another area: shares are per image
    return torch.rand(20, 3, 8, 8) * 2 - 1, masks


def test_visible_change_is_the_closed_form(faces):
    change = control.visible_change_per_code(Stub(), *faces)
    assert list(change) == ["c1", "c2", "d1", "z0"] and all(len(v) == 20 for v in change.values())
    assert torch.allclose(change["c1"], torch.full((20,), 0.6 / 2 / 3), atol=1e-6)
    assert torch.allclose(change["d1"], torch.full((20,), (0.1 + 0.1 + 0.2) / 3 / 2 / 3), atol=1e-6)
    assert (change["c2"] == 0).all() and change["z0"].mean() > 0.01


def test_one_mask_serves_all_images_and_other_sliders_stay_at_base(faces):
    images, masks = faces
    stacks = control.end_completions(Stub(), images, masks[1:2], base=[0.5, 0.0, 2.0])
    assert stacks["d1"].shape == (3, 20, 3, 8, 8)
    inside = stacks["d1"][:, :, :, 3, 4]                                              # (3, 20, 3)
    assert torch.allclose(inside[..., 0], torch.tensor(0.15))
    assert torch.allclose(inside[:, 0, 1], torch.tensor([0, 0.1, 0.2]))
    assert torch.allclose(stacks["z0"][:, :, 1, 3, 4], torch.tensor(0.2))
    assert torch.equal(stacks["c1"][0][:, :, 0, 0], images[:, :, 0, 0])


def test_effects_are_signed_scaled_and_consistent(faces):
    stacks = control.end_completions(Stub(), *faces)
    effect = control.effect_on_factors(stacks, lambda x: x[:, :2, 3, 4], scale=torch.tensor([0.3, 0.1]))
    assert torch.allclose(effect["c1"], torch.tensor([2.0, 0.0]).expand(20, 2), atol=1e-5)
    assert torch.allclose(effect["d1"], torch.tensor([0.0, 4 / 3]).expand(20, 2), atol=1e-5)
    assert torch.allclose(control.agreement(effect["c1"])[0], torch.tensor(1.0))
    there_and_back = torch.tensor([1.0, -1.0]).repeat(10)[:, None]
    assert control.agreement(there_and_back) == 0


def test_monotonicity():
    up = torch.linspace(-1, 1, 5)
    rho = control.monotonicity(torch.stack([up.exp(), -up, up.square(), torch.zeros(5)], 1))
    assert rho[0] == 1 and rho[1] == -1 and abs(rho[2]) < 0.5 and rho[3] == 0
    with pytest.raises(RoiganError, match="three"):
        control.monotonicity(torch.zeros(2, 4))


def test_a_code_can_be_legible_and_invisible():
    codes = torch.rand(60, 2) * 2 - 1
    pattern = torch.randn(48)
    pictures = 0.001 * codes[:, :1] * pattern
    r2 = control.readability(pictures, codes, ridge=1e-6)
    assert r2[0] > 0.99 and r2[1] < 0.3
    with pytest.raises(RoiganError, match="more pictures"):
        control.readability(pictures[:2], codes[:2])


def test_bad_shapes_are_refused(faces):
    with pytest.raises(RoiganError, match="rows of codes"):
        control.sweep(Stub(), *faces, torch.zeros(3))
    with pytest.raises(RoiganError, match="two settings"):
        control.visible_change(torch.zeros(1, 20, 3, 8, 8), faces[1])
