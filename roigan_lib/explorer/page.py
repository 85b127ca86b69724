"""The explorer as a static folder that needs no Python: `roigan page`.

The view is the notebook's, `explorer.js`. In the kernel's place stands `session.js`, and behind it
`worker.js`, which runs the two graphs of `graphs` with onnxruntime-web. Nothing leaves the browser:
the page's security policy forbids every address but the page's own.
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..checks import check_folder, check_name
from ..control.steering import steered
from ..data import cats, open_dataset
from ..errors import RoiganError
from ..files import cache_folder, path_of, write_atomically
from ..masks import FACE, region
from ..photo import _skimage, astronaut, face_frame, find_eyes, to_model
from ..plots import to_uint8
from ..stored import in_bits, load_model
from . import DARKROOM, HERE, VIEW, Explorer, pages
from .graphs import export, required

RUNTIME = "onnxruntime-web-1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"  # of its package
ENGINE = "ort-wasm-simd-threaded"
PARTS = ["ort.wasm.min.mjs", f"{ENGINE}.mjs", f"{ENGINE}.wasm"]  # and for WebGPU:
PARTS += ["ort.webgpu.min.mjs", f"{ENGINE}.asyncify.mjs", f"{ENGINE}.asyncify.wasm"]
SCRIPTS = sorted({*VIEW.split(), *DARKROOM.split(), "page", "random", "session", "worker"})
FILES = [f"{name}.js" for name in SCRIPTS] + ["explorer.css", "page.css"]
CARD = (
    "size n_continuous n_discrete n_categories names order dead title checkpoint eyes regions reach"
)
DRAWN = (2, 3, 5)  # seeds of the faces that the model draws under the first picture's hair
FACES = (
    "The first picture is Eileen Collins, photographed by NASA, in the public domain; "
    "under her hair in the others the model drew nobody's face. It learned from CelebA, whose "
    "terms make its weights non-commercial."
)
CREDITS = {
    "synthfaces": "The faces are nobody's: the kit's painter drew them.",
    "celeba": FACES,
    "celeba128": FACES,
    "cats": "Chelsea was photographed by Stéfan van der Walt (CC0). The model learned from the Cat "
    "data set of Zhang, Sun and Tang: photographs of mixed origin, for research only.",
}
CREDITS["synthfaces_labelled"] = CREDITS["synthfaces"]
LABELS = {"synthfaces_labelled": "Drawn faces", "celeba": "Photographs of faces", "cats": "Cats"}
LABELS["celeba128"] = "Photographs, sharper and slower"
MODELS = "synthfaces_labelled", "celeba", "celeba128", "cats"
OURS = (
    "Software: this kit and ONNX Runtime Web (Microsoft), both under the MIT licence. Method: "
    "V. Korshunov, Region-Selected Image Generation with Generative Adversarial Networks, 2020."
)


def write_page(out, models=MODELS, runtime=None, say=print, weights="float16") -> Path:
    """Write the page for the models (shipped names or checkpoints) to the folder `out`.

    runtime: the package of onnxruntime-web (.tgz); None takes it from the cache, or fetches it by
    npm. weights: float16, as models ship, or int8 (`stored.in_bits`), half the megabytes. Returns
    the path of index.html. RoiganError: no such model, a folder that cannot be written, a package
    that cannot be had or is another one.
    """
    required()
    out, cards = check_folder(out), []
    check_name("kind of weights", weights, ("float16", "int8"))
    gans = {gan.name: gan for gan in map(load_model, models)}
    for name, gan in gans.items():
        if gan.n_noise % 16:  # PyTorch draws others in another order, which random.js does not know
            raise RoiganError(f"{name} takes {gan.n_noise} numbers of noise, no multiple of 16.")
    unpack(runtime, out / "ort")
    for name, gan in gans.items():
        shown, pictures = steered(gan), _pictures(name, gan)
        graphs = export(gan if weights == "float16" else in_bits(gan)[0])
        cards.append(add_model(out / "models", name, shown, pictures, graphs))
        size, n = cards[-1]["megabytes"], shown.n_continuous + shown.n_discrete
        say(f"{name}: {size} MB in two graphs, {n} sliders")
    return assemble(out, cards)


def assemble(out, cards) -> Path:
    """Write what is not a model's: scripts, styles, models.json of the cards. index.html's path."""
    for file in FILES:
        write_atomically(out / file, (HERE / file).read_bytes())
    write_atomically(out / "models.json", json.dumps(cards).encode())
    return write_atomically(out / "index.html", (HERE / "page.html").read_bytes())


def add_model(folder, name, gan, images, graphs):
    """Write a model's graphs and pictures to a folder; its card, a dict for models.json.

    gan: as `explore` takes it, with n_noise, a multiple of 16; its steering goes along, where it
    is `Steered`. images (n, 3, S, S) in [-1, 1], or a pair of them
    and their names. graphs: two, as `export` gives them for the model itself.
    """
    images, names = images if isinstance(images, tuple) else (images, None)
    view = Explorer(gan, images, region(gan.size, *FACE))
    if "eyes" in view.regions and name != "cats":  # right on any face, not on Chelsea's turned head
        eyes = [region(gan.size, *ellipse) for ellipse in view.regions["eyes"]]
        view.set_mask(torch.stack(eyes).amax(0))
    steering = getattr(gan, "steering", None)
    for part, data in zip(("fixed", "moving"), graphs):
        write_atomically(folder / f"{name}.{part}.onnx", data)
    row = np.concatenate(to_uint8(view.images), axis=1)
    write_atomically(folder / f"{name}.png", pages.png(Image.fromarray(row)))
    return {
        **{key: getattr(view, key) for key in CARD.split()},
        "image_names": names or view.image_names,
        "steering": steering and steering.ends.tolist(),
        "name": name,
        "label": LABELS.get(name, name),
        "n_noise": gan.n_noise,
        "megabytes": round(sum(map(len, graphs)) / 1e6, 1),
        "mask": "".join(map(str, view.mask_bytes)),
        "credits": [CREDITS.get(name, ""), OURS],
    }


def _pictures(name, gan):
    """The pictures to begin with, (n, 3, S, S), of nobody or in the public domain; their names."""
    if name == "cats":
        chelsea = Image.fromarray(_skimage().data.chelsea())
        image = np.asarray(cats.align(chelsea, ((172, 115), (318, 136)), gan.size))
        image = torch.tensor(image).permute(2, 0, 1)[None] / 127.5 - 1
        return torch.cat([image, image.flip(3)]), ["Chelsea", "Chelsea, mirrored"]
    if not name.startswith("celeba"):
        faces = open_dataset("synthfaces", "test", gan.size, limit=12)[:]
        return faces, [f"Drawn face {i + 1}" for i in range(len(faces))]
    photo, mask, faces = astronaut(), region(gan.size, *FACE), []
    face = to_model(photo, face_frame(find_eyes(photo), gan.size))
    for seed in DRAWN:
        codes = gan.sample_codes(1, seed)
        codes[:, : gan.n_continuous] *= 0.6
        faces.append(gan.inpaint(face.flip(3) if seed % 2 else face, mask, codes, seed))
    return torch.cat([face, *faces]), ["Eileen Collins", *(f"Nobody, seed {n}" for n in DRAWN)]


def _package(runtime):
    """The bytes of the package of onnxruntime-web, whose checksum is right."""
    path = path_of(runtime, "package") if runtime else cache_folder() / f"{RUNTIME}.tgz"
    how = RUNTIME[::-1].replace("-", "@", 1)[::-1]
    if not runtime and not path.is_file():
        if not shutil.which("npm"):
            raise RoiganError(
                f"The page needs {how}, an npm package, and there is no npm here to fetch it: give "
                "the package's .tgz as --runtime."
            )
        with tempfile.TemporaryDirectory() as folder:
            command = ["npm", "pack", "--silent", how]
            told = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            fetched = Path(folder, f"{RUNTIME}.tgz")
            if not fetched.is_file():
                why = (told.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise RoiganError(
                    f"npm could not fetch {how} ({why}): try again with a network, or give the "
                    "package's .tgz as --runtime."
                )
            write_atomically(path, fetched.read_bytes())
    try:
        data = path.read_bytes()  # once: what is checked is what is unpacked
    except OSError as error:
        raise RoiganError(f"The runtime {path} cannot be read: {error.strerror}.") from None
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise RoiganError(f"{path} is not the package {how} (SHA-256 {SHA256}): fetch that one.")
    return data


def unpack(runtime, folder):
    """Write what the page loads of onnxruntime-web to a folder; runtime, errors: `write_page`."""
    with tarfile.open(fileobj=io.BytesIO(_package(runtime))) as archive:
        for part in PARTS:
            write_atomically(folder / part, archive.extractfile(f"package/dist/{part}").read())
