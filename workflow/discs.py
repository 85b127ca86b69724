"""Drawn discs, a data set of files for the small grid: python workflow/discs.py FOLDER"""

import sys
from pathlib import Path

import torch
from PIL import Image

folder, line = Path(sys.argv[1]), torch.arange(32)
folder.mkdir(parents=True)
for i in range(160):
    disc = (line[:, None] - 10 - i % 7) ** 2 + (line - 16) ** 2 < 60 + i
    colour = torch.tensor([200, 40 + i, 220 - i])
    pixels = (disc[..., None] * colour + 20).clamp(0, 255).byte().numpy()
    Image.fromarray(pixels).save(folder / f"{i:03d}.png")
