"""The explorer painted and slid in a real headless Chromium, with a stub model: one suite for both
of its back ends, the kernel of a notebook in JupyterLab and the worker of the page without Python.
"""

import base64
import contextlib
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import browser  # noqa: E402

if browser.why_not() is None:
    from playwright.sync_api import expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.why_not() is not None, reason=str(browser.why_not())),
]

MODEL = '''
import torch
from roigan_lib.explorer import explore

class Stub:
    """Fills the region with a gradient of colours by first codes, category and seed.

    c2 is louder than c3, c3 than c1; c4 to c10 do nothing.
    """
    name, size, n_continuous, n_discrete, n_categories, calls = "stub", 64, 10, 1, 3, 0
    def inpaint(self, images, masks, codes=None, seed=0):
        self.calls += 1
        ramp = torch.linspace(-0.3, 0.3, self.size).view(1, 1, 1, -1)
        loud = torch.tensor([0.5, 0.6, 0.55]).view(1, 3, 1, 1)
        tint = codes[:, :3, None, None] * loud + 0.05 * (seed % 5) + 0.1 * codes[:, -1:, None, None]
        return torch.where(masks.bool(), (tint + ramp).clamp(-1, 1).expand_as(images), images)

grid = torch.linspace(-1, 1, 64)
across, down = grid.view(1, -1).expand(64, 64), grid.view(-1, 1).expand(64, 64)
scales = 1, 0.5, -0.5, -1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8
images = torch.stack([torch.stack([across * s, down, torch.sin(3 * s * across)]) for s in scales])
'''
STATE = """
kept = widget.mask.expand_as(widget.original) == 0
print("state", get_ipython().execution_count, int(widget.mask.sum()), widget.codes.tolist(),
      widget.seed,
      torch.equal(widget.completed[kept], widget.original[kept]), widget.gan.calls, widget.names)
"""
OTHER_TAB = (
    'widget.set_state({"tick": 3})  # of whose requests this browser hears nothing but the answers'
)
PICKER = """
import ipywidgets, numpy as np
from roigan_lib.explorer import pick_eyes
picker = pick_eyes(np.full((100, 200, 3), 128, np.uint8), eyes=((50, 40), (120, 40)))
told = ipywidgets.Label()
picker.observe(lambda change: setattr(told, "value", repr(picker)), "eye_points")
ipywidgets.VBox([picker, told])
"""
PIXELS = """node => {
    const data = node.getContext('2d').getImageData(0, 0, node.width, node.height).data;
    let text = "";
    data.forEach((value, i) => { if (i % 4 < 3) text += String.fromCharCode(value); });
    return btoa(text); }"""
SCREEN = f"""() => {{
    const found = name => document.querySelector(`[data-testid="roi-${{name}}"]`);
    return [["original", "masked", "completed"].map(name => ({PIXELS})(found(name))),
            found("status").innerText]; }}"""


GRAPHS = """
class Fixed(torch.nn.Module):
    def forward(self, image, mask):
        return image * (1 - mask)

class Moving(torch.nn.Module):
    def forward(self, image, mask, codes, noise, kept):
        tint = codes[:, :3, None, None] * torch.tensor([0.5, 0.6, 0.55]).view(1, 3, 1, 1)
        tint = tint + 0.05 * noise[:, :1, None, None] + 0.1 * codes[:, -1:, None, None]
        ramp = torch.linspace(-0.3, 0.3, 64).view(1, 1, 1, -1)
        return torch.where(mask > 0.5, (tint + ramp).clamp(-1, 1).expand_as(image), kept)
"""
COUNT = """
    globalThis.calls = 0;
    const send = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (question) {
        globalThis.calls += question.do === "draw";
        return send.apply(this, arguments); };"""


@contextlib.contextmanager
def notebook(root):
    """The explorer in a notebook; `state` says what the kernel holds."""
    import nbformat

    sources = (MODEL, f"widget = explore(Stub(), images)\n{OTHER_TAB}\nwidget", PICKER, STATE)
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "explorer.ipynb")
    with browser.lab(root) as lab:
        lab.open("explorer.ipynb")
        lab.run_all()
        lab.state = lambda: kernel(lab.page)
        yield lab


@contextlib.contextmanager
def static_page(root):
    """The explorer on the page; `state` says what it holds, in the kernel's words."""
    onnx = pytest.importorskip("onnx")
    import warnings

    import torch

    from roigan_lib.errors import RoiganError
    from roigan_lib.explorer import page as pages

    try:
        pages.unpack(None, root / "ort")
    except RoiganError as error:  # no npm, or no network
        pytest.skip(str(error))
    there = {}
    exec(MODEL + GRAPHS, there)
    there["Stub"].n_noise, graphs = 16, []
    image, mask = torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    moving = dict(image=image, mask=mask, codes=torch.zeros(1, 11), noise=torch.zeros(1, 16))
    for module, taken, given in [
        ("Fixed", dict(image=image, mask=mask), ["kept0"]),
        ("Moving", {**moving, "kept0": image}, ["completed"]),
    ]:
        file, names = root / "graph.onnx", dict(input_names=list(taken), output_names=given)
        module, values = there[module](), tuple(taken.values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of constants, which are meant to be constant
            torch.onnx.export(module, values, file, **names, opset_version=18, dynamo=False)
        graphs.append(onnx.load(file).SerializeToString())
    card = pages.add_model(root / "models", "stub", there["Stub"](), there["images"], graphs)
    pages.assemble(root, [card])
    with browser.served(root) as served:
        served.page.add_init_script(COUNT)
        served.page.goto(f"{served.url}/?gpu=0")
        served.state = lambda: held(served.page)
        yield served


def held(page):
    screen = Screen(page)
    codes = [
        float(page.locator(f"[data-code={key}]").input_value())
        for key in [*(f"c{k}" for k in range(1, 11)), "d1"]
    ]
    fields = [(key, page.get_by_test_id(f"name-{key}").input_value()) for key in ("c2", "d1")]
    tiles = screen.completed.reshape(-1, 64, len(screen.completed) // 64, 64, 3).swapaxes(1, 2)
    at = int(page.locator(".roi-thumbs input:checked").input_value()) if len(tiles) > 1 else 0
    chosen = tiles.reshape(-1, 64, 64, 3)[at]
    equal = not (chosen != screen.original).any(axis=2)[~screen.region].any()
    seed, calls = page.get_by_test_id("roi-seed").input_value(), page.evaluate("calls")
    names = {key: name for key, name in fields if name}
    return f"state 0 {screen.region.sum()} {[codes]} {seed} {equal} {calls} {names}"


@pytest.fixture(scope="module", params=[notebook, static_page], ids=["kernel", "page"])
def opened(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("notebooks")) as opened:
        opened.page.get_by_test_id("roi-canvas").wait_for()
        yield opened


def decoded(text):
    values = np.frombuffer(base64.b64decode(text), np.uint8).astype(int)
    return values.reshape(round((len(values) / 3) ** 0.5), -1, 3)


def picture(canvas):
    """The pixels of a square canvas, (H, W, 3)."""
    return decoded(canvas.evaluate(PIXELS))


def kernel(page):
    """What the kernel holds, as the last cell prints it."""
    cell = page.locator(".jp-CodeCell").last
    output, before = (
        cell.locator(".jp-OutputArea-output"),
        cell.locator(".jp-OutputArea-output").inner_text(),
    )
    cell.click()
    page.keyboard.press("Control+Enter")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (
            output.count()
            and output.inner_text().startswith("state")
            and output.inner_text() != before
        ):
            return output.inner_text()
        page.wait_for_timeout(100)
    raise AssertionError("the kernel did not answer")


class Screen:
    """What is on the screen at one moment: the pictures at the model's resolution, the region as
    the masked picture shows it, and the status (asked for one after the other, a picture could be
    older than the status that says it is drawn).
    """

    def __init__(self, page):
        pictures, self.status = page.evaluate(SCREEN)
        self.original, self.masked, self.completed = map(decoded, pictures)
        self.region = (self.masked != self.original).any(axis=2) & (self.masked == 128).all(axis=2)


def until(page, ready, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        screen = Screen(page)
        if ready(screen):
            return screen
        page.wait_for_timeout(100)
    raise AssertionError(f"the screen did not get there in {seconds} s: {screen.status!r}")


def drag(page, *points):
    """Drag the mouse over the picture along points given in model pixels."""
    canvas = page.get_by_test_id("roi-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for i, (x, y) in enumerate(points):
        page.mouse.move(
            box["x"] + x / 64 * box["width"],
            box["y"] + y / 64 * box["height"],
            steps=1 if i == 0 else 12,
        )
        if i == 0:
            page.mouse.down()
    page.mouse.up()


def pixels(status):
    return int(status.split("mask ")[1].split(" px")[0].replace(",", ""))


def test_paint_and_slide(opened):
    page = opened.page
    start = until(page, lambda s: "rendered in" in s.status)
    assert pixels(start.status) > 200 and start.region.sum() > 200  # an ellipse to begin with
    assert (start.completed != start.original).any(axis=2).sum() > 200

    page.get_by_test_id("roi-clear").click()
    empty = until(page, lambda s: "nothing painted" in s.status)
    assert (empty.completed == empty.original).all()

    drag(page, (10, 20), (30, 20))  # a brush stroke
    stroke = until(page, lambda s: "rendered in" in s.status)
    changed = (stroke.completed != stroke.original).any(axis=2)
    assert 60 < pixels(stroke.status) < 300
    assert changed.sum() > 0.9 * pixels(stroke.status)
    assert changed[20, 12:28].all() and not changed[30:].any() and not changed[:, 40:].any()

    slider = page.get_by_test_id("code-1")
    slider.focus()
    page.keyboard.press("End")
    slid = until(page, lambda s: (s.completed != stroke.completed).any())
    moved = (slid.completed != stroke.completed).any(axis=2)
    assert (
        moved[changed].all() and not moved[~changed].any()
    )  # the whole region, and nothing but the region
    assert slid.completed[20, 20, 0] > stroke.completed[20, 20, 0]
    assert slid.completed[20, 20, 1] == stroke.completed[20, 20, 1]

    page.get_by_test_id("disc-1").select_option("2")
    chosen = until(page, lambda s: (s.completed != slid.completed).any())
    assert not (chosen.completed != slid.completed).any(axis=2)[~changed].any()

    page.get_by_test_id("tool-rectangle").click()
    drag(page, (40, 40), (56, 52))
    both = until(page, lambda s: "rendered" in s.status and pixels(s.status) > pixels(slid.status))
    assert pixels(both.status) == pixels(stroke.status) + 16 * 12
    assert both.region[41:51, 41:55].all()
    page.get_by_test_id("roi-undo").click()
    until(page, lambda s: "rendered" in s.status and pixels(s.status) == pixels(stroke.status))

    page.get_by_test_id(
        "roi-canvas"
    ).focus()  # the keyboard alone: an ellipse's corner, and its opposite one
    page.get_by_test_id("tool-ellipse").click()
    page.get_by_test_id("roi-canvas").focus()
    for key in ["Space"] + 3 * ["Shift+ArrowDown"] + 3 * ["Shift+ArrowRight"] + ["Space"]:
        page.keyboard.press(key)
    until(page, lambda s: "rendered" in s.status and pixels(s.status) > pixels(stroke.status) + 50)
    page.keyboard.press("Control+z")
    until(page, lambda s: "rendered" in s.status and pixels(s.status) == pixels(stroke.status))

    page.get_by_test_id("image-2").click()
    other = until(page, lambda s: (s.original != start.original).any())
    assert not (other.completed != other.original).any(axis=2)[~changed].any()

    state = opened.state()
    assert f" {pixels(stroke.status)} [[2.0" in state and "2.0]] 0 True" in state
    assert not opened.errors


def test_fast_slider_ends_on_its_last_value(opened):
    page = opened.page
    slider = page.get_by_test_id("code-2")
    slider.focus()
    slider.evaluate("""node => { for (let i = 0; i <= 200; i++) { node.value = -1 + i / 100;
        node.dispatchEvent(new Event('input', {bubbles: true})); } }""")
    final = until(page, lambda s: s.completed[20, 20, 1] > 128 + 50)
    assert "rendered in" in final.status
    assert not opened.errors


def start_anew(page):
    """One picture, a square region, all codes at 0."""
    page.get_by_test_id("show-batch").set_checked(False)
    page.get_by_test_id("roi-clear").click()
    page.get_by_test_id("codes-reset").click()
    page.get_by_test_id("tool-rectangle").click()
    drag(page, (16, 16), (32, 32))
    return until(
        page,
        lambda s: (
            s.completed.shape == (64, 64, 3)
            and s.region.sum() == 256
            and "rendered" in s.status
            and pixels(s.status) == 256
        ),
    )


def test_dead_sliders_wait_under_a_line_that_opens(opened):
    page = opened.page
    start_anew(page)
    sliders = page.locator(".roi-code input[type=range]")
    keys = sliders.evaluate_all("nodes => nodes.map(node => node.dataset.code)")
    assert keys == ["c2", "c3", "c1", *(f"c{k}" for k in range(4, 11))]
    assert [node.is_visible() for node in sliders.all()] == 3 * [True] + 7 * [False]
    assert page.get_by_test_id("disc-1").is_visible()
    line = page.get_by_text("7 sliders move nothing visible here")
    page.get_by_test_id("disc-1").focus()
    page.keyboard.press("Tab")
    assert line.evaluate("node => node === document.activeElement")
    page.keyboard.press("Enter")
    dead = page.get_by_role("slider", name="Code c4")
    page.get_by_test_id("disc-1").focus()
    page.keyboard.press("ArrowDown")  # from one control of the codes to the next
    assert dead.is_visible() and dead.evaluate("node => node === document.activeElement")
    page.keyboard.press("End")
    assert "[[0.0, 0.0, 0.0, 2.0, 0.0," in opened.state()
    line.focus()
    page.keyboard.press("Enter")
    assert not dead.is_visible() and not opened.errors
    page.get_by_test_id("codes-reset").click()


def test_free_outline_fills_what_it_goes_round(opened):
    page = opened.page
    page.get_by_test_id("roi-clear").click()
    page.get_by_test_id("tool-lasso").click()
    drag(page, (10, 10), (40, 10), (40, 50))  # a triangle; the outline closes by itself
    drawn = until(page, lambda s: "rendered in" in s.status and s.region.any())
    y, x = np.mgrid[:64, :64] + 0.5
    inside = (x < 40) & (y > 10) & ((y - 10) * 30 < (x - 10) * 40)
    assert (drawn.region != inside).sum() < 60 and abs(pixels(drawn.status) - 600) < 30
    changed = (drawn.completed != drawn.original).any(axis=2)
    assert changed.sum() > 500 and not (changed & ~drawn.region).any()

    page.keyboard.press("Control+z")
    until(page, lambda s: "nothing painted" in s.status)
    for key in (
        "Space",
        *4 * ["Shift+ArrowUp"],
        *4 * ["Shift+ArrowRight"],
        *4 * ["Shift+ArrowDown"],
    ):
        page.keyboard.press(key)  # by the keyboard: three sides of a square of 16 pixels
    assert "nothing painted" in Screen(page).status  # not before it is put down
    page.keyboard.press("Space")
    until(page, lambda s: "rendered" in s.status and pixels(s.status) == 256)
    assert not opened.errors


def test_an_answer_leaves_a_name_that_is_being_typed(opened):
    page = opened.page
    start_anew(page)
    field = page.get_by_label("Name of code d1")
    field.fill("ha")
    for key in ("1", "2"):
        page.get_by_test_id(f"code-{key}").evaluate(
            "node => { node.value = 2; node.dispatchEvent(new Event('input', { bubbles: true })); }"
        )
        page.get_by_text(f"Save film of c{key}").wait_for(state="attached")  # shown anew
    assert field.input_value() == "ha"
    page.keyboard.press("End")
    page.keyboard.type("t ")
    page.keyboard.press("Tab")
    assert field.input_value() == "hat"
    field.fill("cap")
    page.keyboard.press("Escape")
    assert field.input_value() == "hat"


def test_settings_are_saved_and_loaded(opened, tmp_path):
    page = opened.page
    start_anew(page)
    page.get_by_test_id("code-2").focus()
    page.keyboard.press("F2")
    page.keyboard.type("smile")
    page.keyboard.press("Enter")
    slider = page.get_by_label("smile, code c2")
    assert slider.evaluate("node => node === document.activeElement")
    page.keyboard.press("End")
    page.get_by_label("Name of code d1").fill("hat")
    page.keyboard.press("Tab")
    then = until(page, lambda s: s.completed[20, 20, 1] > 200)
    named = "{'c2': 'smile', 'd1': 'hat'}"
    for _ in range(50):  # the kernel hears of a name a moment after the page shows it
        if named in opened.state():
            break
        page.wait_for_timeout(200)
    assert named in opened.state()

    open_more(page)
    with page.expect_download() as download:
        page.get_by_test_id("settings-save").click()
    assert download.value.suggested_filename == "stub.json"
    download.value.save_as(tmp_path / "mine.json")
    content = json.loads((tmp_path / "mine.json").read_text())
    assert content["names"] == {"c2": "smile", "d1": "hat"} and content["model"] == "stub"
    chosen = page.locator(".roi-thumbs input:checked").get_attribute("aria-label")
    assert content["codes"] == [0, 2] + 9 * [0] and content["image"] == chosen

    page.get_by_label("Name of code c2").fill("frown")
    page.keyboard.press("Tab")
    page.get_by_test_id("codes-reset").click()
    page.get_by_test_id("image-4").click()
    page.get_by_test_id("roi-clear").click()
    until(page, lambda s: "nothing painted" in s.status and (s.original != then.original).any())
    said, file = page.get_by_test_id("roi-status"), page.get_by_test_id("settings-file")
    (tmp_path / "broken.json").write_text((tmp_path / "mine.json").read_text()[:40])
    (tmp_path / "cats.json").write_text(json.dumps({**content, "model": "cats"}))
    (tmp_path / "small.json").write_text(json.dumps({**content, "mask": "AAAA"}))
    for name, sentence in [
        ("broken", "broken.json is no complete file of settings"),
        ("cats", "belong to cats"),
        ("small", "do not fit a model of 64 × 64 pixels and 11 codes"),
    ]:
        file.set_input_files(tmp_path / f"{name}.json")
        said.get_by_text(sentence).wait_for()
        assert page.get_by_label("Name of code c2").input_value() == "frown"
    file.set_input_files(tmp_path / "mine.json")
    same = lambda s, part: (getattr(s, part) == getattr(then, part)).all()
    until(page, lambda s: all(same(s, part) for part in ("completed", "region", "original")))
    assert "{'c2': 'smile', 'd1': 'hat'}" in opened.state()
    assert not opened.errors


def test_batch_moves_nine_faces_inside_the_region_only(opened):
    page = opened.page
    start_anew(page)
    page.get_by_test_id("show-batch").check()
    nine = until(page, lambda s: s.completed.shape == (192, 192, 3))
    assert "9 pictures" in nine.status
    page.get_by_test_id("code-1").focus()
    page.keyboard.press("Home")
    moved = until(page, lambda s: (s.completed != nine.completed).any())
    region = np.zeros((64, 64), bool)
    region[16:32, 16:32] = True
    changed = (moved.completed != nine.completed).any(axis=2)
    assert (changed == np.tile(region, (3, 3))).all()

    page.get_by_test_id("tool-rectangle").click()
    drag(
        page, (48, 48), (60, 60)
    )  # on the stage, of 64 model pixels across: in the last face, from 16 to 52
    painted = until(page, lambda s: pixels(s.status) > 256)
    assert pixels(painted.status) == 36**2 and painted.region[16:52, 16:52].all()

    before = int(opened.state().split(" True ")[1].split()[0])
    page.get_by_test_id(
        "code-2"
    ).evaluate("""node => { for (let i = 0; i <= 200; i++) { node.value = -1 + i / 100;
        node.dispatchEvent(new Event('input', {bubbles: true})); } }""")
    until(page, lambda s: s.completed[20, 20, 1] > 128 + 30 and "rendered in" in s.status)
    assert (
        int(opened.state().split(" True ")[1].split()[0]) - before == 2
    )  # the first move and the last, none between

    page.get_by_test_id("image-3").click()
    single = until(page, lambda s: s.completed.shape == (64, 64, 3))
    assert not page.get_by_test_id(
        "show-batch"
    ).is_checked() and "1296 px" in single.status.replace(",", "")
    assert not opened.errors


def test_a_row_of_seeds_to_choose_from(opened):
    page = opened.page
    first = start_anew(page)
    page.get_by_test_id("show-seeds").check()
    tiles = [page.get_by_test_id(f"seed-{k}") for k in range(4)]
    expect(page.locator(".roi-stale")).to_have_count(0, timeout=120_000)
    assert [tile.inner_text() for tile in tiles] == [f"seed {k}" for k in range(4)]
    shown = [picture(tile.locator("canvas")) for tile in tiles]
    assert (shown[0] == first.completed).all() and len({tile.tobytes() for tile in shown}) == 4
    assert not any((tile != first.completed).any(axis=2)[~first.region].any() for tile in shown)

    tiles[2].click()
    chosen = until(page, lambda s: (s.completed == shown[2]).all())
    assert (
        page.get_by_label("Noise seed").input_value() == "2"
        and tiles[2].get_attribute("aria-pressed") == "true"
    )
    assert [tile.inner_text() for tile in tiles] == [f"seed {k}" for k in range(4)]
    page.get_by_test_id("code-1").focus()
    page.keyboard.press("End")
    slid = until(page, lambda s: (s.completed != chosen.completed).any())
    expect(page.locator(".roi-stale")).to_have_count(0, timeout=120_000)
    assert (picture(tiles[2].locator("canvas")) == slid.completed).all()
    assert (picture(tiles[3].locator("canvas")) != shown[3]).any()
    page.get_by_label("Noise seed").fill("0")
    page.keyboard.press("Tab")
    page.get_by_test_id("show-seeds").uncheck()
    assert not tiles[0].is_visible() and not opened.errors


def test_strip_of_the_last_moved_code_is_a_download(opened, tmp_path):
    page = opened.page
    start_anew(page)
    page.get_by_test_id("code-3").focus()
    page.keyboard.press("End")
    with page.expect_download() as download:
        open_more(page)
        page.get_by_role("button", name="Save strip of c3").click()
    assert download.value.suggested_filename == "strip-c3.png"
    download.value.save_as(tmp_path / "strip.png")
    strip = Image.open(tmp_path / "strip.png")
    assert strip.format == "PNG" and strip.size == (9 * 70 + 6, 2 * 24 + 70)
    tiles = [
        np.asarray(strip.crop((6 + 70 * k, 48, 70 + 70 * k, 112)), dtype=int) for k in range(9)
    ]
    moved = np.any([(a != b).any(axis=2) for a, b in zip(tiles, tiles[1:])], axis=0)
    assert moved[16:32, 16:32].all() and moved.sum() == 256
    assert [tile[20, 20, 2] for tile in tiles] == sorted({tile[20, 20, 2] for tile in tiles})
    assert not opened.errors


def open_more(page):
    page.get_by_test_id("roi-more").evaluate("node => { node.open = true; }")


def test_arrows_move_a_slider_by_a_step_that_is_seen(opened):
    page = opened.page
    start_anew(page)
    page.get_by_test_id("show-original").click()
    slider = page.get_by_test_id("code-1")
    slider.focus()
    for key, value in ("ArrowRight", 0.05), ("Shift+ArrowRight", 0.3), ("ArrowLeft", 0.25):
        page.keyboard.press(key)
        assert float(slider.input_value()) == pytest.approx(value)
    assert page.get_by_role("radio", name="Show the redrawn picture").is_checked()


def test_a_slider_plays_and_becomes_a_film(opened, tmp_path):
    page = opened.page
    before = start_anew(page)
    page.get_by_test_id("code-1").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    play = page.get_by_test_id("roi-play")
    until(
        page, lambda s: play.inner_text() == "Play c1"
    )  # the slider at hand, once it has answered
    play.click()
    reds = {int(picture(page.get_by_test_id("roi-completed"))[20, 20, 0])}
    deadline = time.monotonic() + 60
    while len(reds) < 6 and time.monotonic() < deadline:
        reds.add(int(picture(page.get_by_test_id("roi-completed"))[20, 20, 0]))
    assert len(reds) >= 6 and play.inner_text() == "Stop"
    play.click()
    until(page, lambda s: (s.completed == before.completed).all())
    open_more(page)
    with page.expect_download() as download:
        page.get_by_test_id("roi-film").click()
    assert download.value.suggested_filename == "film-c1.webp"
    download.value.save_as(tmp_path / "film.webp")
    film = Image.open(tmp_path / "film.webp")
    assert (film.format, film.size, film.n_frames, film.info["loop"]) == ("WEBP", (256, 256), 24, 0)
    shown = []
    for k in (0, 6, 12, 18):
        film.seek(k)
        shown.append(np.asarray(film.convert("RGB"), int)[80, 80, 0])
    assert shown[0] < shown[1] < shown[2] and abs(shown[1] - shown[3]) < 4 and not opened.errors


def test_ends_of_sliders_show_what_training_saw(opened):
    page = opened.page
    start_anew(page)
    low, high = (page.get_by_test_id(f"end-1-{value}") for value in (-1, 1))
    deadline = time.monotonic() + 120

    def reds():  # one is drawn after the other, and both are cleared where the region moves
        seen = [picture(node.locator("canvas")) for node in (low, high)]
        return [rgb[20, 20, 0] for rgb in seen if len(rgb) == 56]

    while len(shown := reds()) < 2 or shown[0] >= shown[1]:
        assert time.monotonic() < deadline
        page.wait_for_timeout(200)
    high.click()
    assert page.get_by_test_id("code-1").input_value() == "1"
    page.get_by_test_id("codes-reset").click()
    assert not opened.errors


def test_strokes_subtract_and_brackets_size_the_brush(opened):
    page = opened.page
    start_anew(page)
    page.get_by_test_id("roi-subtract").click()
    drag(page, (16, 16), (24, 32))
    until(page, lambda s: "rendered" in s.status and pixels(s.status) == 128)
    page.get_by_test_id("roi-subtract").click()
    page.keyboard.down("Alt")
    drag(page, (24, 16), (32, 24))
    page.keyboard.up("Alt")
    left = until(page, lambda s: "rendered" in s.status and pixels(s.status) == 64)
    assert left.region[24:32, 24:32].all()
    size = page.get_by_test_id("brush-size")
    start = int(size.input_value())
    page.get_by_test_id("roi-canvas").focus()
    for key, wanted in (("]", start + 1), ("]", start + 2), ("[", start + 1)):
        page.keyboard.press(key)
        assert int(size.input_value()) == wanted
    assert not opened.errors


def test_a_wipe_shows_both_and_paints_nothing(opened):
    page = opened.page
    screen = start_anew(page)
    page.get_by_test_id("show-outline").uncheck()
    shown = {}
    for name in ("original", "completed", "wipe"):
        page.get_by_test_id(f"show-{name}").click()
        if name == "wipe":
            drag(page, (40, 20), (24, 20))
        page.get_by_test_id("roi-compare").focus()
        page.mouse.move(0, 0)
        page.wait_for_timeout(300)
        shown[name] = picture(page.get_by_test_id("roi-canvas"))
    side = len(shown["wipe"])
    line = round(24 / 64 * side)
    for name, part in (("original", slice(0, line - 3)), ("completed", slice(line + 3, side))):
        assert (shown["wipe"][:, part] == shown[name][:, part]).all()
    assert (shown["original"] != shown["completed"]).any()
    page.get_by_test_id("roi-canvas").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_timeout(300)
    moved = picture(page.get_by_test_id("roi-canvas"))
    line = round(28 / 64 * side)
    assert (moved[:, : line - 3] == shown["original"][:, : line - 3]).all()
    page.get_by_test_id("show-completed").click()
    page.get_by_test_id("show-outline").check()
    assert (Screen(page).region == screen.region).all() and not opened.errors


def test_few_stops_for_the_tabulator_names_and_sizes(opened):
    page = opened.page
    start_anew(page)
    root = page.get_by_test_id("roi-explorer")
    page.get_by_test_id("roi-more").evaluate("node => { node.open = false; }")
    stops = root.evaluate("""root => {
        const groups = new Set(), found = [];
        for (const node of root.querySelectorAll('input, button, select, summary, [tabindex]')) {
            if (node.tabIndex < 0 || node.disabled || !node.checkVisibility()) continue;
            if (node.closest('dialog')) continue;
            if (node.type === 'radio' && groups.has(node.name)) continue;
            groups.add(node.name);
            found.push(node.dataset.testid ?? node.tagName); }
        return found; }""")
    assert 10 < len(stops) <= 20, stops
    small = root.evaluate("""root => [...root.querySelectorAll(
        'button, select, summary, label, input:not([type=radio]):not([type=checkbox])')]
        .filter(node => node.checkVisibility() && !node.closest('dialog'))
        .map(node => [node.dataset.testid ?? node.tagName, node.getBoundingClientRect()])
        .filter(([, box]) => Math.min(box.width, box.height) < 24).map(([name]) => name)""")
    assert small == []
    assert page.get_by_role("radio", name="Picture 3").count() == 1
    told = page.get_by_test_id("roi-told")
    assert told.inner_text() == "Region: 256 pixels, columns 16 to 31, rows 16 to 31 of 64"
    page.get_by_test_id("roi-canvas").focus()
    page.keyboard.press("ArrowRight")
    assert re.fullmatch(r"\d+, \d+", told.inner_text())
    page.get_by_test_id("codes-reset").focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.testid") == "codes-random"


def waves(width, height):
    y, x = np.mgrid[:height, :width]
    wave = lambda a, b: 127 + 90 * np.sin(a * x / 40 + b * y / 50)
    return np.stack([wave(1, 2), wave(2, 1), wave(-1, 1)], 2).astype(np.uint8)


def place_eyes(page, *shares):
    """Click on two places of the photograph, and take the face; the places, in shares."""
    page.get_by_test_id("eyes-take").wait_for()
    box = page.locator("dialog img").bounding_box()
    for x, y in shares:
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    places = [page.locator("dialog").get_by_test_id(f"roi-eye-{k}") for k in (0, 1)]
    styles = [place.get_attribute("style") for place in places]
    page.get_by_test_id("eyes-take").click()
    page.get_by_test_id("eyes-take").wait_for(state="hidden")
    found = [re.findall(r"(?:left|top): ([\d.]+)%", style) for style in styles]
    return [(float(x) / 100, float(y) / 100) for x, y in found]


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_photograph_comes_back_with_what_its_file_held(opened, tmp_path, kind):
    from PIL import ImageCms

    from roigan_lib.explorer.places import eye_places
    from roigan_lib.photo import Frame, mask_to_photo, to_model

    page, (width, height) = opened.page, (300, 240)
    photo, exif = waves(width, height), Image.Exif()
    exif[0x010F], exif[0x0112] = "the kit", 6 if kind == "jpg" else 1  # its maker; turned
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    stored = Image.fromarray(photo).transpose(Image.ROTATE_90) if kind == "jpg" else photo
    stored = stored if kind == "jpg" else Image.fromarray(stored)
    how = {"quality": 100, "subsampling": 0} if kind == "jpg" else {}
    stored.save(tmp_path / f"me.{kind}", exif=exif, icc_profile=profile, **how)
    start_anew(page)
    count = page.locator(".roi-thumbs input").count()
    page.get_by_test_id("photo-file").set_input_files(tmp_path / f"me.{kind}")
    shares = place_eyes(page, (0.4, 0.35), (0.6, 0.45))
    page.get_by_test_id(f"image-{count}").wait_for()
    screen = until(page, lambda s: "rendered" in s.status and (s.completed != s.original).any())
    assert page.get_by_role("radio", name=f"me.{kind}").is_checked()
    eyes = [(x * width - 0.5, y * height - 0.5) for x, y in shares]
    assert np.abs(np.subtract(eyes, [(119.5, 83.5), (179.5, 107.5)])).max() < 1.5
    (p, q), (u, v) = (complex(*e) for e in eyes), (complex(*e) for e in eye_places("stub", 64))
    turn = (v - u) / (q - p)
    shift = u - turn * p
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    frame = Frame(matrix, 64)
    opened_by_pil = np.asarray(Image.open(tmp_path / f"me.{kind}").convert("RGB"))
    upright = np.rot90(opened_by_pil, -1) if kind == "jpg" else photo
    upright = np.ascontiguousarray(upright)
    seen = ((to_model(upright, frame)[0] + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert np.abs(seen - screen.original).max() <= 2

    with page.expect_download() as download:
        page.get_by_test_id("photo-save").click()
    assert download.value.suggested_filename == f"me-redrawn.{kind}"
    saved = Image.open(download.value.path())
    notes = saved.getexif()
    assert saved.size == (width, height) and saved.format == {"jpg": "JPEG", "png": "PNG"}[kind]
    assert notes[0x010F] == "the kit" and notes.get(0x0112, 1) == 1
    assert saved.info["icc_profile"] == profile
    hole = mask_to_photo(screen.region[None, None].astype(float), frame, width, height)
    off = np.abs(np.asarray(saved.convert("RGB"), int) - upright.astype(int))
    assert off[~hole].max() <= (12 if kind == "jpg" else 0)
    assert np.median(off[hole]) > 5
    said = page.get_by_test_id("roi-status").inner_text()
    assert said.startswith(f"Saved as me-redrawn.{kind}") and ("lossy" in said) == (kind == "jpg")
    assert not opened.errors


def test_what_is_no_photograph_gets_a_sentence(opened, tmp_path):
    page, said = opened.page, opened.page.get_by_test_id("roi-status")
    start_anew(page)
    (tmp_path / "notes.jpg").write_text("no picture")
    (tmp_path / "me.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    Image.new("1", (8000, 7500)).save(tmp_path / "large.png")
    before = page.locator(".roi-thumbs input").count()
    for name, sentence in [
        ("notes.jpg", "notes.jpg is no picture that this browser can read"),
        ("me.heic", "me.heic is HEIC, which this browser cannot read: save it as JPEG or PNG"),
        ("dot.png", "dot.png has 1 × 1 pixels: a side needs 16 or more"),
        ("large.png", "large.png has 60 megapixels: 50 are the most"),
    ]:
        page.get_by_test_id("photo-file").set_input_files(tmp_path / name)
        said.get_by_text(sentence).wait_for()
        assert page.locator(".roi-status").get_attribute("data-state") == "failed"
    Image.fromarray(waves(60, 50)).save(tmp_path / "film.gif")  # a face is nowhere in it
    page.get_by_test_id("photo-file").set_input_files(tmp_path / "film.gif")
    page.get_by_test_id("eyes-take").wait_for()
    place = page.locator("dialog").get_by_test_id("roi-eye-0")
    words = page.locator("dialog p").inner_text()
    assert "Click on one eye, then on the other" in words and "Of a GIF the first picture" in words
    told, image = page.locator("dialog p"), page.locator("dialog img")
    box = image.bounding_box()
    page.mouse.click(box["x"] + box["width"] + 40, box["y"] + box["height"] - 2)
    told.get_by_text("That was beside the photograph: click on the eyes in it.").wait_for()
    box = image.bounding_box()  # other words, another height
    page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.45 * box["height"])  # on a ring
    assert told.inner_text() == words
    box = image.bounding_box()
    assert place.evaluate("node => node === document.activeElement")
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"])
    second = page.locator("dialog").get_by_test_id("roi-eye-1").get_attribute("style")
    assert abs(float(re.search(r"left: ([\d.]+)%", second)[1]) - 60) < 3
    place.focus()
    for _ in range(12):  # both rings on one place
        page.keyboard.press("ArrowRight")
    page.get_by_text("The two rings lie on one place: click on each eye.").wait_for()
    assert page.get_by_test_id("eyes-take").is_disabled()
    for _ in range(9):  # and beyond the edge of the photograph they do not go
        page.keyboard.press("Shift+ArrowLeft")
    assert float(re.search(r"left: ([\d.]+)%", place.get_attribute("style"))[1]) >= 0
    page.keyboard.press("Escape")
    page.get_by_test_id("eyes-take").wait_for(state="hidden")
    assert page.locator(".roi-thumbs input").count() == before and not opened.errors


def test_a_click_moves_the_nearer_eye_and_arrows_the_chosen_one(opened):
    page = opened.page
    picture = page.get_by_alt_text("photograph; click on both eyes").last
    if not page.locator(".jp-Notebook").count():
        pytest.skip("pick_eyes() is Python's; on the page the eyes are asked for in a dialogue")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    picture.click(
        position={"x": 0.8025 * box["width"], "y": 0.605 * box["height"]}
    )  # the centre of pixel (160, 60)
    # clicks fall on whole pixels of the screen, and the picture between them
    there = "1(59|60|61), (59|60|61)"
    page.get_by_text(re.compile(f"EyePicker.eyes at 50, 40 and {there}")).wait_for()
    point = page.get_by_test_id("roi-eye-0")
    point.focus()
    for key in ("ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    page.get_by_text(re.compile(f"EyePicker.eyes at 51, 50 and {there}")).wait_for()
    assert point.evaluate("node => node.style.left") == f"{100 * 51.5 / 200:g}%"
