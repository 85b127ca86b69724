"""HTML pages from executed notebooks: one self-contained page each, and an index to click through.

No script and no request to any host: pictures are embedded, formulas become MathML, widgets show their static output.
"""

import base64
import copy
import html
import io
import json
import re
from pathlib import Path

CSS = """
:root { --ink: #1f2933; --soft: #5b6875; --line: #dde3e9; --link: #1460aa; --paper: #fff; --code: #f5f7f9; }
body { color: var(--ink); background: var(--paper); font: 16px/1.6 system-ui, sans-serif; margin: 0; }
main, nav { max-width: 54rem; margin: 0 auto; padding: 0 1rem; }
nav { display: flex; justify-content: space-between; gap: 1rem; padding-block: .8rem; font-size: .9rem; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
h1 { font-size: 1.9rem; line-height: 1.25; } h2 { margin-top: 2.2rem; } .anchor-link, .prompt { display: none; }
pre { font: 13px/1.45 ui-monospace, monospace; overflow-x: auto; padding: .6rem .8rem; margin: .5rem 0; }
.highlight pre, .highlight { background: var(--code); border-radius: 4px; } code { font-size: .9em; }
img { max-width: 100%; height: auto; } .output_area { margin: .5rem 0; overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: left; }
blockquote { border-left: 4px solid #e0a33a; background: #fdf7ea; margin: 1rem 0; padding: .2rem 1rem; }
.entry { display: grid; grid-template-columns: 11rem 1fr; gap: 1.2rem; padding: 1.1rem 0; }
.entry { border-top: 1px solid var(--line); }
.entry img { width: 11rem; max-height: 8rem; object-fit: cover; object-position: top left; }
.entry h2 { margin: 0; font-size: 1.15rem; } .entry p { margin: .3rem 0; }
.soft { color: var(--soft); font-size: .88rem; }
.failed { color: #b3261e; font-weight: 600; }
@media (max-width: 40rem) { .entry { grid-template-columns: 1fr; } }
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{css}</style></head>
<body>{navigation}<main>{body}</main>{navigation}</body></html>
"""
CODE_OR_MATH = re.compile(
    r"(```.*?```|~~~.*?~~~|`[^`\n]+`)|\$\$(.+?)\$\$"
    r"|(?<![\\$])\$(?![\s$])([^$\n]*?[^\s\\$])\$(?!\d)",
    re.DOTALL,
)
WIDGET = "application/vnd.jupyter.widget-view+json"


def write_pages(out, series, subtitle):
    """Export each executed notebook in `out` to HTML and write index.html. Returns its path.

    Args: out: folder with NN_name.ipynb and the stamps NN_name.json of reproduce. series: source notebooks, in order.
    subtitle: shown under the title, e.g. "laptop · synthfaces".
    """
    import nbformat

    out, entries = Path(out), []
    present = [source for source in series if (out / source.name).exists()]
    for k, source in enumerate(present):
        notebook = nbformat.read(out / source.name, as_version=4)
        title, abstract = heading(notebook)
        body = to_html(notebook, source.parent)
        links = [
            _link(present[k - 1], "← ") if k else "<span></span>",
            '<a href="index.html">contents</a>',
            _link(present[k + 1], "", " →") if k + 1 < len(present) else "<span></span>",
        ]
        page = PAGE.format(
            title=html.escape(title),
            css=CSS + _highlight_css(),
            body=body,
            navigation=f"<nav>{''.join(links)}</nav>",
        )
        (out / f"{source.stem}.html").write_text(page, encoding="utf-8")
        entries.append(_entry(source.stem, title, abstract, notebook, out / f"{source.stem}.json"))
    missing = [
        f"<p class='soft'>{html.escape(s.stem)}: not run yet</p>"
        for s in series
        if s not in present
    ]
    body = f"<h1>RoI-GAN</h1><p class='soft'>{html.escape(subtitle)}</p>" + "".join(
        entries + missing
    )
    index = out / "index.html"
    index.write_text(
        PAGE.format(title="RoI-GAN", css=CSS, navigation="", body=body), encoding="utf-8"
    )
    return index


def read_stamp(path, say=lambda line: None):
    """What reproduce wrote of a notebook: key (what went in; only of a run that came to its end), seconds, made (the
    checkpoints that it left) and took (seconds a cell). {} where there is none; a damaged one is named, and passed over.
    """
    try:
        stamp = json.loads(Path(path).read_text())
        took = {"seconds": stamp["seconds"] if "key" in stamp else 0.0, **stamp.get("took", {})}
        if all(isinstance(seconds, (int, float)) for seconds in took.values()):
            return stamp
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    say(f"{path} is damaged and passed over: what it stood for runs again")
    return {}


def heading(notebook):
    """(title, abstract): the first heading and the first paragraph of prose, without markup."""
    lines = [
        line
        for cell in notebook["cells"]
        if cell["cell_type"] == "markdown"
        for line in cell["source"].splitlines() + [""]
    ]
    title = next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "untitled")
    text = []
    for line in lines:
        words = line.strip().lstrip("> ")
        if not words and text:
            break
        if words and not words.startswith(("#", "!", "<", "|", "```", "- ", "---")):
            text.append(words)
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(text))
    return re.sub(r"[*`]|\$", "", title), re.sub(r"\*+|`|\$", "", plain)


def _highlight_css():
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter().get_style_defs(".highlight")


def _link(source, before="", after=""):
    return f'<a href="{source.stem}.html">{before}{source.stem.replace("_", " ")}{after}</a>'


def _entry(stem, title, abstract, notebook, stamp_path):
    stamp = read_stamp(stamp_path)
    status = (
        f"{stamp['seconds']:.1f} s"
        if "key" in stamp
        else '<span class="failed">failed or unfinished</span>'
    )
    picture = thumbnail(notebook)
    image = f'<img alt="" src="data:image/png;base64,{picture}">' if picture else ""
    return (
        f'<section class="entry"><a href="{stem}.html">{image}</a>'
        f'<div><h2><a href="{stem}.html">{html.escape(title)}</a></h2>'
        f'<p>{html.escape(abstract)}</p><p class="soft">{stem} · {status}</p></div></section>'
    )


def thumbnail(notebook, width=352):
    """Base64 PNG of the notebook's first picture output, at most `width` pixels wide; None if there is none."""
    from PIL import Image

    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                data = base64.b64decode(output["data"]["image/png"])
                picture = Image.open(io.BytesIO(data)).convert("RGB")
                picture.thumbnail((width, 4 * width))
                small = io.BytesIO()
                picture.save(small, "PNG")
                return base64.b64encode(small.getvalue()).decode()
    return None


def to_html(notebook, folder):
    """The body of a notebook (nbformat's node) as HTML without scripts. folder: where relative links start."""
    from nbconvert import HTMLExporter

    notebook, formulas = copy.deepcopy(notebook), []
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = CODE_OR_MATH.sub(
                lambda match: _set_formula(match, formulas), cell["source"]
            )
        for output in cell.get("outputs", ()):
            if WIDGET in output.get("data", {}):
                _make_static(output)
    exporter = HTMLExporter(template_name="basic", embed_images=True)
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"path": str(folder)}})
    body = re.sub(r"roiganmath(\d+)x", lambda match: formulas[int(match[1])], body)
    return re.sub(r'href="([^":/]+)\.ipynb', r'href="\1.html', body)


def _set_formula(match, formulas):
    """A placeholder for a formula, so that markdown leaves it alone; code passes as it is."""
    from latex2mathml.converter import convert

    code, display, inline = match.groups()
    if code:
        return code
    try:
        mathml = convert((display or inline).strip(), display="block" if display else "inline")
    except Exception:  # not TeX that the converter knows: show what was written
        mathml = f"<code>{html.escape(display or inline)}</code>"
    formulas.append(mathml)
    return f"roiganmath{len(formulas) - 1}x"


def _make_static(output):
    """A widget without a kernel: the picture or the text it was given for this case, else a line that says so."""
    data = output["data"]
    data.pop(WIDGET)
    bare = re.match(r"\w+\(|$", data.get("text/plain", ""))  # the widget's own repr, or nothing
    if bare and not any(kind.startswith("image/") or kind == "text/html" for kind in data):
        data["text/html"] = (
            "<p class='soft'>An interactive widget stands here: open the notebook to use it.</p>"
        )
