"""The page that needs no Python: its two graphs beside PyTorch, and itself in headless Chromium."""

import base64
import http.server
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import browser  # noqa: E402

pytest.importorskip("onnx")
pytest.importorskip("anywidget")

import roigan_lib as rg  # noqa: E402
from roigan_lib import photo as photos  # noqa: E402
from roigan_lib.control.steering import Steered, Steering  # noqa: E402
from roigan_lib.errors import RoiganError  # noqa: E402
from roigan_lib.explorer import page as pages  # noqa: E402
from roigan_lib.explorer.graphs import export  # noqa: E402
from roigan_lib.explorer.places import eye_places, regions  # noqa: E402
from roigan_lib.stored import in_bits  # noqa: E402

NAME = "synthfaces"
CANVAS = """node => {
    const { data } = node.getContext('2d').getImageData(0, 0, node.width, node.height);
    let text = "";
    data.forEach((value, i) => { if (i % 4 < 3) text += String.fromCharCode(value); });
    return btoa(text); }"""
DRAGGED = """async () => {
    const slider = document.querySelector('[data-testid=code-2]');
    const send = Worker.prototype.postMessage;
    let count = 0;
    Worker.prototype.postMessage = function (question) {
        count += question.do === "draw";
        return send.apply(this, arguments); };
    for (let i = 0; i <= 200; i++) {
        slider.value = -1 + i / 100;
        slider.dispatchEvent(new Event('input', { bubbles: true })); }
    while (document.querySelector('.roi-status').dataset.state !== 'ready') {
        await new Promise((done) => setTimeout(done, 20)); }
    Worker.prototype.postMessage = send;
    return count; }"""
DELIVERED = """async (kind) => {
    const canvas = new OffscreenCanvas(80, 60), data = new DataTransfer();
    canvas.getContext("2d").fillRect(0, 0, 80, 60);
    data.items.add(new File([await canvas.convertToBlob()], "me.png", { type: "image/png" }));
    const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: data, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: data });
    window.dispatchEvent(event); }"""
AWAY = """(address) => fetch(address, { mode: 'no-cors' })
    .then(() => 'sent', (error) => String(error))"""


in_a_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.why_not() is not None, reason=str(browser.why_not())),
]


@pytest.fixture(scope="module")
def gan():
    return rg.load_model(NAME)


@pytest.mark.parametrize(
    "name, weights",
    [(NAME, "float16"), ("celeba", "float16"), ("celeba", "int8"), ("celeba128", "float16")],
)
@pytest.mark.slow
def test_two_graphs_draw_what_pytorch_draws(name, weights):
    runtime = pytest.importorskip("onnxruntime")
    gan = rg.load_model(name)
    if weights == "int8":
        gan, _ = in_bits(gan)
    graphs = export(gan)
    assert sum(map(len, graphs)) < {"float16": 10e6, "int8": 5e6}[weights]
    fixed, moving = (runtime.InferenceSession(graph) for graph in graphs)
    outputs, inputs = (
        [put.name for put in side] for side in (fixed.get_outputs(), moving.get_inputs())
    )
    one = torch.zeros(1, 1, gan.size, gan.size)
    one[..., 30, 30] = 1
    ragged = (torch.rand(one.shape, generator=torch.Generator().manual_seed(0)) > 0.4).float()
    corner, strip = torch.zeros_like(one), torch.zeros_like(one)  # what a box is cut off at
    corner[..., :9, -5:] = strip[..., 20:40, :] = 1
    masks = [rg.sample_masks(kind, 1, gan.size, seed=3) for kind in ("elliptic", "mixed")]
    for seed, mask in enumerate([*masks, one, ragged, corner, strip]):
        image = torch.rand(1, 3, gan.size, gan.size) * 2 - 1
        codes, noise = gan.sample_codes(1, seed), gan.sample_noise(1, seed)
        given = {"image": image.numpy(), "mask": mask.numpy()}
        given |= dict(zip(outputs, fixed.run(None, given)))
        given |= {"codes": codes.numpy(), "noise": noise.numpy()}
        done = moving.run(None, {key: given[key] for key in inputs})[0]
        assert np.abs(done - gan.inpaint(image, mask, codes, noise=noise).numpy()).max() < 5e-5
        kept = np.broadcast_to(mask.numpy() == 0, done.shape)
        assert (done[kept] == image.numpy()[kept]).all()


def test_another_package_is_refused(tmp_path):
    with pytest.raises(RoiganError, match="unknown kind of weights 'int4'"):
        pages.write_page(tmp_path / "out", [NAME], weights="int4")
    (tmp_path / "other.tgz").write_bytes(b"no package")
    with pytest.raises(RoiganError, match="is not the package onnxruntime-web@"):
        pages.write_page(tmp_path / "out", [NAME], tmp_path / "other.tgz")
    with pytest.raises(RoiganError, match="cannot be read: No such file"):
        pages.write_page(tmp_path / "out", [NAME], tmp_path / "none.tgz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    try:
        pages._package(None)
    except RoiganError as error:  # no npm, or no network
        pytest.skip(str(error))
    pages.write_page(out, [NAME], say=lambda line: None)
    (card,) = json.loads((out / "models.json").read_text())
    steered = {"name": "steered", "label": "Steered", "checkpoint": "steered", "reach": 1}
    steered |= {"steering": steering(card).ends.tolist()}
    for part in ("fixed.onnx", "moving.onnx", "png"):
        shutil.copy(out / f"models/{NAME}.{part}", out / f"models/steered.{part}")
    pages.assemble(out, [card, {**card, **steered}])
    return out


def steering(card):
    """Two sliders whose ends lie anywhere."""
    draw = torch.Generator().manual_seed(6)
    return Steering(torch.randn(2, 2, card["n_continuous"], generator=draw))


@pytest.fixture(scope="module")
def opened(folder):
    with browser.served(folder) as opened:
        opened.asked = []
        opened.page.on("request", lambda request: opened.asked.append(request.url))
        opened.page.goto(f"{opened.url}/?gpu=0")
        drawn(opened.page)
        yield opened


def canvas(page, name):
    values = np.frombuffer(base64.b64decode(page.get_by_test_id(name).evaluate(CANVAS)), np.uint8)
    return values.reshape(round((len(values) / 3) ** 0.5), -1, 3)


def drawn(page):
    """Wait until nothing is asked for any more; what the status line says then."""
    page.locator(".roi-status:not([data-state=busy])").wait_for()  # the policy forbids eval
    return page.get_by_test_id("roi-status").inner_text()


def on_screen(page):
    """Original and completed picture, bytes (H, W, 3), and the region, bool (H, W)."""
    original, masked = canvas(page, "roi-original"), canvas(page, "roi-masked")
    region = (masked != original).any(2) | ((masked == 128).all(2) & (original == 128).all(2))
    return original, canvas(page, "roi-completed"), region


def rectangle(page, left, top, right, bottom, size=64):
    """A region of whole pixels, painted with the mouse."""
    if (clear := page.get_by_test_id("roi-clear")).is_enabled():  # else there is no region
        clear.click()
    page.get_by_test_id("tool-rectangle").click()
    node = page.get_by_test_id("roi-canvas")
    node.scroll_into_view_if_needed()
    box = node.bounding_box()
    at = lambda x, y: (box["x"] + x / size * box["width"], box["y"] + y / size * box["height"])
    page.mouse.move(*at(left, top))
    page.mouse.down()
    page.mouse.move(*at(right, bottom), steps=4)
    page.mouse.up()
    return drawn(page)


def contrast(one, other):
    """WCAG 2's ratio of two colours such as #1b1f24, short ones too."""

    def light(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_by_wcag_aa(theme):
    style = (pages.HERE / "page.css").read_text()
    colours = dict(
        re.findall(r"(--[\w-]+): (#\w+)", re.findall(r":root \{(.*?)\}", style, re.S)[theme])
    )
    words = [f"--jp-{name}1" for name in ("ui-font-color", "brand-color")]
    grounds = ["--page", "--jp-layout-color1", "--jp-layout-color2"]
    for word in (*words, "--jp-ui-font-color2"):
        assert min(contrast(colours[word], colours[ground]) for ground in grounds) >= 4.5, word
    assert contrast(colours["--warn"], colours["--page"]) >= 4.5
    ink, back, soft = (
        colours[f"--jp-{name}"] for name in ("ui-font-color1", "layout-color1", "layout-color2")
    )
    view = (pages.HERE / "explorer.css").read_text()
    mixed = {
        name: mix(ink, back, int(share) / 100)
        for name, share in re.findall(r"--roi-(dim|rail): color-mix\(.*?ink\) (\d+)%", view)
    }
    assert contrast(mixed["rail"], back) >= 3
    assert min(contrast(mixed["dim"], ground) for ground in (back, soft)) >= 4.5


def mix(one, other, share):
    """CSS's color-mix in sRGB of two colours such as #1b1f24, short ones too."""
    parts = [
        [
            int(c[1 + k * (len(c) // 3) :][: len(c) // 3] * (2 if len(c) == 4 else 1), 16)
            for k in range(3)
        ]
        for c in (one, other)
    ]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in zip(*parts))


def by_kernel(gan, original, region, codes, seed):
    image = torch.tensor(original.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    mask = torch.tensor(region)[None, None].float()
    reach = {} if isinstance(gan, Steered) else {"reach": 2}
    done = gan.inpaint(image, mask, torch.tensor([codes]), seed, **reach)
    return rg.plots.to_uint8(done)[0].astype(int)


class TestOnThePage:
    pytestmark = in_a_browser

    def test_the_kernel_draws_the_same(self, opened, gan):
        page = opened.page
        assert rectangle(page, 16, 20, 48, 52).startswith("mask 1,024 px, rendered in")
        codes = [0.0] * (gan.n_continuous + gan.n_discrete)
        page.get_by_test_id("roi-more").evaluate("node => { node.open = true; }")
        for seed, moves in [(0, {}), (0, {1: "End", 4: "Home"}), (12345, {1: "Home"})]:
            for code, key in moves.items():
                page.get_by_test_id(f"code-{code}").focus()
                page.keyboard.press(key)
                codes[code - 1] = {"End": 2.0, "Home": -2.0}[key]  # beyond training too
            page.get_by_test_id("roi-seed").fill(str(seed))
            page.keyboard.press("Tab")
            drawn(page)
            original, completed, region = on_screen(page)
            there = np.zeros((64, 64), bool)
            there[20:52, 16:48] = True
            assert (region == there).all()  # painted exactly
            assert (completed[~region] == original[~region]).all()  # outside bit-equal
            wanted = by_kernel(gan, original, region, codes, seed)
            assert np.abs(completed.astype(int) - wanted).max() <= 2
            assert (completed != original).any(2)[region].mean() > 0.9
        assert not opened.errors

    def test_batch_has_noise_of_its_own_for_each(self, opened, gan):
        page = opened.page
        page.get_by_test_id("codes-reset").click()
        page.get_by_test_id("show-batch").check()
        page.locator(".roi-base[width='192']").wait_for()
        drawn(page)
        nine = canvas(page, "roi-completed").astype(int)
        seed = int(page.get_by_test_id("roi-seed").input_value())
        region = on_screen(page)[2]
        images = rg.open_dataset(NAME, "test", 64, limit=9)[:]
        images = torch.tensor(rg.plots.to_uint8(images)).permute(0, 3, 1, 2) / 127.5 - 1
        codes = torch.zeros(9, gan.n_continuous + gan.n_discrete)
        done = gan.inpaint(images, torch.tensor(region)[None, None].float(), codes, seed)
        tiles = nine.reshape(3, 64, 3, 64, 3).swapaxes(1, 2).reshape(9, 64, 64, 3)
        assert np.abs(tiles - rg.plots.to_uint8(done)).max() <= 2
        page.get_by_test_id("show-batch").uncheck()
        drawn(page)

    def test_only_the_newest_position_is_drawn(self, opened):
        page = opened.page
        count = page.evaluate(DRAGGED)
        assert count == 2  # the first position and the last, none between
        assert page.get_by_test_id("code-2").input_value() == "1"

    def test_a_photograph_of_ones_own(self, opened, gan, tmp_path):
        page, (width, height) = opened.page, (300, 240)
        y, x = np.mgrid[:height, :width]
        wave = lambda a, b: 127 + 90 * np.sin(a * x / 40 + b * y / 50)
        photo = np.stack([wave(1, 2), wave(2, 1), wave(-1, 1)], 2).astype(np.uint8)
        Image.fromarray(photo).save(tmp_path / "me.png")
        page.get_by_test_id("photo-file").set_input_files(tmp_path / "me.png")
        page.get_by_test_id("eyes-take").wait_for()
        box = page.get_by_alt_text("photograph; click on both eyes").bounding_box()
        for at in (0.4, 0.35), (0.6, 0.45):
            page.mouse.click(box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"])
        places = [page.get_by_test_id(f"roi-eye-{k}").get_attribute("style") for k in (0, 1)]
        page.get_by_test_id("eyes-take").click()
        page.get_by_test_id("image-12").wait_for()
        drawn(page)
        rectangle(page, 20, 20, 44, 44)
        original, completed, region = on_screen(page)
        shares = [re.findall(r"(?:left|top): ([\d.]+)%", place) for place in places]
        eyes = [(float(a) * width / 100 - 0.5, float(b) * height / 100 - 0.5) for a, b in shares]
        assert np.abs(np.subtract(eyes, [(119.5, 83.5), (179.5, 107.5)])).max() < 1.5
        (u1, v1), (u2, v2) = eye_places(NAME, 64)
        p, q = complex(*eyes[0]), complex(*eyes[1])
        turn = complex(u2 - u1, v2 - v1) / (q - p)
        shift = complex(u1, v1) - turn * p
        matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
        frame = photos.Frame(matrix, 64)
        seen = rg.plots.to_uint8(photos.to_model(photo, frame))[0].astype(int)
        assert np.abs(seen - original).max() <= 1
        assert (completed[~region] == original[~region]).all()

        with page.expect_download() as download:
            page.get_by_test_id("photo-save").click()
        assert download.value.suggested_filename == "me-redrawn.png"
        saved = np.asarray(Image.open(download.value.path()).convert("RGB"))
        mask = torch.tensor(region)[None, None].float()
        hole = photos.mask_to_photo(mask, frame, width, height)
        done = torch.tensor(completed.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        wanted = photos.paste(photo, done, mask, frame).astype(int)
        changed = (saved != photo).any(2)
        assert saved.shape == photo.shape and (changed & ~hole).sum() < 0.02 * hole.sum()
        assert np.median(np.abs(saved - wanted)[hole]) <= 1
        assert np.quantile(np.abs(saved - wanted)[hole], 0.99) <= 6
        assert not opened.errors

    def test_a_photograph_dropped_or_pasted_asks_for_its_eyes(self, opened):
        page, eyes = opened.page, opened.page.get_by_test_id("eyes-cancel")
        for kind in ("drop", "paste"):
            page.evaluate(DELIVERED, kind)
            eyes.wait_for()
            page.keyboard.press("Escape")
            eyes.wait_for(state="hidden")
        assert not opened.errors

    def test_compare_and_the_end_of_training(self, opened, gan):
        page = opened.page
        rectangle(page, 16, 20, 48, 52)
        page.get_by_test_id("code-1").focus()
        page.keyboard.press("End")
        drawn(page)
        assert page.locator(".roi-beyond").inner_text() == "+2.00"  # beyond the mark at 1
        original, completed, region = on_screen(page)
        codes = [2.0] + [0.0] * (gan.n_continuous + gan.n_discrete - 1)
        for k, key in enumerate([f"c{k + 1}" for k in range(gan.n_continuous)]):
            codes[k] = float(page.locator(f"[data-code={key}]").input_value())
        seed = int(page.get_by_test_id("roi-seed").input_value())
        wanted = by_kernel(gan, original, region, codes, seed)
        assert np.abs(completed.astype(int) - wanted).max() <= 2

        page.get_by_test_id("show-outline").uncheck()
        page.wait_for_timeout(200)
        after, button = canvas(page, "roi-canvas"), page.get_by_test_id("roi-compare")
        button.focus()
        page.keyboard.down("Space")
        page.wait_for_timeout(200)
        before = canvas(page, "roi-canvas")
        page.keyboard.up("Space")
        page.wait_for_timeout(200)
        assert (before != after).any() and (canvas(page, "roi-canvas") == after).all()
        page.get_by_test_id("show-outline").check()
        assert not opened.errors

    def test_a_photograph_follows_to_the_model_beside(self, opened, folder, tmp_path):
        two = shutil.copytree(folder, folder / "two", ignore=shutil.ignore_patterns("two"))
        models, (card, *_) = two / "models", json.loads((folder / "models.json").read_text())
        names = ["celeba-a", "celeba-b"]
        for name in names:
            for part in ("fixed.onnx", "moving.onnx", "png"):
                shutil.copy(models / f"{NAME}.{part}", models / f"{name}.{part}")
        cards = [{**card, "name": name, "title": name} for name in names]
        (two / "models.json").write_text(json.dumps(cards))
        Image.effect_noise((60, 50), 80).convert("RGB").save(tmp_path / "me.png")
        page = opened.page.context.browser.new_page()
        page.goto(f"{opened.url}/two/?gpu=0")
        drawn(page)
        page.get_by_test_id("photo-file").set_input_files(tmp_path / "me.png")
        page.get_by_test_id("eyes-take").wait_for()
        box = page.get_by_alt_text("photograph; click on both eyes").bounding_box()
        for x, y in (0.3, 0.4), (0.7, 0.4):
            assert page.get_by_test_id("eyes-take").is_disabled()  # two places are a guess
            page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.get_by_test_id("eyes-take").click()
        page.get_by_test_id("image-12").wait_for()
        drawn(page)
        mine = on_screen(page)[0]
        for name in names[::-1]:
            page.locator(".roi-explorer").evaluate("node => { node.dataset.old = 1; }")
            page.get_by_test_id(f"model-{name}").click()
            new = page.locator(".roi-explorer:not([data-old]) .roi-thumbs label:nth-child(13)")
            new.locator("input:checked").wait_for(state="attached")
            page.wait_for_timeout(300)
            drawn(page)
            assert (on_screen(page)[0] == mine).all()
            assert page.locator(".roi-thumbs input").count() == 13  # it comes once
            assert page.url.endswith(f"#{name}")
        page.close()

    def test_ready_regions_are_taken_added_and_taken_away(self, opened):
        page = opened.page

        def taken(name, *keys):
            page.get_by_test_id(f"region-{name}").click(modifiers=keys)
            page.wait_for_timeout(100)
            drawn(page)
            return on_screen(page)[2]

        y, x = np.mgrid[:64, :64]
        inside = lambda list_: np.any(
            [((x + 0.5) / 64 - a) ** 2 / c**2 + ((y + 0.5) / 64 - b) ** 2 / d**2 <= 1
             for a, b, c, d in list_], 0
        )  # fmt: skip
        there = regions(NAME, 64)
        eyes, mouth = inside(there["eyes"]), inside(there["mouth"])
        assert (taken("eyes") == eyes).all()
        assert (taken("mouth", "Shift") == eyes | mouth).all()
        assert (taken("eyes", "Alt") == mouth & ~eyes).all()
        assert (taken("whole-face") == inside(there["whole face"])).all()
        page.get_by_test_id("roi-undo").click()
        page.wait_for_timeout(100)
        drawn(page)
        assert (on_screen(page)[2] == mouth & ~eyes).all() and not opened.errors

    def test_undo_outlives_the_view(self, opened):
        page = opened.page
        rectangle(page, 16, 20, 48, 52)
        rectangle(page, 20, 20, 30, 30)
        page.get_by_test_id("model-steered").check()
        drawn(page)
        page.get_by_test_id(f"model-{NAME}").check()  # drawn anew, as after a reload in a notebook
        drawn(page)
        assert on_screen(page)[2].sum() == 100
        page.get_by_test_id("roi-undo").click()  # the rectangle
        page.get_by_test_id("roi-undo").click()  # the clearing before it
        page.wait_for_timeout(100)
        drawn(page)
        assert on_screen(page)[2].sum() == 32 * 32 and not opened.errors

    def test_steered_sliders_go_to_their_ends(self, opened, gan):
        page = opened.page
        page.get_by_test_id("model-steered").check()
        drawn(page)
        rectangle(page, 16, 20, 48, 52)
        n = gan.n_continuous
        codes = [0.0] * (n + gan.n_discrete)
        for code, key in ((1, "Home"), (2, "End"), (5, "End")):  # two told ones, a third
            page.get_by_test_id(f"code-{code}").focus()
            page.keyboard.press(key)
            codes[code - 1] = {"End": 1.0, "Home": -1.0}[key]
        drawn(page)
        original, completed, region = on_screen(page)
        seed = int(page.get_by_test_id("roi-seed").input_value())
        moved = Steered(gan, steering({"n_continuous": n}))
        wanted = by_kernel(moved, original, region, codes, seed)
        assert np.abs(completed.astype(int) - wanted).max() <= 2
        still = by_kernel(gan, original, region, codes, seed)
        assert np.abs(wanted - still)[region].mean() > 1 and not opened.errors
        page.get_by_test_id(f"model-{NAME}").check()
        drawn(page)

    def test_empty_and_full_regions_get_a_sentence(self, opened):
        page = opened.page
        page.get_by_test_id("roi-clear").click()
        assert drawn(page) == "nothing painted yet: this is the original"
        original, completed, _ = on_screen(page)
        assert (original == completed).all()
        said = rectangle(page, 1, 1, 63, 63)
        share, rest = said.split(": ")
        assert share == "the region covers 94 % of the picture"
        assert rest == "leave the model more to go by; this is the original"
        page.get_by_test_id("photo-save").click()
        page.get_by_test_id("roi-status").get_by_text("There is no drawing to save").wait_for()
        original, completed, _ = on_screen(page)
        assert (original == completed).all()
        assert not opened.errors

    def test_a_link_shows_the_same_again(self, opened):
        page = opened.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_test_id("image-3").click()
        rectangle(page, 20, 20, 44, 44)
        page.get_by_test_id("code-3").focus()
        page.keyboard.press("End")
        drawn(page)
        page.get_by_test_id("roi-more").evaluate("node => { node.open = true; }")
        page.get_by_test_id("settings-copy").click()
        page.get_by_text("The link is copied.").wait_for()
        link, there = page.evaluate("navigator.clipboard.readText()"), on_screen(page)
        assert link.startswith(f"{opened.url}/?gpu=0#{NAME}~") and len(link) < 2000
        other = page.context.browser.new_page()
        other.goto(link)
        other.locator(".roi-status[data-state=ready]").wait_for()
        drawn(other)
        assert other.get_by_test_id("code-3").input_value() == "2"
        assert all((a == b).all() for a, b in zip(on_screen(other), there))
        told, (here, packed) = other.get_by_test_id("roi-status"), link.split("~")
        assert told.inner_text() == "settings loaded from the link"
        content = json.loads(base64.urlsafe_b64decode(packed + "=="))
        mine = base64.urlsafe_b64encode(json.dumps({**content, "image": "me.jpg"}).encode())
        for state, words in [
            (mine.decode().rstrip("="), "its picture, me.jpg, is not among these: open it first"),
            (packed[:-9], "the link is damaged or cut off: copy it again"),
        ]:
            other.goto("about:blank")
            other.goto(f"{here}~{state}")
            told.get_by_text(words).wait_for()
            drawn(other)
            other.get_by_text("Drawn by WebAssembly").wait_for()  # the first picture is there
            other.wait_for_timeout(1000)
            assert words in told.inner_text()
        other.goto(link)  # in a tab where the page is open: only what stands behind # differs
        told.get_by_text("settings loaded from the link").wait_for()
        drawn(other)
        assert other.get_by_test_id("code-3").input_value() == "2"
        other.close()

    def test_it_says_what_draws(self, opened):
        credits = opened.page.locator("#credits")
        assert "Drawn by WebAssembly, 1 thread." in credits.inner_text()
        without = opened.page.evaluate("navigator.gpu === undefined")
        assert ("This browser offers no WebGPU" in credits.inner_text()) == without

    def test_nothing_leaves_the_page(self, opened):
        assert {
            url.split("/")[2] for url in opened.asked if not url.startswith(("blob:", "data:"))
        } == {opened.url.split("/")[2]}
        with http.server.HTTPServer(
            ("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler
        ) as other:
            other.timeout, other.handle_timeout = 3, lambda: arrived.append(None)
            address, arrived = f"http://127.0.0.1:{other.server_port}/", []
            for room in (opened.page, opened.page.workers[0]):  # a live server, never reached
                assert "Failed to fetch" in room.evaluate(AWAY, address)
            other.handle_request()
            assert arrived == [None]
        opened.errors.clear()

    def test_without_webassembly_it_says_so(self, opened):
        bare = opened.page.context.browser.new_page()
        bare.add_init_script("delete globalThis.WebAssembly")
        bare.goto(opened.url)
        said = bare.get_by_test_id("page-message")
        said.filter(has_text="WebAssembly is switched off in this browser").wait_for()
        bare.close()
