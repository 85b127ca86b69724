"""The line in the terminal while a notebook runs: its cell, the time, and what the cell prints.

A terminal sees one line, rewritten in its place. A pipe or the log of a CI job gets a new line
every few seconds. `engine` tells a `Watch` what happens.
"""

import hashlib
import re
import shutil
import sys
import threading
import time

EVERY = 6.0  # seconds between two lines where lines cannot be rewritten
REDRAW = 0.5  # and between two drawings of the one that can
ROOM = 42  # columns in which a training says its step, rate and time left
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def clock(seconds):
    """Seconds as people say them: 14 s, 5.2 min."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def digest(cell):
    """A name for a cell that stays as long as its code does."""
    return hashlib.sha256("".join(cell["source"]).encode()).hexdigest()[:12]


def runs(cell):
    """Whether a kernel is asked to run the cell: code that is not empty."""
    return cell["cell_type"] == "code" and bool("".join(cell["source"]).strip())


def labels(cells):
    """For each cell the heading above it, or the first line of its code where there is none."""
    heading, found = "", []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^#+\s+(.*)", source, re.MULTILINE)
            heading = re.sub(r"[*`$]", "", headings[-1]) if headings else heading
        found.append(heading or source.strip().partition("\n")[0])
    return found


class Watch:
    """The line of a series of notebooks, from `with Watch(…) as watch` to its end.

    stream: where to, default sys.stdout. `took` gathers the seconds of the notebook's cells, by
    their `digest`; `running` is the index of the cell at work, None between two cells.
    """

    def __init__(self, title, stream=None):
        self.stream = stream or sys.stdout
        self.rewrites = self.stream.isatty()
        self._shown, self._lock, self._ended = 0, threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self.begin(title, "getting ready")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()
        if self.rewrites:
            self._write("\r" + " " * self._shown + "\r")

    def begin(self, title, label, before=None):
        """What runs from now on, such as "[3/10] 05_losses", and its first phase.

        before: last time's seconds by the `digest` of a cell, the whole notebook's under "all".
        """
        self.title, self.before, self.took = title, before or {}, {}
        self.phase(label)
        self.begun = self.cell_begun

    def say(self, line):
        """A line that stays."""
        self._write(("\r" + line.ljust(self._shown) if self.rewrites else line) + "\n")
        self._shown = 0

    def phase(self, label):
        """What happens between cells, such as "writing the pages"."""
        self.place, self.label, self.last, self.said, self._tails = "", label, None, "", {}
        self.running, self.cell_begun = None, time.monotonic()

    def start(self, cells):
        """The notebook's cells, before the first one runs."""
        self.cells, self.labels = cells, labels(cells)
        code = [i for i, cell in enumerate(cells) if runs(cell)]
        self.places = {i: f"cell {k}/{len(code)}" for k, i in enumerate(code, 1)}

    def cell_start(self, i):
        self.phase(self.labels[i])
        self.running, self.place = i, self.places[i]
        self.last = self.before.get(digest(self.cells[i]))

    def cell_end(self, i):
        self.took[digest(self.cells[i])] = round(time.monotonic() - self.cell_begun, 2)
        self.phase("saving the notebook")

    def hear(self, message):
        """Take the last line of what a cell prints, or of a text shown in another's place."""
        content, text = message["content"], ""
        if message["msg_type"] == "stream":
            text = self._tails.get(content["name"], "") + ESCAPES.sub("", content["text"])
            self._tails[content["name"]] = text[-2000:]
        elif message["msg_type"] == "update_display_data":
            text = content["data"].get("text/markdown", "").strip("`* ")
            text = "" if "\n" in text else text
        lines = [line for line in re.split(r"[\r\n]", text) if line.strip()]
        if lines:
            self.said = " ".join(lines[-1].split())

    def line(self, width=200):
        """The line in at most `width` columns; where they are few, the least important goes."""
        now, title = time.monotonic(), self.title
        whole = f"{title}, {_spent(now - self.begun, self.before.get('all'))}"
        spent = f" {_spent(now - self.cell_begun, self.last)}"
        place = f" · {self.place}" if self.place else ""
        label = f" “{self.label}”" if self.place else f" · {self.label}"
        said = f" · {self.said}" if self.said else ""
        ways = [head + place + label + spent for head in (whole, title)]
        ways += [title + place + spent, title + place]
        room = width - min(len(said), ROOM)
        text = next((way for way in ways if len(way) <= room), ways[-1]) + said
        return text if len(text) <= width else text[: width - 1] + "…"

    def _beat(self):
        while not self._ended.wait(REDRAW if self.rewrites else EVERY):
            try:
                if self.rewrites:
                    text = self.line(shutil.get_terminal_size().columns - 1)
                    self._write("\r" + text.ljust(self._shown))
                    self._shown = len(text)
                else:
                    self._write(self.line() + "\n")
            except OSError:  # nobody listens any more: the run goes on
                return

    def _write(self, text):
        with self._lock:
            self.stream.write(text)
            self.stream.flush()


def _spent(seconds, last):
    return clock(seconds) + ("" if last is None else f" (last time {clock(last)})")
