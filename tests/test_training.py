"""The training loop: exact continuation, interruptions, full disks, NaN, and whether it learns."""

import json
import os
from math import isfinite

import pytest
import torch
from torch.nn import functional as F

from roigan_lib import batches as B
from roigan_lib import checkpoint, objective
from roigan_lib import training as T
from roigan_lib.config import load_config
from roigan_lib.data import ImageSet, open_dataset
from roigan_lib.data.augment import augment
from roigan_lib.errors import RoiganError
from roigan_lib.inpainter import sample_codes
from roigan_lib.masks import sample_masks
from roigan_lib.models import pyramid_fill
from roigan_lib.stored import load_model


@pytest.fixture(scope="module")
def data():
    pixels = torch.randint(
        0, 256, (14, 3, 32, 32), generator=torch.Generator().manual_seed(4), dtype=torch.uint8
    )
    return ImageSet("random", "train", 32, pixels)


def tiny(recipe="improved", **changes):
    fast = dict(size=32, steps=4, batch=4, log_every=1, grid_every=100, checkpoint_every=2)
    if recipe != "improved":
        fast |= dict(perceptual_net="factors")  # VGG weights would have to be downloaded
    return load_config("smoke", recipe=recipe, **(fast | changes))


def differences(a, b, where=""):
    """Paths at which two nested states differ in a single bit."""
    if isinstance(a, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        return [d for k in a for d in differences(a[k], b[k], f"{where}/{k}")]
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{where}/{i}")]
    return [] if a == b else [where]


def state_of(path):
    state = torch.load(path, weights_only=True)
    assert all(v.isfinite().all() for v in state["ema"].values())
    return {k: v for k, v in state.items() if k != "seconds"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe, change",
    [
        ("improved", {}),
        ("thesis", {}),
        ("improved", dict(precision="bf16")),
        ("improved", dict(projected=0.1, style=0.1)),
        ("improved", dict(shift=2, soften=0.1)),
    ],
)
def test_two_and_two_steps_are_four_bit_for_bit(recipe, change, data, tmp_path):
    cfg = tiny(recipe, **change)
    whole = T.Trainer(cfg, data)
    for _ in range(4):
        whole.step()
    checkpoint.save(whole, tmp_path / "whole.pt")
    first = T.Trainer(cfg, data)
    first.step(), first.step()
    checkpoint.save(first, tmp_path / "half.pt")
    torch.manual_seed(99)  # nothing may hang on the global generator
    second = T.Trainer(cfg, data)
    checkpoint.load(second, tmp_path / "half.pt")
    assert second.step_count == 2
    second.step(), second.step()
    checkpoint.save(second, tmp_path / "joined.pt")
    whole, half, joined = (
        state_of(tmp_path / f"{name}.pt") for name in ("whole", "half", "joined")
    )
    assert differences(whole, joined) == []
    assert {
        "generator",
        "discriminator",
        "reader",
        "ema",
        "opt_g",
        "opt_d",
    } <= whole.keys() and whole["step"] == 4
    for part in ("generator", "discriminator", "ema", "opt_g", "opt_d") + (
        ("reader",) if recipe == "improved" else ()
    ):
        assert differences(whole[part], half[part]), part  # the last two steps did something
    assert len(whole["opt_g"]["state"]) == len(second.g_params) and len(
        whole["opt_d"]["state"]
    ) == len(second.d_params)


def test_a_progress_function_that_fails_loses_no_step(data, tmp_path):
    def fail(text):
        if text.startswith("step 2/"):
            raise ConnectionError("the board is down")

    cfg = tiny(checkpoint_every=100)
    with pytest.raises(ConnectionError, match="the board is down"):  # the caller's own, as it came
        T.train(cfg, tmp_path, data, progress=fail)
    assert state_of(tmp_path / "checkpoint.pt")["step"] == 2
    assert T.train(cfg, tmp_path, data, progress=None).finished


@pytest.mark.slow
def test_train_goes_on_as_if_it_had_never_stopped(data, tmp_path):
    cfg = tiny()
    said = []
    whole = T.train(cfg, tmp_path / "whole", data, progress=None)
    assert whole.finished and whole.folder == tmp_path / "whole"

    def interrupt(text):
        said.append(text)
        if text.startswith("step 2/"):
            raise KeyboardInterrupt

    stopped = T.train(cfg, tmp_path / "cut", data, progress=interrupt)
    assert (
        not stopped.finished
        and stopped.model.card["steps"] == 2
        and "goes on from here" in said[-1]
    )
    assert state_of(tmp_path / "cut" / "checkpoint.pt")["step"] == 2
    said.clear()
    joined = T.train(cfg, tmp_path / "cut", data, progress=said.append)
    assert "at step 2" in said[0] and joined.finished
    paths = [run.folder / "checkpoint.pt" for run in (whole, joined)]
    assert differences(*map(state_of, paths)) == []
    timing = ("seconds", "images_per_second", "memory_gib")
    plain = [
        [{k: v for k, v in row.items() if k not in timing} for row in run.rows]
        for run in (whole, joined)
    ]
    assert plain[0] == plain[1] and [row["step"] for row in joined.rows] == [1, 2, 3, 4]
    again = T.train(cfg, tmp_path / "cut", data, progress=None)  # nothing left to do
    assert again.finished and len(again.rows) == 4
    fresh = T.train(tiny(steps=1), tmp_path / "cut", data, progress=None, fresh=True)
    assert fresh.model.card["steps"] == 1 and [row["step"] for row in fresh.rows] == [1]


@pytest.mark.slow
def test_starting_from_another_run_takes_its_networks_and_nothing_else(data, tmp_path):
    T.train(tiny(steps=2), tmp_path / "faces", data, progress=None)
    other = ImageSet("others", "train", 32, data.uint8.flip(0)[:8])
    start = tmp_path / "faces" / "checkpoint.pt"
    cfg = tiny(steps=3, start=start)
    first = T.Trainer(cfg, other)
    checkpoint.load(first, start, start=True)
    assert differences(first.generator.state_dict(), state_of(start)["generator"]) == []
    assert (
        first.step_count == 0
        and not first.opt_g.state
        and checkpoint.card(first)["started_from"]["steps"] == 2
    )
    said = []
    run = T.train(cfg, tmp_path / "cats", other, progress=said.append)
    assert "starting with the networks" in said[0] and run.model.card["steps"] == 3
    more = T.train(tiny(steps=4, start=start), tmp_path / "cats", other, progress=None)
    assert (
        more.model.card["steps"] == 4
        and more.model.card["started_from"]["images_seen"] == 2 * cfg.optimisation.batch
    )
    wider = T.Trainer(checkpoint.with_start(tiny(start=start, n_continuous=12)), other)
    fresh = wider.generator.dense[0].weight.detach().clone()
    checkpoint.load(wider, start, start=True)
    now, old = wider.generator.dense[0].weight, first.generator.dense[0].weight
    at = cfg.model.n_noise + cfg.model.n_continuous
    assert torch.equal(torch.cat([now[:, :at], now[:, at + 2 :]], 1), old)  # of cfg's codes
    assert torch.equal(now[:, at : at + 2], fresh[:, at : at + 2])
    with pytest.raises(RoiganError, match="n_continuous"):
        checkpoint.load(T.Trainer(tiny(n_continuous=9), other), start, start=True)
    with pytest.raises(RoiganError, match="no checkpoint"):
        T.train(tiny(start=tmp_path / "nothing.pt"), tmp_path / "x", other, progress=None)
    with pytest.raises(RoiganError, match="leave width out"):
        T.train(tiny(start=start, width=0.25), tmp_path / "x", other, progress=None)
    # the architecture comes along
    assert checkpoint.with_start(load_config("laptop", start=start)).model == cfg.model


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_an_interrupt_within_a_step_saves_whole_steps_only(data, tmp_path, monkeypatch, how):
    import signal

    cfg, inner, calls = tiny(), objective.L.total_variation, []

    def slow(*args):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(getattr(signal, how))  # after D was updated and before G
        return inner(*args)

    monkeypatch.setattr(objective.L, "total_variation", slow)
    assert not T.train(cfg, tmp_path / "cut", data, progress=None).finished
    T.train(cfg, tmp_path / "cut", data, progress=None)
    T.train(cfg, tmp_path / "whole", data, progress=None)
    assert (
        differences(*(state_of(tmp_path / name / "checkpoint.pt") for name in ("cut", "whole")))
        == []
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_rows_files_and_grids(data, tmp_path):
    cfg, grids = tiny(grid_every=2, log_every=2), []
    run = T.train(cfg, tmp_path, data, progress=None, grid=lambda *args: grids.append(args))
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert written == run.rows and [row["step"] for row in written] == [2, 4]
    wanted = {
        "step",
        "seconds",
        "memory_gib",
        "images_per_second",
        "d",
        "d_real",
        "d_fake",
        "g",
        "adversarial",
        "matching",
        "perceptual",
        "l1_hole",
        "l1_outside",
        "variation",
        "kl",
        "info_c",
        "info_d",
        "prior",
        "code_sd",
        "diversity",
        "tone",
    }
    for row in written:
        assert (
            wanted <= row.keys()
            and row.pop("precision") == "fp32"
            and all(isfinite(value) for value in row.values())
        )
        assert (
            row["memory_gib"] > 0.01 and row["images_per_second"] > 0 and 0 <= row["diversity"] <= 1
        )
    assert [grid[0] for grid in grids] == [2, 4]
    for _, images, masks, done in grids:
        assert images.shape == done.shape == (8, 3, 32, 32) and masks.shape == (8, 1, 32, 32)
        assert torch.equal(torch.where(masks > 0, images, done), images)
    assert torch.equal(grids[0][1], grids[1][1]) and torch.equal(
        grids[0][2], grids[1][2]
    )  # a fixed sample
    assert not torch.equal(grids[0][3], grids[1][3])
    for path in (tmp_path, tmp_path / "checkpoint.pt"):  # what it leaves behind inpaints
        model = load_model(path)
        assert model.name == tmp_path.name and model.card["steps"] == 4
        images, masks = grids[0][1:3]
        assert (model.inpaint(images, masks) - run.model.inpaint(images, masks)).abs().max() < 0.02
    card = load_model(tmp_path).card
    assert (
        card["images_seen"] == 16
        and card["data"] == data.fingerprint
        and card["config_hash"] == cfg.hash(data.fingerprint, None)
    )
    assert not list(tmp_path.glob("*.tmp"))


def test_the_average_follows_the_weights(data):
    trainer = T.Trainer(tiny(ema=0.9), data)
    want = [p.detach().clone() for p in trainer.generator.parameters()]
    for step in range(1, 4):
        trainer.step()
        decay = min(0.9, (1 + step) / (10 + step))
        want = [
            decay * w + (1 - decay) * p.detach()
            for w, p in zip(want, trainer.generator.parameters())
        ]
    for w, p in zip(want, trainer.ema.parameters()):
        assert torch.allclose(w, p, atol=1e-6)
    assert not any(p.requires_grad for p in trainer.ema.parameters())


def test_learning_rate_falls_at_the_end(data):
    trainer = T.Trainer(tiny(steps=10, decay=0.4), data)
    rates = []
    for trainer.step_count in range(11):
        rates.append(trainer.rate())
    assert rates[:7] == [1.0] * 7 and rates[-1] == pytest.approx(0.02)
    assert all(a > b for a, b in zip(rates[6:], rates[7:]))
    trainer = T.Trainer(tiny(steps=10, decay=0.4, lr_g=1e-3, lr_d=5e-3), data)
    trainer.step_count = 8
    trainer.step()
    used = [optimizer.param_groups[0]["lr"] for optimizer in (trainer.opt_g, trainer.opt_d)]
    assert used == pytest.approx([1e-3 * (0.02 + 0.98 / 2), 5e-3 * (0.02 + 0.98 / 2)])


def test_shifted_images_are_the_same_pixels_elsewhere_mirrored_at_the_frame():
    x = torch.rand(32, 3, 16, 16)
    moved = augment(x, 2, 0.0, torch.Generator().manual_seed(0))
    wide, found = F.pad(x, (2, 2, 2, 2), "reflect"), set()
    for one, big in zip(moved, wide):
        places = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if torch.equal(one, big[:, i : i + 16, j : j + 16])
        ]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 12 and {i for i, _ in found} == {j for _, j in found} == set(range(5))
    assert augment(x, 0, 0.0, None) is x


def test_softened_images_are_blurred_by_the_kernel_and_keep_flat_ones():
    x = torch.zeros(64, 3, 16, 16)
    x[:, :, 8, 8] = 1.0
    soft = augment(x, 0, 0.1, torch.Generator().manual_seed(0))
    a = (1 - soft[:, 0, 8, 8].sqrt()) / 2  # the kernel's middle is 1 - 2a along both axes
    assert a.min() >= 0.05 and a.max() <= 0.15 and 0.09 < a.mean() < 0.11
    assert torch.allclose(soft[:, 0, 7, 8], a * (1 - 2 * a), atol=1e-6) and torch.allclose(
        soft[:, 0, 8, 9], soft[:, 0, 7, 8]
    )
    assert torch.allclose(soft[:, 0, 7, 7], a * a, atol=1e-6)
    assert torch.allclose(soft.sum((2, 3)), torch.ones(64, 3), atol=1e-5)
    flat = torch.full((2, 3, 16, 16), 0.3)
    assert torch.allclose(augment(flat, 3, 0.12, torch.Generator().manual_seed(0)), flat, atol=1e-6)


@pytest.mark.slow
def test_projected_heads_learn_with_d_and_move_g(data):
    trainer = T.Trainer(
        tiny(projected=0.1, adversarial=0.0, matching=0.0, warmup=0.0, ramp=0.0, batch=8, steps=40),
        data,
    )
    heads = list(trainer.heads.parameters())
    assert {id(p) for p in heads} <= {id(p) for p in trainer.d_params}
    before, losses = [p.clone() for p in heads], []
    for _ in range(30):
        logs = trainer.step()
        losses.append(logs["d_projected"])
    assert all(not torch.equal(a, b) for a, b in zip(before, heads))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])  # noise is told from a smooth fill
    plain = T.Trainer(tiny(adversarial=0.0, matching=0.0, warmup=0.0, ramp=0.0, batch=8), data)
    changed = T.Trainer(
        tiny(projected=1.0, adversarial=0.0, matching=0.0, warmup=0.0, ramp=0.0, batch=8), data
    )
    grads = []
    for made in (plain, changed):
        weight = made.generator.to_rgb.weight
        made.opt_g.step = lambda weight=weight: grads.append(weight.grad.clone())
    one, other = plain.step(), changed.step()
    assert (
        one["d"] == other["d"] and "d_projected" not in one and other["d_projected"] > 0
    )  # logged apart
    assert not torch.equal(*grads)


@pytest.mark.slow
def test_the_mirrored_target_knows_no_left_and_right(data):
    trainer = T.Trainer(tiny(mirror=1.0), data)
    for p in trainer.ema.parameters():  # fresh networks draw the fill and little else
        p.data += 0.05 * torch.randn_like(p)
    step = trainer.through(trainer.batches.draw(0))
    x, m, z, raw = (t[step.b] for t in (step.x, step.m, step.z, step.raw))
    with torch.no_grad():
        alone = trainer.ema(x, m, z)[0]
        twin = trainer.ema(x.flip(-1), m.flip(-1), z)[0].flip(-1)
    target = (alone + twin) / 2
    assert len(x) == 2 and (alone - target).abs().max() > 1e-3
    asked = objective.mirror(step)
    assert asked.item() == pytest.approx(objective.L.masked_l1(raw, target, m).item(), rel=1e-4)
    (gradient,) = torch.autograd.grad(asked, step.raw)
    assert torch.equal(gradient[step.b].sign(), (raw - target).sign() * m)
    logs, plain = trainer.step(), T.Trainer(tiny(), data).step()
    assert logs["mirror"] > 0 and "mirror" not in plain
    assert (
        abs(logs["g"] - plain["g"] - logs["mirror"]) < 1e-4
    )  # the first step begins with the same networks


def test_each_network_is_moved_by_its_own_optimizer(data):
    trainer = T.Trainer(tiny("thesis"), data)
    ids = lambda parameters: {id(p) for p in parameters}
    q = ids(trainer.discriminator.q.parameters())
    assert q <= ids(trainer.g_params) and not q & ids(trainer.d_params)  # 3.6: Q learns with G
    assert ids(trainer.g_params) - q == ids(trainer.generator.parameters())
    assert ids(trainer.d_params) == ids(trainer.discriminator.parameters()) - q
    assert (
        trainer.opt_g.param_groups[0]["lr"] == 3e-4 and trainer.opt_d.param_groups[0]["lr"] == 1e-4
    )


def test_each_step_draws_anew_and_from_the_laws_it_names(data):
    def draws(**changes):
        batches = B.Batches(tiny(code_noise=0.15, **changes), data, "cpu")
        return [batches.draw(step) for step in range(40)]

    drawn, again, other = draws(), draws(), draws(seed=1)
    for name in ("images", "masks", "codes", "noise", "jitter", "gumbel", "alpha"):
        first, second, same, seeded = (
            getattr(batch, name) for batch in (drawn[0], drawn[1], again[0], other[0])
        )
        assert torch.equal(first, same) and not torch.equal(first, second), name
        assert not torch.equal(first, seeded), name
    jitter, gumbel, noise, alpha = (
        torch.stack([getattr(batch, name) for batch in drawn]).flatten()
        for name in ("jitter", "gumbel", "noise", "alpha")
    )
    assert jitter.std().item() == pytest.approx(0.15, rel=0.1)
    assert gumbel.mean().item() == pytest.approx(0.577, abs=0.1)  # Euler's constant
    assert (gumbel < 0).float().mean().item() == pytest.approx(0.368, abs=0.04)  # 1 / e
    assert noise.std().item() == pytest.approx(1, rel=0.05)
    assert 0 <= alpha.min() < 0.1 and 0.9 < alpha.max() <= 1


@pytest.mark.parametrize(
    "learns, moves",
    [
        ("all", {"generator", "reader", "discriminator", "ema"}),
        ("discriminator", {"discriminator"}),
        ("reader", {"reader"}),
    ],
)
@pytest.mark.slow
def test_a_stage_trains_what_it_names_and_leaves_the_rest(learns, moves, data, tmp_path):
    cfg = tiny(learns=learns, warmup=0.0, steps=3)
    trainer = T.Trainer(cfg, data)
    names = ("generator", "reader", "discriminator", "ema")
    for p in trainer.ema.parameters():  # an average is not the network that it is of
        p.data += 0.01
    before = {n: [p.clone() for p in getattr(trainer, n).parameters()] for n in names}
    logs = trainer.step()
    now = {n: getattr(trainer, n).parameters() for n in names}
    assert moves == {
        n for n in names if not all(torch.equal(a, b) for a, b in zip(before[n], now[n]))
    }
    assert ("d" in logs) == ("discriminator" in moves) and ("g" in logs) == ("reader" in moves)
    assert T.train(cfg, tmp_path, data, progress=None).finished


def test_every_epoch_sees_every_image_once(data):
    trainer = T.Trainer(tiny(flip=False, batch=7), data)
    g = torch.Generator().manual_seed(0)
    epochs = [
        torch.cat([trainer.batches.pictures(2 * e + i, g)[0] for i in range(2)]).flatten(1).sum(1)
        for e in range(3)
    ]
    assert all(
        torch.equal(epoch.sort().values, data[:].flatten(1).sum(1).sort().values)
        for epoch in epochs
    )
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.slow
def test_it_learns_a_trivial_data_set(tmp_path):
    """A bright disc on black: in a few steps the hole turns bright, and so does a literal disc."""
    line = torch.arange(32) - 15.5
    disc = ((line[:, None] ** 2 + line**2) < 14**2).to(torch.uint8) * 255
    data = ImageSet("disc", "train", 32, disc.expand(4, 3, 32, 32).contiguous())
    quick = dict(
        steps=32,
        log_every=4,
        checkpoint_every=100,
        flip=False,
        lr_g=1e-2,
        decay=0.0,
        warmup=0.0,
        perceptual_net="none",
        matching=0.0,
    )
    rows = T.train(tiny(adversarial=0.0, **quick), tmp_path, data, progress=None).rows
    assert (
        sum(row["l1_hole"] for row in rows[-3:]) / 3 < 0.7 * rows[0]["l1_hole"]
    )  # every step has other holes
    assert rows[-1]["d"] < rows[0]["d"]  # D learns as well
    # the sum over ten codes is heard more than any L1 in so few steps
    literal = tiny(
        "thesis-scaled",
        penalty=0.0,
        adversarial=0.0,
        info=0.0,
        l1_hole=5.0,
        l1_outside=5.0,
        **quick,
    )
    rows = T.train(literal, tmp_path / "literal", data, progress=None).rows
    assert rows[-1]["l1_outside"] < 0.7 * rows[0]["l1_outside"]


# -- what goes wrong -------------------------------------------------------------------------------
def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    return text


@pytest.mark.slow
def test_nan_stops_with_a_sentence_and_keeps_the_checkpoint(data, tmp_path, monkeypatch):
    step, seen = T.Trainer.step, {}

    def poisoned(self):
        if self.step_count == 3:
            seen["before"] = (tmp_path / "checkpoint.pt").read_bytes()
            self.generator.to_rgb.bias.data[0] = float("nan")
        return step(self)

    monkeypatch.setattr(T.Trainer, "step", poisoned)
    with pytest.raises(RoiganError, match="NaN at step 4") as error:
        T.train(tiny(), tmp_path, data, progress=None)
    assert "lower lr_g" in one_sentence(error)
    assert (tmp_path / "checkpoint.pt").read_bytes() == seen["before"]
    assert state_of(tmp_path / "checkpoint.pt")["step"] == 2


@pytest.mark.parametrize("part", ["discriminator", "heads"])
def test_nan_of_the_discriminators_alone_stops_as_well(part, data):
    trainer = T.Trainer(tiny(learns="discriminator", projected=0.1, warmup=0.0), data)
    for p in getattr(trainer, part).parameters():
        p.data.fill_(float("nan"))
    with pytest.raises(RoiganError, match="NaN at step 1"):
        trainer.step()


@pytest.mark.slow
def test_weights_that_became_nan_in_the_last_update_are_not_saved(data, tmp_path, monkeypatch):
    step = T.Trainer.step

    def poisoned(self):
        logs = step(self)
        if self.step_count == 4:  # its loss was finite, its update was not
            self.generator.to_rgb.bias.data[0] = float("inf")
        return logs

    monkeypatch.setattr(T.Trainer, "step", poisoned)
    with pytest.raises(RoiganError, match="NaN") as error:
        T.train(tiny(), tmp_path, data, progress=None)
    assert "intact" in one_sentence(error) and state_of(tmp_path / "checkpoint.pt")["step"] == 2


@pytest.mark.parametrize(
    "problem",
    [
        OSError(28, "No space left on device"),
        RuntimeError(
            "[enforce fail at inline_container.cc:664] . PytorchStreamWriter "
            "failed writing file data/7: file write failed"
        ),
    ],
)
def test_a_full_disk_leaves_the_old_checkpoint(data, tmp_path, monkeypatch, problem):
    path = tmp_path / "checkpoint.pt"
    trainer = T.Trainer(tiny(), data)
    checkpoint.save(trainer, path)
    before = path.read_bytes()

    def full(state, target, *args, **kwargs):
        open(target, "wb").write(b"half a checkpoint")
        raise problem

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RoiganError, match="no space") as error:
        checkpoint.save(trainer, path)
    assert "intact" in one_sentence(error)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_folder_that_cannot_be(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RoiganError, match="could not be written") as error:
        T.train(tiny(steps=1), tmp_path / "file", data, progress=None)
    one_sentence(error)


def test_sigterm_between_two_steps_saves(data, tmp_path):
    import signal

    def stop(line):
        if line.startswith("step 2/"):
            signal.raise_signal(signal.SIGTERM)

    assert not T.train(tiny(), tmp_path, data, progress=stop).finished
    assert state_of(tmp_path / "checkpoint.pt")["step"] == 2


def test_what_cannot_end_well_does_not_begin(data, tmp_path, monkeypatch):
    def no_step(self):
        raise AssertionError("a step was made")

    monkeypatch.setattr(T.Trainer, "step", no_step)
    large = ImageSet("large", "train", 64, data.uint8.repeat(1, 1, 2, 2))
    for given, words in (
        (dict(data=data[:]), "ImageSet, not as a Tensor"),
        (dict(data=large), "64×64 pixels"),
        (
            dict(data=ImageSet("few", "train", 32, data.uint8[:3])),
            "3 images, fewer than one batch of 4",
        ),
        (dict(data=data, device="cudda"), "no device 'cudda'"),
    ):
        with pytest.raises(RoiganError, match=words) as error:
            T.train(tiny(), tmp_path / "run", progress=None, **given)
        one_sentence(error)
    for name in ("checkpoint.pt", "log.jsonl", "model.safetensors"):
        (tmp_path / name / name).mkdir(parents=True)
        with pytest.raises(RoiganError, match="is a folder") as error:
            T.train(tiny(), tmp_path / name, data, progress=None)
        one_sentence(error)


@pytest.mark.slow
def test_a_damaged_log_is_named_and_left_out(data, tmp_path):
    T.train(tiny(steps=2), tmp_path, data, progress=None)
    log, said = tmp_path / "log.jsonl", []
    log.write_bytes(
        log.read_bytes() + b'{"step": 2, "sec\n[]\n{"seconds": 1}\n{"step": "2"}\n\xff\n'
    )
    run = T.train(tiny(steps=3), tmp_path, data, progress=said.append)
    assert [row["step"] for row in run.rows] == [1, 2, 3] and run.finished
    assert [line for line in said if f"{log} is damaged in line 3, 4, 5, 6, 7" in line]


@pytest.mark.slow
def test_two_runs_in_one_folder(data, tmp_path):
    def second(line):
        with pytest.raises(RoiganError, match=f"Process {os.getpid()} is at work in") as error:
            T.train(tiny(), tmp_path, data, progress=None)
        one_sentence(error)

    (tmp_path / ".checkpoint.pt.123.tmp").write_text("half a checkpoint of a killed run")
    assert T.train(tiny(steps=1), tmp_path, data, progress=second).finished
    assert T.train(tiny(steps=2), tmp_path, data, progress=None).finished  # the lock is gone
    assert not list(tmp_path.glob("*.tmp"))


def test_each_process_writes_a_temporary_file_of_its_own(data, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        torch, "save", lambda state, path: (written.append(path), path.write_text(""))
    )
    for pid in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda: pid)
        checkpoint.save(T.Trainer(tiny(), data), tmp_path / "checkpoint.pt")
    assert len(set(written)) == 2


@pytest.mark.slow
def test_a_run_starts_with_the_networks_of_the_shipped_faces(tmp_path):
    faces = ImageSet(
        "random", "train", 64, torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    )
    gan = load_model("celeba_found")
    cfg = load_config(
        "laptop", steps=1, batch=4, projected=0.0, perceptual_net="factors", start="celeba_found"
    )
    cfg = checkpoint.with_start(cfg)
    assert cfg.model == gan.generator.cfg != load_config("laptop").model
    trainer = T.Trainer(cfg, faces)
    checkpoint.load(trainer, "celeba_found", start=True)
    assert all(
        torch.equal(v, gan.generator.state_dict()[k])
        for k, v in trainer.generator.state_dict().items()
    )
    assert (
        trainer.started_from["images_seen"] == gan.card["images_seen"] and trainer.step_count == 0
    )
    x, m = (
        open_dataset("synthfaces", "test", 64, limit=8)[:],
        sample_masks("elliptic", 8, 64, seed=0),
    )
    codes = gan.sample_codes(8, 3)
    logits = trainer.reader(gan.inpaint(x, m, codes), m, pyramid_fill(x, m))[2]
    assert (
        logits.argmax(-1) == codes[:, gan.n_continuous :]
    ).float().mean() > 0.8  # it can read what they draw
    assert T.train(cfg, tmp_path, faces, progress=None).finished
    cfg = checkpoint.with_start(load_config("laptop", batch=4, projected=0.1, start="celeba_found"))
    checkpoint.load(T.Trainer(cfg, faces), "celeba_found", start=True)  # heads of other maps
    with pytest.raises(
        RoiganError, match="trained with width=0.5, this run asks for width=0.25; leave width out"
    ):
        T.train(
            load_config("laptop", start="celeba_found", width=0.25, batch=4),
            tmp_path / "other",
            faces,
            progress=None,
        )
    with pytest.raises(
        RoiganError, match="architecture='improved', this run asks for architecture='thesis'"
    ):
        T.train(
            load_config("thesis", start="celeba_found", batch=4, width=0.125, perceptual=0.0),
            tmp_path / "other",
            faces,
            progress=None,
        )
    with pytest.raises(RoiganError, match="no checkpoint nobody.*celeba,.*which ship"):
        T.train(
            load_config("laptop", start="nobody", batch=4), tmp_path / "other", faces, progress=None
        )


@pytest.mark.slow
def test_checkpoints_that_do_not_fit(data, tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(T.Trainer(tiny(), data), path)
    for change, words in (
        (dict(width=0.25), "width=0.125, this run asks for width=0.25"),
        (dict(n_noise=8), "n_noise=32"),
        (
            dict(architecture="thesis"),
            "architecture='improved', this run asks for architecture='thesis'",
        ),
        (dict(projected=0.1), "projected=0.0, this run asks for projected=0.1"),
    ):
        with pytest.raises(RoiganError, match=words) as error:
            T.train(tiny(**change), tmp_path, data, progress=None)
        assert "another output folder" in one_sentence(error)
    # another schedule is no other architecture
    checkpoint.load(T.Trainer(tiny(lr_g=1e-5, steps=9), data), path)
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(RoiganError, match="damaged") as error:
        T.train(tiny(), tmp_path, data, progress=None)
    one_sentence(error)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(RoiganError, match="not a training checkpoint"):
        T.train(tiny(), tmp_path, data, progress=None)


def test_too_few_images(data):
    with pytest.raises(RoiganError, match="14 images, fewer than one batch of 15") as error:
        T.Trainer(tiny(batch=15), data)
    one_sentence(error)


def test_fewer_images_than_the_sample_grid_shows(data, tmp_path):
    few, grids = ImageSet("few", "train", 32, data.uint8[:5]), []
    run = T.train(
        tiny(steps=1), tmp_path, few, progress=None, grid=lambda *args: grids.append(args)
    )
    assert run.finished and len(grids[0][1]) == len(grids[0][2]) == len(grids[0][3]) == 5


@pytest.mark.parametrize(
    "change",
    [
        dict(path_b=0.0),
        dict(path_b=1.0),
        dict(batch=1),
        dict(n_discrete=0),
        dict(info=0.0),
        dict(penalty=1.0),
        dict(n_continuous=1),
        dict(precision="bf16"),
        dict(projected=0.1, style=0.1),
        dict(recipe="thesis", info=0.0, penalty=0.0),
        dict(recipe="thesis", n_discrete=0),
    ],
)
def test_corners_of_the_configuration_take_a_step(data, change):
    logs = T.Trainer(
        tiny(**({"warmup": 0.0} | change)), data
    ).step()  # D takes part from the first step
    assert all(isfinite(value) for value in logs.values()), logs


@pytest.mark.parametrize("recipe", ["improved", "thesis", "published"])
@pytest.mark.slow
def test_a_step_in_bfloat16_sees_what_one_in_float32_sees(recipe, data):
    changes = dict(warmup=0.0, penalty=1.0) | (dict(size=64) if recipe == "published" else {})
    images = (
        data
        if recipe != "published"
        else ImageSet("few", "train", 64, data.uint8.repeat(1, 1, 2, 2))
    )
    exact, half = (
        T.Trainer(tiny(recipe, **changes, precision=p), images).step() for p in ("fp32", "bf16")
    )
    assert exact.keys() == half.keys()
    for name, value in exact.items():
        assert half[name] == pytest.approx(value, rel=0.05, abs=0.05), name


def test_unknown_names_come_back_as_sentences(data):
    for change, words in (
        (dict(mask_family="eliptic"), "did you mean 'elliptic'"),
        (dict(dataset="synthface"), "did you mean 'synthfaces'"),
    ):
        with pytest.raises(RoiganError, match=words):
            T.Trainer(tiny(**change), data if "mask_family" in change else None).step()


@pytest.mark.slow
def test_stop_after_minutes_saves_and_can_be_continued(data, tmp_path):
    run = T.train(
        tiny(stop_after_minutes=1e-6, checkpoint_every=100), tmp_path, data, progress=None
    )
    assert not run.finished and run.model.card["steps"] == 1
    assert state_of(tmp_path / "checkpoint.pt")["step"] == 1 and (tmp_path / "log.jsonl").is_file()
    assert T.train(tiny(), tmp_path, data, progress=None).finished


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ROIGAN_RUNS", str(tmp_path))
    assert T.run_folder(tiny()) == tmp_path / "smoke-synthfaces"


@pytest.mark.slow
def test_networks_of_another_version_are_one_sentence(data, tmp_path):
    T.train(tiny(steps=1), tmp_path, data, progress=None)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["generator"].pop("blocks.0.shortcut.weight")
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(RoiganError, match="another version of the kit") as error:
        T.train(tiny(), tmp_path, data, progress=None)
    one_sentence(error)
    other = ImageSet("other", "train", 32, 255 - data.uint8)
    T.train(tiny(steps=1), tmp_path, data, progress=None, fresh=True)
    with pytest.raises(RoiganError, match="was trained with data="):
        T.train(tiny(), tmp_path, other, progress=None)


@pytest.mark.parametrize("recipe", ["thesis", "thesis-scaled"])
def test_the_thesis_minimizes_what_chapter_3_prints(recipe, data):
    """(3.18) and (3.19) by loops over images, layers, codes and drop-downs; and no EMA."""
    cfg = tiny(recipe)
    trainer = T.Trainer(cfg, data)
    trainer.opt_d.step = lambda: None  # one D for both losses
    batch, n_codes = trainer.batches.draw(0), cfg.model.n_continuous
    x, m, codes, noise, alpha = (*batch[:4], batch.alpha)
    chosen = trainer.batches.pictures(0, torch.Generator())[1]
    assert torch.equal(x, data[chosen])  # 3.8 mirrors nothing
    with torch.no_grad():
        g, d = trainer.generator, trainer.discriminator
        f = g.features_of(x, m)
        raw = g.decode(f, m, g.join_codes(codes, noise))
        done = m * raw + (1 - m) * x
        (real, real_maps), (fake, maps) = d(x, m), d(done, m)
        mean, logvar, logits = d.q(d.maps(raw, m)[-1])  # Q reads x_g (3.14)
        v_real, v_raw, v_done = (trainer.perceptual(y) for y in (x, raw, done))
    n, summed = len(x), recipe == "thesis"
    norm = lambda a, b: (a - b).abs().sum((1, 2, 3)).mean() if summed else (a - b).abs().mean()
    want = {
        "adversarial": -fake.mean(),
        "matching": sum(map(norm, real_maps, maps)),
        "perceptual": sum(map(norm, v_real, v_raw)) + sum(map(norm, v_real, v_done)),
        "info_c": sum(
            0.5
            * (
                (codes[i, k] - mean[i, k]) ** 2 / logvar[i, k].exp()
                + (2 * torch.pi * logvar[i, k].exp()).log()
            )
            for i in range(n)
            for k in range(n_codes)
        )
        / n,
        "info_d": -sum(
            logits[i, j].log_softmax(0)[codes[i, n_codes + j].long()]
            for i in range(n)
            for j in range(cfg.model.n_discrete)
        )
        / n
        / cfg.model.n_discrete,
    }
    kl = 0.5 * (f["mean"] ** 2 + f["logvar"].exp() - 1 - f["logvar"])
    want["kl"] = kl.sum(1).mean() if summed else kl.mean()
    if summed:
        want["variation"] = (
            sum(
                (done[i, :, a + da, b + db] - done[i, :, a, b]).abs().sum()
                for i, _, a, b in m.nonzero().tolist()
                for da, db in ((0, 1), (1, 0))
                if a + da < 32 and b + db < 32
            )
            / n
        )
    logs = trainer.step()
    for name, value in want.items():
        assert logs[name] == pytest.approx(float(value), rel=1e-3, abs=1e-5), name
    weights = dict(
        adversarial=1, variation=0.5, perceptual=5, matching=1, kl=0.5, info_c=0.5, info_d=0.5
    )
    assert logs["g"] == pytest.approx(sum(w * logs[name] for name, w in weights.items()), rel=1e-4)
    t = (alpha * x + (1 - alpha) * done).requires_grad_()
    (slope,) = torch.autograd.grad(d(t, m)[0].mean(1).sum(), t)
    penalty = ((m * slope).flatten(1).norm(dim=1) - 1).square().mean()
    hinge = (1 - real).relu().mean() + (1 + fake).relu().mean()
    assert logs["d"] == pytest.approx(
        float(hinge + 5 * penalty + 1e-4 * real.square().mean()), rel=1e-3
    )
    new, kept = trainer.generator.state_dict(), trainer.ema.state_dict()
    assert all(torch.equal(new[k], kept[k]) for k in new)  # no EMA


def test_siblings_share_a_face_and_differ_in_one_code(data):
    cfg = tiny("improved", batch=12, siblings=3, apart=0.2, faint=0.2, warmup=0.0)
    trainer = T.Trainer(cfg, data)
    images, masks, codes, noise = trainer.batches.draw(0)[:4]
    plain = T.Trainer(tiny("improved", batch=12), data).batches.draw(0)
    assert torch.equal(images[:7], plain[0][:7]) and torch.equal(
        codes[:7], plain[2][:7]
    )  # path A as ever
    for group in (slice(6, 9), slice(9, 12)):
        for shared in (images, masks, noise):
            assert (shared[group] == shared[group][:1]).all()
        differs = (codes[group] != codes[group][:1]).sum(1)
        assert differs.tolist() == [0, 1, 1]
        assert len({int(k) for k in (codes[group][1:] != codes[group][:1]).nonzero()[:, 1]}) == 2
    many = B.one_moved(
        cfg.model,
        3,
        sample_codes(cfg.model, 3999, torch.Generator().manual_seed(1)),
        torch.Generator().manual_seed(2),
    )
    continuous, discrete = many[:, : cfg.model.n_continuous], many[:, cfg.model.n_continuous :]
    assert continuous.abs().max() <= 1 and continuous.mean().abs() < 0.02
    assert continuous.square().mean().item() == pytest.approx(1 / 3, abs=0.02)  # still U(-1, 1)
    assert (discrete.long().flatten().bincount() / discrete.numel()).min() > 0.2
    logs = trainer.step()
    assert 0 < logs["apart"] <= 1 and 0 < logs["faint"] <= 1


def test_siblings_show_the_labels_of_the_face_that_they_share(people):
    told = dict(labels="gaze,mouth_open", batch=12)
    batch = T.Trainer(tiny(siblings=3, faint=0.2, **told), people).batches.draw(0)
    alone = T.Trainer(tiny(**told), people).batches.draw(0)
    shown = [0, 1, 2, 3, 4, 5, 6, 6, 6, 9, 9, 9]  # half of the batch is path B: two groups of three
    assert alone.labels.unique(dim=0).shape[0] == 12
    assert torch.equal(batch.images, alone.images[shown])
    assert torch.equal(batch.labels, alone.labels[shown])


def test_siblings_that_cannot_be_grouped_are_refused(data):
    with pytest.raises(RoiganError, match="siblings=4"):
        T.Trainer(tiny("improved", batch=12, siblings=4), data)
    with pytest.raises(RoiganError, match="compare siblings"):
        tiny("improved", apart=0.1)
    with pytest.raises(RoiganError, match="from 2 to"):
        tiny("improved", siblings=100)


def test_the_thesis_recipe_takes_a_reader_of_its_own(data):
    """One change at a time: the second path works without the rest of the improved recipe."""
    logs = T.Trainer(tiny("thesis", own_reader=True, path_b=0.5, prior=1.0), data).step()
    assert logs["perceptual"] > 0 and "code_sd" in logs and logs["info_d"] > 0


LABELS = "gaze,mouth_open"


@pytest.fixture(scope="module")
def people():
    return open_dataset("synthfaces", "train", 32, limit=14)


def test_labels_are_what_the_pictures_show_mirrored_ones_too(people):
    trainer = T.Trainer(tiny(labels=LABELS), people)
    columns, seen = [people.factor_names.index(name) for name in LABELS.split(",")], set()
    for step in range(3):
        batch = trainer.batches.draw(step)
        for image, (gaze, opened) in zip(batch.images, batch.labels):
            distance = {
                (k, turned): (x.flip(-1) if turned else x).sub(image).abs().sum().item()
                for k, x in enumerate(people[:])
                for turned in (False, True)
            }
            k, turned = min(distance, key=distance.get)
            true = people.factors[k, columns]
            assert distance[k, turned] == 0 and gaze == pytest.approx(
                (-1 if turned else 1) * true[0].item(), abs=1e-6
            )
            assert opened == pytest.approx(2 * true[1].item() - 1, abs=1e-6)  # its range is 0 … 1
            seen.add(turned)
    assert seen == {False, True}


def test_labels_are_the_codes_of_path_a_and_are_not_asked_back_on_path_b(people):
    cfg = tiny(labels=LABELS, warmup=0.0)
    trainer = T.Trainer(cfg, people)
    batch, n_a, model = trainer.batches.draw(0), trainer.batches.n_a, cfg.model
    first, sliders = model.n_noise, model.n_noise + model.n_continuous
    z = trainer.through(batch).z
    told = z[:, first : first + 2]
    assert 0 < n_a < cfg.optimisation.batch
    assert torch.allclose(told[:n_a], batch.labels[:n_a] + batch.jitter[:n_a, :2])
    assert torch.equal(told[n_a:], batch.codes[n_a:, :2])
    # drop-downs are drawn on path A as well, not read
    kinds = batch.codes[:, model.n_continuous :].long()
    assert torch.equal(z[:, sliders:], F.one_hot(kinds, model.n_categories).flatten(1).float())

    asked, lengths = objective.L.info_continuous, []
    every = (
        "gaze,mouth_open,eye_size,eye_slant,blush,lashes,freckles,moustache,nose_width,mouth_curve"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            objective.L,
            "info_continuous",
            lambda codes, *rest: (lengths.append(codes.shape[1]), asked(codes, *rest))[1],
        )
        for names in (LABELS, every):
            T.Trainer(tiny(labels=names, warmup=0.0), people).step()
    assert lengths == [
        model.n_continuous - 2
    ]  # the unlabelled codes of the first run, none of the second


@pytest.mark.slow
def test_labels_go_through_whole_steps_with_siblings_and_none_of_the_codes_left(people, tmp_path):
    every = (
        "gaze,mouth_open,eye_size,eye_slant,blush,lashes,freckles,moustache,nose_width,mouth_curve"
    )
    run = T.train(
        tiny(labels=every, batch=12, siblings=3, faint=0.2, warmup=0.0), tmp_path, people, None
    )
    assert run.finished and run.model.slider_names == {
        f"c{k}": n.replace("_", " ") for k, n in enumerate(every.split(","), 1)
    }
    assert load_model(tmp_path / "model.safetensors").slider_names == run.model.slider_names


def test_labels_that_cannot_be(data, people):
    for change, sentence in (
        (dict(mirror=1.0), "leave mirror at 0"),
        (dict(path_b=1.0), "path_b below 1"),
        (dict(recipe="thesis"), "give the improved recipe"),
    ):
        with pytest.raises(RoiganError, match=sentence):
            tiny(labels="gaze", **change)
    for labels, sentence in (
        ("gase", "did you mean 'gaze'"),
        ("gaze,gaze", "name each once"),
        ("hair_style", "choose labels of synthfaces: "),
    ):
        with pytest.raises(RoiganError, match=sentence):
            T.Trainer(tiny(labels=labels), people)
    with pytest.raises(RoiganError, match="has no factors or attributes that could be labels"):
        T.Trainer(tiny(labels="gaze"), data)
