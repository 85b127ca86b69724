"""What SECURITY.md promises: nothing of a stranger's runs, nothing is sent, nothing is shown."""

import ast
import io
import json
import os
import pickle
import re
import socket
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import browser  # noqa: E402
from strangers import Malicious  # noqa: E402

import roigan_lib as rg  # noqa: E402
from roigan_lib import files  # noqa: E402
from roigan_lib.__main__ import main  # noqa: E402
from roigan_lib.cli import say  # noqa: E402
from roigan_lib.errors import RoiganError  # noqa: E402
from roigan_lib.perceptual import PerceptualNet  # noqa: E402
from roigan_lib.studies.pages import write_pages  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "roigan_lib").rglob("*.py"))
posix = pytest.mark.skipif(os.name == "nt", reason="owners and modes of files as POSIX has them")
in_a_browser = pytest.mark.skipif(browser.why_not() is not None, reason=str(browser.why_not()))
EVIL = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>"\'&\x1b[2J'


# ---- SECURITY.md


def promises():
    """[(row of the table, [(test file, test)])] of SECURITY.md."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`test_" in line]
    named = lambda row: re.findall(r"`(test_\w+\.py)::(?:\w+::)?(test_\w+)`", row)
    return [(row, named(row)) for row in rows]


def test_every_promise_names_the_test_that_holds_it():
    found = promises()
    assert len(found) >= 12
    for row, tests in found:
        assert tests and row.count("`test_") == len(tests), row
        for file, name in tests:
            tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
            there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in there, f"{file} has no {name}"


# ---- code of strangers


def calls(tree):
    """(dotted name, {keyword: node}, positional arguments) of each call in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: k.value for k in node.keywords}, len(node.args)


READERS = "load loads read_pickle load_state_dict_from_url get_state_dict"
FOREIGN = "torch torchvision np numpy pd pandas scipy skimage yaml onnx pytorch_fid"
METHODS = (".eval", "re.compile")  # of networks, of patterns
SHELLS = "eval exec compile __import__ system popen getoutput getstatusoutput execv execvp spawnv"


@pytest.mark.slow
def test_no_code_of_the_library_unpickles_or_evaluates():
    loads, known = 0, {"torch.load", "np.load"}
    for path in LIBRARY:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            tops = {name.partition(".")[0] for name in names}
            hidden = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "builtins"}
            assert not tops & hidden, path
            # a function under a bare name would hide here
            own = getattr(node, "level", 0) or getattr(node, "module", "") == "safetensors.torch"
            if isinstance(node, ast.ImportFrom) and not own:
                taken = {a.name for a in node.names}
                assert not taken & {*READERS.split(), *SHELLS.split()}, (path, taken)
        for name, given, n in calls(tree):
            last = name.rpartition(".")[2]
            foreign = name.partition(".")[0] in FOREIGN.split()
            assert name in known or not foreign or last not in READERS.split(), (path, name)
            assert last not in SHELLS.split() or name.endswith(METHODS), (path, name)
            assert "allow_pickle" not in given and "shell" not in given, path
            if name == "np.load":
                assert n == 1, path  # the third argument unpickles
            if name == "torch.load":
                loads += 1
                assert n == 1 and ast.unparse(given["weights_only"]) == "True", path
    assert loads >= 4


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:.*official")
@pytest.mark.slow
def test_a_poisoned_hub_cache_runs_nothing(tmp_path, monkeypatch):
    """PyTorch's own loaders unpickle what lies there; another user may have put it there."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    proof, folder = tmp_path / "executed", tmp_path / "checkpoints"
    folder.mkdir()
    import torchvision

    url = torchvision.models.get_model_weights("vgg11_bn").DEFAULT.url
    trap = pickle.dumps(Malicious(proof))
    for name in (url.rpartition("/")[2], "mine.pth", "mine.npz"):
        (folder / name).write_bytes(trap)
    with pytest.raises(RoiganError, match="is not torchvision's file: delete it"):
        PerceptualNet("vgg11_bn")
    for name in ("mine.pth", "mine.npz"):
        with pytest.raises(RoiganError, match="damaged or holds more than plain weights"):
            PerceptualNet("vgg11_bn", folder / name)
    if not proof.exists() and pytest.importorskip("pytorch_fid"):
        from roigan_lib.metrics import features

        torch.save({"w": Malicious(proof)}, features.inception_path())
        features._inception.cache_clear()
        with pytest.raises(RoiganError, match="cannot be read as Inception weights"):
            features.inception_features(torch.zeros(1, 3, 32, 32), 64)
        features._inception.cache_clear()
    assert not proof.exists()
    pickle.loads(trap)  # the trap itself works
    assert proof.exists()


@pytest.mark.slow
def test_a_download_that_is_another_file_is_refused(tmp_path, monkeypatch):
    """The data sets' own MD5 is tested in test_official.py, the page's runtime in test_page.py."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked = []

    def other(url, path, hash_prefix=None, progress=True):
        asked.append(hash_prefix)
        Path(path).write_bytes(b"another file")

    monkeypatch.setattr(torch.hub, "download_url_to_file", other)
    with pytest.raises(RoiganError, match="is not torchvision's file"):
        PerceptualNet("vgg11_bn")
    assert len(asked) == 1 and re.fullmatch("[0-9a-f]{8}", asked[0])
    pytest.importorskip("pytorch_fid")
    from roigan_lib.metrics import features

    features._weight_file()
    assert asked[1:] == ["6726825d"]  # by which PyTorch refuses another one


# ---- nothing is sent


@pytest.fixture
def offline(monkeypatch):
    """Every way to another machine is closed; the list of what was tried all the same."""
    tried = []

    def closed(*given, **_):
        tried.append(given)
        raise OSError("no network here")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, closed)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, closed)
    return tried


@pytest.mark.slow
def test_no_command_speaks_to_another_machine(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("ROIGAN_CACHE", str(tmp_path / "cache"))
    for k in range(8):
        Image.linear_gradient("L").rotate(40 * k).resize((64, 64)).save(tmp_path / f"{k}.png")
    place = ["--root", str(tmp_path)]
    small = "--profile smoke --dataset folder --size 32 --batch 4 --steps 2".split()
    for words in (
        ["models"],
        ["inpaint", str(tmp_path / "0.png"), "--out", str(tmp_path / "out" / "done.png")],
        ["data", "check", "folder", *place],
        ["data", "prepare", "folder", *place],
        ["train", *small, *place, "--out", str(tmp_path / "run")],
    ):
        assert main(words) == 0, words
    pytest.importorskip("pandas")
    assert main(["compare", "--dataset", "folder", "--split", "all", *place, "--n", "4"]) == 0
    assert offline == []
    with pytest.raises(OSError):  # the door is really shut
        socket.create_connection(("localhost", 9))
    assert len(offline) == 1


IMPORTS = """
import importlib, socket, sys
tried = []
def closed(*given, **_):
    tried.append(given)
    raise OSError("no network here")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, closed)
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, closed)
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:  # of an extra that is not installed
        assert not error.name.startswith("roigan_lib")
    assert not tried, (name, tried)
print("imported", len([name for name in sys.modules if name.startswith("roigan_lib")]))
"""


@pytest.mark.slow
def test_an_import_of_every_module_speaks_to_nobody():
    """In a process of its own: here most modules are imported already."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in LIBRARY]
    names = [n.removesuffix(".__init__") for n in names if not n.endswith("__main__")]
    command = [sys.executable, "-W", "ignore", "-c", IMPORTS, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-600:]
    assert int(done.stdout.split()[-1]) > 0.6 * len(names)


# ---- pages


@pytest.fixture
def site(tmp_path):
    """The pages of a stranger's notebooks, whose names, outputs and links are hostile."""
    (tmp_path / "secret.txt").write_text("a secret beside the course")
    course = tmp_path / "course"
    notebooks = course / "notebooks"
    notebooks.mkdir(parents=True)
    (course / ".git").mkdir()
    (course / ".git" / "config").write_text("a secret token")
    (course / "docs").mkdir()
    (course / "docs" / "data&more.csv").write_text("a\n")
    (notebooks / "inner.txt").symlink_to(tmp_path / "secret.txt")
    links = "[a](../../secret.txt) [b](../.git/config) [c](inner.txt) [d](..%2F..%2Fsecret.txt)"
    links += ' <img src="../../secret.txt" alt="a"> <img src="../.git/config" alt="b">'
    (notebooks / "inner.png").symlink_to(tmp_path / "secret.txt")
    (notebooks / ".hidden.png").write_text("a secret token")
    for k, name in enumerate(("inner.png", ".hidden.png", "../.git/config", "../../secret.txt")):
        links += f" ![a]({name}) <img alt='a' src='{name}'> ![b][{k}]\n\n[{k}]: {name}\n\n"
    links += " [e](javascript:window.owned=1) [f](../docs/data&more.csv)"
    cells = [
        new_markdown_cell(f"# {EVIL}\n\nWords.\n\n{links}"),
        new_markdown_cell("## Second heading"),
        new_code_cell("x", outputs=[new_output("display_data", {"text/html": EVIL})]),
        new_code_cell("x", outputs=[new_output("display_data", {"text/plain": EVIL})]),
        new_code_cell("x", outputs=[new_output("stream", text=EVIL)]),
    ]
    fetch = "<script>fetch('http://127.0.0.1:9/')</script><img src='http://127.0.0.1:9/a.png'>"
    more = [new_output("display_data", {"text/html": fetch})]
    more += [new_output("display_data", {"application/javascript": "window.owned=1"})]
    more += [new_output("display_data", {"image/svg+xml": f"<svg onload='owned=1'>{EVIL}</svg>"})]
    cells.append(new_code_cell("x", outputs=more))
    nbformat.write(new_notebook(cells=cells), notebooks / "00_a.ipynb")
    bad = new_output("display_data", {"image/png": "bm8gcGljdHVyZQ=="})
    shown = [new_markdown_cell("# Bad picture"), new_code_cell("x", outputs=[bad])]
    nbformat.write(new_notebook(cells=shown), notebooks / "01_<b onclick=owned=1>&.ipynb")
    out = tmp_path / "site"
    out.mkdir()
    write_pages(out, sorted(notebooks.glob("*.ipynb")), "a course", stored=True)
    return out


def test_a_page_carries_nothing_of_the_machine_but_the_course(site):
    told = b"".join(path.read_bytes() for path in site.rglob("*") if path.is_file())
    for secret in (b"a secret beside the course", b"a secret token"):
        assert secret not in told and b64encode(secret) not in told
    assert [path.name for path in (site / "files").iterdir()] == ["data&more.csv"]
    assert b'href="files/data%26more.csv"' in told


def test_the_scripts_of_a_page_are_the_templates_own(site):
    for page in site.glob("*.html"):
        text = page.read_text("utf-8")
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'" and rules["form-action"] == "'none'"
        assert rules["img-src"] == "'self' data:" and rules["base-uri"] == "'none'"
        allowed = set(re.findall(r"'sha256-([^']+)'", rules["script-src"]))
        assert "unsafe" not in rules["script-src"] and "http" not in policy
        scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        digests = [b64encode(sha256(s.encode()).digest()).decode() for s in scripts]
        assert allowed <= set(digests) and len(allowed) == 2
        hostile = [s for s, d in zip(scripts, digests) if d not in allowed]
        assert all(not s or "owned" in s or "fetch" in s for s in hostile)
    index = (site / "index.html").read_text("utf-8")
    assert "<b onclick" not in index and "<img src=x" not in index


@pytest.mark.slow
@in_a_browser
def test_in_a_browser_the_hostile_site_is_only_read(site):
    with browser.served(site) as opened:
        asked, refused = set(), {}
        opened.page.on("request", lambda request: asked.add(request.url))
        opened.page.on("requestfailed", lambda r: refused.update({r.url: r.failure}))
        opened.page.goto(f"{opened.url}/00_a.html")
        link = opened.page.get_by_text("e", exact=True).first
        if link.count():
            link.click()
        opened.page.locator(".search input").fill("second")
        opened.page.locator(".search li").first.wait_for()  # its own script runs
        assert opened.page.evaluate("typeof window.owned") == "undefined"
        away = {url for url in asked if not url.startswith((opened.url, "data:"))}
        assert "http://127.0.0.1:9/a.png" in away  # the browser was asked, and its policy said no
        assert all(refused[url] == "csp" for url in away), refused


CARD = {"size": 32, "n_continuous": 2, "n_discrete": 1, "n_categories": 2, "n_noise": 16}
CARD |= {"order": ["c1", "c2", "d1"], "dead": [], "eyes": [[10, 14], [22, 14]]}
CARD |= {"checkpoint": None, "megabytes": 0.1, "mask": "0" * 1024, "title": EVIL, "label": EVIL}


@pytest.mark.slow
@in_a_browser
def test_in_a_browser_a_hostile_card_is_only_text(tmp_path):
    pytest.importorskip("anywidget")
    from roigan_lib.explorer.page import assemble

    card = CARD | {"name": "model", "names": {"c1": EVIL[:40]}, "credits": [EVIL, EVIL]}
    (tmp_path / "models").mkdir()
    Image.new("RGB", (64, 32), "gray").save(tmp_path / "models" / "model.png")
    assemble(tmp_path, [card])
    with browser.served(tmp_path) as opened:
        opened.page.goto(opened.url)
        opened.page.get_by_test_id("model-model").wait_for(state="attached")
        opened.page.locator("#credits p").first.wait_for()
        assert "<script>window.owned=1</script>" in opened.page.locator("#credits").inner_text()
        assert "onerror=" in opened.page.locator("#models").inner_text()
        assert opened.page.locator("#models img, #models script, #credits img").count() == 0
        assert opened.page.evaluate("typeof window.owned") == "undefined"


def test_no_script_of_the_explorer_makes_markup_of_data():
    """innerHTML takes the icons that stand in the same file, and nothing else does its work."""
    found = []
    for path in sorted((ROOT / "roigan_lib").rglob("*.js")):
        for line in path.read_text(encoding="utf-8").splitlines():
            sinks = "innerHTML outerHTML insertAdjacentHTML document.write srcdoc new.Function"
            if re.search("|".join(sinks.split()) + r"|\beval\(", line):
                found.append((path.name, re.sub(r"\s+", " ", line.strip())))
    for name, line in found:
        fixed = re.fullmatch(r'.*innerHTML = "[^"]*";', line)
        icon = "${ICONS[name]}</svg>`;" in line and line.count("${") == 1
        assert fixed or icon, (name, line)
    policy = (ROOT / "roigan_lib" / "explorer" / "page.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', policy)[1]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "'unsafe-eval'" not in policy and "'unsafe-inline'" not in policy
    assert not re.search(r"\bhttps?:|\*", policy)


def test_names_of_sliders_are_short_plain_texts_on_the_screen_and_on_sheets(tmp_path):
    pytest.importorskip("anywidget")
    images = torch.zeros(1, 3, 32, 32)
    codes = dict(n_continuous=2, n_discrete=0, n_categories=0)
    model = SimpleNamespace(inpaint=lambda i, m, codes: i, size=32, name=EVIL + "\n", **codes)
    view = rg.explore(model, images)
    for hostile in (EVIL, "a\nb", "\u202eevil\u0000", "<b>" * 13):
        try:
            view.names = {"c1": hostile}
        except RoiganError as error:
            assert len(hostile) > 40 and "1 to 40 characters" in str(error)
        assert "\n" not in view.names.get("c1", "")
        for data in (view.sheet(), view.strip("c1", 3)):
            assert Image.open(io.BytesIO(data)).format == "PNG"
    view.save_names(tmp_path / "names.json")
    stranger = json.loads((tmp_path / "names.json").read_text(encoding="utf-8"))
    for names in ({"c1": 3}, {"c1": EVIL * 9}, {"__proto__": "x"}, [["c1", {}]], {"c9": "x"}):
        (tmp_path / "names.json").write_text(json.dumps(stranger | {"names": names}))
        before = dict(view.names)
        with pytest.raises(RoiganError):
            view.load_names(tmp_path / "names.json")
        assert view.names == before


def test_a_name_cannot_move_the_cursor(tmp_path, capsys):
    name = "a\x1b[2J\x07\u202eb.png"
    assert main(["inpaint", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert r"a\x1b[2J\x07\u202eb.png" in said and said.count("\n") == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", said)
    say(f"{name}: done")  # where nothing is wrong
    assert capsys.readouterr().out == r"a\x1b[2J\x07\u202eb.png: done" + "\n"


# ---- a shared machine


@posix
def test_what_is_written_is_as_private_as_the_user_wants(tmp_path, monkeypatch):
    monkeypatch.setenv("ROIGAN_CACHE", str(tmp_path / "cache" / "deep"))
    for mask, mode in ((0o077, 0o600), (0o022, 0o644)):
        before = os.umask(mask)
        try:
            with files.replacing(tmp_path / "a") as scratch:
                assert scratch.stat().st_mode & 0o777 == mode and scratch.parent == tmp_path
                scratch.write_bytes(b"a")
            assert (tmp_path / "a").stat().st_mode & 0o777 == mode
        finally:
            os.umask(before)
    assert files.cache_folder().stat().st_mode & 0o777 == 0o700


@posix
def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    """In a folder that others may write to, a name that can be guessed is a trap."""
    target = tmp_path / "precious"
    target.write_text("precious")
    names = []
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: names.append(n) or "known")
    (tmp_path / ".a.known.tmp").symlink_to(target)
    with pytest.raises(RoiganError, match="could not be written"):
        files.write_atomically(tmp_path / "a", b"new")
    assert target.read_text() == "precious" and names == [6]
    (tmp_path / "b").symlink_to(target)  # what is replaced is the link, not its target
    monkeypatch.undo()
    files.write_atomically(tmp_path / "b", b"new")
    assert target.read_text() == "precious" and not (tmp_path / "b").is_symlink()


def test_the_runtime_is_checked_and_unpacked_from_the_same_bytes(tmp_path, monkeypatch):
    """Between two looks at a file another one may take its place."""
    pytest.importorskip("anywidget")
    from roigan_lib.explorer import page

    path, reads = tmp_path / "runtime.tgz", []
    path.write_bytes(b"package")
    monkeypatch.setattr(page, "SHA256", sha256(b"package").hexdigest())
    inner = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or inner(self))
    assert page._package(path) == b"package" and reads == [path]
    monkeypatch.setattr(page, "SHA256", "0" * 64)
    with pytest.raises(RoiganError, match="is not the package"):
        page.unpack(path, tmp_path / "ort")
    assert not (tmp_path / "ort").exists()


def test_a_local_server_of_the_tests_listens_on_this_machine_only():
    for path in sorted((ROOT / "tests").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for server in re.findall(r"HTTPServer\(\s*\(([^,]*),", text):
            assert server in ('"127.0.0.1"', "'127.0.0.1'"), path.name
