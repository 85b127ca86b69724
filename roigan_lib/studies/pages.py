"""The executed course as HTML: a page for each notebook, an index, one map beside all of them.

Each page holds all it needs, from file:// too: pictures are embedded, formulas become MathML,
widgets show their static output. Template, style and script are pages.html, pages.css and pages.js.
"""

import base64
import copy
import hashlib
import html
import io
import json
import mimetypes
import re
import shutil
from pathlib import Path
from string import Template
from unittest.mock import patch
from urllib.parse import quote, unquote

from ..errors import RoiganError
from ..files import plain_file, trouble

ENTRY = """<section class="entry"><a href="{stem}.html">{image}</a>
<div><h2><a href="{stem}.html">{title}</a></h2><p>{abstract}</p>
<p class="soft">{stem}{status}</p></div></section>
"""
FAILED = ' · <span class="failed">failed or unfinished</span>'
CODE_OR_MATH = re.compile(
    r"(```.*?```|~~~.*?~~~|`[^`\n]+`)|\$\$(.+?)\$\$"
    r"|(?<![\\$])\$(?![\s$])([^$\n]*?[^\s\\$])\$(?!\d)",
    re.DOTALL,
)
BARE = re.compile(r"(VBox|HBox|interactive)\(|\w+\(|$")
WIDGET = "application/vnd.jupyter.widget-view+json"


def write_pages(out, series, subtitle, stored=False):
    """Export each executed notebook in `out` to HTML and write index.html. Returns its path.

    Args: out: folder with NN_name.ipynb and the stamps NN_name.json of reproduce. series: source
    notebooks, in order. subtitle: shown under the title, e.g. "laptop · synthfaces". stored: take
    the outputs that the sources carry, in place of those in `out` (`make site`).
    """
    import nbformat
    from pygments.formatters import HtmlFormatter

    out, part = Path(out), lambda end: Path(__file__).with_suffix(end).read_text(encoding="utf-8")
    light = HtmlFormatter().get_style_defs(".highlight")
    dark = HtmlFormatter(style="monokai").get_style_defs('[data-theme="dark"] .highlight')
    css, page = light + dark + part(".css"), Template(part(".html"))
    there = lambda source: source if stored else out / source.name
    present = [source for source in series if there(source).exists()]
    body, texts, titles, headings = f"<h1>RoI-GAN</h1><p class='soft'>{subtitle}</p>", {}, {}, []
    for source in present:
        stem, stamp = source.stem, read_stamp(out / f"{source.stem}.json")
        try:
            notebook = nbformat.read(plain_file(there(source), "notebook"), as_version=4)
            titles[stem], abstract = map(html.escape, heading(notebook))
            picture = thumbnail(notebook)
            texts[stem] = _with_files(to_html(notebook, source.parent), source.parent, out)
        except Exception as error:  # its readers raise many types on files of other programs
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise RoiganError(
                f"{there(source)} is no notebook to be shown ({why[:200]}); run it anew."
            ) from error
        for anchor, text in re.findall(r'<h[1-3] id="([^"]+)">(.*?)<a class="anchor', texts[stem]):
            plain = html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
            headings.append([f"{stem}.html#{html.unescape(anchor)}", plain, stem])
        image = f'<img alt="From {titles[stem]}" src="data:image/png;base64,{picture}">'
        status = "" if stored else f" · {stamp['seconds']:.1f} s" if "key" in stamp else FAILED
        words = dict(stem=html.escape(stem), title=titles[stem], abstract=abstract, status=status)
        body += ENTRY.format(image=picture and image, **words)
    missing = [html.escape(source.stem) for source in series if source not in present]
    body += "".join(f"<p class='soft'>{stem}: not run yet</p>" for stem in missing)
    stems = list(texts)
    fixed = dict(css=css, js=part(".js"), headings=json.dumps(headings).replace("<", "\\u003c"))
    fixed["policy"] = _policy(part(".html"), fixed)
    for k, stem in enumerate(stems):
        before = _link(stems[k - 1], "← {}") if k else "<span></span>"
        after = _link(stems[k + 1], "{} →") if k + 1 < len(stems) else "<span></span>"
        steps = f'<nav class="steps">{before}<a href="index.html">contents</a>{after}</nav>'
        words = dict(title=titles[stem], body=texts[stem], navigation=steps, map=_map(titles, stem))
        (out / f"{stem}.html").write_text(page.substitute(words, **fixed), encoding="utf-8")
    words = dict(title="RoI-GAN", body=body, navigation="", map=_map(titles))
    (out / "index.html").write_text(page.substitute(words, **fixed), encoding="utf-8")
    return out / "index.html"


def _policy(page, fixed):
    """Content-Security-Policy of the pages: the template's own scripts run, by their hashes, and no
    other; nothing is loaded from or sent to anywhere, whatever a notebook's outputs hold.
    """
    scripts = [
        Template(s).substitute(fixed) for s in re.findall(r"<script>(.*?)</script>", page, re.S)
    ]
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    ours = " ".join(f"'sha256-{digest}'" for digest in digests)
    rest = "style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {ours}; {rest}"


def _inside(folder, target):
    """The path of a file of the course that its notebooks, in `folder`, name; None: of another
    place, or hidden. Pages are published: they carry nothing else of the machine.
    """
    root, path = Path(folder).resolve().parent, Path(folder, target)
    try:
        parts = path.resolve(strict=True).relative_to(root).parts
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
        return None
    return path if path.is_file() and not any(p.startswith(".") for p in parts) else None


def _link(stem, words="{}"):
    stem = html.escape(stem)
    return f'<a href="{stem}.html">{words.format(stem.replace("_", " "))}</a>'


def _map(titles, here=None):
    """The course as a list of links: number and title, the present page marked."""
    items = ""
    for stem, title in titles.items():
        number = stem.split("_")[0]
        words = re.sub(rf"^0*{number.lstrip('0') or 0}\W+", "", title) or title
        current = ' aria-current="page"' if stem == here else ""
        items += f'<li><a href="{html.escape(stem)}.html"{current}>{number} {words}</a></li>'
    return f"<ol>{items}</ol>"


def _with_files(body, folder, out):
    """The page with links to files of the repository, of which copies go to out/files."""

    def keep(match):
        if (path := _inside(folder, unquote(html.unescape(match[1])))) is None:
            return match[0]
        (out / "files").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / "files" / path.name)
        return f'href="files/{html.escape(quote(path.name))}"'

    return re.sub(r'href="([^":#?]+)"', keep, body)


def read_stamp(path):
    """What reproduce wrote of a notebook; {} where there is none, or a damaged one.

    key: a hash of what went in, only of a run that came to its end; seconds; made: a hash of the
    checkpoints that it left.
    """
    try:
        if trouble(path):
            return {}
        stamp = dict(json.loads(path.read_text(encoding="utf-8")))
        if "key" in stamp:
            stamp["seconds"] = float(stamp["seconds"])
        return stamp
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def heading(notebook):
    """(title, abstract): the first heading and the first paragraph of prose, without markup."""
    cells = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    text = re.sub(r"^[ >]+|^\*\*Question\.\*\* ", "", "\n\n".join(cells), flags=re.MULTILINE)
    title = re.search(r"^#+ *(.*)", text, re.MULTILINE)
    prose = re.sub(r"^(#|!|<|\||```|- |---|←|.*→$).*", "", text, flags=re.MULTILINE).strip()
    abstract = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.split(r"\n\s*\n", prose)[0])
    plain = lambda words: " ".join(re.sub(r"[*`$]", "", words).split())
    return plain(title[1]) if title else "untitled", plain(abstract)


def thumbnail(notebook, width=352):
    """Base64 PNG of the first picture output that is no strip, `width` pixels at most; or ""."""
    from PIL import Image

    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                small = io.BytesIO()
                try:
                    data = base64.b64decode(output["data"]["image/png"])
                    picture = Image.open(io.BytesIO(data)).convert("RGB")
                except Exception:  # decoders raise many types; the page shows what there is
                    continue
                if picture.width > 6 * picture.height:  # a strip shows nothing at this size
                    continue
                picture.thumbnail((width, 4 * width))
                picture.save(small, "PNG")
                return base64.b64encode(small.getvalue()).decode()
    return ""


def to_html(notebook, folder):
    """The body of a notebook (nbformat's node) as HTML without scripts.

    folder: where relative links start. Markdown leaves formulas alone behind placeholders.
    """
    from nbconvert import HTMLExporter
    from nbconvert.filters import markdown_mistune

    notebook, formulas = copy.deepcopy(notebook), []
    notebook["metadata"].pop("widgets", None)  # without a state nbconvert shows the next best form

    def hide(match):
        if match[1]:  # code
            return match[1]
        formulas.append(_mathml((match[2] or match[3]).strip(), "block" if match[2] else "inline"))
        return f"roiganmath{len(formulas) - 1}x"

    section = ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            section = (re.findall(r"^#+ +(.+)", cell["source"], re.MULTILINE) or [section])[-1]
            cell["source"] = CODE_OR_MATH.sub(hide, cell["source"])
        for output in cell.get("outputs", ()):
            data, about = output.get("data", {}), f"Figure in “{section}”"
            if "text/markdown" in data:
                data["text/markdown"] = CODE_OR_MATH.sub(hide, data["text/markdown"])
            if "text/html" in data:  # a shown source brings colours that no dark page can bear
                data["text/html"] = re.sub(r"(?s)<style>pre \{.*?</style>", "", data["text/html"])
            if "image/png" in data:
                output.metadata["image/png"] = {"alt": about} | output.metadata.get("image/png", {})
            pictured = any(kind.startswith("image/") or kind == "text/html" for kind in data)
            bare = BARE.match(data.get("text/plain", ""))  # the widget's own repr
            if bare and (WIDGET in data or bare[1]) and not pictured:
                data["text/html"] = "<p class='soft'>An interactive widget: open the notebook.</p>"
    exporter = HTMLExporter(template_name="basic", embed_images=True)
    exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", True)
    # its own embedding takes what links lead to, and hidden files
    with patch.object(markdown_mistune.IPythonRenderer, "_src_to_base64", return_value=None):
        body, _ = exporter.from_notebook_node(notebook, {"metadata": {"path": str(folder)}})
    for cell in notebook["cells"]:
        about = cell["metadata"]
        if about.get("jupyter", {}).get("source_hidden") or "install" in about.get("tags", ()):
            body = _folded(body, cell.get("id"))
    body = re.sub(r'src="([^":]+)"', lambda match: _embedded(folder, match[1]), body)
    in_link = lambda match: re.sub(r"roiganmath\d+x", "formula", match[0])  # a heading's anchor
    body = re.sub(r'\b(?:id|href)="[^"]*"', in_link, body)
    body = re.sub(r"roiganmath(\d+)x", lambda match: formulas[int(match[1])], body)
    return re.sub(r'href="([^":/]+)\.ipynb', r'href="\1.html', body)


def _folded(body, name):
    """The page with the code of this cell behind a line that opens it: plumbing, as in Jupyter."""
    before, mark, after = body.partition(f'id="cell-id={name}"')
    opened = "<details><summary class='soft'>Code</summary>"
    after = after.replace('<div class="highlight', f'{opened}<div class="highlight', 1)
    return before + mark + after.replace("</pre></div>", "</pre></div></details>", 1)


def _embedded(folder, source):
    """A picture of the course as data; of another place its address alone."""
    path = _inside(folder, unquote(html.unescape(source)))
    if path is None:
        return f'src="{source}"'
    kind = mimetypes.guess_type(path.name)[0]
    return f'src="data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"'


def _mathml(formula, display):
    from latex2mathml.converter import convert

    try:
        return convert(formula, display=display)
    except Exception:  # not TeX that the converter knows: show what was written
        return f"<code>{html.escape(formula)}</code>"
