"""The explorer painted and slid in a real headless Chromium, on JupyterLab, with a stub model."""
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import browser  # noqa: E402

pytestmark = pytest.mark.skipif(browser.why_not() is not None, reason=str(browser.why_not()))

MODEL = '''
import torch
from roigan_lib.explorer import explore

class Stub:
    """Fills the region with a gradient whose colours follow the first three codes, the category and the seed."""
    name, size, n_continuous, n_discrete, n_categories = "stub", 64, 10, 1, 3
    def inpaint(self, images, masks, codes=None, seed=0):
        ramp = torch.linspace(-0.3, 0.3, self.size).view(1, 1, 1, -1)
        tint = codes[:, :3, None, None] * 0.6 + 0.05 * (seed % 5) + 0.1 * codes[:, -1:, None, None]
        return torch.where(masks.bool(), (tint + ramp).clamp(-1, 1).expand_as(images), images)

grid = torch.linspace(-1, 1, 64)
across, down = grid.view(1, -1).expand(64, 64), grid.view(-1, 1).expand(64, 64)
images = torch.stack([torch.stack([across * s, down, torch.sin(3 * s * across)]) for s in (1.0, 0.5, -0.5, -1.0)])
'''
STATE = '''
kept = widget.mask.expand_as(images[:1]) == 0
print("state", int(widget.mask.sum()), widget.codes.tolist(), widget.seed,
      torch.equal(widget.completed[kept], widget.original[kept]))
'''
PICKER = '''
import ipywidgets, numpy as np
from roigan_lib.explorer import pick_eyes
picker = pick_eyes(np.full((100, 200, 3), 128, np.uint8), eyes=((50, 40), (120, 40)))
told = ipywidgets.Label()
picker.observe(lambda change: setattr(told, "value", repr(picker)), "eye_points")
ipywidgets.VBox([picker, told])
'''
PIXELS = """node => Array.from(node.getContext('2d').getImageData(0, 0, node.width, node.height).data)
    .filter((v, i) => i % 4 < 3)"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    import nbformat
    root = tmp_path_factory.mktemp("notebooks")
    sources = (MODEL, "widget = explore(Stub(), images)\nwidget", PICKER, STATE)
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "explorer.ipynb")
    with browser.lab(root) as lab:
        lab.open("explorer.ipynb")
        lab.run_all()
        lab.page.get_by_test_id("roi-canvas").wait_for()
        yield lab


class Screen:
    """What is on the screen: the pictures at the model's resolution, and the region as the masked picture shows it."""

    def __init__(self, page):
        import numpy as np
        self.original, self.masked, self.completed = (
            np.array(page.get_by_test_id(f"roi-{name}").evaluate(PIXELS), dtype=int).reshape(64, 64, 3)
            for name in ("original", "masked", "completed"))
        self.region = (self.masked != self.original).any(axis=2) & (self.masked == 128).all(axis=2)
        self.status = page.get_by_test_id("roi-status").inner_text()


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
        page.mouse.move(box["x"] + x / 64 * box["width"], box["y"] + y / 64 * box["height"], steps=1 if i == 0 else 12)
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
    assert moved[changed].all() and not moved[~changed].any()  # the whole region, and nothing but the region
    assert slid.completed[20, 20, 0] > stroke.completed[20, 20, 0]
    assert slid.completed[20, 20, 1] == stroke.completed[20, 20, 1]

    page.get_by_test_id("disc-1").select_option("2")
    chosen = until(page, lambda s: (s.completed != slid.completed).any())
    assert not (chosen.completed != slid.completed).any(axis=2)[~changed].any()

    page.get_by_test_id("tool-rectangle").click()
    drag(page, (40, 40), (56, 52))
    both = until(page, lambda s: s.region[41:51, 41:55].all())
    assert pixels(both.status) == pixels(stroke.status) + 16 * 12
    page.get_by_test_id("roi-undo").click()
    until(page, lambda s: "rendered" in s.status and pixels(s.status) == pixels(stroke.status))

    page.get_by_test_id("roi-canvas").focus()  # the keyboard alone: an ellipse's corner, and its opposite one
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

    page.locator(".jp-CodeCell").last.click()
    page.keyboard.press("Control+Enter")  # what the kernel holds
    page.locator(".jp-CodeCell").last.get_by_text("state").last.wait_for()
    page.wait_for_timeout(500)
    state = page.locator(".jp-CodeCell").last.locator(".jp-OutputArea-output").inner_text()
    assert f"state {pixels(stroke.status)} [[1.0" in state and "2.0]] 0 True" in state
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


def test_a_click_moves_the_nearer_eye_and_arrows_the_chosen_one(opened):
    page = opened.page
    picture = page.get_by_alt_text("photograph; click on both eyes")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    picture.click(position={"x": 0.8025 * box["width"], "y": 0.605 * box["height"]})     # the centre of pixel (160, 60)
    page.get_by_text("EyePicker(eyes at 50, 40 and 160, 60)").wait_for()
    point = page.get_by_test_id("roi-eye-0")
    point.focus()
    for key in ("ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    page.get_by_text("EyePicker(eyes at 51, 50 and 160, 60)").wait_for()
    assert point.evaluate("node => node.style.left") == f"{100 * 51.5 / 200:g}%"
