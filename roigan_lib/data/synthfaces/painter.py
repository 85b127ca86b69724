"""synthfaces: colour portraits painted from named factors, so that a model's sliders can be checked against truth.

A portrait is a stack of signed-distance shapes (hair, neck, head, eyes, ...) blended back to front for a whole batch at
once. A smoothstep about a pixel wide on the signed distance smooths the edges, hence any size works and the same
factors give the same picture at every size. All variety comes from the factor row: there are no random pixels.

Frame coordinates: x to the right and y down, both in [-1, 1]; "left" and "right" mean left and right in the picture.
"""

import hashlib
import math
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...checks import check_seed
from ...errors import RoiganError

HAIR_STYLES = (
    "bald",
    "cropped",
    "side parting",
    "swept back",
    "long",
    "wavy",
    "curly",
    "fringe",
    "bun",
)
HAIR_COLOURS = ("black", "dark brown", "brown", "auburn", "ginger", "blond", "grey", "white")
GLASSES = ("none", "round", "square")
CLOTHES = ("crew neck", "V-neck", "shirt collar", "turtleneck")


@dataclass(frozen=True)
class Factor:
    """One column of a factor row: a real number in [low, high], or (kind 'categorical') a category index low … high."""

    name: str
    low: float
    high: float
    kind: str
    doc: str
    labels: tuple = ()

    @property
    def n_categories(self):
        return len(self.labels)


def _amount(name, doc):
    return Factor(name, 0.0, 1.0, "continuous", doc)


def _both_ways(name, doc):
    return Factor(name, -1.0, 1.0, "continuous", doc)


def _choice(name, labels, doc):
    return Factor(name, 0.0, len(labels) - 1.0, "categorical", doc, labels)


FACTORS = [
    _amount("skin_tone", "Skin from very light (0) to very dark (1)."),
    _both_ways("skin_warmth", "Undertone of the skin, from pink (-1) to golden (1)."),
    _both_ways("face_width", "Width of the whole head, from narrow to wide."),
    _both_ways("jaw", "Jaw from pointed (-1) to square (1)."),
    _both_ways("chin_length", "How far the chin reaches down."),
    _both_ways("eye_size", "Size of both eyes."),
    _both_ways("eye_spacing", "Distance between the eyes."),
    _both_ways("eye_openness", "Lids from nearly closed (-1) to wide open (1)."),
    _both_ways("eye_slant", "Outer corners of the eyes from low (-1) to high (1)."),
    _both_ways("eye_asymmetry", "Which eye is more open: the left one (-1) or the right one (1)."),
    _both_ways("gaze", "Where the irises look: left (-1) to right (1)."),
    _amount("eye_colour", "Iris from dark brown through hazel and green to blue (1)."),
    _amount("lashes", "Weight of the lash line and of the eye shadow."),
    _both_ways("brow_thickness", "Thickness of the eyebrows."),
    _both_ways(
        "brow_angle", "Inner ends of the brows from raised, worried (-1) to lowered, stern (1)."
    ),
    _both_ways("brow_height", "How high the eyebrows sit above the eyes."),
    _both_ways("nose_length", "Where the tip of the nose ends."),
    _both_ways("nose_width", "Width of the nostrils and of the tip."),
    _both_ways("mouth_width", "Distance between the corners of the mouth."),
    _both_ways("mouth_curve", "Corners of the mouth from down (-1) to up, smiling (1)."),
    _amount("mouth_open", "Gap between the lips, showing the teeth."),
    _both_ways("lip_fullness", "Height of both lips."),
    _amount("lip_colour", "Lips from the tone of the skin (0) to red lipstick (1)."),
    _amount("moustache", "Moustache from none through a shadow to full."),
    _amount("beard", "Beard from none through stubble to full and longer than the chin."),
    _choice("hair_colour", HAIR_COLOURS, "Colour of hair, brows and beard."),
    _choice("hair_style", HAIR_STYLES, "Cut of the hair."),
    _both_ways("hair_volume", "How far the hair stands off the head."),
    _amount("hairline", "Hairline from low (0) to receding (1)."),
    _choice("glasses", GLASSES, "Spectacles: none, round wire ones or a dark square frame."),
    _both_ways("light", "Where the light comes from: left (-1) to right (1)."),
    _both_ways("yaw", "Head turned to the left (-1) or to the right (1)."),
    _both_ways("tilt", "Head leaning to the left (-1) or to the right (1)."),
    _amount("blush", "Redness of the cheeks."),
    _amount("freckles", "Freckles on cheeks and nose."),
    _amount("age", "Lines on the forehead, beneath the eyes and beside the mouth."),
    _both_ways("ear_size", "Size of the ears."),
    _amount("background_hue", "Hue of the muted background, once round the colour wheel."),
    _amount("background_light", "Background from dark to light."),
    _choice("clothing", CLOTHES, "Neckline of the clothes."),
    _amount(
        "clothing_colour",
        "Clothes along a palette from charcoal, navy and green to mustard, red and cream.",
    ),
]
NAMES = [f.name for f in FACTORS]
MIRRORED = ("eye_asymmetry", "gaze", "light", "yaw", "tilt")  # negated in a mirrored portrait
_INDEX = {name: i for i, name in enumerate(NAMES)}
_SPLITS = {
    "train": (10_000, 1_000_003),
    "valid": (1_000, 2_000_003),
    "test": (1_000, 3_000_017),
}  # images, seed


def index(name):
    """Column of the factor called `name`; RoiganError if there is none."""
    if name not in _INDEX:
        raise RoiganError(f"synthfaces has no factor {name!r}; choose one of {', '.join(NAMES)}.")
    return _INDEX[name]


# ---------------------------------------------------------------------------------------------------- sampling
def sample_factors(n, seed=0):
    """Draw n people: (n, F) float32 factor rows in the order of FACTORS.

    Only uniform numbers of a CPU generator are used, row by row: the same everywhere, and the first m rows of n are
    those of m. Two hidden traits, age and a masculine-feminine one, tie hair, beard, jaw, brows and make-up together.
    """
    n_uniform = len(FACTORS) + 4
    u = torch.rand(
        (n, n_uniform),
        generator=torch.Generator().manual_seed(check_seed(seed)),
        dtype=torch.float64,
    )
    fem, old, chance, other = u[:, -4], u[:, -3], u[:, -2], u[:, -1]
    col = {name: u[:, i] for i, name in enumerate(NAMES)}
    out = {
        f.name: f.low + (f.high - f.low) * col[f.name] for f in FACTORS
    }  # uniform, until said otherwise below
    woman, man = (fem > 0.5), (fem <= 0.5)

    def pull(name, towards, weight):  # correlate, keep inside the range
        out[name] = (1 - weight) * out[name] + weight * towards

    for name in ("brow_angle", "eye_asymmetry", "eye_slant", "tilt", "mouth_curve", "eye_openness"):
        out[name] = out[name] * out[name].abs().sqrt()  # most people near the middle
    pull("mouth_curve", 1.0, 0.25)
    pull("eye_openness", 0.6, 0.2)
    lean = (2 * fem - 1).sign() * (2 * fem - 1).abs().sqrt()  # -1 masculine … 1 feminine
    pull("jaw", -lean, 0.5)
    pull("brow_thickness", -lean, 0.5)
    pull("lip_fullness", lean, 0.3)
    pull("eye_size", lean, 0.3)
    pull("face_width", -lean, 0.2)
    out["skin_tone"] = col["skin_tone"] ** 1.25
    dark = out["skin_tone"] > 0.55
    out["eye_colour"] = torch.where(dark, 0.4 * col["eye_colour"], col["eye_colour"])
    out["lashes"] = torch.where(woman, 0.35 + 0.65 * col["lashes"], 0.3 * col["lashes"])
    out["lip_colour"] = torch.where(woman, col["lip_colour"] ** 1.3, 0.15 * col["lip_colour"])
    out["blush"] = torch.where(woman, col["blush"], 0.5 * col["blush"])
    out["mouth_open"] = ((col["mouth_open"] - 0.5) * 2).clamp(0, 1)
    out["age"] = (1.05 * old**1.7 + 0.3 * (col["age"] - 0.5)).clamp(0, 1)
    out["freckles"] = torch.where(dark, 0 * fem, ((col["freckles"] - 0.72) / 0.28).clamp(0, 1))
    out["beard"] = torch.where(man & (chance > 0.45), 0.15 + 0.85 * col["beard"], 0 * fem)
    wears = man & ((chance > 0.5) | (other > 0.85))
    out["moustache"] = torch.where(wears, 0.3 + 0.7 * col["moustache"], 0 * fem)
    out["hairline"] = torch.where(man, col["hairline"] * (0.35 + 0.65 * old), 0.4 * col["hairline"])

    def pick(u01, weights):  # weights (n, k) -> category index
        edges = torch.cumsum(weights / weights.sum(1, keepdim=True), 1)
        return (u01[:, None] > edges).sum(1).clamp(max=weights.shape[1] - 1).double()

    def table(*rows):
        return torch.tensor(rows, dtype=torch.float64)

    #                       bald crop side swept long wavy curly fringe bun
    styles = torch.where(
        woman[:, None],
        table([1.0, 5, 7, 3, 24, 20, 13, 17, 14]),
        table([15.0, 25, 22, 17, 4, 4, 11, 4, 1]),
    )
    out["hair_style"] = pick(col["hair_style"], styles)
    #                       black dark brown auburn ginger blond grey white
    fair, deep = table([8.0, 16, 22, 12, 12, 26, 3, 1]), table([62.0, 26, 6, 2, 1, 1, 2, 0.5])
    colours = torch.where((out["skin_tone"] > 0.45)[:, None], deep, fair)
    silver = (out["age"] - 0.45).clamp_min(0)[:, None] * table([0.0, 0, 0, 0, 0, 0, 120, 100])
    out["hair_colour"] = pick(col["hair_colour"], colours + silver)
    out["glasses"] = pick(
        col["glasses"], table([86.0, 7, 7]).expand(n, 3) + old[:, None] * table([-16.0, 8, 8])
    )
    out["clothing"] = pick(col["clothing"], table([32.0, 25, 25, 18]).expand(n, 4))
    return torch.stack([out[name] for name in NAMES], 1).float()


def traversal(factors_row, name, steps=7):
    """Sweep one factor over its range: a row (F,) -> (steps, F); a categorical factor visits its categories in turn."""
    i = index(name)
    row = torch.as_tensor(factors_row, dtype=torch.float32).reshape(-1)
    if row.numel() != len(FACTORS):
        raise RoiganError(
            f"A factor row has {len(FACTORS)} numbers, not {row.numel()}; take one of sample_factors()."
        )
    factor, rows = FACTORS[i], row.repeat(steps, 1)
    sweep = torch.linspace(factor.low, factor.high, steps)
    rows[:, i] = (
        torch.arange(steps) % factor.n_categories if factor.kind == "categorical" else sweep
    )
    return rows


# ---------------------------------------------------------------------------------------------------- drawing
def _rgb(*hex_codes):
    return [[int(h[i : i + 2], 16) / 255 for i in (0, 2, 4)] for h in hex_codes]


_SKIN = _rgb("ffdfcb", "f5c9a8", "e2ab82", "c08759", "8f5c3d", "5f3d2c")
_IRIS = _rgb("3a2416", "6f4526", "8a7038", "5f8a5a", "4d86b4", "8fb4cc")
_HAIR = _rgb("1f1b1e", "40291d", "714a2e", "863f26", "c2672d", "dcb36c", "8f8d8e", "e0dcd4")
_CLOTH = _rgb("3a3a42", "2f4565", "3f6f78", "5d7550", "c09a45", "b5573f", "8a4560", "d9d2c2")

# One row a hair style. The hairline: its height, its drop at the temples, where that starts, the parting's x and notch,
# the fall of the hair left and right of it, its rough edge, the thickness of the cap. The hair behind the head: extra
# half width, top, base, squareness, lumps. Then how curly the strands are, and whether there is a bun.
_STYLE = {
    #                line   drop  start part   notch left  right rough  cap    side  top    base  square lump   curl bun
    "bald": (-2, 0, 0.6, 0, 0, 0, 0, 0, -0.6, -0.9, -0.9, -0.6, 2, 0, 0, 0),
    "cropped": (-0.56, 0.52, 0.66, 0, 0, 0, 0, 0.01, 0.035, -0.9, -0.9, -0.6, 2, 0, 0.3, 0),
    "side parting": (
        -0.56,
        0.5,
        0.74,
        -0.24,
        0.16,
        0.1,
        0.35,
        0,
        0.08,
        -0.9,
        -0.9,
        -0.6,
        2,
        0,
        0,
        0,
    ),
    "swept back": (
        -0.62,
        0.52,
        0.7,
        0.05,
        0.02,
        0.2,
        0.2,
        0.012,
        0.12,
        0.01,
        -0.9,
        0.25,
        3,
        0,
        0,
        0,
    ),
    "long": (-0.62, 1.05, 0.74, 0.02, 0.1, 0.7, 0.7, 0, 0.075, 0.1, -0.9, 1.6, 4, 0, 0, 0),
    "wavy": (
        -0.58,
        0.95,
        0.74,
        0.2,
        0.1,
        0.75,
        0.5,
        0.012,
        0.095,
        0.19,
        -0.9,
        0.98,
        3,
        0.028,
        0.5,
        0,
    ),
    "curly": (-0.52, 0.48, 0.72, 0, 0, 0.1, 0.1, 0.022, 0.14, 0.25, -1.05, 0.4, 2.1, 0.035, 1, 0),
    "fringe": (-0.3, 0.9, 0.8, 0, 0, 0.1, 0.1, 0.014, 0.08, 0.09, -0.9, 0.66, 4.5, 0, 0, 0),
    "bun": (-0.6, 0.42, 0.7, 0, 0.02, 0.3, 0.3, 0, 0.045, -0.9, -0.9, -0.6, 2, 0, 0, 1),
}
_STYLE_COLUMNS = (
    "line drop start part notch left right rough cap side top base square lump curl bun"
).split()


def _smooth(t):
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


def _fixed(like, *rgb):
    """A constant colour (1, 3, 1, 1) where `like` lives."""
    return torch.tensor(rgb, device=like.device)[None, :, None, None]


def _along(palette, t):
    """Colour (n, 3, 1, 1) at position t (n, 1, 1) in [0, 1] along a palette, piecewise linear."""
    p = torch.tensor(palette, device=t.device)
    s = t.reshape(-1).clamp(0, 1) * (len(palette) - 1)
    i = s.long().clamp(max=len(palette) - 2)
    return torch.lerp(p[i], p[i + 1], (s - i)[:, None])[:, :, None, None]


def _glow(x, y, rx, ry):
    """Soft blob: 1 at the origin, about 0.02 at twice the radii."""
    return torch.exp(-(x / rx).square() - (y / ry).square())


def _ellipse(x, y, rx, ry):
    u, v = x / rx, y / ry
    k = (u * u + v * v).sqrt()
    return k * (k - 1) / ((u / rx).square() + (v / ry).square()).sqrt().clamp_min(1e-3)


def _segment(x, y, ax, ay, bx, by):
    dx, dy = bx - ax, by - ay
    t = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    return ((x - ax - t * dx).square() + (y - ay - t * dy).square()).sqrt()


class _Portrait:
    """Paints a batch of portraits; every plane is (n, h, w), every per-person number (n, 1, 1)."""

    def __init__(self, factors, size):
        n, device = len(factors), factors.device
        self.f = {name: factors[:, i, None, None] for i, name in enumerate(NAMES)}
        self.size, self.sharp = size, size / 2 / 1.3  # edges 1.3 pixels wide
        c = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
        self.x, self.y = c.expand(n, size, size), c[:, None].expand(n, size, size)
        self.rgb = torch.empty(n, 3, size, size, device=device)
        f = self.f
        cell = torch.tensor([_STYLE[s] for s in HAIR_STYLES], device=device)[
            f["hair_style"].flatten().round().long()
        ]
        self.style = {name: cell[:, i, None, None] for i, name in enumerate(_STYLE_COLUMNS)}
        self.bald = (f["hair_style"].round() == 0).float()
        # head: rotate about the neck, turn by parallax (what is nearer moves further)
        a, (x, y) = 0.14 * f["tilt"], (self.x, self.y - 0.7)
        self.hx = a.cos() * x + a.sin() * y - 0.04 * f["yaw"]
        self.hy = a.cos() * y - a.sin() * x + 0.7
        fx = self.hx - 0.09 * f["yaw"]
        self.fx = fx * (1 + 0.25 * f["yaw"] * fx)
        self.wide = 0.54 + 0.06 * f["face_width"]
        self.mid, self.up, self.down = -0.10, 0.70, 0.755 + 0.065 * f["chin_length"]
        dy = self.hy - self.mid
        self.ny = torch.where(dy > 0, dy / self.down, dy / self.up)
        t = self.ny.clamp(0, 1.15)
        self.nx = self.hx / (self.wide * (1 - (0.21 - 0.16 * f["jaw"]) * t * t))
        p = torch.where(dy > 0, 2.25 + 0.3 * f["jaw"], 2.15)
        k = (self.nx.abs().clamp_min(1e-3) ** p + self.ny.abs().clamp_min(1e-3) ** p) ** (1 / p)
        self.head = (k - 1) * (self.wide * 1.15)  # signed distance to the head, about
        # light
        lx, ly, lz = 0.85 * f["light"], -0.45, 0.85
        norm = (lx * lx + ly * ly + lz * lz).sqrt()
        nx, ny = self.nx * 0.92, self.ny * 0.85
        nz = (1 - nx * nx - ny * ny).clamp_min(0.03).sqrt()
        self.lit = (nx * lx + ny * ly + nz * lz) / norm
        # colours
        warm = f["skin_warmth"][:, None] * _fixed(factors, 0.010, 0.012, -0.045)
        self.skin = (_along(_SKIN, f["skin_tone"]) + warm).clamp(0, 1)
        self.hair = _along(_HAIR, f["hair_colour"].round() / (len(_HAIR) - 1))
        self.blood = self.skin * _fixed(factors, 0.90, 0.60, 0.57)

    # -- tools
    def window(self, x0, x1, y0, y1):
        """Index of a part of the frame (n, h, w), drawn wide enough for a turned and tilted head."""
        left, right, top, bottom = (round((v + 1) / 2 * self.size) for v in (x0, x1, y0, y1))
        return slice(None), slice(top, bottom), slice(left, right)

    def inside(self, d, soft=0.0):
        """Coverage of a signed distance: a step one pixel wide, or `soft` frame units wide if that is more."""
        k = 1 / (1 / self.sharp + soft)
        return _smooth(0.5 - d * k)

    def paint(self, w, alpha, colour):
        self.rgb[(w[0], slice(None), *w[1:])].lerp_(colour, alpha[:, None])

    def tone(self, w, alpha, r, g=None, b=None):
        """Multiply by 1 + alpha * (r, g, b): shadows below 0, lights above."""
        tint = _fixed(alpha, r, r if g is None else g, r if b is None else b)
        self.rgb[(w[0], slice(None), *w[1:])].mul_(1 + alpha[:, None] * tint)

    # -- layers, back to front
    def background(self):
        f = self.f
        hue = 2 * math.pi * f["background_hue"][:, None]
        wheel = _fixed(hue, 0.0, -2 * math.pi / 3, 2 * math.pi / 3)
        base = (0.28 + 0.50 * f["background_light"][:, None]) * (1 + 0.09 * torch.cos(hue + wheel))
        fall = (
            1.05
            - 0.16 * self.y
            + 0.16 * f["light"] * self.x
            - 0.10 * (self.x.square() + self.y.square())
        )
        wash = (
            0.03
            * torch.sin(3.1 * self.x + 2.3 * self.y + 1.0)
            * torch.sin(2.2 * self.x - 3.7 * self.y)
        )
        self.rgb[:] = base * (fall + wash)[:, None]

    def strands(self):
        """Brightness of the hair: strands that run from the parting, or curls, with a band of light across them."""
        x, y, curl = self.hx - self.style["part"], self.hy, self.style["curl"]
        flow = x / (0.55 + 0.40 * (y + 0.9).clamp_min(0))
        ripple = 0.35 * torch.sin(7 * y + 3 * self.f["hair_volume"])
        line = 0.6 * torch.sin(24 * flow + ripple * 4) + 0.4 * torch.sin(39 * flow + 5 * y)
        rings = torch.sin(21 * x + 3 * torch.sin(6 * y)) * torch.sin(
            20 * y + 2.5 * torch.sin(7 * x)
        )
        grain = torch.lerp(line, rings * 1.3, curl.expand_as(line))
        shine = _glow(x - 0.30 * self.f["light"], y + 0.70 - 0.35 * x * x, 0.40, 0.10) * (
            0.75 + 0.25 * line
        )
        gloss = 0.30 - 0.10 * curl[:, None]
        return (
            self.hair * (0.62 + 0.42 * self.lit + 0.13 * grain)[:, None]
            + (0.06 + self.hair * 0.6) * (shine[:, None] * gloss)
        ).clamp_max_(1)

    def paint_hair(self, w, alpha, dim=1.0):
        self.paint(w, alpha, self.strand[(w[0], slice(None), *w[1:])] * dim)

    def back_hair(self):
        self.strand = self.strands()  # (n, 3, size, size), for all the hair
        s, vol = self.style, self.f["hair_volume"]
        w = self.window(-1, 1, -1, 1)
        rx = (self.wide + s["side"] + (0.05 + 0.10 * s["curl"]) * vol).clamp_min(0.02)
        top, bottom = s["top"] - 0.05 * vol, s["base"] + 0.08 * vol
        centre = -0.15
        dy = self.hy - centre
        ry = torch.where(dy > 0, bottom - centre, centre - top).clamp_min(0.02)
        p = torch.where(dy > 0, s["square"], 2.2)
        x = self.hx + 0.06 * self.f["yaw"]
        k = ((x.abs() / rx).clamp_min(1e-3) ** p + (dy.abs() / ry).clamp_min(1e-3) ** p) ** (1 / p)
        lumps = s["lump"] * (
            torch.sin(13 * self.hx + 1) * torch.sin(12 * self.hy)
            + 0.5 * torch.sin(9 * self.hy + 14 * x)
        )
        d = (k - 1) * rx + lumps
        alpha = self.inside(d) * (s["side"] > -0.5)
        self.paint_hair(w, alpha, 0.72)
        w = self.window(-0.6, 0.6, -1, -0.45)
        d = _ellipse(self.hx[w], self.hy[w] + 0.93, 0.23 + 0.03 * vol, 0.17 + 0.03 * vol)
        self.paint_hair(w, self.inside(d) * s["bun"], 0.85)

    def body(self):
        f = self.f
        w = self.window(-0.6, 0.6, 0.25, 1)
        x, y = self.x[w], self.y[w]
        broad = 0.32 + 0.03 * f["face_width"] + 0.035 * f["jaw"]
        d = x.abs() - broad - 0.10 * _smooth((y - 0.75) / 0.3)
        side = 0.80 + 0.16 * f["light"] * x / 0.32 - 0.18 * (x / 0.36).square()
        drop = 0.34 * (
            1 - _smooth((y - 0.66 - 0.07 * f["chin_length"]) / 0.30)
        )  # shadow of the chin
        self.paint(
            w, self.inside(d), self.skin * (side - drop)[:, None] * _fixed(x, 1.0, 0.95, 0.93)
        )
        w = self.window(-1, 1, 0.6, 1)
        x, y, kind = self.x[w], self.y[w], f["clothing"].round()
        cloth = _along(_CLOTH, f["clothing_colour"])
        shoulder = 0.82 + 0.42 * (x.abs() - 0.28).clamp_min(0).square() - y
        crew = _ellipse(x, y - 0.76, broad + 0.05, 0.15)
        vee = (x.abs() - (broad + 0.06) + 0.80 * (y - 0.76)) * 0.75
        collar = (x.abs() - (broad + 0.02) + 1.05 * (y - 0.78)) * 0.7
        polo = torch.maximum(0.79 + 0.05 * (x / 0.3).square() - y, x.abs() - broad - 0.06)
        d = torch.maximum(
            shoulder, -torch.where(kind == 0, crew, torch.where(kind == 1, vee, collar))
        )
        d = torch.where(kind == 3, torch.minimum(shoulder, polo), d)
        fold = 0.05 * torch.sin(9 * x + 4 * y) + 0.12 * f["light"] * x
        self.paint(w, self.inside(d), (cloth * (0.88 + fold)[:, None]).clamp_max(1))
        edge = torch.where(kind == 0, crew, torch.where(kind == 1, vee, collar))
        flap = torch.maximum(edge - 0.13, torch.maximum(0.76 - y, 0.02 - edge))
        band = torch.where(
            kind == 3,
            (y - 0.80 - 0.05 * (x / 0.3).square()).abs() - 0.012,
            (edge - 0.02).abs() - 0.014,
        )
        self.tone(w, self.inside(band) * self.inside(d), -0.25)
        self.paint(
            w, self.inside(flap) * (kind == 2), (cloth * 0.45 + 0.5) * (0.95 + fold)[:, None]
        )

    def ears(self):
        f, w = self.f, self.window(-0.9, 0.9, -0.45, 0.4)
        x, y = self.hx[w] + 0.05 * f["yaw"], self.hy[w]
        rx, ry = 0.085 + 0.022 * f["ear_size"], 0.145 + 0.045 * f["ear_size"]
        ex = x.abs() - self.wide - 0.005 - 0.01 * f["ear_size"]
        d = _ellipse(ex + 0.15 * y, y, rx, ry)
        tone = 0.74 + 0.16 * f["light"] * x.sign()
        self.paint(w, self.inside(d), self.skin * tone[:, None] * _fixed(x, 1.0, 0.92, 0.90))
        self.tone(w, _glow(ex - 0.01 + 0.15 * y, y, rx * 0.5, ry * 0.6), -0.22, -0.32, -0.32)

    def face(self):
        f, w = self.f, self.window(-0.9, 0.9, -0.95, 0.95)
        x, y, lit = self.hx[w], self.hy[w], self.lit[w]
        mottle = torch.sin(8 * x + 3 * y + 2 * f["face_width"]) * torch.sin(7 * y - 4 * x) * 0.018
        shade = 0.55 + 0.50 * lit + mottle
        fx = self.fx[w]
        cheeks = _glow(fx.abs() - 0.30, y - 0.14, 0.15, 0.12)
        shade = shade + 0.05 * cheeks - 0.10 * _glow(fx.abs() - 0.46, y - 0.33, 0.14, 0.26)
        tint = _fixed(x, 0.82, 1.0, 1.08)
        colour = self.skin * (1 + (shade - 1)[:, None] * tint)
        flush = 0.05 + 0.62 * f["blush"]
        colour = torch.lerp(
            colour, self.blood * (0.35 + 0.75 * shade)[:, None] * 1.10, (cheeks * flush)[:, None]
        )
        gloss = _glow(x - 0.22 * f["light"], y + 0.42, 0.22, 0.16) + 1.5 * self.bald * _glow(
            x - 0.25 * f["light"], y + 0.62, 0.16, 0.10
        )
        colour = colour + (0.07 * gloss * (0.5 + lit))[:, None]
        self.paint(w, self.inside(self.head[w]), colour.clamp_max(1))
        # freckles, then the lines of age
        w = self.window(-0.6, 0.6, -0.25, 0.5)
        x, y = self.fx[w], self.hy[w]
        wave = torch.sin(45 * x + 1.5 * torch.sin(11 * y)) * torch.sin(
            42 * y + 2 * torch.sin(13 * x)
        )
        dots = _smooth(2.4 * wave - 0.5)
        zone = _glow(x.abs() - 0.20, y - 0.13, 0.19, 0.13)
        self.tone(w, dots * zone * f["freckles"], -0.30, -0.40, -0.46)
        w, c = self.window(-0.75, 0.75, -0.75, 0.65), f["age"]
        x, y = self.fx[w], self.hy[w]
        ax = x.abs()
        fold = _segment(ax, y, 0.125, 0.16, 0.265, 0.37)
        brow = (y + 0.50 + 0.02 * torch.cos(7 * x)).abs() + 0.2 * (ax - 0.24).clamp_min(0)
        brow2 = (y + 0.405 + 0.02 * torch.cos(7 * x)).abs() + 0.2 * (ax - 0.20).clamp_min(0)
        frown = _segment(ax, y, 0.045, -0.30, 0.035, -0.20)
        bag = (y - 0.065 + 1.6 * (ax - 0.23).square()).abs() + 0.5 * (
            (ax - 0.23).abs() - 0.11
        ).clamp_min(0)
        jowl = _segment(ax, y, 0.27, 0.46, 0.23, 0.57)
        lines = torch.stack(
            [fold, brow + 0.005, brow2 + 0.008, frown + 0.012, bag + 0.005, jowl + 0.012]
        ).amin(0)
        self.tone(w, self.inside(lines - 0.012, 0.03) * c, -0.26, -0.34, -0.36)

    def nose(self):
        f, w = self.f, self.window(-0.5, 0.5, -0.45, 0.55)
        x, y = self.fx[w] - 0.05 * f["yaw"] * _smooth((self.hy[w] + 0.2) / 0.4), self.hy[w]
        tip, half = 0.165 + 0.055 * f["nose_length"], 0.100 + 0.038 * f["nose_width"]
        ridge = _smooth((y + 0.30) / 0.25) * _smooth((tip + 0.04 - y) / 0.10)
        spread = half * (0.42 + 0.45 * _smooth((y + 0.15) / (tip + 0.15)))
        side = f["light"] * 0.5
        flank = _glow(x.abs() - spread, 0 * y, 0.055, 1.0) * ridge
        self.tone(w, flank * (0.55 - side * x.sign()), -0.27, -0.31, -0.31)
        self.tone(w, _glow(x - 0.015 * f["light"], 0 * y, 0.03 + 0.2 * half, 1.0) * ridge, 0.09)
        self.tone(
            w, _glow(x, y - tip - 0.055, half * 1.2, 0.05), -0.24, -0.30, -0.30
        )  # cast shadow
        ball = self.inside(_ellipse(x, y - tip + 0.015, half * 0.66, 0.060), 0.05)
        wing = self.inside(
            _ellipse(x.abs() - half * 0.78, y - tip + 0.005, half * 0.40, 0.046), 0.03
        )
        both = torch.maximum(ball, wing)
        self.paint(
            w,
            both * 0.65,
            (
                self.skin * (0.93 + 0.5 * side * x / 0.12)[:, None] * _fixed(x, 1.0, 0.93, 0.91)
            ).clamp_max(1),
        )
        self.tone(w, _glow(x - 0.03 * f["light"], y - tip + 0.035, 0.04, 0.035), 0.16)
        rim = (_ellipse(x.abs() - half * 0.74, y - tip, half * 0.46, 0.055)).abs()
        self.tone(w, self.inside(rim - 0.008, 0.02) * (x.abs() > half * 0.8), -0.28, -0.36, -0.36)
        hole = _ellipse(x.abs() - half * 0.50, y - tip - 0.028, half * 0.27, 0.022)
        self.tone(w, self.inside(hole, 0.015), -0.55, -0.62, -0.62)

    def beard(self):
        f, b, w = self.f, self.f["beard"], self.window(-0.85, 0.85, -0.2, 1)
        x, y = self.hx[w], self.hy[w]
        fx = self.fx[w].abs()
        grow = 0.10 * b
        d = torch.maximum(
            self.head[w] - 0.02 - grow * _smooth((y - 0.25) / 0.4),
            0.31 - 0.42 * _smooth((fx - 0.24) / (self.wide - 0.20)) - y,
        )
        line = 0.6 * torch.sin(26 * x + 2 * torch.sin(9 * y)) + 0.4 * torch.sin(
            15 * y + 17 * x.abs()
        )
        colour = self.hair * (0.40 + 0.55 * self.lit[w] + 0.11 * line + 0.08)[:, None]
        soft = 0.07 - 0.04 * b
        cover = _smooth(b / 0.55) * (0.93 + 0.05 * line)
        self.paint(w, self.inside(d, soft) * cover, colour)

    def mouth(self):
        f, w = self.f, self.window(-0.55, 0.55, 0.10, 0.75)
        half, my = 0.195 + 0.06 * f["mouth_width"], 0.385 + 0.02 * f["chin_length"]
        x, y = self.fx[w] - 0.02 * f["yaw"], self.hy[w] - my
        q = (x / half).square()
        bend = (0.058 * f["mouth_curve"] + 0.012) * (
            0.45 - q.clamp_max(1.6)
        )  # centre sinks, corners rise
        arc = (1 - q).clamp_min(0)
        gap = 0.085 * f["mouth_open"] * arc
        upper, lower = 0.050 + 0.020 * f["lip_fullness"], 0.068 + 0.028 * f["lip_fullness"]
        bow = 1 - 0.28 * _glow(x, 0 * y, 0.035, 1.0)
        top = bend - gap * 0.5 - upper * arc.sqrt() * (0.55 + 0.45 * arc) * bow
        low = bend + gap * 0.7 + lower * arc.sqrt() * (0.35 + 0.65 * arc)
        self.tone(
            w, _glow(x, y - low - 0.03, half * 0.6, 0.035), -0.20, -0.25, -0.25
        )  # beneath the lower lip
        self.tone(w, _glow(x.abs() - half - 0.025, y - bend, 0.05, 0.05), -0.14, -0.18, -0.18)
        m = f["moustache"]
        mid = -0.085 - 0.02 * f["mouth_open"] + 0.05 * (x / (half + 0.05)).square() - 0.25 * bend
        thick = (0.040 + 0.028 * m) * (1.12 - (x / (half + 0.07)).square()).clamp_min(0)
        line = torch.sin(30 * x + 12 * y * x.sign())
        fur = self.hair * (0.62 + 0.30 * self.lit[w] + 0.09 * line + 0.06)[:, None]
        body = (
            self.inside((y - mid).abs() - thick, 0.02)
            * (thick > 0)
            * (1 - 0.35 * _glow(x, 0 * y, 0.018, 1.0))
        )
        red = torch.lerp(
            self.blood * 1.05, _fixed(x, 0.68, 0.14, 0.18), 0.90 * f["lip_colour"][:, None]
        )
        lit = 0.80 + 0.22 * self.lit[w]
        ends = self.inside(x.abs() - half, 0.02)
        d = torch.maximum(top - y, y - low)
        glint = 0.22 * _glow(
            x - 0.05 * f["light"], y - bend - gap * 0.7 - lower * 0.5, half * 0.4, 0.022
        )
        seam = y - bend
        dark_top = torch.where(seam < 0, 0.86, 1.04)
        self.paint(w, body * _smooth(m / 0.55) * 0.95, fur)
        self.paint(
            w,
            self.inside(d) * ends,
            (red * (lit * dark_top)[:, None] + glint[:, None] * 0.6).clamp_max(1),
        )
        inner = torch.maximum(bend - gap * 0.5 - y, y - bend - gap * 0.7)
        cave = self.inside(inner) * ends * _smooth(f["mouth_open"] / 0.25)
        self.paint(w, cave, self.blood * 0.28)
        teeth = torch.maximum(inner + 0.008, y - bend - gap * 0.25)
        self.paint(
            w,
            self.inside(teeth)
            * self.inside(x.abs() - half * 0.80, 0.03)
            * _smooth(f["mouth_open"] / 0.35),
            torch.full_like(self.blood, 0.90),
        )
        self.tone(
            w,
            self.inside(seam.abs() - 0.016, 0.012)
            * self.inside(x.abs() - half - 0.02, 0.03)
            * (1 - _smooth(f["mouth_open"] / 0.3)),
            -0.50,
            -0.58,
            -0.55,
        )

    def eyes(self):
        f, w = self.f, self.window(-0.75, 0.75, -0.55, 0.32)
        x, y = self.fx[w], self.hy[w]
        side = x.sign()
        half = 0.142 * (1 + 0.21 * f["eye_size"])
        high = half * (0.60 + 0.22 * f["eye_openness"]) * (1 + 0.30 * f["eye_asymmetry"] * side)
        ex = x.abs() - (0.243 + 0.032 * f["eye_spacing"])
        ey = y + 0.09 + 0.30 * f["eye_slant"] * ex
        q = (ex / half).square()
        lid = high * (1 - q)
        self.tone(w, _glow(ex + 0.02, ey + 0.06, 0.20, 0.13), -0.20, -0.26, -0.26)
        shadow = _glow(ex - 0.01, ey + high * 0.9, half * 1.05, 0.075) * f["lashes"]
        self.paint(w, 0.50 * shadow, self.blood * 0.62)
        crease = (ey + lid.clamp_min(0) * 1.05 + 0.050).abs()
        self.tone(w, self.inside(crease - 0.010, 0.03) * (q < 1.2), -0.26, -0.32, -0.32)
        self.tone(
            w,
            self.inside((ey - 0.62 * lid - 0.035).abs() - 0.004, 0.04) * (q < 1),
            -0.12,
            -0.16,
            -0.16,
        )
        d = torch.maximum(-ey - lid, ey - 0.62 * lid) * 0.85
        open_ = self.inside(d)
        white = _fixed(x, 0.95, 0.93, 0.91)
        self.paint(
            w,
            open_,
            white * (0.97 - 0.22 * _smooth((-ey - 0.2 * high) / high.clamp_min(0.02)))[:, None],
        )
        ix, iy = ex - 0.46 * half * f["gaze"] * side, ey + 0.10 * high
        r, rad = (ix * ix + iy * iy).sqrt(), 0.54 * half
        colour = _along(_IRIS, f["eye_colour"])
        glowing = (
            colour
            * (0.80 + 0.75 * _glow(ix + 0.02 * f["light"], iy - 0.4 * rad, rad * 0.8, rad * 0.7))[
                :, None
            ]
        )
        glowing = glowing * (1 - 0.45 * _smooth((r / rad - 0.72) / 0.28))[:, None]
        self.paint(w, self.inside(r - rad) * open_, glowing.clamp_max(1))
        self.paint(w, self.inside(r - 0.46 * rad) * open_, torch.full_like(colour, 0.05))
        lamp = 0.35 * rad * (2 * (f["light"] > 0) - 1)
        spark = ((ix - lamp).square() + (iy + 0.36 * rad).square()).sqrt() - 0.27 * rad
        self.paint(w, self.inside(spark) * open_ * 0.95, torch.ones_like(colour))
        weight = (0.017 + 0.013 * f["lashes"]) * (1 + 0.35 * (ex / half).clamp(-1, 1.2))
        reach = (ex.abs() - half - (0.008 + 0.030 * f["lashes"]) * (ex > 0)).clamp_min(-1)
        wing = 0.35 * f["lashes"] * (ex - half * 0.92).clamp_min(0)
        lash = (ey + high * (1 - q).clamp_min(0) + wing).abs() * 0.85 - weight
        self.paint(
            w,
            self.inside(torch.maximum(lash, reach)) * 0.92,
            self.hair * 0.25 + _fixed(x, 0.06, 0.04, 0.035),
        )
        # brows
        by = y + 0.305 + 0.042 * f["brow_height"]
        t = (ex - 0.005) / 0.172
        curve = -0.050 * (1 - (t - 0.25).square()) - 0.058 * f["brow_angle"] * t + 0.03
        thick = (0.040 + 0.0165 * f["brow_thickness"]) * (1 - 0.45 * _smooth((t + 0.1) / 1.1))
        d = torch.maximum((by - curve).abs() - thick, (ex - 0.005).abs() - 0.172)
        hairs = 0.88 + 0.12 * torch.sin(34 * ex + 20 * by)
        self.paint(
            w, self.inside(d, 0.012) * 0.90, (self.hair * 0.72 + self.skin * 0.08) * hairs[:, None]
        )

    def front_hair(self):
        f, s, vol = self.f, self.style, self.f["hair_volume"]
        w = self.window(-1, 1, -1, 0.75)
        x, y = self.hx[w], self.hy[w]
        fx = x - 0.05 * f["yaw"]
        t = fx - s["part"]
        temple = s["start"] - 0.10 * f["hairline"]
        g = ((fx.abs() / self.wide - temple) / (1.02 - temple)).clamp(0, 1)
        slope = s["drop"] * 6 * g * (1 - g) / ((1.02 - temple) * self.wide)
        line = (
            s["line"]
            - 0.13 * f["hairline"] * _smooth(1.15 - fx.abs() / 0.5) * (s["line"] < -0.4)
            + s["drop"] * g * g * (3 - 2 * g)
            - s["notch"] * _glow(t, 0 * t, 0.10, 1.0)
            + s["right"] * t.clamp_min(0).square()
            + s["left"] * (-t).clamp_min(0).square()
            + s["rough"] * (torch.sin(23 * fx + 1) + 0.6 * torch.sin(37 * fx))
        )
        thick = s["cap"] * (1 + 0.55 * vol) + 0.35 * s["cap"] * (1 + 0.8 * vol) * _smooth(
            (-0.35 - y) / 0.4
        )
        cap = self.head[w] - thick * (
            1 - 0.7 * _smooth((y + 0.25) / 0.4) * (s["drop"] < 0.6)
        )  # short cuts thin out
        cap = cap + s["lump"] * torch.sin(13 * x + 1) * torch.sin(12 * y)
        edge = (y - line) / (1 + slope * slope).sqrt()
        skin = self.inside(self.head[w]) * (1 - self.bald)
        self.tone(
            w, self.inside(edge - 0.05, 0.12) * skin, -0.30, -0.36, -0.36
        )  # its shadow on the forehead
        self.paint_hair(w, self.inside(torch.maximum(cap, edge)) * (1 - self.bald))
        # a clipped ring of hair round a bald head
        sides = torch.maximum(self.wide * 0.80 - fx.abs() + 0.25 * (y + 0.15).abs(), y - 0.02)
        ring = torch.maximum(self.head[w], sides)
        self.paint(
            w,
            self.inside(ring, 0.05) * self.bald * 0.55,
            self.hair * (0.3 + 0.6 * self.lit[w])[:, None],
        )

    def glasses(self):
        f, w = self.f, self.window(-0.8, 0.8, -0.5, 0.42)
        kind = f["glasses"].round()
        x, y = self.fx[w], self.hy[w] + 0.075
        gx = x.abs() - (0.243 + 0.032 * f["eye_spacing"])
        round_ = (gx * gx + y * y).sqrt() - 0.195
        bx, by = gx.abs() - 0.135, (y - 0.01).abs() - 0.075
        corner = (bx.clamp_min(0).square() + by.clamp_min(0).square()).sqrt()
        square = corner + torch.maximum(bx, by).clamp_max(0) - 0.06
        lens, thick = torch.where(kind == 1, round_, square), torch.where(kind == 1, 0.016, 0.027)
        bridge = torch.maximum((y + 0.03 - 1.2 * x * x).abs() - thick, x.abs() - 0.075)
        arm = torch.maximum(
            (y + 0.05).abs() - thick, torch.maximum(0.40 - x.abs(), self.hx[w].abs() - self.wide)
        )
        on = (kind > 0).float()
        self.tone(w, self.inside(lens) * on, 0.05, 0.06, 0.08)
        glare = self.inside((gx + 0.9 * y + 0.05).abs() - 0.03, 0.02) * self.inside(lens)
        self.tone(w, glare * on, 0.16)
        frame = self.inside(torch.minimum(lens.abs() - thick, torch.minimum(bridge, arm)))
        metal = torch.where(
            (kind == 1)[:, None], _fixed(x, 0.42, 0.34, 0.22), _fixed(x, 0.11, 0.09, 0.10)
        )
        self.paint(
            w, frame * on, metal * (1 + 0.5 * _glow(gx + 0.08, y + 0.15, 0.08, 0.08))[:, None]
        )

    def draw(self):
        self.background()
        self.back_hair()
        self.body()
        self.ears()
        self.face()
        self.nose()
        self.beard()
        self.mouth()
        self.eyes()
        self.front_hair()
        self.glasses()
        return self.rgb.clamp_(0, 1).mul_(2).sub_(1)


@torch.no_grad()
def render(factors, size=64, device="cpu", chunk=32):
    """Draw factor rows (n, F), or one row (F,), as portraits (n, 3, size, size), float32 in [-1, 1].

    size: 16 to 1024 pixels, meant for 32 to 256. Numbers outside a factor's range are clamped to it. RoiganError if the
    rows do not have one number per entry of FACTORS or are not finite.
    """
    rows = torch.as_tensor(factors, dtype=torch.float32)
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != len(FACTORS):
        raise RoiganError(
            f"render() takes factor rows of {len(FACTORS)} numbers, got shape {tuple(rows.shape)}; "
            "draw some with sample_factors(n, seed)."
        )
    if not torch.isfinite(rows).all():
        raise RoiganError(
            "The factor rows hold a number that is not finite; take rows from sample_factors(n, seed)."
        )
    if not (isinstance(size, int) and 16 <= size <= 1024):
        raise RoiganError(
            f"The portrait size must be a whole number from 16 to 1024, got {size!r}."
        )
    low, high = (torch.tensor([getattr(f, side) for f in FACTORS]) for side in ("low", "high"))
    rows = torch.minimum(torch.maximum(rows.cpu(), low), high).to(device)
    out = torch.empty(len(rows), 3, size, size, device=device)
    for i in range(0, len(rows), chunk):
        out[i : i + chunk] = _Portrait(rows[i : i + chunk], size).draw()
    return out


# ---------------------------------------------------------------------------------------------------- the data set
def to_uint8(images):
    """Images in [-1, 1] as uint8: round((x + 1) * 127.5)."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _cache_file(split, size, n):
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:10]
    root = Path(os.environ.get("ROIGAN_CACHE") or Path.home() / ".cache" / "roigan")
    return root / f"synthfaces-{split}-{size}-{n}-{version}.npy"


def _store(path, array):
    """Write beside `path`, then rename, so that a reader never meets half a file; RoiganError if that fails."""
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        with os.fdopen(handle, "wb") as stream:
            np.save(stream, array)
        os.replace(partial, path)
    except OSError as error:
        if partial and os.path.exists(partial):
            os.remove(partial)
        raise RoiganError(
            f"Cannot keep synthfaces in {path.parent} ({error.strerror or error}): free "
            f"{array.nbytes / 2**20:.0f} MiB there or set ROIGAN_CACHE to a writable folder."
        ) from error


def _pictures(factors, size):
    return torch.cat([to_uint8(render(rows, size)) for rows in factors.split(256)])


def load(split="train", size=64, limit=None):
    """The synthfaces portraits of a split as an ImageSet: train 10,000, valid 1,000, test 1,000, from disjoint seeds.

    Rendered once and kept as uint8 in $ROIGAN_CACHE (default ~/.cache/roigan) under a name that carries a hash of this
    file; if the folder is full or not writable, a warning says so and the pictures stay in memory. `limit` takes the
    first images only. RoiganError for an unknown split or a limit below 1.
    """
    from .. import ImageSet

    if split not in _SPLITS:
        raise RoiganError(f"synthfaces has no split {split!r}; choose one of {', '.join(_SPLITS)}.")
    full, seed = _SPLITS[split]
    if limit is not None and limit < 1:
        raise RoiganError(f"The limit on images must be at least 1, got {limit}.")
    n = full if limit is None else min(int(limit), full)
    factors = sample_factors(n, seed)
    images = None
    for path in (_cache_file(split, size, full), _cache_file(split, size, n)):
        try:
            images = torch.from_numpy(np.array(np.load(path, mmap_mode="r")[:n]))
            break
        except (OSError, ValueError, EOFError):  # not there, or damaged: draw it again
            continue
    if images is None:
        images = _pictures(factors, size)
        try:
            _store(_cache_file(split, size, n), images.numpy())
        except RoiganError as error:
            warnings.warn(str(error), stacklevel=2)
    return ImageSet("synthfaces", split, size, images, factors=factors, factor_names=list(NAMES))
