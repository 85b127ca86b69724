"""Sections 4.2 and 4.3 on photographs, from checkpoints: table 4.2, figures 4.3-4.5, A.1-A.4, and which FID it was.

`python -m roigan_lib photographs --celeba ROOT --cats ROOT --cars ROOT` runs all of it. A root is what the data set of
that name takes, or a folder with ready squares in `test`.
"""

import time
from pathlib import Path

import torch

from .. import plots
from ..baselines import load_glcic, navier_stokes, telea
from ..checks import check_folder, check_seed
from ..data import open_dataset
from ..errors import RoiganError
from ..files import place, write_atomically
from ..inpainter import WEIGHTS, SelfEnsemble, load_model
from ..masks import sample_masks
from ..metrics import (
    THESIS_TABLE_4_2,
    Table,
    compare,
    complete,
    frechet_distance,
    inception_dims,
    inception_features,
    load_rows,
    versions,
)
from ..metrics.features import inception_hash
from ..metrics.table import check_rows
from . import traversals as edits

FAMILIES = (
    "elliptic",
    "rectangular",
    "mixed-released",
)  # the printed law of mixtures misses table 4.2
BINS = (0, 0.1, 0.2, 0.3, 0.6)  # of the share of the picture that a hole takes
OURS, TWICE, LITERAL = "roi-gan", "roi-gan, self-ensemble", "roi-gan, thesis-scaled"
ROWS = {
    "ours, improved recipe": OURS,
    "the same, self-ensemble": TWICE,
    "ours, thesis-scaled recipe": LITERAL,
    "GLCIC": "glcic",
    "FMM (Telea)": "telea",
    "Navier-Stokes": "navier-stokes",
}
NON_COMMERCIAL = "non-commercial research only; so are weights trained on it"
TERMS = {
    "celeba": NON_COMMERCIAL,
    "cars": NON_COMMERCIAL,
    "cats": "photographs of mixed origin, no licence stated: research only",
}
SETTINGS = (
    "recipe",
    "width",
    "encoder_width",
    "deep_width",
    "refine",
    "fine",
    "smooth_colour",
    "batch",
    "lr_g",
    "lr_d",
    "adversarial",
    "matching",
    "perceptual",
    "perceptual_prior",
    "perceptual_net",
    "projected",
    "style",
    "mirror",
    "labels",
    "siblings",
    "apart",
    "faint",
    "visible",
    "alpha",
    "alpha_d",
    "mask_family",
    "shift",
    "soften",
    "seed",
)
CURVES = ("l1_hole", "d", "adversarial")  # of the training logs
OF_THESIS = {
    OURS: "RoI-GAN",
    TWICE: "RoI-GAN",
    LITERAL: "RoI-GAN",
    "glcic": "GLCIC",
    "telea": "FMM (Telea)",
}


def photographs(name, root, n=None, size=64):
    """The first n test images of "celeba", "cats" or "cars" below `root`; RoiganError where there are none."""
    ready = root is not None and (Path(root) / "test").is_dir()
    data = open_dataset("folder" if ready else name, "test", size, root, limit=n)
    data.name = name
    return data


def _stems(name):
    """{label: name of the weights} of the trained methods for a data set, best first, whether they ship or not."""
    return {OURS: name, LITERAL: f"{name}_thesis", "glcic": f"glcic_{name}"}


def method_of(gan):
    """The label of a RoI-GAN among the rows, by its recipe: "roi-gan", or "roi-gan, thesis-scaled"."""
    return LITERAL if gan.config.recipe.startswith("thesis") else OURS


def methods_for(name):
    """{label: method} for a data set: its shipped models, best first, then Telea; on faces, table 4.2, all there is."""
    found = {
        label: (load_glcic if label == "glcic" else load_model)(stem)
        for label, stem in _stems(name).items()
        if (WEIGHTS / f"{stem}.safetensors").is_file()
    }
    if not found:
        raise RoiganError(
            f"No model for {name!r} ships with this kit; train one with `python -m roigan_lib train "
            f"--dataset {name}`."
        )
    return found | {"telea": telea} | ({"navier-stokes": navier_stokes} if name == "celeba" else {})


def of_thesis(method, law):
    """The thesis' value in table 4.2 for one of our methods and mask families; None where it has none."""
    return THESIS_TABLE_4_2.get(OF_THESIS.get(method), {}).get(law.removesuffix("-released"))


def which_fid(
    pixels,
    others,
    method=telea,
    name="telea",
    seeds=5,
    dims=(64, 192, 768),
    families=(*FAMILIES, "mixed"),
    data=None,
    say=lambda line: None,
):
    """Fréchet distances of one method at several feature depths, for both choices of reference and several mask seeds.

    pixels (n, 3, S, S), others (m, 3, S, S): other images of the set, in [-1, 1]; dims as for `inception_features`.
    Returns rows fid{dims}_n{n} with reference "same" (the very images that were masked) and "other", a row a seed, and
    the distance between the two real sets (method "real").
    """
    real = {"same": inception_features(pixels, dims), "other": inception_features(others, dims)}
    about = {
        "dataset": data,
        "split": "test",
        "n_fake": len(pixels),
        "spread": None,
        "weights": inception_hash(),
        "versions": versions(),
        "checkpoint": getattr(method, "checkpoint_hash", None),
    }
    rows = Table(
        {
            "metric": f"fid{d}_n{len(pixels)}",
            "method": "real",
            "mask_law": "none",
            "seed": 0,
            "reference": "other",
            "value": frechet_distance(real["other"][d], real["same"][d]),
            "n_real": len(others),
            **about,
        }
        for d in dims
    )
    for family in families:
        for seed in range(seeds):
            begin = time.perf_counter()
            masks = sample_masks(family, len(pixels), pixels.shape[-1], seed=seed)
            features = inception_features(complete(name, method, pixels, masks, seed), dims)
            rows += [
                {
                    "metric": f"fid{d}_n{len(pixels)}",
                    "method": name,
                    "mask_law": family,
                    "seed": seed,
                    "reference": reference,
                    "value": frechet_distance(of_real[d], features[d]),
                    "n_real": len(of_real[d]),
                    **about,
                }
                for reference, of_real in real.items()
                for d in dims
            ]
            say(f"which FID: {family}, seed {seed}, {time.perf_counter() - begin:.0f} s")
    return rows


def which_fid_table(rows):
    """Markdown of `which_fid`'s rows: mean ± sd over mask seeds by depth and reference, beside the thesis' FMM row."""
    laws = list(dict.fromkeys(r["mask_law"] for r in rows if r["method"] != "real"))
    lines = [
        "| features, reference | " + " | ".join(laws) + " | two real sets |",
        "|---|" + "---:|" * (len(laws) + 1),
    ]
    for metric in dict.fromkeys(r["metric"] for r in rows):
        for reference in ("same", "other"):
            cells = []
            for law in laws:
                values = torch.tensor(
                    [
                        r["value"]
                        for r in rows
                        if (r["metric"], r["reference"], r["mask_law"]) == (metric, reference, law)
                    ],
                    dtype=torch.float64,
                )
                cells.append(f"{values.mean():.3f} ± {values.std():.3f}")
            floor = [r["value"] for r in rows if (r["metric"], r["method"]) == (metric, "real")]
            cells.append(f"{floor[0]:.3f}" if reference == "other" else "0")
            lines.append(f"| {metric}, {reference} images | " + " | ".join(cells) + " |")
    thesis = " | ".join(f"{of_thesis('telea', law):.3f}" for law in laws)
    return "\n".join(lines + [f"| thesis, FMM | {thesis} | – |"])


def summary(rows, metric="fid768"):
    """Table 4.2 in Markdown: a line a method, thesis | ours for each mask family, from rows of `compare`."""
    rows = Table(rows)
    head = " | ".join(f"{law}: thesis | ours" for law in FAMILIES)
    lines = [f"| {metric} | {head} |", "|---|" + "---:|---:|" * len(FAMILIES)]
    for label, method in ROWS.items():
        if any(r["method"] == method for r in rows):
            cells = []
            for law in FAMILIES:
                cells.append("–" if (thesis := of_thesis(method, law)) is None else f"{thesis:.3f}")
                cells.append(f"{rows.value(metric, method, law):.3f}")
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure_4_3(pixels, methods, seed=0, faces=4):
    """Figure 4.3: `faces` pictures under each mask family, every method beside the other, RoI-GAN with two seeds."""
    pixels = pixels[:faces]
    parts, columns = [], ["original", "masked", *methods]
    if OURS in methods:
        columns.insert(columns.index(OURS) + 1, "other seed")
    for law in FAMILIES:
        masks = sample_masks(law, faces, pixels.shape[-1], seed=seed)
        shown = {
            name: complete(name, method, pixels, masks, seed) for name, method in methods.items()
        }
        if OURS in methods:
            shown["other seed"] = complete(OURS, methods[OURS], pixels, masks, seed + 1)
        shown |= {"original": pixels, "masked": plots.masked(pixels, masks)}
        parts.append(torch.stack([shown[name] for name in columns], 1))
    short = ["thesis-scaled" if name == LITERAL else name for name in columns]
    return plots.sheet(
        torch.cat(parts).flatten(0, 1),
        ncols=len(columns),
        scale=2,
        titles=short,
        rows=[law for law in FAMILIES for _ in range(faces)],
    )


def figure_4_4(sets, seed=0, each=5):
    """Figure 4.4: for each of {name: (pixels, model)} three columns, the picture, the region, what RoI-GAN drew."""
    blocks, titles = [], []
    for name, (pixels, model) in sets.items():
        x = pixels[:each]
        masks = sample_masks("elliptic", len(x), x.shape[-1], seed=seed)
        blocks.append(
            torch.stack([x, plots.masked(x, masks), model.inpaint(x, masks, seed=seed)], 1)
        )
        titles += [name, "masked", "roi-gan"]
    return plots.sheet(
        torch.cat(blocks, 1).flatten(0, 1), ncols=3 * len(blocks), scale=2, titles=titles
    )


def sample_sheet(pixels, method, seed=0, n=8):
    """The first n pictures, their elliptic regions and two answers of a method: the sheet of its card."""
    pixels = pixels[:n]
    masks = sample_masks("elliptic", len(pixels), pixels.shape[-1], seed=seed)
    answers = [complete("model", method, pixels, masks, seed + k) for k in (0, 1)]
    return plots.sheet(
        torch.cat([pixels, plots.masked(pixels, masks), *answers]),
        ncols=len(pixels),
        scale=2,
        rows=["original", "masked", f"seed {seed}", f"seed {seed + 1}"],
    )


def model_cards(folder):
    """Markdown: a card for each shipped checkpoint, from its own header and the rows and sheets in `folder`."""
    folder = Path(folder)
    lines = [
        "# Cards of the shipped checkpoints",
        "",
        "Written by `python -m roigan_lib photographs`.",
    ]
    rows = Table(
        r
        for file in ("real_images.jsonl", "comparison.jsonl")
        if (folder / file).exists()
        for r in load_rows(folder / file)
    )
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        if path.stem == "factor_net":
            continue
        model = load_glcic(path) if "glcic" in path.stem else load_model(path)
        card = model.card
        own = [
            r
            for r in rows
            if r["checkpoint"] == model.checkpoint_hash and r["mask_law"] in FAMILIES
        ]
        start, changed = card.get("started_from"), card.get("training", {})
        facts = {
            "weights": f"`{path.name}`, {path.stat().st_size / 1e6:.1f} MB, checkpoint `{model.checkpoint_hash}`",
            "data": "; ".join(
                filter(
                    None,
                    [
                        f"{card.get('dataset')}, {card.get('images', 0):,} pictures",
                        card.get("data_note"),
                    ],
                )
            ),
            "terms of the data": TERMS.get(
                path.stem.removeprefix("glcic_").removesuffix("_thesis"), "none"
            ),
            "training": f"{card.get('steps', 0):,} steps, {card.get('images_seen', 0):,} images seen, "
            f"{card.get('seconds', 0):,} s",
            "began with": start
            and "networks that had seen {images_seen:,} images of {dataset} in {seconds:,} s".format(
                **start
            ),
            "machine": card.get("machine"),
            "history": card.get("history"),
            "config": f"`{card.get('config_hash')}`",
            "settings": ", ".join(
                f"{k} {v}" for k, v in (changed or card).items() if k in SETTINGS
            ),
        }
        lines += ["", f"## {path.stem}", "", "| | |", "|---|---|"] + [
            f"| {k} | {v} |" for k, v in facts.items() if v
        ]
        metrics = dict.fromkeys(r["metric"] for r in own)
        if metrics:
            lines += [
                "",
                "| score | " + " | ".join(FAMILIES) + " |",
                "|---|" + "---:|" * len(FAMILIES),
            ]
        for metric in metrics:
            found = {r["mask_law"]: r["value"] for r in own if r["metric"] == metric}
            cells = [f"{found[law]:.4g}" if law in found else "–" for law in FAMILIES]
            lines.append(f"| {metric} | " + " | ".join(cells) + " |")
        if (folder / f"card_{path.stem}.png").exists():
            lines += ["", f"![first test pictures, regions, two answers](card_{path.stem}.png)"]
    return "\n".join(lines) + "\n"


def training_curves(folder):
    """Curves of the shipped CelebA runs from their logs `training_*.jsonl` in `folder`, or None without any."""
    rows = [
        {"minutes": row["seconds"] / 60}
        | {f"{key}, {log.stem.removeprefix('training_')}": row[key] for key in CURVES if key in row}
        for log in sorted(Path(folder).glob("training_*.jsonl"))
        for row in load_rows(log)
    ]
    known = dict.fromkeys(key for row in rows for key in row if key != "minutes")
    panels = [tuple(k for k in known if k.startswith(f"{name}, ")) for name in CURVES]
    if not rows:
        return None
    return plots.curves(
        rows, [panel for panel in panels if panel], x="minutes", scale=0.85
    )  # 08 stays below a megabyte


def run(roots, out=None, n=1000, dims=768, seed=0, study=0, others=None, say=print):
    """All of it for {"celeba": root, …}: rows, figures, the models' cards and sheets; returns the rows.

    out: folder, default the figures. n: test images at most. dims: Inception features, or None. study: mask seeds for
    `which_fid` on the faces (which_fid.jsonl), 0 = none; its other images are the test images after the first n, or
    come from `others`, a folder of further ones. RoiganError, before any work: a root without pictures, missing weights,
    an `out` that cannot be written, rows in it that cannot be read, a bad seed.
    """
    check_seed(seed)
    out = check_folder(out if out is not None else place("ROIGAN_FIGURES", "figures"))
    for rows in ["real_images.jsonl"] + ["which_fid.jsonl"] * (study > 0):
        check_rows(out / rows)
    sets = {name: photographs(name, root, n) for name, root in roots.items() if root}
    if not sets:
        raise RoiganError(
            "There are no photographs to measure on: give --celeba, --cats or --cars a folder."
        )
    if dims:
        inception_features(torch.zeros(1, 3, 64, 64), dims)  # says what is missing, if anything is
    if study and "celeba" not in sets:
        raise RoiganError(
            "Which FID table 4.2 holds is asked of its faces: give --celeba a folder as well."
        )
    methods, rows = {}, Table()
    for name in list(sets):
        try:
            methods[name] = methods_for(name)
        except RoiganError as error:
            del sets[name]
            if not sets:
                raise
            say(f"left out: {error}")
    if study:
        if others:
            more = open_dataset("folder", "all", 64, others, crop="thesis", limit=n)[:]
        else:
            more = photographs("celeba", roots["celeba"], 2 * n)[n:]
        if len(more) < n:
            raise RoiganError(
                f"Besides the first {n} test images there are only {len(more)} others to compare with; "
                f"give --others a folder of further pictures, or a smaller --n."
            )
        which_fid(
            sets["celeba"][:],
            more,
            seeds=study,
            dims=inception_dims(),
            data=sets["celeba"].name,
            say=say,
        ).save(out / "which_fid.jsonl")
    if "celeba" in sets:
        first = max(0, min(40, len(sets["celeba"]) - 4))  # not the faces of the card
        plots.save(
            figure_4_3(sets["celeba"][first : first + 4], methods["celeba"], seed),
            out / "fig_4_3.png",
            colours=128,
        )
    shown = {
        name: (data[:], methods[name][OURS]) for name, data in sets.items() if OURS in methods[name]
    }
    plots.save(figure_4_4(shown, seed), out / "fig_4_4.png", colours=256)
    for name, (pixels, model) in shown.items():
        edits.figures(name, model, pixels[8:17] if len(pixels) > 16 else pixels, out, seed)
    for name, data in sets.items():
        tried = dict(methods[name])
        if (
            name == "celeba" and OURS in tried
        ):  # table 4.2's row; the whole stays near a quarter hour
            tried[TWICE] = SelfEnsemble(tried[OURS])
        say(f"{name}: {len(data)} test images; {', '.join(tried)}")
        found = compare(tried, data, list(FAMILIES), dims=dims, seed=seed, bins=BINS, progress=say)
        found.save(out / "real_images.jsonl")
        rows += found
        for label, stem in _stems(name).items():
            if label in methods[name]:
                plots.save(
                    sample_sheet(data[:8], methods[name][label], seed),
                    out / f"card_{stem}.png",
                    colours=256,
                )
    write_atomically(out / "model_cards.md", model_cards(out).encode())
    return rows
