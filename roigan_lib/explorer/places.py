"""Where a model's training pictures have the eyes, and the regions that go by them."""

from ..data import cats
from ..masks import FACE
from ..photo import EYES, crop_frame

# The side of the square that both eyes span, and ellipses in it around the middle between them:
# (x, y, half width, half height) in distances of the eyes.
FACES = {
    "eyes": [(-0.5, 0, 0.4, 0.3), (0.5, 0, 0.4, 0.3)],
    "nose": [(0, 0.5, 0.36, 0.4)],
    "mouth": [(0, 1.06, 0.62, 0.34)],
    "beard": [(0, 1.36, 0.95, 0.68)],
}
CATS = {
    "eyes": [(-0.5, 0, 0.3, 0.26), (0.5, 0, 0.3, 0.26)],
    "nose": [(0.0, 0.72, 0.22, 0.24)],
    "mouth": [(0, 0.9, 0.42, 0.24)],
}


def eye_places(name, size):
    """Where a model of this name expects the two eyes, [[x, y], [x, y]] in its pixels."""
    if name.startswith("celeba"):
        return [[float(v) for v in crop_frame(178, 218, size, "thesis").at(*eye)] for eye in EYES]
    places = cats.EYES if name == "cats" else ((0.38, 0.44), (0.62, 0.44))
    return [[share * size - 0.5 for share in place] for place in places]


def regions(name, size):
    """The regions offered for a model of this name: {"eyes": [[x, y, half width, half height], …]}
    in shares of the side; {} where it is not known that its pictures are faces, or cats.
    """
    kinds = CATS if name == "cats" else FACES if name.startswith(("celeba", "synthfaces")) else {}
    (x1, y1), (x2, y2) = [[(v + 0.5) / size for v in eye] for eye in eye_places(name, size)]
    x, y, unit = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1
    found = {
        kind: [[x + unit * a, y + unit * b, unit * c, unit * d] for a, b, c, d in ellipses]
        for kind, ellipses in kinds.items()
    }
    return found | ({"whole face": [list(FACE)]} if found else {})
