"""The yardstick: what one step of the author's release does, plainly, for comparison only.

Dense convolutions over the whole mask, each forward pass where the release makes one. Functions on
a state dictionary in the checkpoint layout; nothing of roigan_lib is used, so that a test can hold
the kit's fast path against it.
"""

import math

import torch
from torch.nn import functional as F

DECODER = ("layer_1", "layer_2", "layer_3", "layer_4")


def act(x):
    return F.leaky_relu(x, 0.2)


def convolve(state, name, x, stride=1, padding=0):
    return F.conv2d(x, state[name + ".weight"], state.get(name + ".bias"), stride, padding)


def dense(state, name, x):
    return F.linear(x, state[name + ".weight"], state[name + ".bias"])


def batch_norm(state, name, x, training):
    return F.batch_norm(
        x,
        state[name + ".running_mean"],
        state[name + ".running_var"],
        state[name + ".weight"],
        state[name + ".bias"],
        training,
    )


def denormalize(state, name, x, mask, z=None):
    """(3.8) as released: (1 + gamma) times the instance norm of x, plus beta; no z, no style."""
    size = [side + 4 for side in x.shape[2:]]
    roi = act(convolve(state, name + ".shared", F.interpolate(mask, size=size, mode="nearest")))
    if z is not None:
        scale, shift = dense(state, name + ".dense_transform", z)[:, :, None, None].chunk(2, 1)
        roi = (1 + scale) * roi + shift
    return F.instance_norm(x) * (1 + act(convolve(state, name + ".gamma", roi))) + act(
        convolve(state, name + ".beta", roi)
    )


def block(state, name, x, mask, z):
    left = act(
        convolve(
            state,
            name + ".conv_left",
            act(denormalize(state, name + ".spade_left", x, mask, z)),
            1,
            1,
        )
    )
    act(
        denormalize(state, name + ".spade_right", x, 1 - mask)
    )  # computed, then overwritten, in the release
    right = act(convolve(state, name + ".conv_right", x, 1, 1))
    both = F.interpolate(left, scale_factor=2) + F.interpolate(right, scale_factor=2)
    return act(
        denormalize(
            state,
            name + ".spade_last",
            act(convolve(state, name + ".conv_last", both, 1, 1)),
            mask,
            z,
        )
    )


def generate(state, z, image, mask, training=False):
    """Raw output (n, 3, 64, 64), mean and log-variance of the style, and the style σZ + μ."""
    y, maps = torch.cat([image * (1 - mask), mask], 1), []
    for i in range(1, 6):
        gate = torch.sigmoid(convolve(state, f"encoder.layer_{i}.mask_conv2d", y, 2, 1))
        y = F.instance_norm(gate * act(convolve(state, f"encoder.layer_{i}.conv2d", y, 2, 1)))
        maps.append(y)
    mean, logvar = (dense(state, f"encoder.{name}", y.flatten(1)) for name in ("mean", "logvar"))
    for i in (1, 2, 3):
        z = act(batch_norm(state, f"normalization_{i}", dense(state, f"dense_{i}", z), training))
    style = z * (0.5 * logvar).exp() + mean
    y = act(F.pixel_shuffle(style[:, :, None, None], 4))
    for name, skip in zip(DECODER, maps[3::-1]):
        y = block(state, name, torch.cat([y, skip], 1), mask, z)
    return torch.tanh(F.instance_norm(convolve(state, "conv", y, 1, 1))), mean, logvar, style


def spectral(state, name, training):
    weight, u, v = (state[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
    flat = weight.flatten(1)
    if training:
        with torch.no_grad():
            v.copy_(F.normalize(flat.T @ u, dim=0))
            u.copy_(F.normalize(flat @ v, dim=0))
        u, v = u.clone(), v.clone()
    return weight / (u @ (flat @ v))


def judge(state, image, mask, training):
    """Scores (n, 26), the maps behind each activation, the last one for Q."""
    y, maps = torch.cat([image, mask], 1), []
    for i, name in enumerate(("net.0", "net.2", "net.5", "net.8", "net.11")):
        y = F.conv2d(y, spectral(state, name, training), None, 2 if i < 2 else 1, int(i < 2))
        y = act(F.instance_norm(y) if i else y)
        maps.append(y)
    local = convolve(state, "head_local.0", y).flatten(1)
    whole = convolve(
        state, "head_global.3", act(F.instance_norm(convolve(state, "head_global.0", y)))
    ).flatten(1)
    return torch.cat([local, whole], 1), maps


def read(state, last, training=False):
    """Q: mean, variance and logits of the codes."""
    y = act(batch_norm(state, "q_net.main.1", convolve(state, "q_net.main.0", last), training))
    y = act(
        batch_norm(state, "q_net.main.4", convolve(state, "q_net.main.3", y), training)
    ).flatten(1)
    return (
        dense(state, "q_net.mean", y),
        dense(state, "q_net.var", y).exp(),
        dense(state, "q_net.disc", y),
    )


class Step:
    """One step of the release at its losses and rates: `Step(generator state, discriminator
    state)(images, masks, codes, noise)`.

    perceptual: a network images -> list of five maps, or None to leave the perceptual loss out.
    What the release draws anew, the noise on the images, the codes and noise of D's own drawing
    and alpha of (3.10), can be given, for comparison.
    """

    def __init__(self, g_state, d_state, perceptual=None, n_continuous=10, n_categories=10):
        leaf = lambda state: {
            k: v.detach().clone().requires_grad_(_learned(k)) for k, v in state.items()
        }
        self.g, self.d, self.perceptual = leaf(g_state), leaf(d_state), perceptual
        self.n_continuous, self.n_categories = n_continuous, n_categories
        learned = lambda state, q: [
            v for k, v in state.items() if v.requires_grad and k.startswith("q_net") == q
        ]
        self.opt_d = torch.optim.Adam(learned(self.d, False), lr=3e-4, betas=(0.5, 0.999))
        self.opt_g = torch.optim.Adam(
            learned(self.g, False) + learned(self.d, True), lr=1e-4, betas=(0.5, 0.999)
        )

    def _z(self, codes, noise):
        c1 = codes[:, self.n_continuous :].long()
        hot = F.one_hot(c1, self.n_categories).flatten(1).to(noise.dtype)
        return torch.cat([noise, codes[:, : self.n_continuous], hot], 1)

    def __call__(
        self, x, m, codes, noise, image_noise=None, codes_d=None, noise_d=None, alpha=None
    ):
        drawn = lambda given, like: torch.randn_like(like) if given is None else given
        x = x + 0.05 * drawn(image_noise, x)
        d_loss, self.d_terms = self.judge_loss(
            x, m, codes if codes_d is None else codes_d, drawn(noise_d, noise), alpha
        )
        self.opt_d.zero_grad()
        d_loss.backward()
        self.opt_d.step()
        g_loss, self.g_terms = self.draw_loss(x, m, codes, noise)
        self.opt_g.zero_grad()
        g_loss.backward()
        self.opt_g.step()
        return g_loss.item(), d_loss.item()

    def judge_loss(self, x, m, codes, noise, alpha=None):
        """D's loss: a drawing of its own by G in eval mode, a pass each for fake, real, mixed."""
        with torch.no_grad():
            done = m * generate(self.g, self._z(codes, noise), x, m, False)[0] + (1 - m) * x
        fake, real = judge(self.d, done, m, True)[0], judge(self.d, x, m, True)[0]
        alpha = torch.rand(len(x), 1, 1, 1, device=x.device) if alpha is None else alpha
        between = (alpha * x + (1 - alpha) * done).requires_grad_()
        slope = torch.autograd.grad(
            judge(self.d, between, m, True)[0].sum(), between, create_graph=True
        )[0]
        length = (((1 - m) * slope).flatten(1).square().sum(1) + 1e-12).sqrt()
        terms = {
            "hinge": F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
            "penalty": (length - 1).square().mean(),
            "zero": real.square().mean(),
        }
        return terms["hinge"] + 5 * terms["penalty"] + 1e-4 * terms["zero"], terms

    def draw_loss(self, x, m, codes, noise):
        """G's and Q's loss: another drawing; D in eval mode once for hinge and Q, twice more."""
        frozen = {k: v if k.startswith("q_net") else v.detach() for k, v in self.d.items()}
        c0, c1 = codes[:, : self.n_continuous], codes[:, self.n_continuous :].long()
        raw, _, logvar, style = generate(self.g, self._z(codes, noise), x, m, True)
        done = m * raw + (1 - m) * x
        scores, maps = judge(frozen, done, m, False)
        mu, variance, logits = read(frozen, maps[-1], False)
        hole = m * done
        terms = {
            "adversarial": -scores.mean(),
            "kl": -0.5 * (1 + logvar - style.square() - logvar.exp()).mean(),
            "info_c": (
                0.5 * (2 * math.pi * variance + 1e-6).log()
                + (c0 - mu).square() / (2 * variance + 1e-6)
            )
            .sum(1)
            .mean(),
            "info_d": sum(
                F.cross_entropy(part, c1[:, i])
                for i, part in enumerate(logits.split(self.n_categories, 1))
            ),
            "variation": (
                (hole[..., 1:] - hole[..., :-1]).abs().mean()
                + (hole[..., 1:, :] - hole[..., :-1, :]).abs().mean()
            ),
        }
        # the hook of the release keeps output[0]: the first image of the batch
        real_maps, fake_maps = judge(frozen, x, m, False)[1], judge(frozen, done, m, False)[1]
        terms["matching"] = sum((a[0] - b[0]).abs().mean() for a, b in zip(real_maps, fake_maps))
        loss = (
            terms["adversarial"]
            + terms["matching"]
            + terms["kl"]
            + 0.5 * terms["variation"]
            + terms["info_c"]
            + terms["info_d"]
        )
        if self.perceptual:
            target = self.perceptual(x)
            weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
            terms["perceptual"] = sum(
                w * (a - b).abs().mean()
                for images in (raw, done)
                for w, a, b in zip(weights, self.perceptual(images), target)
            )
            loss = loss + 5 * terms["perceptual"]
        return loss, terms


def _learned(key):
    return not key.endswith(
        ("running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v")
    )
