"""The measures of control, on a stub whose codes move known pixels by known amounts."""

import pytest
import torch
from torch.nn import functional as F

from roigan_lib import control
from roigan_lib.config import load_config
from roigan_lib.data import ImageSet, open_dataset, synthfaces
from roigan_lib.errors import RoiganError
from roigan_lib.inpainter import RoIGAN
from roigan_lib.models import Generator


class Stub:
    """Inside the hole: red = 0.3 c1, green = 0.1 per category of d1, blue = noise; no c2."""

    n_continuous, n_discrete, n_categories = 2, 1, 3

    def inpaint(self, images, masks, codes=None, seed=0):
        codes = torch.as_tensor(codes).reshape(1, -1).expand(len(images), -1)
        blue = torch.rand(len(images), generator=torch.Generator().manual_seed(seed))
        new = torch.stack([0.3 * codes[:, 0], 0.1 * codes[:, 2], blue], 1)[
            :, :, None, None
        ].expand_as(images)
        return torch.where(masks > 0.5, new, images)


@pytest.fixture
def faces():
    masks = torch.zeros(20, 1, 8, 8)
    masks[:, :, 2:6, 3:7] = 1
    masks[0, :, 0] = 1  # another area: shares are per image
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
    inside = stacks["d1"][:, :, :, 3, 4]  # (3, 20, 3)
    assert torch.allclose(inside[..., 0], torch.tensor(0.15))
    assert torch.allclose(inside[:, 0, 1], torch.tensor([0, 0.1, 0.2]))
    assert torch.allclose(stacks["z0"][:, :, 1, 3, 4], torch.tensor(0.2))
    assert torch.equal(stacks["c1"][0][:, :, 0, 0], images[:, :, 0, 0])


def test_effects_are_signed_scaled_and_consistent(faces):
    stacks = control.end_completions(Stub(), *faces)
    effect = control.effect_on_factors(
        stacks, lambda x: x[:, :2, 3, 4], scale=torch.tensor([0.3, 0.1])
    )
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


class Raw(Stub):
    """Raw output: what the stub paints inside, and a quarter of it outside."""

    def inpaint(self, images, masks, codes=None, seed=0):
        return super().inpaint(images, torch.ones_like(masks), codes, seed) * (
            masks + (1 - masks) / 4
        )


def test_locality_is_infinite_for_completed_images_and_stated_for_raw_ones(faces):
    ends = control.ends(Stub(), 0)
    assert torch.isinf(control.locality(control.sweep(Stub(), *faces, ends), faces[1])).all()
    assert torch.allclose(
        control.locality(control.sweep(Raw(), *faces, ends), faces[1]), torch.tensor(4.0)
    )
    dead = control.locality(control.sweep(Raw(), *faces, control.ends(Raw(), 1)), faces[1])
    assert torch.isnan(dead).all()


def test_consistency_is_the_mean_cosine_of_difference_pictures(faces):
    images, masks = faces
    masks = masks[1:2]
    stacks = control.end_completions(Stub(), images, masks)
    assert control.consistency(stacks["c1"], masks) == pytest.approx(1)
    assert control.consistency(stacks["c2"], masks) == 0  # nothing moves
    there_and_back = torch.stack(
        [
            torch.zeros(4, 3, 8, 8),
            torch.ones(4, 3, 8, 8) * torch.tensor([1.0, 1, -1, -1]).reshape(4, 1, 1, 1),
        ]
    )
    assert control.consistency(there_and_back, masks) == pytest.approx(
        (2 - 4) / 6
    )  # of six pairs two agree
    noise = torch.randn(2, 10, 3, 8, 8)
    delta = F.normalize(((noise[1] - noise[0]) * masks).flatten(1), dim=1)
    expected = (delta @ delta.T)[~torch.eye(10, dtype=torch.bool)].mean()
    assert control.consistency(noise, masks) == pytest.approx(expected.item(), abs=1e-6)
    with pytest.raises(RoiganError, match="two images"):
        control.consistency(noise[:, :1], masks)


def test_true_sliders_are_the_painter():
    people = open_dataset("synthfaces", "test", limit=6)
    ideal = control.TrueSliders(people, ["mouth_open", "gaze"])
    mask = torch.zeros(1, 1, 64, 64)
    mask[:, :, 16:48, 16:48] = 1
    images = people[2:5]
    done = ideal.inpaint(images, mask, codes=[1.0, -0.5])
    rows = people.factors[2:5].clone()
    rows[:, synthfaces.index("mouth_open")], rows[:, synthfaces.index("gaze")] = 1, -0.5
    assert torch.equal(done, torch.where(mask > 0.5, synthfaces.render(rows), images))
    own = people.factors[2, [synthfaces.index(name) for name in ideal.names]]
    same = ideal.inpaint(
        images[:1], mask, codes=own * torch.tensor([2.0, 1.0]) - torch.tensor([1.0, 0.0])
    )
    assert (same - images[:1]).abs().max() < 0.005  # bytes: half a step
    change = control.visible_change_per_code(ideal, images, mask)
    assert (
        list(change) == ["c1", "c2", "z0"]
        and change["c1"].min() > 0.005
        and (change["z0"] == 0).all()
    )
    codes = ideal.sample_codes(200, 3)
    assert (
        torch.equal(codes, ideal.sample_codes(200, 3))
        and codes.amin() < -0.9
        and codes.amax() > 0.9
    )


def test_true_sliders_say_what_they_cannot_do():
    people = open_dataset("synthfaces", "test", limit=3)
    with pytest.raises(RoiganError, match="did|no factor 'mouth'"):
        control.TrueSliders(people, ["mouth"])
    with pytest.raises(RoiganError, match="glasses is categorical"):
        control.TrueSliders(people, ["glasses"])
    with pytest.raises(RoiganError, match="own people"):
        control.TrueSliders(people, ["gaze"]).inpaint(-people[:1], torch.ones(1, 1, 64, 64))
    with pytest.raises(RoiganError, match="no factors"):
        control.TrueSliders(ImageSet("folder", "test", 64, people.uint8), ["gaze"])


def test_total_effect_of_a_sum_is_each_term_s_share():
    draw = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(20000, 2, generator=draw) for _ in range(3))
    assert control.total_effect(2 * a + b, 2 * c + b) == pytest.approx(0.8, abs=0.02)
    assert control.total_effect(a, a) == 0 and control.total_effect(a, c) == pytest.approx(
        1, abs=0.02
    )


def test_traces_follow_the_codes_through_the_layers():
    cfg = load_config("smoke", size=32).model
    torch.manual_seed(0)
    gan = RoIGAN(Generator(cfg))
    with torch.no_grad():
        gan.generator.dense[0].weight[:, cfg.n_noise + cfg.n_continuous :] = (
            0  # deaf to the discrete codes
        )
    images, mask = torch.rand(16, 3, 32, 32) * 2 - 1, torch.zeros(1, 1, 32, 32)
    mask[:, :, 8:24, 8:24] = 1
    found = control.traces(gan, images, mask)
    assert list(found["noise"]) == ["z 1", "z 2", "z 3", "8×8", "16×16", "32×32", "x_g"]
    assert all(share == 0 for share in found["discrete"].values())
    for source in ("continuous", "noise"):
        assert 0 < found[source]["x_g"] < found[source]["z 1"] < 1.5  # the image joins in behind z
    assert not any(module._forward_hooks for module in gan.generator.modules())
