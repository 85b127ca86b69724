"""GLCIC, the learned baseline of table 4.2: completion against a local and a global discriminator.

S. Iizuka, E. Simo-Serra, H. Ishikawa, "Globally and Locally Consistent Image Completion", SIGGRAPH
2017. Layers have the names of otenim/GLCIC-PyTorch (MIT), whose state dicts load unchanged; inside,
images lie in [0, 1] as in that code.

One rule of scale: the paper works at 256 pixels, and every length in pixels shrinks with S/256. The
local crop has S/2; dilations 2, 4, 8, 16 become 1, 1, 2, 4 at S = 64, where the paper's own would
leave conv10 one tap of nine; each discriminator halves its picture until the map is 4x4 or smaller.
Left out: the blending of the paper (fast marching, then Poisson).
"""

import json
from dataclasses import asdict

import torch
from torch import nn
from torch.nn import functional as F

from .. import checkpoint
from ..checks import check_device, check_pair, check_whole
from ..config import load_config
from ..config_checks import flat
from ..errors import RoiganError
from ..files import fits, plain_file, read_weights, weights_at, weights_hash, write_weights
from ..masks import sample_masks
from ..precision import autocast
from ..training import Trainer, frozen, train

FORMAT = "roigan-glcic-1"
SHARES = (0.18, 0.02, 0.80)  # of a run by phase: 90,000, 10,000 and 400,000 steps in the paper
ALPHA = 4e-4  # weight of the adversarial term in phase 3
ALPHA_D = 1.0  # of D's own loss, plain in algorithm 1 of the paper; otenim's code: ALPHA
CHANNELS = (64, *2 * [128], *9 * [256], *2 * [128], 64, 32, 3)  # of layers 1 … 17
DILATIONS = (2, 4, 8, 16)  # of conv7 … conv10
CELEBA_MEAN = (0.5063, 0.4258, 0.3832)  # otenim's weights saw CelebA


def dilations_for(size):
    """Dilations of conv7 … conv10 for images of `size` pixels: the paper's × size/256, or 1."""
    return tuple(max(1, round(d * size / 256)) for d in DILATIONS)


def mean_pixel(data):
    """Mean red, green and blue of an ImageSet, in [0, 1]: what holes are filled with."""
    total = sum(block.sum((0, 2, 3)).double() for block in data.uint8.split(4096))
    return (total / (255 * data.uint8[:, 0].numel())).tolist()


def _scaled(channels, width):
    return max(1, round(channels * width))


class CompletionNetwork(nn.ModuleDict):
    """x (n, 3, H, W) in [0, 1], m (n, 1, H, W), sides divisible by 4, to a picture as x.

    The hole of x is not seen: the mean pixel stands in its place. `width` multiplies all channel
    counts, 1 = paper.
    """

    def __init__(self, width=1.0, dilations=DILATIONS, mean=CELEBA_MEAN):
        super().__init__()
        self.dilations = tuple(dilations)
        mean = torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)  # otenim's state dicts have none
        c_in = 4
        for i, channels in enumerate(CHANNELS, 1):
            c_out = channels if i == 17 else _scaled(channels, width)
            if i in (13, 15):
                self[f"deconv{i}"] = nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)
            else:
                k, d = 5 if i == 1 else 3, self.dilations[i - 7] if 7 <= i <= 10 else 1
                stride = 2 if i in (2, 4) else 1
                self[f"conv{i}"] = nn.Conv2d(c_in, c_out, k, stride, d * (k // 2), d)
            if i < 17:
                self[f"bn{i}"] = nn.BatchNorm2d(c_out)
            c_in = c_out

    def forward(self, x, m):
        y = torch.cat([x * (1 - m) + self.mean * m, m], 1)
        for name, layer in self.items():
            y = layer(y.relu() if name.startswith("bn") else y)
        return y.sigmoid()


class Tower(nn.ModuleDict):
    """A discriminator without its verdict: squares (n, 3, side, side) to (n, 1024 * width)."""

    def __init__(self, side, width=1.0):
        super().__init__()
        i, c_in = 1, 3
        while side > 4:
            c_out = _scaled(min(512, 32 * 2**i), width)
            self[f"conv{i}"] = nn.Conv2d(c_in, c_out, 5, 2, 2)
            self[f"bn{i}"] = nn.BatchNorm2d(c_out)
            i, c_in, side = i + 1, c_out, (side + 1) // 2
        self[f"linear{i}"] = nn.Linear(c_in * side * side, _scaled(1024, width))

    def forward(self, x):
        *maps, (_, dense) = self.items()
        for name, layer in maps:
            x = layer(x.relu() if name.startswith("bn") else x)
        return dense(x.flatten(1)).relu()


class ContextDiscriminator(nn.Module):
    """Images (n, 3, S, S) in [0, 1] to logits (n,) of real; masks say where the local one looks."""

    def __init__(self, size, width=1.0):
        super().__init__()
        self.crop = size // 2
        self.model_ld, self.model_gd = Tower(self.crop, width), Tower(size, width)
        self.linear1 = nn.Linear(2 * _scaled(1024, width), 1)

    def forward(self, images, masks):
        side, corners = self.crop, crop_corners(masks, self.crop).tolist()
        local = [x[:, t : t + side, l : l + side] for x, (t, l) in zip(images, corners)]
        local = torch.stack(local)
        return self.linear1(torch.cat([self.model_ld(local), self.model_gd(images)], 1))[:, 0]


def crop_corners(masks, side):
    """Top and left (n, 2) of squares around the middles of holes' bounding boxes, kept inside.

    masks (n, 1, H, W) of {0, 1}; side in pixels, at most H and W.
    """
    found = []
    for axis in (2, 1):
        seen = masks[:, 0].amax(axis)  # (n, H), then (n, W)
        first, last = seen.argmax(1), seen.shape[1] - 1 - seen.flip(1).argmax(1)
        found.append(((first + last + 1) // 2 - side // 2).clamp(0, seen.shape[1] - side))
    return torch.stack(found, 1)


class GLCIC:
    """A trained completion network: `inpaint` as a RoIGAN has it, without codes and chance.

    Attributes: network, size (pixels it was trained at), name, card (what is known of the
    training), checkpoint_hash (12 hex digits).
    """

    def __init__(self, network, size=64, name="glcic", card=None):
        self.network = network.eval().requires_grad_(False)
        self.size, self.name, self.card = size, name, card or {}
        self.checkpoint_hash = weights_hash(network.state_dict())

    def inpaint(self, images, masks, codes=None, seed: int = 0) -> torch.Tensor:
        """Completed images (n, 3, H, W) on the CPU: outside the hole the input bit for bit.

        images (n, 3, H, W) in [-1, 1], H and W divisible by 4; masks (n, 1, H, W) or one for all, 1
        = the region to fill. codes and seed are ignored: GLCIC has one answer. RoiganError: what
        `check_pair` refuses, other sizes.
        """
        images, masks = check_pair(images, masks)
        height, width = images.shape[2:]
        if height % 4 or width % 4:
            raise RoiganError(
                f"GLCIC takes images whose sides divide by 4, not {height}x{width}; crop or resize "
                "them."
            )
        device = self.network.mean.device
        with torch.inference_mode():
            out = [
                self.network((x.to(device) + 1) / 2, m.to(device)).cpu() * 2 - 1
                for x, m in zip(images.split(32), masks.split(32))
            ]
        return torch.where(masks.cpu() > 0.5, torch.cat(out), images.cpu())


def load_glcic(name_or_path="glcic_celeba", device="cpu") -> GLCIC:
    """A GLCIC from a shipped name, a folder or file of `train_glcic`, or otenim's model_cn.

    An otenim file does not name the mean pixel: that of the config.json beside it is taken, else
    CelebA's. Weights load without executing code. RoiganError: a missing, damaged or foreign file.
    """
    path, device = weights_at(name_or_path), check_device(device)
    how = "train one with train_glcic, or fetch otenim's model_cn"
    plain_file(path, "GLCIC at", how)
    if path.suffix == ".safetensors":
        state, header = read_weights(path, FORMAT, "a GLCIC of this kit")
        card = header.get("card")
    else:
        state, card = _read_otenim(path)
    try:
        dilations = [check_whole("dilation", d, 1, 64) for d in card["dilations"]]
        right = 0 < card["width"] <= 16 and len(dilations) == len(DILATIONS)
        right = right and 0 <= min(card["mean"]) <= max(card["mean"]) <= 1
        build = lambda: CompletionNetwork(card["width"], card["dilations"], card["mean"])
        if not (right and fits(build, state) and all(v.isfinite().all() for v in state.values())):
            raise ValueError
        network, size = build(), check_whole("size", card["size"], 8, 4096)
        network.load_state_dict(state)
    except Exception:
        raise RoiganError(
            f"{path.name} lacks layers or a mean pixel of GLCIC; copy or train it again."
        ) from None
    name = path.parent.name if path.stem == "model" else path.stem
    network = network.float().to(device, memory_format=torch.channels_last)
    return GLCIC(network, size, name, card)


def _read_otenim(path):
    config = path.with_name("config.json")
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        mean = json.loads(config.read_text("utf-8"))["mpv"] if config.is_file() else CELEBA_MEAN
    except Exception:
        raise RoiganError(
            f"{path.name}, or a config.json beside it, is damaged or of another kind: plain "
            f"weights (and a mean pixel, mpv) are needed."
        ) from None
    state = state if isinstance(state, dict) else {}
    state = {str(k).removeprefix("module."): v for k, v in state.items()}
    if any(k.startswith(("model_ld.", "model_gd.", "linear")) for k in state):
        raise RoiganError(
            f"{path.name} is a discriminator of GLCIC; load the completion network, model_cn."
        )
    if not {"conv1.weight", "deconv13.weight", "conv17.bias"} <= state.keys():
        raise RoiganError(
            f"{path.name} is no completion network of GLCIC; of a run load its model.safetensors."
        )
    card = {"source": "otenim/GLCIC-PyTorch", "size": 160, "width": len(state["conv1.weight"]) / 64}
    return state, card | {"dilations": DILATIONS, "mean": mean}


class GLCICTrainer(Trainer):
    """Both networks and one `step`; image order, mirrors, loop and checkpoints are the kit's."""

    shown = ("mse", "d", "adversarial")
    has_codes = False

    def __init__(self, cfg, data, device=None):
        self.begin(cfg, data, device)
        size, width = cfg.model.size, cfg.model.width
        network = CompletionNetwork(width, dilations_for(size), mean_pixel(self.data))
        self.generator = self.ema = self.put(network)
        self.discriminator = self.put(ContextDiscriminator(size, width))
        self.reader = self.heads = self.classifier = None  # a checkpoint has room for them
        networks = self.generator, self.discriminator
        self.g_params, self.d_params = (list(net.parameters()) for net in networks)
        self.opt_g, self.opt_d = map(torch.optim.Adadelta, (self.g_params, self.d_params))
        self.limit = 0  # the minutes are those of the whole run, see `share`

    def share(self):
        """How much of the run is done: of the minutes where they are limited, else of the steps."""
        minutes = self.cfg.run.stop_after_minutes
        return self.seconds / (60 * minutes) if minutes else super().share()

    def phase(self):
        """1: completion network alone, squared error; 2: discriminators alone; 3: all together."""
        return 1 + (self.share() >= SHARES[0]) + (self.share() >= SHARES[0] + SHARES[1])

    def draw(self, step):
        """Images in [0, 1], their holes, and where the local discriminator looks at real ones."""
        g = self.batches.random(step)
        x, size = (self.batches.pictures(step, g)[0] + 1) / 2, self.cfg.model.size
        masks = sample_masks(self.cfg.data.mask_family, 2 * len(x), size, generator=g)
        return x, *masks.to(self.device).chunk(2)

    def step(self) -> dict:
        """One update of the networks of this phase; the losses as floats. RoiganError: NaN.

        mse is the squared error in the hole, divided by all values of the frame, as otenim's code
        weighs it against ALPHA. Real and completed images go through the discriminators apart, each
        with its own batch norm. In phase 2 the completion network is frozen, statistics and all.
        """
        x, m, others = self.draw(self.step_count)
        phase = self.phase()
        self.marks = {"phase": phase}
        self.generator.train(phase != 2), self.discriminator.train()
        with torch.set_grad_enabled(phase != 2), autocast(self.precision, self.device):
            done = torch.where(m > 0.5, self.generator(x, m).float(), x)
            loss = (done - x).square().mean()
        logs = {"mse": loss.item()}
        if phase > 1:
            real, fake = self.judge(x, others), self.judge(done.detach(), m)
            d = (F.softplus(-real) + F.softplus(fake)).mean() / 2  # cross entropy of logits
            self.learn(self.opt_d, d if phase == 2 else ALPHA_D * d)
            real, fake = (scores.sigmoid().mean().item() for scores in (real, fake))
            logs |= dict(d=d.item(), d_real=real, d_fake=fake)
        if phase == 3:
            with frozen(self.d_params):
                adversarial = F.softplus(-self.judge(done, m)).mean()
            loss = loss + ALPHA * adversarial
            logs["adversarial"] = adversarial.item()
        if phase != 2:
            self.learn(self.opt_g, loss)
        self.step_count += 1
        return self.checked(logs)

    def judge(self, images, where):
        """Logits (n,) of real, in float32."""
        with autocast(self.precision, self.device):
            return self.discriminator(images, where).float()

    def learn(self, optimizer, loss):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def card(self) -> dict:
        """What a reader of the weights should know, and what rebuilds the network."""
        settings, network, more = flat(asdict(self.cfg)), self.generator, checkpoint.card(self)
        del more["training"]
        more |= {"finished": self.share() >= 1, "size": settings["size"]}
        more |= {"width": settings["width"], "dilations": network.dilations}
        more |= {"mean": network.mean.flatten().tolist(), "alpha": ALPHA, "alpha_d": ALPHA_D}
        wanted = ("batch", "mask_family", "shift", "soften", "seed")
        return more | {name: settings[name] for name in wanted}

    def model(self) -> GLCIC:
        """The completion network as it is now."""
        return GLCIC(self.generator, self.cfg.model.size, card=self.card())

    def write_model(self, path):
        """The completion network in float16, with the card that rebuilds it."""
        write_weights(path, self.generator.state_dict(), format=FORMAT, card=self.card())


def train_glcic(data, folder, minutes=0, progress=print, fresh=False, **options) -> GLCIC:
    """Train a GLCIC in three phases, or go on from the checkpoint in `folder`.

    data: an ImageSet of size x size pixels. folder, progress, fresh: as in `train`. options: size
    (64), width (1.0, the paper's channel counts), batch (16), steps (5000) and other fields of
    Config. The phases take SHARES of the steps (paper: 500,000 at a batch of 96) or, with minutes >
    0, of that much training time, steps then unheeded.

    A run that was cut goes on bit for bit. Ctrl-C and SIGTERM save and return what there is,
    card["finished"] False. RoiganError: as `train`.
    """
    options = dict(size=64, width=1.0, batch=16, steps=5000, stop_after_minutes=minutes) | options
    cfg = load_config("laptop", dataset=getattr(data, "name", "synthfaces"), **options)
    run = train(cfg.replace(profile="glcic"), folder, data, progress, fresh, trainer=GLCICTrainer)
    return load_glcic(run.folder / "model.safetensors")
