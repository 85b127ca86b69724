"""The painter of synthfaces: factor rows in, colour portraits out.

A portrait is a stack of signed-distance shapes (hair, neck, head, eyes, …) blended back to front
for a whole batch at once, with edges about a pixel wide, so that the same factors give the same
picture at every size. There are no random pixels. Frame coordinates: x to the right and y down,
both in [-1, 1]; "left" and "right" are those of the picture.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch

from ...errors import RoiganError
from .factors import FACTORS, NAMES

LAYERS = """background back_hair neck clothes ears face freckles age nose beard mouth eyes
front_hair glasses"""  # from back to front
VERSION = 1  # in the name of cached pictures: raise it when a person or a picture changes


def _rgb(hex_codes):
    return [[int(h[i : i + 2], 16) / 255 for i in (0, 2, 4)] for h in hex_codes.split()]


_SKIN = _rgb("ffdfcb f5c9a8 e2ab82 c08759 8f5c3d 5f3d2c")
_IRIS = _rgb("3a2416 6f4526 8a7038 5f8a5a 4d86b4 8fb4cc")
_HAIR = _rgb("1f1b1e 40291d 714a2e 863f26 c2672d dcb36c 8f8d8e e0dcd4")
_CLOTH = _rgb("3a3a42 2f4565 3f6f78 5d7550 c09a45 b5573f 8a4560 d9d2c2")

# One row a hair style, in the order of HAIR_STYLES. The hairline: its height, its drop at the
# temples, where that starts, the parting's x and notch, the fall of the hair left and right of it,
# its rough edge, the thickness of the cap. The hair behind the head: extra half width, top, base,
# squareness, lumps. Then how curly the strands are, and whether there is a bun.
_COLUMNS, *_STYLES = (
    row.split()
    for row in """
    line  drop start part notch left right rough  cap side   top  base square lump curl bun
      -2     0    .6    0     0    0     0     0  -.6  -.9   -.9   -.6      2    0    0   0
    -.56   .52   .66    0     0    0     0   .01 .035  -.9   -.9   -.6      2    0   .3   0
    -.56    .5   .74 -.24   .16   .1   .35     0  .08  -.9   -.9   -.6      2    0    0   0
    -.62   .52    .7  .05   .02   .2    .2  .012  .12  .01   -.9   .25      3    0    0   0
    -.62  1.05   .74  .02    .1   .7    .7     0 .075   .1   -.9   1.6      4    0    0   0
    -.58   .95   .74   .2    .1  .75    .5  .012 .095  .19   -.9   .98      3 .028   .5   0
    -.52   .48   .72    0     0   .1    .1  .022  .14  .25 -1.05    .4    2.1 .035    1   0
     -.3    .9    .8    0     0   .1    .1  .014  .08  .09   -.9   .66    4.5    0    0   0
     -.6   .42    .7    0   .02   .3    .3     0 .045  -.9   -.9   -.6      2    0    0   1
    """.strip().split("\n")
)


def _smooth(t):
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


def _colour(like, *rgb):
    """A constant colour (3, 1, 1) where `like` lives."""
    return torch.tensor(rgb, device=like.device)[:, None, None]


def _along(palette, t):
    """Colour (n, 3, 1, 1) at t (n, 1, 1, 1) in [0, 1] along a palette, piecewise linear."""
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


def _superellipse(x, y, p):
    """Distance from the origin in units of a curve between ellipse (p = 2) and rectangle."""
    return (x.clamp_min(1e-3) ** p + y.clamp_min(1e-3) ** p) ** (1 / p)


def _segment(x, y, ax, ay, bx, by):
    dx, dy = bx - ax, by - ay
    t = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    return ((x - ax - t * dx).square() + (y - ay - t * dy).square()).sqrt()


class _Portrait:
    """Paints a batch of portraits; planes are (n, 1, h, w), numbers of a person (n, 1, 1, 1)."""

    def __init__(self, factors, size):
        n, device = len(factors), factors.device
        named = lambda keys, rows: SimpleNamespace(**dict(zip(keys, rows.T[..., None, None, None])))
        self.f = f = named(NAMES, factors)
        styles = torch.tensor([[float(v) for v in row] for row in _STYLES], device=device)
        self.style = named(_COLUMNS, styles[f.hair_style.flatten().round().long()])
        self.bald = (f.hair_style.round() == 0).float()
        self.size, self.sharp = size, size / 2 / 1.3  # edges 1.3 pixels wide
        c = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
        self.x, self.y = c.expand(n, 1, size, size), c[:, None].expand(n, 1, size, size)
        self.rgb = torch.empty(n, 3, size, size, device=device)
        # head: rotate about the neck, turn by parallax (what is nearer moves further)
        a, (x, y) = 0.14 * f.tilt, (self.x, self.y - 0.7)
        self.hx = a.cos() * x + a.sin() * y - 0.04 * f.yaw
        self.hy = a.cos() * y - a.sin() * x + 0.7
        fx = self.hx - 0.09 * f.yaw
        self.fx = fx * (1 + 0.25 * f.yaw * fx)
        self.wide, dy = 0.54 + 0.06 * f.face_width, self.hy + 0.10
        ny = torch.where(dy > 0, dy / (0.755 + 0.065 * f.chin_length), dy / 0.70)
        t = ny.clamp(0, 1.15)
        nx = self.hx / (self.wide * (1 - (0.21 - 0.16 * f.jaw) * t * t))
        k = _superellipse(nx.abs(), ny.abs(), torch.where(dy > 0, 2.25 + 0.3 * f.jaw, 2.15))
        self.head = (k - 1) * (self.wide * 1.15)  # signed distance to the head, about
        # light
        lx, ly, lz = 0.85 * f.light, -0.45, 0.85
        norm = (lx * lx + ly * ly + lz * lz).sqrt()
        nx, ny = nx * 0.92, ny * 0.85
        nz = (1 - nx * nx - ny * ny).clamp_min(0.03).sqrt()
        self.lit = (nx * lx + ny * ly + nz * lz) / norm
        # colours
        warm = f.skin_warmth * _colour(factors, 0.010, 0.012, -0.045)
        self.skin = (_along(_SKIN, f.skin_tone) + warm).clamp(0, 1)
        self.hair = _along(_HAIR, f.hair_colour.round() / (len(_HAIR) - 1))
        self.blood = self.skin * _colour(factors, 0.90, 0.60, 0.57)

    def window(self, x0, x1, y0, y1):
        """Index of a part of the frame, wide enough for a turned and tilted head."""
        left, right, top, bottom = (round((v + 1) / 2 * self.size) for v in (x0, x1, y0, y1))
        return ..., slice(top, bottom), slice(left, right)

    def inside(self, d, soft=0.0):
        """Coverage of a signed distance: a step one pixel wide, or `soft` frame units if more."""
        return _smooth(0.5 - d * (1 / (1 / self.sharp + soft)))

    def paint(self, w, alpha, colour):
        self.rgb[w].lerp_(colour, alpha)

    def tone(self, w, alpha, *rgb):
        """Multiply by 1 + alpha * rgb: shadows below 0, lights above."""
        self.rgb[w].mul_(1 + alpha * _colour(alpha, *rgb))

    def paint_hair(self, w, alpha, dim=1.0):
        self.paint(w, alpha, self.strand[w] * dim)

    def background(self):
        f, x, y = self.f, self.x, self.y
        wheel = _colour(x, 0.0, -2 * math.pi / 3, 2 * math.pi / 3)
        hue = 1 + 0.09 * torch.cos(2 * math.pi * f.background_hue + wheel)
        fall = 1.05 - 0.16 * y + 0.16 * f.light * x - 0.10 * (x.square() + y.square())
        wash = 0.03 * torch.sin(3.1 * x + 2.3 * y + 1.0) * torch.sin(2.2 * x - 3.7 * y)
        self.rgb[:] = (0.28 + 0.50 * f.background_light) * hue * (fall + wash)

    def strands(self):
        """Colour of the hair: strands from the parting, or curls, with a band of light across."""
        x, y, curl = self.hx - self.style.part, self.hy, self.style.curl
        flow = x / (0.55 + 0.40 * (y + 0.9).clamp_min(0))
        ripple = 0.35 * torch.sin(7 * y + 3 * self.f.hair_volume)
        line = 0.6 * torch.sin(24 * flow + ripple * 4) + 0.4 * torch.sin(39 * flow + 5 * y)
        across = torch.sin(21 * x + 3 * torch.sin(6 * y))
        rings = across * torch.sin(20 * y + 2.5 * torch.sin(7 * x))
        grain = torch.lerp(line, rings * 1.3, curl.expand_as(line))
        shine = _glow(x - 0.30 * self.f.light, y + 0.70 - 0.35 * x * x, 0.40, 0.10)
        shine = shine * (0.75 + 0.25 * line) * (0.30 - 0.10 * curl)
        dull = self.hair * (0.62 + 0.42 * self.lit + 0.13 * grain)
        return (dull + (0.06 + self.hair * 0.6) * shine).clamp_max_(1)

    def back_hair(self):
        self.strand = self.strands()  # (n, 3, size, size), for all the hair
        s, vol, w = self.style, self.f.hair_volume, self.window(-1, 1, -1, 1)
        rx = (self.wide + s.side + (0.05 + 0.10 * s.curl) * vol).clamp_min(0.02)
        top, bottom, centre = s.top - 0.05 * vol, s.base + 0.08 * vol, -0.15
        x, dy = self.hx + 0.06 * self.f.yaw, self.hy - centre
        ry = torch.where(dy > 0, bottom - centre, centre - top).clamp_min(0.02)
        k = _superellipse(x.abs() / rx, dy.abs() / ry, torch.where(dy > 0, s.square, 2.2))
        curls = torch.sin(13 * self.hx + 1) * torch.sin(12 * self.hy)
        lumps = s.lump * (curls + 0.5 * torch.sin(9 * self.hy + 14 * x))
        self.paint_hair(w, self.inside((k - 1) * rx + lumps) * (s.side > -0.5), 0.72)
        w = self.window(-0.6, 0.6, -1, -0.45)
        bun = _ellipse(self.hx[w], self.hy[w] + 0.93, 0.23 + 0.03 * vol, 0.17 + 0.03 * vol)
        self.paint_hair(w, self.inside(bun) * s.bun, 0.85)

    def neck(self):
        f, w = self.f, self.window(-0.6, 0.6, 0.25, 1)
        x, y = self.x[w], self.y[w]
        self.broad = 0.32 + 0.03 * f.face_width + 0.035 * f.jaw
        d = x.abs() - self.broad - 0.10 * _smooth((y - 0.75) / 0.3)
        side = 0.80 + 0.16 * f.light * x / 0.32 - 0.18 * (x / 0.36).square()
        shadow = 0.34 * (1 - _smooth((y - 0.66 - 0.07 * f.chin_length) / 0.30))  # of the chin
        self.paint(w, self.inside(d), self.skin * (side - shadow) * _colour(x, 1.0, 0.95, 0.93))

    def clothes(self):
        f, w = self.f, self.window(-1, 1, 0.6, 1)
        x, y, kind, broad = self.x[w], self.y[w], f.clothing.round(), self.broad
        cloth = _along(_CLOTH, f.clothing_colour)
        shoulder = 0.82 + 0.42 * (x.abs() - 0.28).clamp_min(0).square() - y
        crew = _ellipse(x, y - 0.76, broad + 0.05, 0.15)
        vee = (x.abs() - (broad + 0.06) + 0.80 * (y - 0.76)) * 0.75
        collar = (x.abs() - (broad + 0.02) + 1.05 * (y - 0.78)) * 0.7
        edge = torch.where(kind == 0, crew, torch.where(kind == 1, vee, collar))
        roll = 0.05 * (x / 0.3).square()
        polo = torch.maximum(0.79 + roll - y, x.abs() - broad - 0.06)
        d = torch.where(kind == 3, torch.minimum(shoulder, polo), torch.maximum(shoulder, -edge))
        fold = 0.05 * torch.sin(9 * x + 4 * y) + 0.12 * f.light * x
        self.paint(w, self.inside(d), (cloth * (0.88 + fold)).clamp_max(1))
        flap = torch.maximum(edge - 0.13, torch.maximum(0.76 - y, 0.02 - edge))
        ribs = (y - 0.80 - roll).abs() - 0.012
        band = torch.where(kind == 3, ribs, (edge - 0.02).abs() - 0.014)
        self.tone(w, self.inside(band) * self.inside(d), -0.25)
        self.paint(w, self.inside(flap) * (kind == 2), (cloth * 0.45 + 0.5) * (0.95 + fold))

    def ears(self):
        f, w = self.f, self.window(-0.9, 0.9, -0.45, 0.4)
        x, y = self.hx[w] + 0.05 * f.yaw, self.hy[w]
        rx, ry = 0.085 + 0.022 * f.ear_size, 0.145 + 0.045 * f.ear_size
        ex = x.abs() - self.wide - 0.005 - 0.01 * f.ear_size
        shade = 0.74 + 0.16 * f.light * x.sign()
        d = _ellipse(ex + 0.15 * y, y, rx, ry)
        self.paint(w, self.inside(d), self.skin * shade * _colour(x, 1.0, 0.92, 0.90))
        self.tone(w, _glow(ex - 0.01 + 0.15 * y, y, rx * 0.5, ry * 0.6), -0.22, -0.32, -0.32)

    def face(self):
        f, w = self.f, self.window(-0.9, 0.9, -0.95, 0.95)
        x, y, lit, fx = self.hx[w], self.hy[w], self.lit[w], self.fx[w]
        mottle = torch.sin(8 * x + 3 * y + 2 * f.face_width) * torch.sin(7 * y - 4 * x) * 0.018
        cheeks = _glow(fx.abs() - 0.30, y - 0.14, 0.15, 0.12)
        shade = 0.55 + 0.50 * lit + mottle + 0.05 * cheeks
        shade = shade - 0.10 * _glow(fx.abs() - 0.46, y - 0.33, 0.14, 0.26)
        colour = self.skin * (1 + (shade - 1) * _colour(x, 0.82, 1.0, 1.08))
        flushed = self.blood * (0.35 + 0.75 * shade) * 1.10
        colour = torch.lerp(colour, flushed, cheeks * (0.05 + 0.62 * f.blush))
        gloss = _glow(x - 0.22 * f.light, y + 0.42, 0.22, 0.16)
        gloss = gloss + 1.5 * self.bald * _glow(x - 0.25 * f.light, y + 0.62, 0.16, 0.10)
        colour = colour + 0.07 * gloss * (0.5 + lit)
        self.paint(w, self.inside(self.head[w]), colour.clamp_max(1))

    def freckles(self):
        w = self.window(-0.6, 0.6, -0.25, 0.5)
        x, y = self.fx[w], self.hy[w]
        across = torch.sin(45 * x + 1.5 * torch.sin(11 * y))
        dots = _smooth(2.4 * (across * torch.sin(42 * y + 2 * torch.sin(13 * x))) - 0.5)
        zone = _glow(x.abs() - 0.20, y - 0.13, 0.19, 0.13)
        self.tone(w, dots * zone * self.f.freckles, -0.30, -0.40, -0.46)

    def age(self):
        w = self.window(-0.75, 0.75, -0.75, 0.65)
        x, y = self.fx[w], self.hy[w]
        ax, arch = x.abs(), 0.02 * torch.cos(7 * x)
        fold = _segment(ax, y, 0.125, 0.16, 0.265, 0.37)
        brow = (y + 0.50 + arch).abs() + 0.2 * (ax - 0.24).clamp_min(0)
        brow2 = (y + 0.405 + arch).abs() + 0.2 * (ax - 0.20).clamp_min(0)
        frown = _segment(ax, y, 0.045, -0.30, 0.035, -0.20)
        bag = (y - 0.065 + 1.6 * (ax - 0.23).square()).abs()
        bag = bag + 0.5 * ((ax - 0.23).abs() - 0.11).clamp_min(0)
        jowl = _segment(ax, y, 0.27, 0.46, 0.23, 0.57)
        lines = [fold, brow + 0.005, brow2 + 0.008, frown + 0.012, bag + 0.005, jowl + 0.012]
        lines = self.inside(torch.stack(lines).amin(0) - 0.012, 0.03)
        self.tone(w, lines * self.f.age, -0.26, -0.34, -0.36)

    def nose(self):
        f, w = self.f, self.window(-0.5, 0.5, -0.45, 0.55)
        x, y = self.fx[w] - 0.05 * f.yaw * _smooth((self.hy[w] + 0.2) / 0.4), self.hy[w]
        tip, half, light = 0.165 + 0.055 * f.nose_length, 0.100 + 0.038 * f.nose_width, f.light
        ridge = _smooth((y + 0.30) / 0.25) * _smooth((tip + 0.04 - y) / 0.10)
        spread = half * (0.42 + 0.45 * _smooth((y + 0.15) / (tip + 0.15)))
        side = light * 0.5
        flank = _glow(x.abs() - spread, 0 * y, 0.055, 1.0) * ridge
        self.tone(w, flank * (0.55 - side * x.sign()), -0.27, -0.31, -0.31)
        self.tone(w, _glow(x - 0.015 * light, 0 * y, 0.03 + 0.2 * half, 1.0) * ridge, 0.09)
        self.tone(w, _glow(x, y - tip - 0.055, half * 1.2, 0.05), -0.24, -0.30, -0.30)  # shadow
        wing = _ellipse(x.abs() - half * 0.78, y - tip + 0.005, half * 0.40, 0.046)
        ball = self.inside(_ellipse(x, y - tip + 0.015, half * 0.66, 0.060), 0.05)
        colour = self.skin * (0.93 + 0.5 * side * x / 0.12) * _colour(x, 1.0, 0.93, 0.91)
        self.paint(w, torch.maximum(ball, self.inside(wing, 0.03)) * 0.65, colour.clamp_max(1))
        self.tone(w, _glow(x - 0.03 * light, y - tip + 0.035, 0.04, 0.035), 0.16)
        rim = _ellipse(x.abs() - half * 0.74, y - tip, half * 0.46, 0.055).abs() - 0.008
        self.tone(w, self.inside(rim, 0.02) * (x.abs() > half * 0.8), -0.28, -0.36, -0.36)
        hole = _ellipse(x.abs() - half * 0.50, y - tip - 0.028, half * 0.27, 0.022)
        self.tone(w, self.inside(hole, 0.015), -0.55, -0.62, -0.62)

    def beard(self):
        b, w = self.f.beard, self.window(-0.85, 0.85, -0.2, 1)
        x, y, fx = self.hx[w], self.hy[w], self.fx[w].abs()
        outer = self.head[w] - 0.02 - 0.10 * b * _smooth((y - 0.25) / 0.4)
        upper = 0.31 - 0.42 * _smooth((fx - 0.24) / (self.wide - 0.20)) - y
        line = 0.6 * torch.sin(26 * x + 2 * torch.sin(9 * y))
        line = line + 0.4 * torch.sin(15 * y + 17 * x.abs())
        cover = _smooth(b / 0.55) * (0.93 + 0.05 * line)
        colour = self.hair * (0.40 + 0.55 * self.lit[w] + 0.11 * line + 0.08)
        self.paint(w, self.inside(torch.maximum(outer, upper), 0.07 - 0.04 * b) * cover, colour)

    def mouth(self):
        f, w = self.f, self.window(-0.55, 0.55, 0.10, 0.75)
        half, my = 0.195 + 0.06 * f.mouth_width, 0.385 + 0.02 * f.chin_length
        x, y, lit = self.fx[w] - 0.02 * f.yaw, self.hy[w] - my, self.lit[w]
        q, ax = (x / half).square(), x.abs()
        # a smile: the centre sinks, the corners rise
        bend = (0.058 * f.mouth_curve + 0.012) * (0.45 - q.clamp_max(1.6))
        arc, seam = (1 - q).clamp_min(0), y - bend
        gap = 0.085 * f.mouth_open * arc
        upper, lower = 0.050 + 0.020 * f.lip_fullness, 0.068 + 0.028 * f.lip_fullness
        bow = 1 - 0.28 * _glow(x, 0 * y, 0.035, 1.0)
        top = bend - gap * 0.5 - upper * arc.sqrt() * (0.55 + 0.45 * arc) * bow
        low = bend + gap * 0.7 + lower * arc.sqrt() * (0.35 + 0.65 * arc)
        # shadows beneath the lower lip and in the corners
        self.tone(w, _glow(x, y - low - 0.03, half * 0.6, 0.035), -0.20, -0.25, -0.25)
        self.tone(w, _glow(ax - half - 0.025, seam, 0.05, 0.05), -0.14, -0.18, -0.18)
        # moustache
        m = f.moustache
        mid = -0.085 - 0.02 * f.mouth_open + 0.05 * (x / (half + 0.05)).square() - 0.25 * bend
        thick = (0.040 + 0.028 * m) * (1.12 - (x / (half + 0.07)).square()).clamp_min(0)
        fur = 0.62 + 0.30 * lit + 0.09 * torch.sin(30 * x + 12 * y * x.sign()) + 0.06
        body = self.inside((y - mid).abs() - thick, 0.02) * (thick > 0)
        body = body * (1 - 0.35 * _glow(x, 0 * y, 0.018, 1.0))
        self.paint(w, body * _smooth(m / 0.55) * 0.95, self.hair * fur)
        # lips
        red = torch.lerp(self.blood * 1.05, _colour(x, 0.68, 0.14, 0.18), 0.90 * f.lip_colour)
        red = red * ((0.80 + 0.22 * lit) * torch.where(seam < 0, 0.86, 1.04))
        glint = _glow(x - 0.05 * f.light, seam - gap * 0.7 - lower * 0.5, half * 0.4, 0.022)
        ends = self.inside(ax - half, 0.02)
        lips = self.inside(torch.maximum(top - y, y - low)) * ends
        self.paint(w, lips, (red + 0.22 * glint * 0.6).clamp_max(1))
        # what an open mouth shows, and the line of a closed one
        inner = torch.maximum(bend - gap * 0.5 - y, seam - gap * 0.7)
        cave = self.inside(inner) * ends * _smooth(f.mouth_open / 0.25)
        self.paint(w, cave, self.blood * 0.28)
        teeth = self.inside(torch.maximum(inner + 0.008, seam - gap * 0.25))
        teeth = teeth * self.inside(ax - half * 0.80, 0.03) * _smooth(f.mouth_open / 0.35)
        self.paint(w, teeth, torch.full_like(self.blood, 0.90))
        closed = self.inside(seam.abs() - 0.016, 0.012) * self.inside(ax - half - 0.02, 0.03)
        self.tone(w, closed * (1 - _smooth(f.mouth_open / 0.3)), -0.50, -0.58, -0.55)

    def eyes(self):
        f, w = self.f, self.window(-0.75, 0.75, -0.55, 0.32)
        x, y = self.fx[w], self.hy[w]
        side, half = x.sign(), 0.142 * (1 + 0.21 * f.eye_size)
        high = half * (0.60 + 0.22 * f.eye_openness) * (1 + 0.30 * f.eye_asymmetry * side)
        ex = x.abs() - (0.243 + 0.032 * f.eye_spacing)
        ey = y + 0.09 + 0.30 * f.eye_slant * ex
        q = (ex / half).square()
        lid = high * (1 - q)
        # the socket, eye shadow, the creases above and below
        self.tone(w, _glow(ex + 0.02, ey + 0.06, 0.20, 0.13), -0.20, -0.26, -0.26)
        shadow = _glow(ex - 0.01, ey + high * 0.9, half * 1.05, 0.075) * f.lashes
        self.paint(w, 0.50 * shadow, self.blood * 0.62)
        crease = self.inside((ey + lid.clamp_min(0) * 1.05 + 0.050).abs() - 0.010, 0.03)
        self.tone(w, crease * (q < 1.2), -0.26, -0.32, -0.32)
        crease = self.inside((ey - 0.62 * lid - 0.035).abs() - 0.004, 0.04)
        self.tone(w, crease * (q < 1), -0.12, -0.16, -0.16)
        # the ball, the iris, the pupil, a spark of light
        seen = self.inside(torch.maximum(-ey - lid, ey - 0.62 * lid) * 0.85)
        shade = 0.97 - 0.22 * _smooth((-ey - 0.2 * high) / high.clamp_min(0.02))
        self.paint(w, seen, _colour(x, 0.95, 0.93, 0.91) * shade)
        ix, iy = ex - 0.46 * half * f.gaze * side, ey + 0.10 * high
        r, rad = (ix * ix + iy * iy).sqrt(), 0.54 * half
        colour = _along(_IRIS, f.eye_colour)
        glow = _glow(ix + 0.02 * f.light, iy - 0.4 * rad, rad * 0.8, rad * 0.7)
        iris = colour * (0.80 + 0.75 * glow) * (1 - 0.45 * _smooth((r / rad - 0.72) / 0.28))
        self.paint(w, self.inside(r - rad) * seen, iris.clamp_max(1))
        self.paint(w, self.inside(r - 0.46 * rad) * seen, torch.full_like(colour, 0.05))
        lamp = 0.35 * rad * (2 * (f.light > 0) - 1)
        spark = ((ix - lamp).square() + (iy + 0.36 * rad).square()).sqrt() - 0.27 * rad
        self.paint(w, self.inside(spark) * seen * 0.95, torch.ones_like(colour))
        # lashes
        weight = (0.017 + 0.013 * f.lashes) * (1 + 0.35 * (ex / half).clamp(-1, 1.2))
        reach = (ex.abs() - half - (0.008 + 0.030 * f.lashes) * (ex > 0)).clamp_min(-1)
        wing = 0.35 * f.lashes * (ex - half * 0.92).clamp_min(0)
        lash = (ey + high * (1 - q).clamp_min(0) + wing).abs() * 0.85 - weight
        colour = self.hair * 0.25 + _colour(x, 0.06, 0.04, 0.035)
        self.paint(w, self.inside(torch.maximum(lash, reach)) * 0.92, colour)
        # brows
        by, bx = y + 0.305 + 0.042 * f.brow_height, ex - 0.005
        t = bx / 0.172
        curve = -0.050 * (1 - (t - 0.25).square()) - 0.058 * f.brow_angle * t + 0.03
        thick = (0.040 + 0.0165 * f.brow_thickness) * (1 - 0.45 * _smooth((t + 0.1) / 1.1))
        brow = self.inside(torch.maximum((by - curve).abs() - thick, bx.abs() - 0.172), 0.012)
        hairs = 0.88 + 0.12 * torch.sin(34 * ex + 20 * by)
        self.paint(w, brow * 0.90, (self.hair * 0.72 + self.skin * 0.08) * hairs)

    def front_hair(self):
        f, s, vol, w = self.f, self.style, self.f.hair_volume, self.window(-1, 1, -1, 0.75)
        x, y, head = self.hx[w], self.hy[w], self.head[w]
        fx = x - 0.05 * f.yaw
        t, temple = fx - s.part, s.start - 0.10 * f.hairline
        g = ((fx.abs() / self.wide - temple) / (1.02 - temple)).clamp(0, 1)
        slope = s.drop * 6 * g * (1 - g) / ((1.02 - temple) * self.wide)
        recede = 0.13 * f.hairline * _smooth(1.15 - fx.abs() / 0.5) * (s.line < -0.4)
        line = s.line - recede + s.drop * g * g * (3 - 2 * g) - s.notch * _glow(t, 0 * t, 0.10, 1.0)
        line = line + s.right * t.clamp_min(0).square() + s.left * (-t).clamp_min(0).square()
        line = line + s.rough * (torch.sin(23 * fx + 1) + 0.6 * torch.sin(37 * fx))
        thick = 0.35 * s.cap * (1 + 0.8 * vol) * _smooth((-0.35 - y) / 0.4)
        thick = s.cap * (1 + 0.55 * vol) + thick
        thin = 1 - 0.7 * _smooth((y + 0.25) / 0.4) * (s.drop < 0.6)  # short cuts thin out
        cap = head - thick * thin + s.lump * torch.sin(13 * x + 1) * torch.sin(12 * y)
        edge = (y - line) / (1 + slope * slope).sqrt()
        shadow = self.inside(edge - 0.05, 0.12) * (self.inside(head) * (1 - self.bald))
        self.tone(w, shadow, -0.30, -0.36, -0.36)  # on the forehead
        self.paint_hair(w, self.inside(torch.maximum(cap, edge)) * (1 - self.bald))
        # a clipped ring of hair round a bald head
        sides = torch.maximum(self.wide * 0.80 - fx.abs() + 0.25 * (y + 0.15).abs(), y - 0.02)
        ring = self.inside(torch.maximum(head, sides), 0.05) * self.bald
        self.paint(w, ring * 0.55, self.hair * (0.3 + 0.6 * self.lit[w]))

    def glasses(self):
        f, w = self.f, self.window(-0.8, 0.8, -0.5, 0.42)
        wire, on = f.glasses.round() == 1, (f.glasses.round() > 0).float()
        x, y = self.fx[w], self.hy[w] + 0.075
        gx = x.abs() - (0.243 + 0.032 * f.eye_spacing)
        round_ = (gx * gx + y * y).sqrt() - 0.195
        bx, by = gx.abs() - 0.135, (y - 0.01).abs() - 0.075
        corner = (bx.clamp_min(0).square() + by.clamp_min(0).square()).sqrt()
        square = corner + torch.maximum(bx, by).clamp_max(0) - 0.06
        lens, thick = torch.where(wire, round_, square), torch.where(wire, 0.016, 0.027)
        bridge = torch.maximum((y + 0.03 - 1.2 * x * x).abs() - thick, x.abs() - 0.075)
        reach = torch.maximum(0.40 - x.abs(), self.hx[w].abs() - self.wide)
        arm = torch.maximum((y + 0.05).abs() - thick, reach)
        self.tone(w, self.inside(lens) * on, 0.05, 0.06, 0.08)
        glare = self.inside((gx + 0.9 * y + 0.05).abs() - 0.03, 0.02) * self.inside(lens)
        self.tone(w, glare * on, 0.16)
        frame = self.inside(torch.minimum(lens.abs() - thick, torch.minimum(bridge, arm)))
        metal = torch.where(wire, _colour(x, 0.42, 0.34, 0.22), _colour(x, 0.11, 0.09, 0.10))
        metal = metal * (1 + 0.5 * _glow(gx + 0.08, y + 0.15, 0.08, 0.08))
        self.paint(w, frame * on, metal)

    def draw(self):
        for layer in LAYERS.split():
            getattr(self, layer)()
        return self.rgb.clamp_(0, 1).mul_(2).sub_(1)


@torch.no_grad()
def render(factors, size=64, device="cpu", chunk=32):
    """Draw factor rows (n, F), or one row (F,), as portraits (n, 3, size, size) in [-1, 1].

    size: 16 to 1024 pixels. Numbers outside a factor's range are clamped to it. RoiganError:
    another shape or size, rows that are not finite.
    """
    rows = torch.atleast_2d(torch.as_tensor(factors, dtype=torch.float32))
    fits = rows.ndim == 2 and rows.shape[1] == len(FACTORS) and torch.isfinite(rows).all()
    if not fits or not (isinstance(size, int) and 16 <= size <= 1024):
        raise RoiganError(
            f"render() takes finite factor rows of shape (n, {len(FACTORS)}), as sample_factors() "
            f"draws them, and a size of 16 to 1024 pixels, not {tuple(rows.shape)} and {size!r}."
        )
    low, high = torch.tensor([[factor.low, factor.high] for factor in FACTORS]).T
    rows = torch.minimum(torch.maximum(rows.cpu(), low), high).to(device)
    parts = [_Portrait(part, size).draw() for part in rows.split(chunk)]
    return torch.cat(parts) if parts else torch.empty(0, 3, size, size, device=device)
