"""Sections 4.2 and 4.3 on photographs: table 4.2, figures 4.3-4.5, A.1-A.4, and which FID it was.

`python -m roigan_lib photographs --celeba ROOT --cats ROOT --cars ROOT` makes all of it from the
shipped checkpoints. A root is what the data set takes, or a folder with ready squares in `test`.
"""

import time
from pathlib import Path

import pandas as pd
import torch

from .. import plots
from ..baselines import load_glcic, navier_stokes, telea
from ..checks import check_folder, check_seed
from ..config_checks import flat
from ..control.steering import steered
from ..data import open_dataset
from ..ensemble import SelfEnsemble
from ..errors import RoiganError
from ..files import WEIGHTS, place, write_atomically
from ..making import BY_HAND, repeatable
from ..masks import sample_masks
from ..metrics import (
    THESIS_TABLE_4_2,
    check_rows,
    compare,
    complete,
    frame,
    frechet_distance,
    inception_dims,
    inception_features,
    load_rows,
    markdown_lines,
    versions,
    write_rows,
)
from ..metrics.features import inception_hash
from ..stored import load_model
from . import discovered, told, traversals

FAMILIES = ("elliptic", "rectangular", "mixed-released")  # printed mixtures miss table 4.2
BINS = (0, 0.1, 0.2, 0.3, 0.6)  # of the share of the picture that a hole takes
OURS, TWICE, LITERAL = "roi-gan", "roi-gan, self-ensemble", "roi-gan, thesis-scaled"
STEERED, FOUND = "roi-gan, steered", "roi-gan, found sliders"
ROWS = {
    "ours, improved recipe": OURS,
    "the same, self-ensemble": TWICE,
    "the same, steered": STEERED,
    "ours, found sliders": FOUND,
    "ours, thesis-scaled recipe": LITERAL,
    "GLCIC": "glcic",
    "FMM (Telea)": "telea",
    "Navier-Stokes": "navier-stokes",
}
OF_THESIS = dict.fromkeys((OURS, TWICE, STEERED, FOUND, LITERAL), "RoI-GAN")
OF_THESIS |= {"glcic": "GLCIC", "telea": "FMM (Telea)"}
NON_COMMERCIAL = "non-commercial research only; so are weights trained on it"
TERMS = {
    "celeba": NON_COMMERCIAL,
    "cars": NON_COMMERCIAL,
    "cats": "photographs of mixed origin, no licence stated: research only",
}
SETTINGS = """
    recipe width encoder_width deep_width refine fine smooth_colour batch lr_g lr_d adversarial
    matching perceptual perceptual_prior perceptual_net projected style mirror labels siblings
    apart faint visible alpha alpha_d mask_family shift soften seed
""".split()


def photographs(name, root, n=None, size=64):
    """The first n test images of "celeba", "cats" or "cars". Raises RoiganError without any."""
    ready = root is not None and (Path(root) / "test").is_dir()
    data = open_dataset("folder" if ready else name, "test", size, root, limit=n)
    data.name = name
    return data


def _stems(name):
    """{label: name of the weights} of the trained methods for a data set, best first."""
    stems = {OURS: name, FOUND: f"{name}_found", LITERAL: f"{name}_thesis"}
    return stems | {"glcic": f"glcic_{name}"}


def methods_for(name, device="cpu"):
    """{label: method} for a data set: what ships, best first, Telea, on faces Navier-Stokes.

    Raises RoiganError where no model ships.
    """
    found = {
        label: (load_glcic if label == "glcic" else load_model)(stem, device)
        for label, stem in _stems(name).items()
        if (WEIGHTS / f"{stem}.safetensors").is_file()
    }
    if not found:
        raise RoiganError(
            f"No model for {name!r} ships with this kit; train one with `python -m roigan_lib "
            f"train --dataset {name}`."
        )
    return found | {"telea": telea} | ({"navier-stokes": navier_stokes} if name == "celeba" else {})


def of_thesis(method, law):
    """The thesis' value in table 4.2 for one of our methods and mask families, or None."""
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
    """Fréchet distances by feature depth, reference and mask seed: which one is table 4.2's?

    pixels (n, 3, S, S), others (m, 3, S, S): further images of the set, in [-1, 1]; dims as for
    `inception_features`. Rows fid{dims}_n{n} with reference "same" (the images that were masked)
    or "other", one a seed, and the distance between the two real sets (method "real").
    """
    n = len(pixels)
    real = {"same": inception_features(pixels, dims), "other": inception_features(others, dims)}
    about = {
        "dataset": data,
        "split": "test",
        "n_fake": n,
        "spread": None,
        "weights": inception_hash(),
        "versions": versions(),
        "checkpoint": getattr(method, "checkpoint_hash", None),
    }

    def distances(features, label, law, seed, references):
        return [
            {
                "metric": f"fid{d}_n{n}",
                "method": label,
                "mask_law": law,
                "seed": seed,
                "reference": reference,
                "value": frechet_distance(real[reference][d], features[d]),
                "n_real": len(real[reference][d]),
                **about,
            }
            for reference in references
            for d in dims
        ]

    rows = distances(real["same"], "real", "none", 0, ["other"])
    for family in families:
        for seed in range(seeds):
            begin = time.perf_counter()
            masks = sample_masks(family, n, pixels.shape[-1], seed=seed)
            features = inception_features(complete(name, method, pixels, masks, seed), dims)
            rows += distances(features, name, family, seed, real)
            say(f"which FID: {family}, seed {seed}, {time.perf_counter() - begin:.0f} s")
    return frame(rows)


def _number(value, form=".3f"):
    return "–" if pd.isna(value) else f"{value:{form}}"


def which_fid_table(rows):
    """Markdown of `which_fid`'s rows, mean ± sd over mask seeds, beside the thesis' FMM row."""
    drawn, lines = rows[rows.method != "real"], []
    laws = list(drawn.mask_law.unique())
    floor = rows[rows.method == "real"].set_index("metric").value
    scores = drawn.groupby(["metric", "reference", "mask_law"]).value
    mean, sd = scores.mean(), scores.std()
    for metric in rows.metric.unique():
        for key in ((metric, "same"), (metric, "other")):
            cells = [f"{mean[(*key, law)]:.3f} ± {sd[(*key, law)]:.3f}" for law in laws]
            cells.append(_number(floor[metric]) if key[1] == "other" else "0")
            lines.append([f"{metric}, {key[1]} images", *cells])
    lines.append(["thesis, FMM", *(_number(of_thesis("telea", law)) for law in laws), "–"])
    return "\n".join(markdown_lines(["features, reference", *laws, "two real sets"], lines))


def _by_law(rows, index):
    """A frame of the values, `index` down and the three families across; the last row counts."""
    found = rows.pivot_table("value", index, "mask_law", aggfunc="last")
    return found.reindex(index=rows[index].unique(), columns=FAMILIES)


def summary(rows, metric="fid768"):
    """Table 4.2 in Markdown, thesis and ours for each mask family, from rows of `compare`."""
    ours = _by_law(rows[rows.metric.str.fullmatch(rf"{metric}(_n\d+)?")], "method")
    head = [cell for law in FAMILIES for cell in (f"{law}: thesis", "ours")]
    lines = [
        [title, *(_number(v) for law in FAMILIES for v in (of_thesis(m, law), ours.at[m, law]))]
        for title, m in ROWS.items()
        if m in ours.index
    ]
    return "\n".join(markdown_lines([metric, *head], lines))


def figure_4_3(pixels, methods, seed=0, faces=4):
    """Figure 4.3: pictures under each mask family, all methods, RoI-GAN with two seeds."""
    pixels, columns, parts = pixels[:faces], ["original", "masked", *methods], []
    if OURS in methods:
        columns.insert(columns.index(OURS) + 1, "other seed")
    for law in FAMILIES:
        masks = sample_masks(law, faces, pixels.shape[-1], seed=seed)
        shown = {"original": pixels, "masked": plots.masked(pixels, masks)}
        for name, method in methods.items():
            shown[name] = complete(name, method, pixels, masks, seed)
        if OURS in methods:
            shown["other seed"] = complete(OURS, methods[OURS], pixels, masks, seed + 1)
        parts.append(torch.stack([shown[name] for name in columns], 1))
    return plots.sheet(
        torch.cat(parts).flatten(0, 1),
        ncols=len(columns),
        scale=2,
        titles=[name.removeprefix(f"{OURS}, ") for name in columns],
        rows=[law for law in FAMILIES for _ in range(faces)],
    )


def figure_4_4(sets, seed=0, each=5):
    """Figure 4.4: for each of {name: (pixels, model)} the pictures, the regions, what was drawn."""
    blocks, titles = [], []
    for name, (pixels, model) in sets.items():
        x = pixels[:each]
        masks = sample_masks("elliptic", len(x), x.shape[-1], seed=seed)
        drawn = model.inpaint(x, masks, seed=seed)
        blocks.append(torch.stack([x, plots.masked(x, masks), drawn], 1))
        titles += [name, "masked", "roi-gan"]
    stack = torch.cat(blocks, 1).flatten(0, 1)
    return plots.sheet(stack, ncols=3 * len(blocks), scale=2, titles=titles)


def sample_sheet(pixels, method, seed=0, n=8):
    """The sheet of a model's card: n pictures, their elliptic regions, two answers."""
    pixels = pixels[:n]
    masks = sample_masks("elliptic", len(pixels), pixels.shape[-1], seed=seed)
    answers = [complete("model", method, pixels, masks, seed + k) for k in (0, 1)]
    stack = torch.cat([pixels, plots.masked(pixels, masks), *answers])
    rows = ["original", "masked", f"seed {seed}", f"seed {seed + 1}"]
    return plots.sheet(stack, ncols=len(pixels), scale=2, rows=rows)


def model_cards(folder):
    """Markdown: a card for each shipped checkpoint, from its header and the rows in `folder`."""
    folder = Path(folder)
    names = "large", "control", "comparison", "real_images"  # the last counts
    files = [folder / f"{name}.jsonl" for name in names]
    rows = pd.concat([load_rows(file) for file in files if file.exists()])
    rows = rows[rows.mask_law.isin(FAMILIES)]
    lines = ["# Cards of the shipped checkpoints", ""]
    lines += ["Written by `python -m roigan_lib photographs`."]
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        if path.stem in ("factor_net", "attribute_reader"):
            continue
        model = load_glcic(path) if "glcic" in path.stem else load_model(path)
        lines += ["", f"## {path.stem}", "", "| | |", "|---|---|"]
        lines += [f"| {fact} | {text} |" for fact, text in _facts(path, model).items() if text]
        own = rows[rows.checkpoint == model.checkpoint_hash]
        if len(own):
            scores = _by_law(own, "metric")
            cells = [[m, *(_number(v, ".4g") for v in scores.loc[m])] for m in scores.index]
            lines += ["", *markdown_lines(["score", *FAMILIES], cells)]
        if (folder / f"card_{path.stem}.png").exists():
            lines += ["", f"![first test pictures, regions, two answers](card_{path.stem}.png)"]
    return "\n".join(lines) + "\n"


def _facts(path, model):
    card, data = model.card, model.card.get("dataset")
    pictures = f"{data}, {card.get('images', 0):,} pictures"
    steps, seen, seconds = (card.get(key, 0) for key in ("steps", "images_seen", "seconds"))
    settings, before, began = flat(card.get("training") or card), card.get("started_from"), []
    while before:  # the stage before, and the one before that
        words = "networks that had seen {images_seen:,} images of {dataset} in {seconds:,} s"
        began.append(words.format(**before))
        before = before.get("before")
    return {
        "recipe": BY_HAND if "glcic" in path.stem else repeatable(model),
        "weights": f"`{path.name}`, {path.stat().st_size / 1e6:.1f} MB, "
        f"checkpoint `{model.checkpoint_hash}`",
        "data": "; ".join(filter(None, [pictures, card.get("data_note")])),
        "terms of the data": TERMS.get(data, "none"),
        "training": f"{steps:,} steps, {seen:,} images seen, {seconds:,} s",
        "began with": ", these with ".join(began),
        "machine": card.get("machine"),
        "history": card.get("history"),
        "config": f"`{card.get('config_hash')}`",
        "settings": ", ".join(f"{k} {v}" for k, v in settings.items() if k in SETTINGS),
    }


def run(roots, out=None, n=1000, dims=768, seed=0, study=0, others=None, say=print, device="cpu"):
    """All of it for {"celeba": root, …}: rows, figures, the models' cards; returns the rows.

    out: folder, default the figures. n: test images at most. dims: Inception features, or None.
    study: mask seeds for `which_fid` on the faces (which_fid.jsonl), 0 = none; its other images
    are the test images after the first n, or come from `others`, a folder of further ones.
    Raises RoiganError, before any work: a root without pictures, missing weights, an `out` that
    cannot be written, rows in it that cannot be read, a bad seed.
    """
    check_seed(seed)
    out = check_folder(out if out is not None else place("ROIGAN_FIGURES", "figures"))
    files = ["real_images.jsonl", "told.jsonl", "steered.jsonl", "found.jsonl"]
    for file in files + ["which_fid.jsonl"] * (study > 0):
        check_rows(out / file)
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
    methods, rows = {}, []
    for name in sets:
        try:
            methods[name] = methods_for(name, device)
        except RoiganError as error:
            if name == list(sets)[-1] and not methods:
                raise
            say(f"left out: {error}")
    if study:
        found = _study(sets["celeba"], roots["celeba"], others, n, study, say)
        write_rows(out / "which_fid.jsonl", found)
    shown = {name: (sets[name][:], found[OURS]) for name, found in methods.items() if OURS in found}
    if "celeba" in methods:
        first = max(0, min(40, len(sets["celeba"]) - 4))  # not the faces of the card
        faces = sets["celeba"][first : first + 4]
        plots.save(figure_4_3(faces, methods["celeba"], seed), out / "fig_4_3.png", colours=128)
    plots.save(figure_4_4(shown, seed), out / "fig_4_4.png", colours=256)
    for name, (pixels, model) in shown.items():
        nine = pixels[8:17] if len(pixels) > 16 else pixels
        moved = steered(model)
        traversals.figures(name, model, nine, out, seed, moved)
        if name == "celeba" and model.slider_names:
            plots.save(told.sheet(moved, pixels[:44][-4:], seed), out / "told.png", colours=256)
            write_rows(out / "told.jsonl", told.effects(model, sets[name], seed))
            if moved is not model:
                write_rows(out / "steered.jsonl", told.effects(moved, sets[name], seed))
        keys = [f"c{k}" for k in range(len(model.slider_names) + 1, model.n_continuous + 1)]
        if keys:  # sliders that nobody named
            sheet = told.sheet(model, nine[:4], seed, keys)
            plots.save(sheet, out / f"found_{name}.png", colours=256)
            write_rows(out / "found.jsonl", discovered.effects(model, sets[name], seed=seed))
    for name, tried in methods.items():
        for label, stem in _stems(name).items():
            if label in tried:
                sheet = sample_sheet(sets[name][:8], tried[label], seed)
                plots.save(sheet, out / f"card_{stem}.png", colours=256)
        if name == "celeba" and OURS in tried:  # table 4.2's row; the others stay quick
            tried = tried | {TWICE: SelfEnsemble(tried[OURS])}
            if (moved := steered(tried[OURS])) is not tried[OURS]:
                tried[STEERED] = moved
        say(f"{name}: {len(sets[name])} test images; {', '.join(tried)}")
        options = dict(dims=dims, seed=seed, bins=BINS, progress=say)
        found = compare(tried, sets[name], list(FAMILIES), **options)
        write_rows(out / "real_images.jsonl", found)
        rows.append(found)
    write_atomically(out / "model_cards.md", model_cards(out).encode())
    return pd.concat(rows, ignore_index=True)


def _study(faces, root, others, n, seeds, say):
    """The rows of `which_fid` on the faces. Raises RoiganError without n others."""
    if others:
        more = open_dataset("folder", "all", 64, others, crop="thesis", limit=n)[:]
    else:
        more = photographs("celeba", root, 2 * n)[n:]
    if len(more) < n:
        raise RoiganError(
            f"Besides the first {n} test images there are only {len(more)} others to compare "
            f"with; give --others a folder of further pictures, or a smaller --n."
        )
    dims = inception_dims()
    return which_fid(faces[:], more, seeds=seeds, dims=dims, data=faces.name, say=say)
