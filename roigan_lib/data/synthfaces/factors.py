"""The named factors of a synthfaces portrait, and how people are drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...checks import check_seed, check_whole
from ...errors import RoiganError

HAIR_STYLES = "bald,cropped,side parting,swept back,long,wavy,curly,fringe,bun".split(",")
HAIR_COLOURS = "black,dark brown,brown,auburn,ginger,blond,grey,white".split(",")
GLASSES = ("none", "round", "square")
CLOTHES = ("crew neck", "V-neck", "shirt collar", "turtleneck")


@dataclass(frozen=True)
class Factor:
    """One column of a factor row: a real number in [low, high], or the index of a category."""

    name: str
    low: float
    high: float
    kind: str  # "continuous" or "categorical"
    doc: str
    labels: tuple = ()  # of the categories 0 … high


_amount = lambda name, doc: Factor(name, 0.0, 1.0, "continuous", doc)
_signed = lambda name, doc: Factor(name, -1.0, 1.0, "continuous", doc)
_choice = lambda name, labels, doc: Factor(
    name, 0.0, len(labels) - 1.0, "categorical", doc, tuple(labels)
)

FACTORS = [
    _amount("skin_tone", "Skin from very light (0) to very dark (1)."),
    _signed("skin_warmth", "Undertone of the skin, from pink (-1) to golden (1)."),
    _signed("face_width", "Width of the whole head, from narrow to wide."),
    _signed("jaw", "Jaw from pointed (-1) to square (1)."),
    _signed("chin_length", "How far the chin reaches down."),
    _signed("eye_size", "Size of both eyes."),
    _signed("eye_spacing", "Distance between the eyes."),
    _signed("eye_openness", "Lids from nearly closed (-1) to wide open (1)."),
    _signed("eye_slant", "Outer corners of the eyes from low (-1) to high (1)."),
    _signed("eye_asymmetry", "Which eye is more open: the left one (-1) or the right one (1)."),
    _signed("gaze", "Where the irises look: left (-1) to right (1)."),
    _amount("eye_colour", "Iris from dark brown through hazel and green to blue (1)."),
    _amount("lashes", "Weight of the lash line and of the eye shadow."),
    _signed("brow_thickness", "Thickness of the eyebrows."),
    _signed("brow_angle", "Inner ends of the brows, raised, worried (-1) to lowered, stern (1)."),
    _signed("brow_height", "How high the eyebrows sit above the eyes."),
    _signed("nose_length", "Where the tip of the nose ends."),
    _signed("nose_width", "Width of the nostrils and of the tip."),
    _signed("mouth_width", "Distance between the corners of the mouth."),
    _signed("mouth_curve", "Corners of the mouth from down (-1) to up, smiling (1)."),
    _amount("mouth_open", "Gap between the lips, showing the teeth."),
    _signed("lip_fullness", "Height of both lips."),
    _amount("lip_colour", "Lips from the tone of the skin (0) to red lipstick (1)."),
    _amount("moustache", "Moustache from none through a shadow to full."),
    _amount("beard", "Beard from none through stubble to full and longer than the chin."),
    _choice("hair_colour", HAIR_COLOURS, "Colour of hair, brows and beard."),
    _choice("hair_style", HAIR_STYLES, "Cut of the hair."),
    _signed("hair_volume", "How far the hair stands off the head."),
    _amount("hairline", "Hairline from low (0) to receding (1)."),
    _choice("glasses", GLASSES, "Spectacles: none, round wire ones or a dark square frame."),
    _signed("light", "Where the light comes from: left (-1) to right (1)."),
    _signed("yaw", "Head turned to the left (-1) or to the right (1)."),
    _signed("tilt", "Head leaning to the left (-1) or to the right (1)."),
    _amount("blush", "Redness of the cheeks."),
    _amount("freckles", "Freckles on cheeks and nose."),
    _amount("age", "Lines on the forehead, beneath the eyes and beside the mouth."),
    _signed("ear_size", "Size of the ears."),
    _amount("background_hue", "Hue of the muted background, once round the colour wheel."),
    _amount("background_light", "Background from dark to light."),
    _choice("clothing", CLOTHES, "Neckline of the clothes."),
    _amount("clothing_colour", "Clothes from charcoal, navy and green to mustard, red and cream."),
]
NAMES = [factor.name for factor in FACTORS]
# Where a factor is seen in the frame: left, top, right, bottom, as shares; others anywhere.
_EYES, _BROWS, _NOSE = (0.28, 0.38, 0.72, 0.54), (0.28, 0.3, 0.72, 0.46), (0.42, 0.45, 0.58, 0.66)
_MOUTH, _CHEEKS, _JAW = (0.36, 0.62, 0.66, 0.78), (0.3, 0.5, 0.7, 0.68), (0.3, 0.6, 0.7, 0.86)
PLACES = {
    **dict.fromkeys("eye_size eye_spacing eye_openness eye_slant eye_asymmetry".split(), _EYES),
    **dict.fromkeys("gaze eye_colour lashes".split(), _EYES),
    **dict.fromkeys("brow_thickness brow_angle brow_height".split(), _BROWS),
    **dict.fromkeys("nose_length nose_width".split(), _NOSE),
    **dict.fromkeys("mouth_width mouth_curve mouth_open lip_fullness lip_colour".split(), _MOUTH),
    **dict.fromkeys("moustache blush freckles".split(), _CHEEKS),
    **dict.fromkeys("beard jaw chin_length".split(), _JAW),
    "age": (0.28, 0.28, 0.72, 0.7),
}
MIRRORED = ("eye_asymmetry", "gaze", "light", "yaw", "tilt")  # negated in a mirrored portrait


def index(name):
    """Column of the factor called `name`; RoiganError if there is none."""
    if name not in NAMES:
        raise RoiganError(f"synthfaces has no factor {name!r}; choose one of {', '.join(NAMES)}.")
    return NAMES.index(name)


def sample_factors(n, seed=0):
    """Draw n people: (n, F) float32 factor rows in the order of FACTORS.

    Only uniform numbers of a CPU generator are used, row by row: the same everywhere, and the first
    m rows of n are those of m. Two hidden traits, age and a masculine-feminine one, tie hair,
    beard, jaw, brows and make-up together.
    """
    random = torch.Generator().manual_seed(check_seed(seed))
    n = check_whole("n", n, 1, 2**19)
    u = torch.rand((n, len(FACTORS) + 4), generator=random, dtype=torch.float64)
    fem, old, chance, other = u[:, -4:].unbind(1)
    col = dict(zip(NAMES, u.unbind(1)))
    out = {f.name: f.low + (f.high - f.low) * col[f.name] for f in FACTORS}  # until said otherwise
    none, woman, man = 0 * fem, fem > 0.5, fem <= 0.5
    lean = (2 * fem - 1).sign() * (2 * fem - 1).abs().sqrt()  # -1 masculine … 1 feminine

    for name in ("brow_angle", "eye_asymmetry", "eye_slant", "tilt", "mouth_curve", "eye_openness"):
        out[name] = out[name] * out[name].abs().sqrt()  # most people near the middle
    pulls = [("mouth_curve", 1.0, 0.25), ("eye_openness", 0.6, 0.2)]
    pulls += [("jaw", -lean, 0.5), ("brow_thickness", -lean, 0.5), ("face_width", -lean, 0.2)]
    pulls += [("lip_fullness", lean, 0.3), ("eye_size", lean, 0.3)]
    for name, towards, weight in pulls:
        out[name] = (1 - weight) * out[name] + weight * towards
    out["skin_tone"] = col["skin_tone"] ** 1.25
    dark = out["skin_tone"] > 0.55
    out["eye_colour"] = torch.where(dark, 0.4 * col["eye_colour"], col["eye_colour"])
    out["lashes"] = torch.where(woman, 0.35 + 0.65 * col["lashes"], 0.3 * col["lashes"])
    out["lip_colour"] = torch.where(woman, col["lip_colour"] ** 1.3, 0.15 * col["lip_colour"])
    out["blush"] = torch.where(woman, col["blush"], 0.5 * col["blush"])
    out["mouth_open"] = ((col["mouth_open"] - 0.5) * 2).clamp(0, 1)
    out["age"] = (1.05 * old**1.7 + 0.3 * (col["age"] - 0.5)).clamp(0, 1)
    out["freckles"] = torch.where(dark, none, ((col["freckles"] - 0.72) / 0.28).clamp(0, 1))
    out["beard"] = torch.where(man & (chance > 0.45), 0.15 + 0.85 * col["beard"], none)
    wears = man & ((chance > 0.5) | (other > 0.85))
    out["moustache"] = torch.where(wears, 0.3 + 0.7 * col["moustache"], none)
    out["hairline"] = torch.where(man, col["hairline"] * (0.35 + 0.65 * old), 0.4 * col["hairline"])

    def pick(name, weights):  # weights (n or 1, k) of the categories
        edges = torch.cumsum(weights / weights.sum(1, keepdim=True), 1)
        category = (col[name][:, None] > edges).sum(1)
        out[name] = category.clamp(max=weights.shape[1] - 1).double()

    def table(*row):
        return torch.tensor([row], dtype=torch.float64)

    #              bald crop side swept long wavy curly fringe bun
    women, men = table(1, 5, 7, 3, 24, 20, 13, 17, 14), table(15, 25, 22, 17, 4, 4, 11, 4, 1)
    pick("hair_style", torch.where(woman[:, None], women, men))
    #             black dark brown auburn ginger blond grey white
    fair, deep = table(8, 16, 22, 12, 12, 26, 3, 1), table(62, 26, 6, 2, 1, 1, 2, 0.5)
    silver = (out["age"] - 0.45).clamp_min(0)[:, None] * table(0, 0, 0, 0, 0, 0, 120, 100)
    pick("hair_colour", torch.where((out["skin_tone"] > 0.45)[:, None], deep, fair) + silver)
    pick("glasses", table(86, 7, 7) + old[:, None] * table(-16, 8, 8))
    pick("clothing", table(32, 25, 25, 18))
    return torch.stack([out[name] for name in NAMES], 1).float()


def traversal(factors_row, name, steps=7):
    """Sweep one factor over its range: a row (F,) -> (steps, F); categories come in their turn."""
    row = torch.as_tensor(factors_row, dtype=torch.float32).reshape(-1)
    factor, n = FACTORS[index(name)], len(FACTORS)
    if row.numel() != n:
        raise RoiganError(
            f"A factor row has {n} numbers, not {row.numel()}; take one of sample_factors()."
        )
    rows, sweep = row.repeat(steps, 1), torch.linspace(factor.low, factor.high, steps)
    rows[:, index(name)] = torch.arange(steps) % len(factor.labels) if factor.labels else sweep
    return rows
