"""Rows of measurements: JSON lines on disk, a DataFrame in hand."""

import json
import math

import numpy as np
import pandas as pd

from ..checks import check_output, numbers
from ..errors import RoiganError, shown
from ..files import one_at_a_time, path_of, place, read_rows, write_atomically

KEY = ("metric", "method", "dataset", "split", "mask_law", "seed", "n_fake", "reference")
PLAIN = (*KEY, "recipe", "profile", "train_steps", "train_seed")


def frame(rows):
    """Dictionaries as a DataFrame, a line each.

    `value` is a column of floats. The others hold Python objects, so whole numbers and None stay
    what they are in the file; NaN stands where a row has no such key.
    """
    rows = list(rows)
    columns = None if rows else [*KEY, "value", "spread", "checkpoint", "mask_hash"]
    table = pd.DataFrame(rows, columns=columns, dtype=object)
    return table.astype({"value": float} if "value" in table else {})


def records(rows, *texts):
    """The lines of a DataFrame as dictionaries, each with the keys it was given.

    RoiganError for what is neither that nor dictionaries, and, where `texts` names some of KEY, for
    a row whose texts these are not or whose value is no number.
    """
    if isinstance(rows, pd.DataFrame):
        missing = lambda v: isinstance(v, float) and math.isnan(v)
        lines = rows.astype(object).to_dict("records")
        rows = [{k: v for k, v in row.items() if k == "value" or not missing(v)} for row in lines]
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, dict) for row in rows):
        raise RoiganError(f"rows are {shown(rows)}; give a DataFrame or a list of dictionaries.")
    for row in rows if texts else ():
        lacks = [name for name in texts if not isinstance(row.get(name), str)]
        lacks += [name for name in ("value", "spread", "n_seeds") if not _plain(row.get(name))]
        lacks += [k for k in PLAIN if isinstance(row.get(k), (list, dict))]
        if lacks:
            raise RoiganError(
                f"a row of measurements has no plain {', '.join(dict.fromkeys(lacks))}: "
                f"{shown(row)}; mend it or leave it out."
            )
    return list(rows)


def _plain(value):
    """Whether it is a real number that a float holds, or None."""
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or isinstance(value, (float, np.floating, np.integer))


def load_rows(path):
    """The `frame` of a .jsonl file. RoiganError: it is missing, or a line is no JSON object."""
    return frame(read_rows(path))


def check_rows(path):
    """The path of a .jsonl file that takes rows. RoiganError where its old lines cannot be read."""
    path = check_output(path)
    if path.exists():
        read_rows(path)
    return path


def write_rows(path, rows):
    """Merge rows, a DataFrame or dictionaries, into a .jsonl file in one atomic step; its path.

    A row replaces the old one of the same KEY. Numbers that JSON lacks (NaN, infinity) are written
    as null. RoiganError where the file cannot be written or an old line in it cannot be read.
    """
    path = check_output(path)
    with one_at_a_time(path):
        old = read_rows(path) if path.exists() else []
        kept = {tuple(row.get(key) for key in KEY): row for row in old}
        for row in records(rows):
            place = tuple(row.get(key) for key in KEY)
            if kept.get(place) != row:  # an equal row keeps the order of its keys
                kept[place] = row
        finite = lambda v: None if isinstance(v, float) and not math.isfinite(v) else v
        rows = ({k: finite(v) for k, v in row.items()} for row in kept.values())
        try:
            lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
        except (TypeError, ValueError) as error:
            raise RoiganError(f"a row holds what JSON has not ({error}): leave it out.") from None
        return write_atomically(path, "".join(lines).encode())


def keep(file, values, **about):
    """Merge what a page has measured into a .jsonl file of this run's figures; its path.

    values: rows that are ready, a DataFrame, or {method: {metric: value}}. A value is a number; or
    a tensor or list with one number for each image or seed, of which mean and standard deviation
    are kept; or again a dictionary, whose names follow after "_". NaN is left out. about: what all
    these rows share, see `about`.
    """

    def told(values, *names):
        for name, value in values.items():
            if isinstance(value, dict):
                yield from told(value, *names, str(name))
            else:
                yield *names, str(name), numbers(name, value).double().flatten()

    if not isinstance(values, pd.DataFrame):
        values = [
            {"metric": "_".join(metric), "value": v.mean().item()}
            | {"spread": v.std().item() if len(v) > 1 else None, "method": method, **about}
            for method, *metric, v in told(values)
            if not v.isnan().any()
        ]
    return write_rows(place("ROIGAN_FIGURES", "figures") / path_of(file), values)
