"""HTML pages from executed notebooks: one self-contained page each, and an index to click through.

No script and no request to any host: pictures are embedded, formulas become MathML, widgets show
their static output.
"""

import base64
import copy
import html
import io
import json
import re
from pathlib import Path

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{css}</style></head>
<body>{navigation}<main>{body}</main>{navigation}</body></html>
"""
ENTRY = """<section class="entry"><a href="{stem}.html">{image}</a>
<div><h2><a href="{stem}.html">{title}</a></h2><p>{abstract}</p>
<p class="soft">{stem} · {status}</p></div></section>
"""
FAILED = '<span class="failed">failed or unfinished</span>'
STATIC = "<p class='soft'>An interactive widget stands here: open the notebook to use it.</p>"
CODE_OR_MATH = re.compile(
    r"(```.*?```|~~~.*?~~~|`[^`\n]+`)|\$\$(.+?)\$\$"
    r"|(?<![\\$])\$(?![\s$])([^$\n]*?[^\s\\$])\$(?!\d)",
    re.DOTALL,
)
WIDGET = "application/vnd.jupyter.widget-view+json"


def write_pages(out, series, subtitle):
    """Export each executed notebook in `out` to HTML and write index.html. Returns its path.

    Args: out: folder with NN_name.ipynb and the stamps NN_name.json of reproduce. series: source
    notebooks, in order. subtitle: shown under the title, e.g. "laptop · synthfaces".
    """
    import nbformat
    from pygments.formatters import HtmlFormatter

    out, css = Path(out), Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    code_css = HtmlFormatter().get_style_defs(".highlight")
    present = [source for source in series if (out / source.name).exists()]
    links = [_link(source.stem) for source in present]
    befores = ["<span></span>", *(link.replace(">", ">← ", 1) for link in links)]
    afters = [*(link.replace("</a>", " →</a>") for link in links[1:]), "<span></span>"]
    body = f"<h1>RoI-GAN</h1><p class='soft'>{html.escape(subtitle)}</p>"
    for source, before, after in zip(present, befores, afters):
        notebook = nbformat.read(out / source.name, as_version=4)
        title, abstract = map(html.escape, heading(notebook))
        picture, stamp = thumbnail(notebook), read_stamp(out / f"{source.stem}.json")
        body += ENTRY.format(
            stem=html.escape(source.stem),
            title=title,
            abstract=abstract,
            image=picture and f'<img alt="" src="data:image/png;base64,{picture}">',
            status=f"{stamp['seconds']:.1f} s" if "key" in stamp else FAILED,
        )
        navigation = f'<nav>{before}<a href="index.html">contents</a>{after}</nav>'
        page = to_html(notebook, source.parent)
        text = PAGE.format(title=title, css=css + code_css, body=page, navigation=navigation)
        (out / f"{source.stem}.html").write_text(text, encoding="utf-8")
    for source in series:
        if source not in present:
            body += f"<p class='soft'>{html.escape(source.stem)}: not run yet</p>"
    index = out / "index.html"
    index.write_text(PAGE.format(title="RoI-GAN", css=css, navigation="", body=body), "utf-8")
    return index


def _link(stem):
    stem = html.escape(stem)
    return f'<a href="{stem}.html">{stem.replace("_", " ")}</a>'


def read_stamp(path):
    """What reproduce wrote of a notebook; {} where there is none, or a damaged one.

    key: a hash of what went in, only of a run that came to its end; seconds; made: a hash of the
    checkpoints that it left.
    """
    try:
        stamp = dict(json.loads(Path(path).read_text()))
        if "key" in stamp:
            float(stamp["seconds"])
        return stamp
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def heading(notebook):
    """(title, abstract): the first heading and the first paragraph of prose, without markup."""
    cells = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    text = re.sub(r"^[ >]+", "", "\n\n".join(cells), flags=re.MULTILINE)
    title = re.search(r"^#+ *(.*)", text, re.MULTILINE)
    prose = re.sub(r"^(#|!|<|\||```|- |---|←|.*→$).*", "", text, flags=re.MULTILINE).strip()
    abstract = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.split(r"\n\s*\n", prose)[0])
    plain = lambda words: " ".join(re.sub(r"[*`$]", "", words).split())
    return plain(title[1]) if title else "untitled", plain(abstract)


def thumbnail(notebook, width=352):
    """Base64 PNG of the first picture output, at most `width` pixels wide; "" if there is none."""
    from PIL import Image

    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                data, small = base64.b64decode(output["data"]["image/png"]), io.BytesIO()
                picture = Image.open(io.BytesIO(data)).convert("RGB")
                picture.thumbnail((width, 4 * width))
                picture.save(small, "PNG")
                return base64.b64encode(small.getvalue()).decode()
    return ""


def to_html(notebook, folder):
    """The body of a notebook (nbformat's node) as HTML without scripts.

    folder: where relative links start. Markdown leaves formulas alone behind placeholders.
    """
    from nbconvert import HTMLExporter

    notebook, formulas = copy.deepcopy(notebook), []
    notebook["metadata"].pop("widgets", None)  # without a state nbconvert shows the next best form

    def hide(match):
        code, display, inline = match.groups()
        if code:
            return code
        formulas.append(_mathml((display or inline).strip(), "block" if display else "inline"))
        return f"roiganmath{len(formulas) - 1}x"

    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = CODE_OR_MATH.sub(hide, cell["source"])
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            pictured = any(kind.startswith("image/") or kind == "text/html" for kind in data)
            bare = re.match(r"\w+\(|$", data.get("text/plain", ""))  # the widget's own repr
            if WIDGET in data and bare and not pictured:
                data["text/html"] = STATIC
    exporter = HTMLExporter(template_name="basic", embed_images=True)
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"path": str(folder)}})
    body = re.sub(r"roiganmath(\d+)x", lambda match: formulas[int(match[1])], body)
    return re.sub(r'href="([^":/]+)\.ipynb', r'href="\1.html', body)


def _mathml(formula, display):
    from latex2mathml.converter import convert

    try:
        return convert(formula, display=display)
    except Exception:  # not TeX that the converter knows: show what was written
        return f"<code>{html.escape(formula)}</code>"
