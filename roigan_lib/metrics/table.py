"""Rows of measurements: kept as JSON lines, shown as a table."""

import html
import json
import math
from pathlib import Path

from ..checks import check_output
from ..errors import RoiganError
from ..files import write_atomically

KEY = ("metric", "method", "dataset", "split", "mask_law", "seed", "n_fake", "reference")

# what is better, by how a metric's name begins; a metric that is in neither (diversity) has no best value
_LOWER = ("fid", "kid", "frechet", "l1", "lpips", "outside_change", "border_ratio")
_HIGHER = ("psnr", "ssim", "precision", "recall")


def load_rows(path):
    """The rows of a .jsonl file as a Table. Raises RoiganError if it is missing or a line is not a JSON object."""
    rows = Table()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RoiganError(
            f"Cannot read rows from {path} ({getattr(error, 'strerror', None) or error}): "
            f"run the notebook or command that writes it."
        ) from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise RoiganError(
                    f"Line {number} of {path} is not a JSON object: mend or delete that line."
                )
            rows.append(row)
    return rows


def check_rows(path):
    """The path of a .jsonl file that rows are going to be merged into. RoiganError where old lines cannot be read."""
    if check_output(path).exists():
        load_rows(path)
    return Path(path)


def write_rows(path, rows):
    """Merge rows (dictionaries) into a .jsonl file in one atomic step; a row replaces the old one of the same KEY.

    Numbers that JSON lacks (NaN, infinity) are written as null. Two writers at once: the last one wins. Returns the
    path. Raises RoiganError where the file cannot be written or an old line in it cannot be read.
    """
    kept = {
        tuple(row.get(key) for key in KEY): row
        for row in (load_rows(path) if Path(path).exists() else [])
    }
    kept.update({tuple(row.get(key) for key in KEY): row for row in rows})
    lines = [
        json.dumps(
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in row.items()
            },
            ensure_ascii=False,
            allow_nan=False,
        )
        for row in kept.values()
    ]
    return write_atomically(path, "".join(line + "\n" for line in lines).encode())


def _short(value):
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.3f}"
        if abs(value) >= 0.01
        else f"{value:.2g}"
    )


class Table(list):
    """Rows of measurements, a list of dictionaries that a notebook shows as methods × (metric, mask family)."""

    def __repr__(self):
        return f"Table of {len(self)} rows"

    def columns(self):
        """The (metric, mask_law) pairs, in the order in which they first appear."""
        return list(dict.fromkeys((row["metric"], row["mask_law"]) for row in self))

    def pivot(self, field="value"):
        """{method: {(metric, mask_law): value}}; of rows for one place (two seeds, two sets) the last counts."""
        table = {}
        for row in self:
            table.setdefault(row["method"], {})[row["metric"], row["mask_law"]] = row.get(field)
        return table

    def select(self, **fields):
        """The rows whose fields have these values: table.select(mask_law="elliptic", method="telea")."""
        return Table(
            row for row in self if all(row.get(key) == value for key, value in fields.items())
        )

    def value(self, metric, method, mask_law):
        """One value. metric may leave its _n… ending out. Raises RoiganError if there is no such row."""
        for row in reversed(self):
            if (
                row["method"] == method
                and row["mask_law"] == mask_law
                and metric in (row["metric"], row["metric"].rpartition("_n")[0])
            ):
                return row["value"]
        raise RoiganError(f"The table has no {metric!r} of {method!r} on {mask_law!r} masks.")

    def best(self):
        """{(metric, mask_law): methods with the best value}, for columns that compare at least two methods."""
        pivot, best = self.pivot(), {}
        for column in self.columns():
            values = {
                m: row[column]
                for m, row in pivot.items()
                if row.get(column) is not None and math.isfinite(row[column])
            }
            if column[0].startswith("border_ratio"):  # 1 is right, as far above as below
                values = {m: abs(math.log(v)) if v > 0 else math.inf for m, v in values.items()}
            if (
                len(values) > 1
                and len(set(values.values())) > 1
                and column[0].startswith(_LOWER + _HIGHER)
            ):
                top = (max if column[0].startswith(_HIGHER) else min)(values.values())
                best[column] = [m for m, v in values.items() if v == top]
        return best

    def _grid(self):
        """metrics, families, methods, {(metric, family, method): (text, is best)}. Metrics go down: they are many."""
        pivot, spread, best = self.pivot(), self.pivot("spread"), self.best()
        metrics, laws = (list(dict.fromkeys(names)) for names in zip(*self.columns()))
        cells = {}
        for method, row in pivot.items():
            for column, value in row.items():
                text = _short(value)
                if column[0].startswith("kid") and spread[method].get(column) is not None:
                    text += f" ± {_short(spread[method][column])}"
                cells[(*column, method)] = (text, method in best.get(column, ()))
        return metrics, laws, list(pivot), cells

    def to_markdown(self):
        """A Markdown table: metrics down, methods across within each mask family, the best of each family in bold."""
        if not self:
            return "(no rows)"
        metrics, laws, methods, cells = self._grid()
        lines = [
            "| metric | "
            + " | ".join(f"{law}: {method}" for law in laws for method in methods)
            + " |",
            "|---|" + "---:|" * (len(laws) * len(methods)),
        ]
        for metric in metrics:
            row = [
                cells.get((metric, law, method), ("–", False)) for law in laws for method in methods
            ]
            lines.append(
                f"| {metric} {_arrow(metric)} | "
                + " | ".join(f"**{text}**" if bold else text for text, bold in row)
                + " |"
            )
        return "\n".join(lines)

    def _repr_html_(self):
        if not self:
            return "<p>(no rows)</p>"
        metrics, laws, methods, cells = self._grid()
        pad = "padding:.25em .7em;border:0;text-align:"
        head = "".join(
            f'<th colspan="{len(methods)}" style="{pad}center">{_esc(law)}</th>' for law in laws
        )
        names = "".join(
            f'<th style="{pad}right">{_esc(method)}</th>' for _ in laws for method in methods
        )
        body = ""
        for metric in metrics:
            body += f'<tr><th style="{pad}left">{_esc(metric)} {_arrow(metric)}</th>'
            for law in laws:
                for method in methods:
                    text, bold = cells.get((metric, law, method), ("–", False))
                    body += f'<td style="{pad}right">{f"<b>{text}</b>" if bold else text}</td>'
            body += "</tr>"
        foot = ", ".join(
            sorted(
                {
                    f"{row.get('dataset') or 'images'} {row.get('split') or ''}".strip()
                    for row in self
                }
            )
        )
        return (
            f'<table style="border-collapse:collapse;font-variant-numeric:tabular-nums"><thead><tr><th></th>{head}'
            f'</tr><tr style="border-bottom:1px solid"><th></th>{names}</tr></thead><tbody>{body}</tbody></table>'
            f'<p style="font-size:85%;margin:.3em 0">{_esc(foot)}; bold: the best of its mask family</p>'
        )

    def save(self, path):
        """Merge into a .jsonl file, see `write_rows`. Returns the path."""
        return write_rows(path, self)


def _esc(text):
    return html.escape(str(text))


def _arrow(metric):
    if metric.startswith("border_ratio"):
        return "→ 1"
    return "↓" if metric.startswith(_LOWER) else "↑" if metric.startswith(_HIGHER) else ""
