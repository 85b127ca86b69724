"""Rows as a table: metrics down, methods across within each mask family, the best in bold."""

import hashlib
import html

import numpy as np
import pandas as pd

from ..errors import RoiganError
from .rows import frame, records

# What is better, by how a metric's name begins. One that is in neither (diversity) has no best
# value; border_ratio is best at 1, as far above as below.
_LOWER = ("fid", "kid", "frechet", "l1", "lpips", "outside_change", "border_ratio")
_HIGHER = ("psnr", "ssim", "precision", "recall")


def pivot(rows, field="value"):
    """A field of rows as floats: metrics down, (mask_law, method) across, in order of appearance.

    Of rows for one place (two seeds, two data sets) the last counts; NaN where there is none.
    """
    place = ["metric", "mask_law", "method"]
    rows = frame(records(rows, *place)).reindex(columns=[*place, field])
    metrics, laws, methods = (rows[name].unique() for name in place)
    rows = rows.drop_duplicates(place, keep="last")
    table = rows.pivot(index=place[0], columns=place[1:], values=field)
    across = pd.MultiIndex.from_product([laws, methods], names=place[1:])
    return table.reindex(index=metrics, columns=across).astype(float)


def best(rows):
    """Like `pivot`, True at the best value of a metric and mask family, if they differ."""
    table = pivot(rows)
    score = table.where(np.isfinite(table))
    seams = score.index.str.startswith("border_ratio")
    with np.errstate(divide="ignore"):
        score[seams] = np.log(score[seams].clip(lower=0)).abs()
    score = score.mul([_direction(metric) for metric in score.index], axis=0)
    families = score.T.groupby(level="mask_law", sort=False)
    return score.eq(families.transform("max").T) & families.transform("nunique").T.gt(1)


def _direction(metric):
    return 1 if metric.startswith(_HIGHER) else -1 if metric.startswith(_LOWER) else np.nan


def value(rows, metric, method, mask_law):
    """The last value of a metric, whose _n… ending may be left out. RoiganError: no such row."""
    columns = ["metric", "method", "mask_law", "value"]
    rows = frame(records(rows, *columns[:2])).reindex(columns=columns)
    found = rows[(rows["method"] == method) & (rows["mask_law"] == mask_law)]
    names = found["metric"]
    found = found[(names == metric) | (names.str.replace(r"_n\d+$", "", regex=True) == metric)]
    if found.empty:
        raise RoiganError(f"The table has no {metric!r} of {method!r} on {mask_law!r} masks.")
    return found["value"].iloc[-1]


def _short(number):
    if not np.isfinite(number):
        return "–"
    for least, form in ((100, ".0f"), (10, ".1f"), (0.01, ".3f")):
        if abs(number) >= least:
            return f"{number:{form}}"
    return f"{number:.2g}"


def _texts(rows, bold, end):
    """`pivot` as text: best values between bold and end, an arrow a metric; KID and means over
    seeds with their spread.
    """
    texts, spread = pivot(rows).map(_short), pivot(rows, "spread")
    kid = texts.index.str.startswith("kid")
    spread = spread.where(pivot(rows, "n_seeds").notna() | kid[:, None])
    texts += spread.map(lambda sd: "" if pd.isna(sd) else f" ± {_short(sd)}")
    texts = texts.where(~best(rows), bold + texts + end)
    arrows = {1: "↑", -1: "↓"}
    texts.index = [
        f"{m} {'→ 1' if m.startswith('border_ratio') else arrows.get(_direction(m), '')}"
        for m in texts.index
    ]
    return texts


def to_markdown(rows):
    """A Markdown table: metrics down, methods across within each mask family, the best in bold."""
    texts = _texts(rows, "**", "**")
    if texts.empty:
        return "(no rows)"
    heads = ["metric", *(f"{law}: {method}" for law, method in texts.columns)]
    lines = [[metric, *cells] for metric, cells in zip(texts.index, texts.to_numpy())]
    return "\n".join(markdown_lines(heads, lines))


def markdown_lines(head, rows, texts=1):
    """Lines of a Markdown table of texts; its first `texts` columns stand left, numbers right."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    sides = ["---"] * texts + ["---:"] * (len(head) - texts)
    return [lines[0], f"|{'|'.join(sides)}|", *lines[1:]]


def show(rows):
    """The rows as a pandas Styler: as `to_markdown`, with data sets and notes about n below it."""
    rows = frame(records(rows, "metric"))
    sets = rows.reindex(columns=["dataset", "split", "note"]).fillna("").astype(str)
    names = sorted({f"{r.dataset or 'images'} {r.split}".strip() for r in sets.itertuples()})
    notes = sorted(set(sets["note"]) - {""})
    below = "; ".join([", ".join(names), "bold: the best of its mask family", *notes])
    texts = _texts(rows, "<b>", "</b>")  # GitHub drops the styles of a notebook, but not this
    table = texts.style.format_index(escape="html").format_index(escape="html", axis=1)
    table.set_uuid(hashlib.sha256(repr(texts.to_dict()).encode()).hexdigest()[:8])
    table.columns.names = texts.columns.names = [None, None]
    return table.set_caption(html.escape(below)).set_table_styles(
        [
            {"selector": "caption", "props": "caption-side: bottom; text-align: left"},
            {"selector": "th, td", "props": "padding: .25em .7em; white-space: nowrap"},
            {"selector": "th.row_heading", "props": "text-align: left"},
            {"selector": "th.col_heading.level0", "props": "text-align: center"},
            {"selector": "td", "props": "text-align: right; font-variant-numeric: tabular-nums"},
        ]
    )
