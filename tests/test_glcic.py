"""GLCIC: the paper's layers, otenim's files, phases, exact continuation, whether it learns."""

import json
import signal

import pytest
import torch
from torch.nn import functional as F

from roigan_lib.baselines import glcic as G
from roigan_lib.data import ImageSet
from roigan_lib.errors import RoiganError
from roigan_lib.masks import sample_masks
from roigan_lib.metrics.comparison import complete
from roigan_lib.stored import WEIGHTS

# name, channels in and out, kernel: the table of the paper
LAYERS = [
    ("conv1", 4, 64, 5),
    ("conv2", 64, 128, 3),
    ("conv3", 128, 128, 3),
    ("conv4", 128, 256, 3),
    *((f"conv{i}", 256, 256, 3) for i in range(5, 13)),
    ("deconv13", 256, 128, 4),
    ("conv14", 128, 128, 3),
    ("deconv15", 128, 64, 4),
    ("conv16", 64, 32, 3),
    ("conv17", 32, 3, 3),
]


@pytest.fixture(scope="module")
def data():
    pixels = torch.randint(
        0, 256, (14, 3, 32, 32), generator=torch.Generator().manual_seed(4), dtype=torch.uint8
    )
    return ImageSet("random", "train", 32, pixels)


@pytest.fixture
def quick(monkeypatch):
    """Every step logs, every second one is saved, and four steps see all phases."""
    load = G.load_config
    often = dict(log_every=1, checkpoint_every=2)
    monkeypatch.setattr(G, "load_config", lambda *a, **fields: load(*a, **often | fields))
    monkeypatch.setattr(G, "SHARES", (0.25, 0.25, 0.5))


def train(data, folder, progress=None, **changes):
    return G.train_glcic(
        data, folder, progress=progress, **(dict(size=32, width=0.0625, batch=4, steps=4) | changes)
    )


def trainer(data, **changes):
    fields = dict(size=32, width=0.0625, batch=4, steps=4) | changes
    return G.GLCICTrainer(G.load_config("laptop", **fields), data)


def pair(n=3, size=(32, 40)):
    return torch.rand(n, 3, *size) * 2 - 1, sample_masks("elliptic", n, size, seed=3)


def shake(network):
    """Statistics and scales that no layer can hide behind, near 1, so that nothing saturates."""
    for i in range(1, 17):
        bn = network[f"bn{i}"]
        for v, low, high in (
            (bn.running_mean, -0.1, 0.4),
            (bn.running_var, 0.2, 0.6),
            (bn.weight, 0.6, 1.4),
            (bn.bias, -0.5, 0.5),
        ):
            v.data.uniform_(low, high)
    return network


def transcribed(state, images, masks, mean, dilations):
    """The network of otenim/GLCIC-PyTorch in eval mode: images in [-1, 1] in and out."""
    x = (images + 1) / 2
    y = torch.cat([x - x * masks + torch.tensor(mean).view(1, 3, 1, 1) * masks, masks], 1)
    for i, (name, _, _, k) in enumerate(LAYERS, 1):
        w, b = state[f"{name}.weight"], state[f"{name}.bias"]
        d = dict(zip((7, 8, 9, 10), dilations)).get(i, 1)
        y = (
            F.conv_transpose2d(y, w, b, 2, 1)
            if k == 4
            else F.conv2d(y, w, b, 2 if i in (2, 4) else 1, d * (k // 2), d)
        )
        if i < 17:
            mean_, var, scale, shift = (
                state[f"bn{i}.{key}"].view(1, -1, 1, 1)
                for key in ("running_mean", "running_var", "weight", "bias")
            )
            y = (F.relu(y) - mean_) / (var + 1e-5).sqrt() * scale + shift
    return torch.sigmoid(y) * 2 - 1


def differences(a, b, where=""):
    """Paths at which two nested states differ in a single bit."""
    if isinstance(a, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, (dict, list, tuple)):
        keys = a.keys() if isinstance(a, dict) else range(len(a))
        assert keys == (b.keys() if isinstance(b, dict) else range(len(b))), where
        return [d for k in keys for d in differences(a[k], b[k], f"{where}/{k}")]
    return [] if a == b else [where]


def state_of(folder):
    return {
        k: v
        for k, v in torch.load(folder / "checkpoint.pt", weights_only=True).items()
        if k != "seconds"
    }


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 300
    return text


# -- the networks ----------------------------------------------------------------------------------
def test_completion_network_has_the_layers_of_the_paper():
    network = G.CompletionNetwork()
    wanted = {f"{name}.{part}" for name, *_ in LAYERS for part in ("weight", "bias")}
    wanted |= {
        f"bn{i}.{part}"
        for i in range(1, 17)
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert network.state_dict().keys() == wanted and wanted >= {
        "conv12.bias",
        "deconv13.bias",
        "deconv15.bias",
    }
    count = sum(k * k * a * b + b for _, a, b, k in LAYERS) + sum(
        2 * b for _, _, b, _ in LAYERS[:-1]
    )
    assert sum(p.numel() for p in network.parameters()) == count == 6_072_131
    half = G.CompletionNetwork(0.5)
    assert half.conv1.weight.shape == (32, 4, 5, 5) and half.conv17.weight.shape == (3, 16, 3, 3)


@pytest.mark.parametrize("dilations, field", [((2, 4, 8, 16), 303), ((1, 1, 1, 1), 95)])
def test_receptive_field_is_the_paper_s(dilations, field):
    """The paper says 307 and 99: three coarse pixels, not two, a transposed convolution."""
    network = G.CompletionNetwork(1 / 64, dilations).double().eval()
    for p in network.parameters():
        p.data.fill_(
            1 / p[0].numel() if p.ndim > 1 else 0.0
        )  # positive: nothing cancels, ReLU passes it all
    for i in range(1, 17):
        network[f"bn{i}"].weight.data.fill_(1.0)
    x = torch.rand(1, 3, 312, 4, dtype=torch.float64, requires_grad=True)
    network(x, torch.zeros(1, 1, 312, 4, dtype=torch.float64))[0, 0, 157].sum().backward()
    rows = (x.grad[0].abs().sum((0, 2)) > 0).nonzero()
    assert rows.max() - rows.min() + 1 == field


def test_dilations_shrink_with_the_picture():
    assert G.dilations_for(256) == (2, 4, 8, 16) and G.dilations_for(128) == (1, 2, 4, 8)
    assert G.dilations_for(64) == (1, 1, 2, 4) and G.dilations_for(32) == (1, 1, 1, 2)
    network = G.CompletionNetwork(1 / 64, G.dilations_for(64))
    assert [network[f"conv{i}"].dilation[0] for i in range(6, 12)] == [1, 1, 1, 2, 4, 1]
    assert [network[f"conv{i}"].padding[0] for i in range(7, 11)] == [1, 1, 2, 4]


def test_output_is_that_of_a_plain_transcription():
    mean = (0.2, 0.5, 0.7)
    model = G.GLCIC(shake(G.CompletionNetwork(0.125, mean=mean)))
    images, masks = pair()
    want = transcribed(model.network.state_dict(), images, masks, mean, (2, 4, 8, 16))
    got = model.inpaint(images, masks)
    hole = masks.expand_as(images) > 0
    assert 0.02 < want[hole].std() < 0.9  # it says something and does not saturate
    assert torch.allclose(got[hole], want[hole], atol=1e-5)


@pytest.mark.parametrize("size, local, whole", [(256, 5, 6), (64, 3, 4), (32, 2, 3)])
def test_discriminators_end_in_small_maps(size, local, whole):
    net = G.ContextDiscriminator(size, 1 / 64)
    assert net.crop == size // 2
    for tower, n in ((net.model_ld, local), (net.model_gd, whole)):
        assert list(tower) == [f"{kind}{i}" for i in range(1, n + 1) for kind in ("conv", "bn")] + [
            f"linear{n + 1}"
        ]
        assert tower[f"linear{n + 1}"].in_features == tower[f"conv{n}"].out_channels * 4 * 4
    assert net(torch.rand(2, 3, size, size), sample_masks("elliptic", 2, size)).shape == (2,)
    wide = G.ContextDiscriminator(64)
    assert [wide.model_gd[f"conv{i}"].out_channels for i in range(1, 5)] == [64, 128, 256, 512]
    assert wide.linear1.in_features == 2048


@pytest.mark.parametrize("family", ["elliptic", "rectangular"])
def test_local_crop_holds_the_centre_of_the_hole_and_stays_inside(family):
    masks, side = sample_masks(family, 200, (48, 64), seed=1), 24
    for mask, corner in zip(masks, G.crop_corners(masks, side)):
        for length, seen, start in (
            (48, mask[0].any(1), corner[0]),
            (64, mask[0].any(0), corner[1]),
        ):
            where = seen.nonzero()
            centre = (where.min() + where.max()) / 2
            assert 0 <= start <= length - side and start <= centre <= start + side - 1
            if side / 2 <= centre <= length - side / 2 - 1:
                assert abs(start + (side - 1) / 2 - centre) <= 0.5  # nothing but the frame moves it
    dot = torch.zeros(1, 1, 48, 64)
    dot[..., 47, 0] = 1
    assert G.crop_corners(dot, side).tolist() == [[24, 0]]


def test_discriminator_looks_at_that_crop():
    net, mask = G.ContextDiscriminator(32, 1 / 16).eval(), torch.zeros(1, 1, 32, 32)
    mask[..., 4:8, 24:28] = 1  # centre (6, 26): rows 0-15, columns 16-31
    looked = []
    net.model_ld.register_forward_hook(lambda module, inputs, out: looked.append(inputs[0]))
    x = torch.rand(1, 3, 32, 32)
    net(x, mask)
    assert torch.equal(looked[0], x[..., :16, 16:])


# -- a model ---------------------------------------------------------------------------------------
def test_outside_is_bit_equal_and_chance_plays_no_part():
    model = G.GLCIC(shake(G.CompletionNetwork(0.0625)))
    images, masks = pair(5)
    done = model.inpaint(images, masks)
    hole = masks.expand_as(images) > 0.5
    assert (
        done.shape == images.shape
        and torch.equal(done[~hole], images[~hole])
        and done.abs().max() <= 1
    )
    assert torch.equal(done, model.inpaint(images, masks, codes=torch.zeros(5, 9), seed=7))
    assert torch.allclose(
        done, model.inpaint(torch.where(hole, torch.zeros(()), images), masks), atol=1e-6
    )  # unseen
    assert model.inpaint(images, masks[0, 0]).shape == images.shape
    assert torch.equal(complete("glcic", model, images, masks, batch=5), done)
    assert (
        len(model.checkpoint_hash) == 12
        and model.size == 64
        and model.name == "glcic"
        and model.card == {}
    )
    with pytest.raises(RoiganError, match="divide by 4, not 32x42") as error:
        model.inpaint(*pair(1, (32, 42)))
    one_sentence(error)
    with pytest.raises(RoiganError, match="is empty"):
        model.inpaint(images, torch.zeros(32, 40))


@pytest.mark.parametrize("prefix, config", [("", True), ("module.", False)])
def test_an_otenim_file_gives_the_same_output(tmp_path, prefix, config):
    state = shake(G.CompletionNetwork(0.125)).state_dict()
    torch.save({prefix + k: v for k, v in state.items()}, tmp_path / "model_cn")
    mean = [0.1, 0.6, 0.4] if config else G.CELEBA_MEAN
    if config:
        (tmp_path / "config.json").write_text(json.dumps({"mpv": mean, "arc": "celeba"}))
    model = G.load_glcic(tmp_path / "model_cn")
    assert (
        model.network.dilations == (2, 4, 8, 16) and model.size == 160 and model.name == "model_cn"
    )
    assert model.card["mean"] == mean and model.card["width"] == 0.125
    images, masks = pair()
    want = torch.where(masks > 0, transcribed(state, images, masks, mean, (2, 4, 8, 16)), images)
    assert torch.allclose(model.inpaint(images, masks), want, atol=1e-5)


def test_wrong_files_are_one_sentence(tmp_path, data, quick):
    def refused(path, words):
        with pytest.raises(RoiganError, match=words) as error:
            G.load_glcic(path)
        one_sentence(error)

    refused(tmp_path / "nothing.pth", "There is no GLCIC")
    refused(tmp_path, "is a folder")
    refused(WEIGHTS / "synthfaces.safetensors", "not a GLCIC of this kit")
    path = tmp_path / "w.pth"
    for what, words in (
        (G.ContextDiscriminator(32, 1 / 64).state_dict(), "is a discriminator"),
        (G.Tower(32, 1 / 64).state_dict(), "is a discriminator"),
        (torch.nn.Linear(2, 2).state_dict(), "no completion network"),
        ([1, 2], "no completion network"),
        ({"f": print}, "of another kind"),
    ):
        torch.save(what, path)
        refused(path, words)
    state = G.CompletionNetwork(1 / 64).state_dict()
    torch.save({k: v for k, v in state.items() if k != "bn3.weight"}, path)
    refused(path, "lacks layers")
    torch.save(state, path)
    (tmp_path / "config.json").write_text('{"mpv": [1, 2]}')
    refused(path, "a mean pixel")
    (tmp_path / "config.json").write_text("{}")
    refused(path, "a mean pixel")
    path.write_bytes(path.read_bytes()[:999])
    refused(path, "damaged")
    train(data, tmp_path / "run", steps=1)
    refused(tmp_path / "run" / "checkpoint.pt", "load its model.safetensors")
    whole = tmp_path / "run" / "model.safetensors"
    whole.write_bytes(whole.read_bytes()[:2000])
    refused(whole, "damaged")


# -- training --------------------------------------------------------------------------------------
def test_holes_are_filled_with_the_mean_of_the_data(data):
    mean = (data[:].double().mean((0, 2, 3)) + 1) / 2
    assert G.mean_pixel(data) == pytest.approx(mean.tolist(), abs=1e-6)
    network, seen = trainer(data).generator, []
    network.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x, m = (data[:2] + 1) / 2, sample_masks("elliptic", 2, 32)
    network(x, m)
    fill, hole = mean.float().view(1, 3, 1, 1).expand_as(x), m.expand_as(x) > 0
    assert torch.allclose(seen[0][:, :3][hole], fill[hole]) and torch.equal(
        seen[0][:, :3][~hole], x[~hole]
    )
    assert torch.equal(seen[0][:, 3:], m)


def test_phases_take_their_shares_of_steps_or_minutes(data):
    t = trainer(data, steps=500_000)
    for t.step_count, phase in (
        (0, 1),
        (89_999, 1),
        (90_000, 2),
        (99_999, 2),
        (100_000, 3),
        (499_999, 3),
    ):
        assert t.phase() == phase
    t = trainer(data, stop_after_minutes=2)
    for t.seconds, phase in ((0, 1), (21, 1), (22, 2), (23.9, 2), (24.1, 3)):
        assert t.phase() == phase


def test_each_phase_moves_its_own_networks(data, quick):
    t, moved, logs = trainer(data), [], []
    for _ in range(3):
        before = [
            {k: v.clone() for k, v in net.state_dict().items()}
            for net in (t.generator, t.discriminator)
        ]
        logs.append(t.step())
        after = t.generator.state_dict(), t.discriminator.state_dict()
        moved.append([bool(differences(a, b)) for a, b in zip(before, after)])
    assert moved == [[True, False], [False, True], [True, True]]  # batch-norm statistics included
    assert (
        logs[0].keys() == {"mse"}
        and "adversarial" in logs[2]
        and {"d", "d_real", "d_fake"} <= logs[1].keys()
    )
    assert all(p.requires_grad for p in t.d_params)


def test_loss_counts_the_hole_only(data):
    t = trainer(data)
    x, m, others = t.draw(0)
    assert (
        x.min() >= 0
        and x.max() <= 1
        and m.shape == others.shape == (4, 1, 32, 32)
        and not torch.equal(m, others)
    )
    with torch.no_grad():
        want = (m * (t.generator.train()(x, m) - x)).square().mean().item()
    assert t.step()["mse"] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("phase", [1, 2, 3])
def test_bfloat16_takes_the_step_of_float32(data, quick, phase):
    logs = {}
    for precision in ("fp32", "bf16"):
        made = trainer(data, precision=precision)
        made.phase = lambda: phase
        logs[precision] = made.step()
        assert all(p.dtype == torch.float32 for p in made.g_params + made.d_params)
    assert logs["fp32"].keys() == logs["bf16"].keys() and logs["fp32"] != logs["bf16"]
    assert all(logs["bf16"][k] == pytest.approx(v, rel=0.03) for k, v in logs["fp32"].items())


@pytest.mark.slow
def test_two_and_two_steps_are_four_bit_for_bit(data, tmp_path, quick):
    said = []
    whole = train(data, tmp_path / "whole")

    def interrupt(text):
        said.append(text)
        if text.startswith("step 2/"):
            raise KeyboardInterrupt

    half = train(data, tmp_path / "cut", interrupt)
    assert half.card["steps"] == 2 and not half.card["finished"] and "goes on from here" in said[-1]
    torch.manual_seed(99)  # nothing may hang on the global generator
    joined = train(data, tmp_path / "cut", said.append)
    assert any("continuing" in text and "step 2" in text for text in said)
    states = [state_of(tmp_path / name) for name in ("whole", "cut")]
    assert differences(*states) == [] and states[0]["step"] == 4
    assert states[0]["opt_g"]["state"] and states[0]["opt_d"]["state"]
    assert whole.checkpoint_hash == joined.checkpoint_hash != half.checkpoint_hash
    rows = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    timing = ("seconds", "memory_gib", "images_per_second")
    assert [{k: v for k, v in r.items() if k not in timing} for r in rows[0]] == [
        {k: v for k, v in r.items() if k not in timing} for r in rows[1]
    ]
    assert [r["phase"] for r in rows[1]] == [1, 2, 3, 3] and {
        "mse",
        "d",
        "adversarial",
        *timing,
    } <= rows[1][3].keys()
    assert (
        train(data, tmp_path / "cut").checkpoint_hash == whole.checkpoint_hash
    )  # nothing left to do
    assert train(data, tmp_path / "cut", steps=1, fresh=True).card["steps"] == 1
    assert train(data, tmp_path / "seed", seed=1).checkpoint_hash != whole.checkpoint_hash


@pytest.mark.slow
def test_ctrl_c_within_a_step_saves_whole_steps_only(data, tmp_path, quick, monkeypatch):
    inner, calls = G.GLCICTrainer.learn, []

    def pressed(self, optimizer, loss):
        calls.append(1)
        if len(calls) == 3:  # in phase 3 after D's update was asked for
            signal.raise_signal(signal.SIGINT)
        inner(self, optimizer, loss)

    monkeypatch.setattr(G.GLCICTrainer, "learn", pressed)
    assert train(data, tmp_path / "cut").card["steps"] == 3
    train(data, tmp_path / "cut")
    train(data, tmp_path / "whole")
    assert differences(state_of(tmp_path / "cut"), state_of(tmp_path / "whole")) == []


def test_two_runs_in_one_folder_are_one_too_many(data, tmp_path, quick):
    from roigan_lib.checks import only_run

    with only_run(tmp_path), pytest.raises(RoiganError, match="is at work in"):
        train(data, tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_save_leaves_a_good_checkpoint(
    data, tmp_path, quick, monkeypatch
):
    train(data, tmp_path / "whole")
    save = torch.save

    def killed(state, path):
        if state["step"] == 4:
            path.write_bytes(b"half a checkpoint")
            raise SystemExit
        save(state, path)

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(SystemExit):
        train(data, tmp_path / "cut")
    monkeypatch.setattr(torch, "save", save)
    assert state_of(tmp_path / "cut")["step"] == 2
    train(data, tmp_path / "cut")
    assert differences(state_of(tmp_path / "cut"), state_of(tmp_path / "whole")) == []


def test_what_is_returned_is_what_the_file_holds(data, tmp_path, quick):
    from safetensors import safe_open

    model = train(data, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".lock",
        "checkpoint.pt",
        "log.jsonl",
        "model.safetensors",
    ]
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata()["format"] == "roigan-glcic-1"
        assert file.get_tensor("conv1.weight").dtype == torch.float16
    again = G.load_glcic(tmp_path)
    assert again.checkpoint_hash == model.checkpoint_hash and again.name == tmp_path.name
    images, masks = pair()
    assert torch.equal(again.inpaint(images, masks), model.inpaint(images, masks))
    card = again.card
    assert (card["dataset"], card["data"], card["steps"], card["images_seen"]) == (
        "random",
        data.fingerprint,
        4,
        16,
    )
    assert (card["width"], card["alpha"], card["finished"], again.size) == (0.0625, 4e-4, True, 32)
    assert card["mean"] == pytest.approx(G.mean_pixel(data)) and again.network.dilations == (
        1,
        1,
        1,
        2,
    )
    trained = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["generator"]
    assert torch.allclose(again.network.conv5.weight, trained["conv5.weight"], atol=1e-3)


def test_minutes_are_a_budget_of_training_time(data, tmp_path, quick):
    model = train(data, tmp_path, steps=10**6, minutes=0.2 / 60)
    assert model.card["finished"] and 1 <= model.card["steps"] < 10**6
    again = train(data, tmp_path, minutes=0.2 / 60)  # the seconds on record are spent
    assert (
        again.card["steps"] == model.card["steps"]
        and again.checkpoint_hash == model.checkpoint_hash
    )


@pytest.mark.slow
def test_it_learns_a_trivial_data_set(tmp_path, monkeypatch):
    load = G.load_config
    monkeypatch.setattr(G, "load_config", lambda *a, **fields: load(*a, **fields, log_every=5))
    line = torch.arange(32) - 15.5
    disc = ((line[:, None] ** 2 + line**2) < 14**2).to(torch.uint8) * 255
    data = ImageSet("disc", "train", 32, disc.expand(8, 3, 32, 32).contiguous())
    model = train(data, tmp_path, steps=60, width=0.125, batch=8)
    rows = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows[:2]] == [1, 1] and rows[-1]["phase"] == 3
    assert sum(row["mse"] for row in rows[-3:]) / 3 < 0.3 * rows[0]["mse"]
    images, masks = data[:4], sample_masks("elliptic", 4, 32, seed=9)
    hole = masks.expand_as(images) > 0
    fill = (model.network.mean * 2 - 1).expand_as(images)
    assert (model.inpaint(images, masks) - images)[hole].abs().mean() < 0.5 * (fill - images)[
        hole
    ].abs().mean()


def test_bad_values_are_one_sentence(data, tmp_path, quick, monkeypatch):
    for what, changes, words in (
        (data, dict(size=64), "32×32 pixels and the configuration has size=64"),
        (data, dict(batch=15), "14 images, fewer than one batch of 15"),
        (data[:], {}, "dataset is None; it has to be a text"),
        (data, dict(size=40), "size is 40"),
        (data, dict(width=0), "width is 0"),
        (data, dict(steps=0), "steps is 0"),
        (data, dict(mask_family="eliptic"), "did you mean 'elliptic'"),
    ):
        with pytest.raises(RoiganError, match=words) as error:
            train(what, tmp_path / "none", **changes)
        one_sentence(error)
    train(data, tmp_path / "run", steps=2)
    for changes, other in (
        (dict(width=0.125), data),
        ({}, ImageSet("other", "train", 32, 255 - data.uint8)),
    ):
        with pytest.raises(RoiganError, match="fresh=True") as error:
            train(other, tmp_path / "run", **changes)
        one_sentence(error)
    monkeypatch.setattr(G, "mean_pixel", lambda data: [float("nan")] * 3)
    with pytest.raises(RoiganError, match="NaN at step 1") as error:
        train(data, tmp_path / "nan")
    one_sentence(error)
