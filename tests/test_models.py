"""The networks at every size and width, what a RoIGAN promises, and checkpoints of all kinds."""

import json
import math
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from strangers import Malicious
from torch.nn import functional as F

from roigan_lib.config import load_config
from roigan_lib.ensemble import SelfEnsemble
from roigan_lib.errors import RoiganError
from roigan_lib.inpainter import RoIGAN, sample_codes
from roigan_lib.masks import FAMILIES, sample_masks
from roigan_lib.models import Discriminator, Generator, Reader, pyramid_fill
from roigan_lib.models.generator import smooth_colour
from roigan_lib.stored import WEIGHTS, best_model, load_model, save_model, shipped


def lively(cfg):
    """A generator whose output visibly depends on all of its inputs, although it is not trained."""
    torch.manual_seed(3)
    generator = Generator(cfg)
    if cfg.residual:
        torch.nn.init.normal_(generator.to_rgb.weight, std=0.05)
    if cfg.fine:
        torch.nn.init.normal_(generator.fine[2].weight, std=0.5)
    return generator


@pytest.fixture(
    scope="module",
    params=[
        dict(recipe="improved"),
        dict(recipe="thesis"),
        dict(refine=1, fine=True, smooth_colour=True),
    ],
    ids=str,
)
def gan(request):
    return RoIGAN(lively(load_config("smoke", **request.param, size=32).model), name="tiny")


@pytest.fixture(scope="module")
def improved():
    return RoIGAN(lively(load_config("smoke", size=32).model), name="tiny")


@pytest.fixture
def batch():
    return torch.rand(4, 3, 32, 32) * 2 - 1, torch.cat(
        [sample_masks(f, 1, 32, seed=1) for f in FAMILIES]
    )


@pytest.mark.parametrize("recipe", ["improved", "thesis"])
@pytest.mark.parametrize("width", [0.125, 0.25, 1.0])
@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_every_size_and_width(size, width, recipe):
    cfg = load_config("smoke", recipe=recipe, size=size, width=width).model
    generator, discriminator = Generator(cfg), Discriminator(cfg)
    images, masks = torch.rand(1, 3, size, size) * 2 - 1, sample_masks("elliptic", 1, size)
    with torch.no_grad():
        z = generator.join_codes(
            sample_codes(cfg, 1, torch.Generator().manual_seed(0)), torch.randn(1, cfg.n_noise)
        )
        assert z.shape == (1, generator.z_dim)
        raw, mean, logvar = generator(images, masks, z)
        scores, maps = discriminator(raw.clamp(-1, 1), masks)
        assert raw.shape == images.shape and raw.isfinite().all()
        assert mean.shape == logvar.shape == (1, generator.style_dim) and logvar.isfinite().all()
        assert scores.shape == (1, 26) and scores.isfinite().all()  # 25 patches and the whole (3.6)
        assert len(maps) >= 4 and maps[-1].shape[2:] == (7, 7)
        if recipe == "thesis":
            assert raw.abs().max() <= 1  # tanh
            codes = discriminator.q(maps[-1])
        else:
            assert discriminator.q is None
            codes = Reader(cfg)(images, masks, pyramid_fill(images, masks))
    shapes = [(1, cfg.n_continuous), (1, cfg.n_continuous), (1, cfg.n_discrete, cfg.n_categories)]
    assert [tuple(c.shape) for c in codes] == shapes and all(c.isfinite().all() for c in codes)


def test_the_small_print_of_chapter_3():
    """An activation behind gate and norm, a norm in the global head, equalized heads of Q."""
    cfg = load_config("smoke", recipe="thesis", size=32).model
    torch.manual_seed(0)
    generator, discriminator = Generator(cfg), Discriminator(cfg)
    x, m = torch.rand(2, 3, 32, 32) * 2 - 1, sample_masks("elliptic", 2, 32, seed=0)
    gated, seen = generator.encoder[0], torch.cat([x * (1 - m), m], 1)
    feature, gate = gated.both(seen).chunk(2, 1)
    normed = F.instance_norm(F.leaky_relu(feature, 0.2) * torch.sigmoid(gate))
    torch.testing.assert_close(gated(seen), F.leaky_relu(normed, 0.2), rtol=1e-4, atol=1e-5)  # 3.5
    scores, maps = discriminator(x, m)
    first, last = discriminator.global_head
    whole = last(F.leaky_relu(F.instance_norm(first(maps[-1])), 0.2)).flatten(1)  # figure 3.6
    torch.testing.assert_close(scores[:, 25:], whole, rtol=1e-4, atol=1e-5)
    q, seen = discriminator.q, torch.randn(3, maps[-1].shape[1], 7, 7)
    y = F.leaky_relu(F.instance_norm(q.first(seen)), 0.2)
    y = F.leaky_relu(q.second(y), 0.2).flatten(1)
    for name, found in zip(("mean", "logvar", "logits"), q(seen)):  # (3.20)
        layer = getattr(q.head, name).layer
        want = y @ (layer.weight * math.sqrt(2 / y.shape[1])).T + layer.bias
        want = want.clamp(-6, 3) if name == "logvar" else want
        torch.testing.assert_close(found.flatten(1), want, rtol=1e-4, atol=1e-5)
    assert {type(module).__name__ for module in discriminator.modules()} >= {"Equalized"}
    bare = [
        n
        for n, p in discriminator.named_parameters()
        if n.endswith("weight") and ".layer." not in n
    ]
    assert not bare  # every layer of D and Q is equalized


def test_the_literal_discriminator_has_the_size_that_the_thesis_states():
    count = sum(p.numel() for p in Discriminator(load_config("thesis").model).parameters())
    assert abs(count / 6.04e6 - 1) < 0.005  # 3.8: 6.04M


def test_a_refined_generator_begins_as_the_plain_one():
    plain, refined = (
        load_config("smoke", size=32, **change).model for change in ({}, dict(refine=2, fine=True))
    )
    torch.manual_seed(0)
    first, second = Generator(plain).eval(), Generator(refined).eval()
    missing = second.load_state_dict(first.state_dict(), strict=False).missing_keys
    assert {key.split(".")[0] for key in missing} == {"refine", "fine"}
    x, m, z = (
        torch.rand(2, 3, 32, 32) * 2 - 1,
        sample_masks("elliptic", 2, 32, seed=0),
        torch.randn(2, first.z_dim),
    )
    with torch.no_grad():
        assert torch.equal(first(x, m, z)[0], second(x, m, z)[0])
        for weight in (second.fine[2].weight, second.refine[0][1].second.weight):
            kept = weight.clone()
            weight.add_(0.1)
            assert not torch.allclose(first(x, m, z)[0], second(x, m, z)[0])
            weight.copy_(kept)


def test_smooth_colour_blurs_the_colour_alone():
    torch.manual_seed(0)
    y, luma = torch.randn(2, 3, 16, 16), torch.tensor([0.299, 0.587, 0.114])
    smooth = smooth_colour(y)
    grey = lambda x: torch.einsum("c,nchw->nhw", luma, x)
    assert torch.allclose(grey(smooth), grey(y), atol=1e-5)
    colour = lambda x: (x - grey(x)[:, None])[0, 0]
    kernel = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    window = colour(y)[3:8, 7:12]
    assert torch.allclose(
        colour(smooth)[5, 9], (window * kernel[:, None] * kernel).sum(), atol=1e-5
    )
    stripes = torch.ones(1, 3, 16, 16) * torch.tensor([1.0, -0.299 / 0.587, 0.0])[:, None, None]
    stripes[..., ::2, :] *= -1  # of luma 0
    assert smooth_colour(stripes)[..., 2:-2, :].abs().max() < 1e-6
    cfg = load_config("smoke", size=32, smooth_colour=True).model
    striped = lively(cfg)
    x, m, z = (
        torch.rand(2, 3, 32, 32) * 2 - 1,
        sample_masks("elliptic", 2, 32, seed=0),
        torch.randn(2, striped.z_dim),
    )
    with torch.no_grad():
        fill = pyramid_fill(x, m)
        drawn = striped(x, m, z)[0] - fill
        striped.cfg = replace(cfg, smooth_colour=False)
        plain = striped(x, m, z)[0] - fill
    assert (
        torch.allclose(drawn, smooth_colour(plain), atol=1e-5)
        and (drawn - plain).abs().max() > 1e-3
    )


def test_without_drop_downs():
    cfg = load_config("smoke", size=32, n_discrete=0).model
    gan = RoIGAN(Generator(cfg))
    assert gan.sample_codes(3).shape == (3, cfg.n_continuous)
    assert gan.inpaint(torch.zeros(1, 3, 32, 32), sample_masks("elliptic", 1, 32)).shape == (
        1,
        3,
        32,
        32,
    )
    assert Reader(cfg)(torch.zeros(2, 3, 32, 32), *torch.zeros(2, 2, 1, 32, 32))[2].shape == (
        2,
        0,
        cfg.n_categories,
    )


def test_inpaint_keeps_the_outside_bit_for_bit(gan, batch):
    images, masks = batch
    done, raw = gan.inpaint(images, masks), gan.generate(images, masks)
    inside = (masks > 0).expand_as(images)
    assert torch.equal(done[~inside], images[~inside]) and torch.equal(done[inside], raw[inside])
    assert done.shape == images.shape and done.dtype == torch.float32 and done.abs().max() <= 1
    assert not torch.equal(done[inside], images[inside])
    assert not done.is_inference() and not raw.requires_grad
    done += 1  # an ordinary tensor, not a view of the input
    assert images.abs().max() <= 1


@pytest.mark.parametrize("n", [1, 4])
def test_a_slider_moves_as_if_nothing_were_remembered(gan, batch, n):
    images, masks = (part[:n].clone() for part in batch)
    for seed in (1, 2):  # the first call fills the memory, the second reads it
        codes = gan.sample_codes(n, seed)
        fresh = RoIGAN(gan.generator)
        learning = gan.generator(
            images, masks, gan.generator.join_codes(codes, gan.sample_noise(n, 0))
        )[0].clamp(-1, 1)
        done = gan.inpaint(images, masks, codes)
        assert not done.is_inference() and torch.equal(done, fresh.inpaint(images, masks, codes))
        torch.testing.assert_close(
            done, torch.where(masks > 0.5, learning, images), atol=1e-5, rtol=0
        )
    changed = images.clone()
    changed[masks.expand_as(changed) < 0.5] *= 0.5
    assert torch.equal(
        gan.inpaint(changed, masks, codes), RoIGAN(gan.generator).inpaint(changed, masks, codes)
    )
    images[0, 0, 0, 0] = 7.0  # in place, behind the memory's back
    with pytest.raises(RoiganError, match="range"):
        gan.inpaint(images, masks, codes)


def test_what_lies_under_the_mask_never_enters(gan, batch):
    images, masks = batch
    other = torch.where(masks > 0, torch.rand_like(images) * 2 - 1, images)
    assert not torch.equal(images, other)
    assert torch.equal(gan.generate(images, masks), gan.generate(other, masks))
    outside = torch.where(masks > 0, images, -images)
    assert not torch.equal(gan.generate(images, masks), gan.generate(outside, masks))


def test_one_row_of_codes_and_one_mask_serve_all(gan, batch):
    images, masks = batch
    row = gan.sample_codes(1, seed=5)
    full = gan.inpaint(images, masks, row.expand(4, -1))
    assert torch.equal(gan.inpaint(images, masks, row), full)
    assert torch.equal(gan.inpaint(images, masks, row[0]), full)
    assert torch.equal(gan.inpaint(images, masks, row[0].tolist()), full)
    assert torch.equal(gan.inpaint(images, masks, row.numpy()), full)
    every = masks[:1].expand(4, -1, -1, -1)
    assert torch.equal(gan.inpaint(images, masks[0, 0], row), gan.inpaint(images, every, row))
    single = gan.inpaint(images[0], masks[:1], row)
    assert single.shape == (1, 3, 32, 32)


def test_a_self_ensemble_is_the_mean_of_a_picture_and_its_twin(gan, batch):
    x, m = batch
    both = SelfEnsemble(gan)
    row = gan.sample_codes(1, seed=5)
    done = both.inpaint(x, m, row, seed=3)
    twin = gan.inpaint(x.flip(-1), m.flip(-1), row, seed=3).flip(-1)
    inside = m.expand_as(x) > 0.5
    assert torch.allclose(
        done[inside], ((gan.inpaint(x, m, row, seed=3) + twin) / 2)[inside], atol=1e-6
    )
    assert torch.equal(done[~inside], x[~inside])
    assert torch.allclose(
        both.inpaint(x.flip(-1), m.flip(-1), row, seed=3).flip(-1), done, atol=1e-6
    )
    assert torch.allclose(
        both.inpaint(x, m, row, seed=3), done, atol=1e-6
    )  # from remembered features
    assert both.n_continuous == gan.n_continuous and both.checkpoint_hash != gan.checkpoint_hash
    with pytest.raises(RoiganError, match="do not pair"):
        both.inpaint(x, m[:3])


def test_seeds_and_codes(gan, batch):
    images, masks = batch
    first = gan.inpaint(images, masks)
    assert torch.equal(first, gan.inpaint(images, masks, seed=0))
    assert not torch.equal(first, gan.inpaint(images, masks, seed=1))
    assert torch.equal(first, gan.inpaint(images, masks, gan.sample_codes(4, 0), seed=0))
    codes = gan.sample_codes(4, 0)
    for column, value in (
        (0, -codes[:, 0]),
        (gan.n_continuous, (codes[:, gan.n_continuous] + 1) % gan.n_categories),
    ):
        moved = codes.clone()
        moved[:, column] = value
        assert not torch.equal(first, gan.inpaint(images, masks, moved, seed=0)), column


def test_sample_codes_follow_the_prior(improved):
    codes = improved.sample_codes(4000, seed=2)
    continuous, index = codes[:, : improved.n_continuous], codes[:, improved.n_continuous :]
    assert codes.shape == (4000, improved.n_continuous + improved.n_discrete)
    assert (
        -1 <= continuous.min() < -0.99
        and 0.99 < continuous.max() <= 1
        and continuous.mean().abs() < 0.02
    )
    counts = torch.stack([(index == k).float().mean(0) for k in range(improved.n_categories)])
    assert (counts - 1 / improved.n_categories).abs().max() < 0.04
    assert torch.equal(codes, improved.sample_codes(4000, seed=2))
    assert not torch.equal(codes, improved.sample_codes(4000, seed=3))


def test_many_images_go_through_in_parts(improved):
    images, masks = torch.rand(35, 3, 32, 32) * 2 - 1, sample_masks("mixed", 35, 32)
    codes = improved.sample_codes(35, 1)
    whole = improved.generate(images, masks, codes)
    assert whole.shape == images.shape
    seen = improved._last
    assert torch.allclose(improved.generate(images[:8], masks[:8], codes[:8]), whole[:8], atol=2e-5)
    assert improved._last is not seen  # a small batch remembers its encoder maps …
    kept = improved._last
    improved.generate(images[:8], masks[:8], improved.sample_codes(8, 9))
    assert improved._last is kept  # … and a slider move uses them again


@pytest.mark.parametrize(
    "codes, words",
    [
        (torch.zeros(3), "codes have shape"),
        (torch.zeros(3, 13), "codes have shape"),
        (torch.zeros(1, 4, 13), "codes have shape"),
        (torch.full((13,), float("nan")), "NaN"),
        (torch.cat([torch.zeros(10), torch.tensor([0.0, 4.0, 0.0])]), "outside 0 … 3"),
        (torch.cat([torch.zeros(10), torch.tensor([0.0, -1.0, 0.0])]), "outside 0 … 3"),
        (torch.cat([torch.zeros(10), torch.tensor([0.5, 0.0, 0.0])]), "not whole"),
        ("smile", "codes"),
        ([["a"] * 13], "codes"),
    ],
)
def test_bad_codes(improved, batch, codes, words):
    images, masks = batch
    with pytest.raises(RoiganError, match=words) as error:
        improved.inpaint(images, masks, codes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "images, masks, words",
    [
        (torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64), "32×32"),
        (torch.zeros(1, 3, 32, 64), torch.zeros(1, 1, 32, 64), "32×32"),
        (torch.zeros(2, 3, 32, 32), torch.zeros(3, 1, 32, 32), "3 masks"),
        (torch.zeros(2, 3, 32, 32), torch.zeros(2, 1, 64, 64), "64"),
        (torch.zeros(2, 32, 32, 3), torch.zeros(2, 1, 32, 32), "shape"),
        (torch.zeros(0, 3, 32, 32), torch.zeros(1, 1, 32, 32), "shape"),
        (torch.full((1, 3, 32, 32), 128.0), torch.zeros(1, 1, 32, 32), "range"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, 1, 32, 32), "floats"),
    ],
)
def test_bad_batches(improved, images, masks, words):
    if masks.shape[0]:
        masks[..., 8:16, 8:16] = 1
    for method in (improved.inpaint, improved.generate):
        with pytest.raises(RoiganError, match=words):
            method(images, masks)
    soft = torch.full((1, 1, 32, 32), 0.5)
    with pytest.raises(RoiganError, match="soft"):
        improved.inpaint(torch.zeros(1, 3, 32, 32), soft)


# -- checkpoints -----------------------------------------------------------------------------------
@pytest.fixture
def saved(improved, tmp_path):
    state = improved.generator.state_dict()
    return save_model(
        state, improved.config, tmp_path / "tiny.safetensors", {"steps": 3, "images_seen": 12}
    )


def rewrite(path, target, edit):
    """Copy a safetensors file with an edited header (a dict of strings)."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = dict(file.metadata())
    edit(header)
    save_file(load_file(path), target, metadata=header)
    return target


def test_save_and_load_round_trip(improved, saved, batch):
    again = load_model(saved)
    assert (again.name, again.card["steps"], again.config) == ("tiny", 3, improved.config)
    assert (again.size, again.n_continuous, again.n_discrete, again.n_categories) == (32, 10, 3, 4)
    for key, value in improved.generator.state_dict().items():
        assert torch.equal(again.generator.state_dict()[key], value.half().float()), key
    assert all(v.dtype == torch.float16 for v in load_file(saved).values())
    assert (again.inpaint(*batch) - improved.inpaint(*batch)).abs().max() < 0.02  # float16 weights
    twice = load_model(str(saved))
    assert torch.equal(again.inpaint(*batch), twice.inpaint(*batch))
    assert again.checkpoint_hash == twice.checkpoint_hash and len(again.checkpoint_hash) == 12
    assert not list(saved.parent.glob("*.tmp"))
    saved.rename(saved.parent / "model.safetensors")
    assert load_model(saved.parent).name == saved.parent.name  # a run folder, named after itself


def test_other_weights_have_another_hash(improved, saved, tmp_path):
    state = {k: v.clone() for k, v in improved.generator.state_dict().items()}
    state["to_rgb.bias"][0] += 0.5
    other = load_model(save_model(state, improved.config, tmp_path / "other.safetensors"))
    assert other.checkpoint_hash != load_model(saved).checkpoint_hash


def test_a_half_written_model_does_not_replace_the_old_one(improved, saved, monkeypatch):
    before = saved.read_bytes()

    def full(path, data):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(RoiganError, match="no space"):
        save_model(improved.generator.state_dict(), improved.config, saved)
    assert saved.read_bytes() == before and not list(saved.parent.glob("*.tmp"))
    monkeypatch.undo()
    with pytest.raises(RoiganError, match="could not be written"):
        save_model(
            {}, improved.config, saved / "below" / "a.safetensors"
        )  # a file where a folder should be


def test_missing_models_name_what_there_is(tmp_path):
    with pytest.raises(RoiganError) as error:
        load_model("synthfacez")
    assert "'synthfacez'" in str(error.value) and (", ".join(shipped()) or "none yet") in str(
        error.value
    )
    assert "factor_net" not in str(error.value)
    for missing in (tmp_path / "no.safetensors", tmp_path / "no.pt", tmp_path):
        with pytest.raises(RoiganError, match="no checkpoint|is a folder"):
            load_model(missing)


def test_best_model_prefers_the_one_that_saw_more(improved, saved, tmp_path, monkeypatch):
    monkeypatch.setenv("ROIGAN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("roigan_lib.stored.WEIGHTS", tmp_path)
    with pytest.raises(RoiganError, match="--profile smoke --dataset tinier"):
        best_model("tinier", "smoke")
    assert best_model("tiny", "smoke").card["images_seen"] == 12
    own = tmp_path / "runs" / "smoke-tiny" / "model.safetensors"
    save_model(improved.generator.state_dict(), improved.config, own, {"images_seen": 13})
    assert best_model("tiny", "smoke").name == "smoke-tiny"
    own.write_bytes(b"weights of a version long gone")
    with pytest.warns(UserWarning, match="smoke-tiny is passed over"):
        assert best_model("tiny", "smoke").card["images_seen"] == 12
    (tmp_path / "tiny.safetensors").unlink()
    with pytest.raises(RoiganError, match="damaged"):
        best_model("tiny", "smoke")


def test_damaged_and_foreign_safetensors(saved, tmp_path):
    cut = tmp_path / "cut.safetensors"
    for share in (0, 5, 400, saved.stat().st_size - 9):
        cut.write_bytes(saved.read_bytes()[:share])
        with pytest.raises(RoiganError, match="damaged"):
            load_model(cut)
    with pytest.raises(RoiganError, match="not a generator"):
        load_model(WEIGHTS / "factor_net.safetensors")
    plain = tmp_path / "plain.safetensors"
    save_file({"weight": torch.zeros(3)}, plain)
    with pytest.raises(RoiganError, match="not a generator"):
        load_model(plain)
    for key, value in (("config", "{"), ("card", "}")):
        with pytest.raises(RoiganError, match="damaged"):
            load_model(
                rewrite(saved, tmp_path / "broken.safetensors", lambda h: h.update({key: value}))
            )


@pytest.mark.parametrize(
    "change",
    [
        dict(width=0.25),
        dict(size=64),
        dict(residual=False),
        dict(n_noise=3),
        dict(equalized=True),
        dict(unit_gain=False),  # the tensors would fit
        dict(architecture="thesis"),
        dict(architecture="of tomorrow"),
        dict(width="wide"),
        dict(size=0),
    ],
)
def test_a_header_of_another_architecture(saved, tmp_path, change):
    def edit(header):
        header["config"] = json.dumps(json.loads(header["config"]) | change)

    with pytest.raises(RoiganError, match="another architecture") as error:
        load_model(rewrite(saved, tmp_path / "other.safetensors", edit))
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_malicious_checkpoint_runs_nothing(tmp_path):
    proof = tmp_path / "executed"
    torch.save({"format": "roigan-train-1", "ema": Malicious(proof)}, tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Malicious(proof)))
    (tmp_path / "tensors.safetensors").write_bytes(pickle.dumps(Malicious(proof)))
    for name in ("zip.pt", "raw.pt", "tensors.safetensors"):
        with pytest.raises(RoiganError, match="damaged"):
            load_model(tmp_path / name)
        assert not proof.exists()
    pickle.loads((tmp_path / "raw.pt").read_bytes())  # the trap itself works
    assert proof.exists()


def test_foreign_checkpoints(improved, tmp_path):
    author = tmp_path / "net.chkp"
    torch.save({"model": {"generator": {"w": torch.zeros(2)}}, "epoch": 100}, author)
    with pytest.raises(RoiganError, match="author's release"):
        load_model(author)
    for content in ([1, 2], {"state_dict": {}}, torch.zeros(3)):
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(RoiganError, match="not a training checkpoint"):
            load_model(tmp_path / "other.pt")
    torch.save({"format": "roigan-train-1", "step": 3}, tmp_path / "less.pt")
    with pytest.raises(RoiganError, match="not a training checkpoint"):
        load_model(tmp_path / "less.pt")
    (tmp_path / "cut.pt").write_bytes(author.read_bytes()[:-50])
    (tmp_path / "text.pt").write_text("not weights\n")
    for name in ("cut.pt", "text.pt"):
        with pytest.raises(RoiganError, match="damaged"):
            load_model(tmp_path / name)
