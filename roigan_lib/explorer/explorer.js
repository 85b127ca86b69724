// The explorer's view, one for two back ends. `model` holds the state; this file draws it and turns gestures into requests. In a
// notebook the model is anywidget's, with Python behind it; on the page that needs no Python it is a Session (session.js), with a
// worker behind it. The view asks six things of either: get, set, save_changes, send, on and off.

import { eyePicker } from "./eyes.js";
import { download, encoded, film, strip, toCanvas, toImage } from "./keep.js";
import { dab, ellipses, extent, outline, pack, polygon, shape, unpack } from "./mask.js";
import { Store, hire } from "./store.js";

const ICONS = {
  brush: '<path d="M13.2 2.2a1.6 1.6 0 0 0-2.3 0L5.6 7.6l2.8 2.8 5.4-5.4a1.6 1.6 0 0 0-.6-2.8z"/>' +
    '<path d="M4.8 8.6c-1.7 0-2.6 1.2-2.6 2.7 0 1-.5 1.5-1.2 1.8.9.9 5.7 1.5 6.5-1.7z"/>',
  subtract: '<path d="m6 13.2-3.6-3.6 7-7 4.2 4.2-6.4 6.4zM2.4 9.6l3.5-3.5 4.2 4.2" fill="none" ' +
    'stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"/>',
  rectangle: '<rect x="2" y="3.5" width="12" height="9" rx="1" fill="none" stroke="currentColor" stroke-width="1.6"/>',
  undo: '<path d="M6.5 2.5 3 6l3.5 3.5M3.4 6h6.1a3.5 3.5 0 0 1 0 7H6" fill="none" ' +
    'stroke="currentColor" stroke-width="1.5"/>',
  redo: '<path d="M9.5 2.5 13 6 9.5 9.5M12.6 6H6.5a3.5 3.5 0 0 0 0 7H10" fill="none" ' +
    'stroke="currentColor" stroke-width="1.5"/>',
  clear: '<path d="m3.5 3.5 9 9m0-9-9 9" fill="none" stroke="currentColor" stroke-width="1.6"/>',
  ellipse: '<ellipse cx="8" cy="8" rx="6.2" ry="4.7" fill="none" stroke="currentColor" stroke-width="1.6"/>',
  lasso: '<path d="M4.2 9.6C2.8 8.9 2 7.9 2 6.7c0-2.3 2.7-4.1 6-4.1s6 1.8 6 4.1-2.7 4.1-6 4.1h-.8' +
    'M7 11.2a1.5 1.5 0 1 1-3 0 1.5 1.5 0 0 1 3 0zM4.9 12.7c.2.9-.2 1.5-1.2 1.9" fill="none" ' +
    'stroke="currentColor" stroke-width="1.5"/>',
};
const TOOLS = { brush: "Brush", rectangle: "Rectangle", ellipse: "Ellipse", lasso: "Free outline" };
const VIEWS = { completed: "Redrawn", original: "Original", wipe: "Wipe" };
const HINT = "Paint on the picture; with Alt held a stroke subtracts. Keys: arrows move the tool, Space puts it down and lifts it, " +
  "Escape gives up, [ and ] size the brush, Ctrl+Z undoes. On a slider: left and right move it, up and down go to the next, F2 names it.";
const PATIENCE = 5000; // milliseconds without an answer before the status line says so
const BUSY = "No answer yet: the kernel is busy, perhaps with another cell. The picture follows when that has ended.";
const SILENT = "No answer from the kernel yet: it is busy with another cell, or has restarted; then run this cell again.";
const GONE = ["restarting", "autorestarting", "terminating", "dead"];
const SEEDS = 4, PAUSE = 250; // the row of seeds waits for so many milliseconds of rest, and gives way to any request
const BATCH = 9, STEPS = 9;
const LARGEST = 50; // megapixels: as photograph, as pixels and as result, each takes 4 bytes a pixel
const SOUGHT = 640; // pixels of the longer side of what the kernel looks for eyes in
const photographs = []; // this page's: { rgb, as the model sees it; file, number, eyes }

function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function icon(name) {
  const span = h("span", { class: "roi-icon", "aria-hidden": "true" });
  span.innerHTML = `<svg viewBox="0 0 16 16" width="16" height="16" fill="currentColor">${ICONS[name]}</svg>`;
  return span;
}

function bytesOf(value) {
  if (!value?.byteLength) return new Uint8Array();
  return new Uint8Array(value.buffer ?? value, value.byteOffset ?? 0, value.byteLength);
}

const equal = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
const kept = (bytes) => new DataView(Uint8Array.from(bytes).buffer); // as anywidget sends bytes

const fileName = (words) => words.replaceAll(/[^\w-]+/g, "-");
const inRow = (count) => (count > 4 ? 3 : count > 1 ? 2 : 1);

function fill(canvas, rgb, size, mask = null) { // one picture, or several in rows of two or three
  const count = rgb.length / (3 * size * size), across = inRow(count);
  if (!count || count % 1) return;
  canvas.width = canvas.height = across * size;
  for (let k = 0; k < count; k++) {
    const one = toImage(rgb.subarray(3 * k * size * size), size, mask);
    canvas.getContext("2d").putImageData(one, (k % across) * size, Math.floor(k / across) * size);
  }
}

// One stop of the tabulator for a group: the keys go from one of its members to the next.
function rove(group, members, before, after) {
  const there = () => members().filter((node) => !node.disabled && node.checkVisibility());
  const stop = (chosen) => members().forEach((node) => { node.tabIndex = node === chosen ? 0 : -1; });
  group.addEventListener("focusin", (event) => { if (members().includes(event.target)) stop(event.target); });
  group.addEventListener("keydown", (event) => {
    const step = { [before]: -1, [after]: 1 }[event.key], list = there(), at = list.indexOf(event.target);
    if (!step || at < 0) return;
    event.preventDefault();
    list[(at + step + list.length) % list.length].focus();
  });
  const settle = () => {
    const list = there();
    if (!list.some((node) => node.tabIndex === 0)) stop(list[0] ?? members()[0]);
  };
  stop(members()[0]);
  return settle;
}

function render({ model, el }) {
  const size = model.get("size"), nContinuous = model.get("n_continuous"), nDiscrete = model.get("n_discrete");
  const uid = Math.random().toString(36).slice(2, 8);
  const without = model.get("without") ?? [], reach = model.get("reach"); // training showed the model codes from -1 to 1
  let mask = new Uint8Array(size * size), past = [], future = [];
  let tool = "brush", radius = Math.max(1, size / 16), stroke = null, cursor = null, byKey = false, wipe = size / 2;
  let showing = "completed", held = false, waiting = false, timer = null, frame = 0, note = null, lost = false;
  let count = 1, across = 1, tile = { x: 0, y: 0 }; // pictures on the stage, in a row of it, and where the cursor is
  let first = model.get("seed"), filled = "", ended = "", place = "", round = 0, later = null; // the row of seeds, the ends of sliders
  let darkroom = null, playing = 0, closed = false;

  const kernel = model.widget_manager?.kernel; // where the host is JupyterLab, Notebook or Voilà
  // --- talking to the back end: the newest state only, and only after its last answer ------------------------------
  const busy = () => model.get("tick") > model.get("answered"); // less, where another browser tab asked as well
  function request(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    waiting = true;
    note = null;
    playing++;
    round++;
    clearTimeout(later);
    flush();
  }
  function flush() {
    if (waiting && !busy()) {
      waiting = false;
      model.set("tick", model.get("answered") + 1);
      model.save_changes();
      clearTimeout(timer);
      timer = setTimeout(showStatus, kernel ? PATIENCE / 2 : PATIENCE, true);
    }
    showStatus();
  }
  function showStatus(late = false) {
    const waits = late === true && busy(), failed = lost || (note?.failed ?? model.get("failed"));
    const silent = kernel ? BUSY : model.get("late") ?? SILENT; // its status is no help: control messages say idle in between
    status.dataset.state = failed ? "failed" : busy() ? "busy" : "ready";
    if (lost) text.textContent = "The kernel has restarted or gone, and this explorer with it: run its cell again (in Voilà, reload the page).";
    else if (waits) text.textContent = silent;
    else text.textContent = note?.text ?? model.get("status");
    if (failed) told.textContent = text.textContent;
  }
  function disconnected() { // the back end is gone, and does not come back to this view: nothing can act any more
    if (lost) return;
    lost = true;
    clearTimeout(timer);
    for (const part of [toolbar, stage, below, regions, right]) part.inert = lost;
    root.classList.toggle("roi-lost", lost);
    showStatus();
  }
  const asked = new Map(); // questions that are answered once, beside the shared state
  function ask(content, buffers) {
    const id = `${uid}-${Math.random()}`;
    model.send({ ...content, id }, undefined, buffers);
    return new Promise((good, bad) => asked.set(id, { good, bad }));
  }
  function answer({ id, error, ...rest }, buffers) {
    if (error) asked.get(id)?.bad(new Error(error));
    else asked.get(id)?.good({ ...rest, bytes: bytesOf(buffers?.[0]) });
    asked.delete(id);
  }
  const look = async (code_values, seed = model.get("seed")) => (await ask({ do: "look", codes: code_values, seed })).bytes;
  function say(words, failed = false, stays = false) { note = { text: words, failed, stays }; showStatus(); } // past the next answer
  const act = (action) => async (...given) => { // a button's work: what came of it goes to the status line
    try {
      const words = await action(...given);
      if (words) say(words, false, words.startsWith("settings loaded"));
    } catch (error) {
      say(error.message, true, true);
    }
  };

  // --- parts ------------------------------------------------------------------------------------------------------
  const square = (testid, label) =>
    h("canvas", { width: size, height: size, "data-testid": testid, role: "img", "aria-label": label });
  const base = square("roi-completed", "redrawn picture at the model's resolution");
  base.className = "roi-base";
  const source = h("canvas"); // as base, before the redrawing
  const original = square("roi-original", "original picture");
  const masked = square("roi-masked", "what the model is shown");
  const canvas = h("canvas", {
    class: "roi-canvas", "data-testid": "roi-canvas", tabindex: 0, role: "application",
    "aria-label": "Picture: paint the region to redraw", "aria-describedby": `roi-hint-${uid}`,
  });
  const stage = h("div", { class: "roi-stage" }, base, canvas);
  const seedTiles = Array.from({ length: SEEDS }, (_, k) =>
    h("button", { type: "button", "data-testid": `seed-${k}`, onclick: () => request({ seed: first + k }) },
      h("canvas", { width: size, height: size }), h("span")));
  const seedRow = h("div", { class: "roi-seeds", role: "toolbar", "aria-label": "Seeds", hidden: true }, ...seedTiles);
  const text = h("span", { "data-testid": "roi-status" });
  const status = h("div", { class: "roi-status" }, h("i"), text);
  const told = h("div", { class: "roi-told", role: "status", "aria-live": "polite", "data-testid": "roi-told" });

  const button = (label, testid, title, action) =>
    h("button", {
      type: "button", class: "roi-button", "data-testid": testid, title, onclick: action ?? (() => {}),
      "aria-label": typeof label === "string" ? null : title, // words speak for themselves
    }, label);
  const choice = (group, value, checked, testid, title, body, action) =>
    h("label", { title, "data-testid": testid },
      h("input", { type: "radio", name: `${group}-${uid}`, value, checked, "aria-label": title, onchange: action }),
      body);

  const tools = h("div", { class: "roi-segment", role: "radiogroup", "aria-label": "Tool" },
    ...Object.entries(TOOLS).map(([name, label]) =>
      choice("tool", name, name === tool, `tool-${name}`, label, icon(name), () => { tool = name; draw(); })));
  const subtract = button(icon("subtract"), "roi-subtract", "Strokes subtract from the region (or hold Alt)",
    () => subtract.setAttribute("aria-pressed", subtract.getAttribute("aria-pressed") !== "true"));
  subtract.setAttribute("aria-pressed", false);
  const width = h("input", {
    type: "range", min: 1, max: Math.round(size / 3), step: 1, value: 2 * radius, "data-testid": "brush-size",
    "aria-label": "Brush size in pixels", title: "Brush size ([ and ])", oninput: resize,
  });
  function resize() { radius = width.value / 2; track(width, 1); draw(); }
  const undoButton = button(icon("undo"), "roi-undo", "Undo the last change of the region (Ctrl+Z)", undo);
  const redoButton = button(icon("redo"), "roi-redo", "Redo (Ctrl+Shift+Z)", redo);
  const clearButton = button(icon("clear"), "roi-clear", "Remove the whole region",
    () => commit(new Uint8Array(size * size)));
  const steps = h("div", { class: "roi-group", role: "toolbar", "aria-label": "Steps" }, undoButton, redoButton, clearButton);
  const toolbar = h("div", { class: "roi-toolbar" }, tools, subtract, h("label", { class: "roi-size" }, width), steps);
  const preset = Object.entries(model.get("regions") ?? {}).map(([name, list]) => button(
    name[0].toUpperCase() + name.slice(1), `region-${name.replaceAll(" ", "-")}`,
    `The region: ${name}. With Shift it is added, with Alt taken away`, (event) => {
      const one = ellipses(size, list);
      const joined = event.shiftKey ? (bit, i) => bit | one[i] : event.altKey ? (bit, i) => bit & ~one[i] : (_, i) => one[i];
      commit(mask.map(joined));
    }));
  const regions = h("div", { class: "roi-group roi-regions", role: "toolbar", "aria-label": "Region", hidden: !preset.length }, ...preset);

  const views = h("div", { class: "roi-segment roi-words", role: "radiogroup", "aria-label": "Show" },
    ...Object.entries(VIEWS).map(([name, label]) => choice("show", name, name === showing, `show-${name}`,
      name === "wipe" ? "The original left of a line that you drag, or move by the arrows" : `Show the ${label.toLowerCase()} picture`,
      h("span", {}, label), () => { showing = name; stage.dataset.show = name; draw(); })));
  const hold = (on) => () => { if (held !== on) { held = on; compare.setAttribute("aria-pressed", on); draw(); } };
  const compare = button("Hold to compare", "roi-compare", "The original, as long as this is held", null);
  for (const [names, on] of [["pointerdown", true], ["pointerup pointerleave pointercancel blur", false]]) {
    for (const name of names.split(" ")) compare.addEventListener(name, hold(on));
  }
  for (const [name, on] of [["keydown", true], ["keyup", false]]) {
    compare.addEventListener(name, (event) => { if (event.key === " " || event.key === "Enter") hold(on)(); });
  }
  const check = (label, testid, title, checked, action) => {
    const box = h("input", { type: "checkbox", checked, "data-testid": testid, onchange: action });
    return [box, h("label", { class: "roi-check", title }, box, h("span", {}, label))];
  };
  const [edge, edgeLabel] = check("Outline", "show-outline", "Draw the edge of the region", true, draw);
  const [batch, batchLabel] = check("Batch", "show-batch",
    `The first ${Math.min(BATCH, model.get("n_images"))} images at once, under one region and the same codes`, false,
    () => request({ batch: batch.checked }));
  batchLabel.hidden = model.get("n_images") < 2;
  const [seeds, seedsLabel] =
    check("Seeds", "show-seeds", "The same with other seeds, side by side", false, refreshIdle);
  const below = h("div", { class: "roi-below" }, views, compare,
    h("div", { class: "roi-checks" }, edgeLabel, batchLabel, seedsLabel));

  // --- pictures to choose from, and photographs of one's own -------------------------------------------------------
  const file = h("input", {
    type: "file", accept: "image/*,.heic", hidden: true, "data-testid": "photo-file",
    onchange: () => { if (file.files[0]) open(file.files[0]); file.value = ""; },
  });
  const openButton = button("Open a photograph", "photo-open", "Or drop one here, or paste it; it does not leave your machine", () => file.click());
  const saveButton = button("Save the picture", "photo-save", "A photograph of yours at its full size, in its own format; else a PNG", act(savePicture));
  const thumbs = h("div", { class: "roi-thumbs", role: "radiogroup", "aria-label": "Image" });
  async function refreshThumbs() {
    const names = model.get("image_names");
    thumbs.replaceChildren(...Array.from({ length: model.get("n_images") }, (_, i) =>
      choice("image", i, i === model.get("index"), `image-${i}`, names[i] ?? `Picture ${i + 1}`,
        h("canvas", { width: 64, height: 64 }), () => request({ index: i, batch: false }))));
    const sprite = await createImageBitmap(new Blob([bytesOf(model.get("thumbs"))], { type: "image/png" }));
    thumbs.querySelectorAll("canvas").forEach((node, i) =>
      node.getContext("2d").drawImage(sprite, i * sprite.height, 0, sprite.height, sprite.height, 0, 0, 64, 64));
  }
  const photograph = () => {
    const shown = bytesOf(model.get("original_rgb"));
    return model.get("batch") ? null : photographs.find(({ rgb }) => equal(rgb, shown));
  };
  const inDarkroom = (question) => {
    darkroom ??= hire(model.get("darkroom"), (why) => say(`The work on photographs stopped (${why}): reload the page.`, true));
    return darkroom(question);
  };
  const picker = h("div"), preview = square("eyes-preview", "the face as the model will see it"), found = h("p");
  const take = h("button", { type: "button", class: "roi-button roi-main", "data-testid": "eyes-take" }, "Use this face");
  const cancel = h("button", { type: "button", class: "roi-button", "data-testid": "eyes-cancel" }, "Cancel");
  const dialog = h("dialog", { class: "roi-dialog", "aria-labelledby": `roi-eyes-${uid}` },
    h("h2", { id: `roi-eyes-${uid}` }, "Where are the eyes?"), found,
    h("div", { class: "roi-place" }, picker, h("figure", {}, preview, h("figcaption", {}, "what the model will see"))),
    h("div", { class: "roi-group" }, cancel, take));

  function measured(picture) { // width and height, before anything is decoded at full size
    return new Promise((good, bad) => {
      const image = new Image(), address = URL.createObjectURL(picture);
      image.onload = () => { good([image.naturalWidth, image.naturalHeight]); URL.revokeObjectURL(address); };
      image.onerror = () => {
        const kind = /hei[cf]$/i.test(picture.type || picture.name) ? "HEIC, which this browser cannot read" : "no picture that this browser can read";
        bad(new Error(`${picture.name || "That"} is ${kind}: save it as JPEG or PNG first.`));
      };
      image.src = address;
    });
  }
  async function eyesOf(picture, width, height) { // the kernel's guess, else two places to move
    const guess = [[0.4 * width, 0.45 * height], [0.6 * width, 0.45 * height]];
    const how = "Click on one eye, then on the other. Further clicks move the nearer ring, arrow keys the chosen one.";
    if (without.includes("find")) return { eyes: guess, guessed: true, words: how };
    try {
      const scale = Math.min(1, SOUGHT / Math.max(width, height));
      const small = new OffscreenCanvas(Math.max(16, width * scale), Math.max(16, height * scale));
      const bitmap = await createImageBitmap(picture, { colorSpaceConversion: "none" });
      small.getContext("2d").drawImage(bitmap, 0, 0, small.width, small.height);
      bitmap.close();
      const bytes = await encoded(small, "image/jpeg", 0.95), { eyes } = await ask({ do: "find" }, [bytes.buffer]);
      const at = ([x, y]) => [(x + 0.5) * width / small.width - 0.5, (y + 0.5) * height / small.height - 0.5];
      return { eyes: eyes.map(at), guessed: false, words: "The rings are where the kit found the eyes: a click moves the nearer one, arrow keys the chosen one." };
    } catch (error) {
      return { eyes: guess, guessed: true, words: `${error.message.split(":")[0].replace(/^./, (c) => c.toUpperCase())}. ${how}` };
    }
  }
  const open = act(async (picture) => {
    if (lost) return;
    const [width, height] = await measured(picture), millions = width * height / 1e6, name = picture.name || "photograph";
    if (Math.min(width, height) < 16) throw new Error(`${name} has ${width} × ${height} pixels: a side needs 16 or more.`);
    if (millions > LARGEST) {
      throw new Error(`${name} has ${Math.round(millions)} megapixels: ${LARGEST} are the most this page takes. Save it smaller first.`);
    }
    const number = `${uid}-${photographs.length}`, which = { file: picture, number };
    say(`opening ${name} …`);
    await inDarkroom({ do: "open", ...which });
    const { eyes, guessed, words: how } = await eyesOf(picture, width, height);
    const first = picture.type === "image/gif" && "Of a GIF the first picture is taken, and a PNG is what will be saved.";
    const words = [model.get("tip"), first, how].filter(Boolean).join(" ");
    found.textContent = words;
    const points = new Store({
      picture, guessed, eye_points: eyes, photo_size: [width, height],
      shown_px: Math.round(Math.min(480, innerWidth - 80, width, 0.55 * innerHeight * width / height)),
    });
    let rgb = null, turn = 0;
    const see = async () => {
      const mine = ++turn, at = points.get("eye_points"), [[x1, y1], [x2, y2]] = at;
      const together = Math.hypot(x2 - x1, y2 - y1) < 4;
      take.disabled = together || guessed && at.some((eye, i) => equal(eye, eyes[i])); // a guess is no place yet
      if (together) { found.textContent = "The two rings lie on one place: click on each eye."; return; }
      const seen = await inDarkroom({ do: "frame", eyes: at, goal: model.get("eyes"), size, ...which });
      if (mine !== turn) return;
      rgb = seen.rgb;
      fill(preview, rgb, size);
    };
    const close = eyePicker({ model: points, el: picker });
    points.on("change:eye_points", () => { found.textContent = words; see(); });
    dialog.onclick = ({ target }) => {
      if (!target.closest(".roi-eyes, button")) found.textContent = "That was beside the photograph: click on the eyes in it.";
    };
    await see();
    say("");
    note = null;
    showStatus();
    dialog.showModal();
    const taken = await new Promise((done) => {
      take.onclick = () => done(true);
      cancel.onclick = dialog.oncancel = () => done(false);
    });
    if (taken) await see();
    dialog.close();
    close();
    picker.replaceChildren();
    if (!taken) return;
    await taking(rgb, { name, eyes: points.get("eye_points"), ...which });
  });
  async function taking(rgb, { name, ...which }) { // a face of a photograph is one more picture
    photographs.push({ rgb: Uint8Array.from(rgb), ...which });
    if (model.get("link")) model.set("taken", { name, ...which });
    await ask({ do: "take", name }, [Uint8Array.from(rgb).buffer]);
    const start = model.get("regions")?.eyes; // a region that ends in the middle of an eye looks bad on any face
    if (start && !past.length) commit(ellipses(size, start));
  }
  const carry = act(async ({ name, file, eyes }) => { // the photograph that another model of the page was shown
    const which = { file, number: `${uid}-${photographs.length}`, eyes };
    const { rgb } = await inDarkroom({ do: "frame", goal: model.get("eyes"), size, ...which });
    await taking(rgb, { name, ...which });
  });
  async function savePicture() {
    if (model.get("batch")) throw new Error("Leave the batch view first: one picture is saved.");
    const rgb = bytesOf(model.get("completed_rgb")), mine = photograph(), name = model.get("image_names")[model.get("index")] ?? "picture";
    if (!mask.some(Boolean)) throw new Error("Nothing is painted yet: there is nothing to save.");
    if (model.get("failed")) throw new Error("There is no drawing to save: leave the model more to go by.");
    if (!mine) return `${download(`${fileName(name)}-redrawn.png`, "image/png", await encoded(toCanvas(rgb, size)))}.`;
    say("saving …");
    const { rgb: _, eyes, ...which } = mine;
    const saved = await inDarkroom({ do: "save", ...which, eyes, goal: model.get("eyes"), size, rgb: Uint8Array.from(rgb), mask });
    const stem = (mine.file.name ?? "").replace(/\.[^.]*$/, "") || "photograph";
    const words = download(`${stem}-redrawn.${saved.ending}`, saved.file.type, await saved.file.arrayBuffer());
    return `${[words, ...saved.told].join("; ")}.`;
  }

  // --- codes ------------------------------------------------------------------------------------------------------
  const sliders = [], outputs = [], selects = [], ends = [];
  const codes = () => [...sliders, ...selects].map((node) => Number(node.value));
  const keys = [...Array.from({ length: nContinuous }, (_, i) => `c${i + 1}`), ...Array.from({ length: nDiscrete }, (_, i) => `d${i + 1}`)];
  const sendCodes = () => {
    if (showing === "original") views.querySelector("input").click(); // else nothing would be seen to change
    paintCodes();
    request({ code_values: codes() });
  };
  const nameOf = (key) => model.get("names")[key] ?? key;
  const fields = {}, rows = {};
  const row = (key, node, ...rest) => { // a code's key, its name (a text to type over), its control
    fields[key] = h("input", {
      type: "text", class: "roi-name", maxlength: 40, placeholder: "name it", spellcheck: "false", autocomplete: "off", tabindex: -1,
      "data-testid": `name-${key}`, "aria-label": `Name of code ${key}`,
      onchange: (event) => {
        const names = { ...model.get("names") }, name = event.target.value.trim();
        if (name) names[key] = name; else delete names[key];
        event.target.value = name;
        model.set("names", names);
        model.save_changes();
      },
      onkeydown: (event) => {
        if (event.key === "Escape") event.target.value = model.get("names")[key] ?? "";
        if (event.key === "Enter" || event.key === "Escape") node.focus();
      },
    });
    node.dataset.code = key;
    node.addEventListener("keydown", (event) => { if (event.key === "F2") { fields[key].focus(); event.preventDefault(); } });
    rows[key] = h("div", { class: "roi-code" }, h("span", { "aria-hidden": "true" }, key), fields[key], ...rest);
  };
  for (let i = 0; i < nContinuous; i++) {
    const slider = h("input", {
      onkeydown: (event) => { // a step that is seen; with Shift larger ones
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
        event.preventDefault();
        slider.value = Number(slider.value) + step * (event.shiftKey ? 0.25 : 0.05);
        sendCodes();
      },
      type: "range", min: -reach, max: reach, step: 0.01, value: 0, "data-testid": `code-${i + 1}`, title: "Double-click for 0",
      oninput: sendCodes, ondblclick: () => { slider.value = 0; sendCodes(); },
    });
    sliders.push(slider);
    outputs.push(h("output", { "aria-hidden": "true" }));
    ends.push([-1, 1].map((value) => h("button", {
      type: "button", class: "roi-end", tabindex: -1, "data-testid": `end-${i + 1}-${value}`, title: `c${i + 1} at ${value}`,
      onclick: () => { slider.value = value; sendCodes(); },
    }, h("canvas", { width: 1, height: 1 }))));
    row(`c${i + 1}`, slider, outputs[i], h("div", { class: "roi-reach" }, ends[i][0], slider, ends[i][1]));
  }
  for (let i = 0; i < nDiscrete; i++) {
    const options = Array.from({ length: model.get("n_categories") }, (_, k) => h("option", { value: k }, String(k)));
    selects.push(h("select", { "data-testid": `disc-${i + 1}`, onchange: sendCodes }, ...options));
    row(`d${i + 1}`, selects[i], selects[i]);
  }
  const order = model.get("order"), dead = model.get("dead");
  const listed = (list) => [["c", "roi-codes"], ["d", "roi-codes roi-discs"]].map(([kind, style]) =>
    h("div", { class: style }, ...list.filter((key) => key[0] === kind).map((key) => rows[key])));
  const still = h("details", { "data-testid": "codes-dead", hidden: !dead.length, ontoggle: () => settle.forEach((one) => one()) },
    h("summary", { title: "Measured once, on the first picture and region: on others they may move something" },
      `${dead.length} ${dead.length > 1 ? "sliders move" : "slider moves"} nothing visible here`),
    ...listed(dead));
  const live = listed(order.filter((key) => !dead.includes(key)));
  const seed = h("input", {
    type: "number", min: 0, step: 1, value: model.get("seed"), "data-testid": "roi-seed", "aria-label": "Noise seed",
    onchange: () => request({ seed: Math.min(2 ** 31 - 1, Math.max(0, Math.trunc(Number(seed.value)) || 0)) }),
  });
  const random = button("Random", "codes-random", "Draw every code at random", () => {
    sliders.forEach((node) => { node.value = 2 * Math.random() - 1; });
    selects.forEach((node) => { node.value = Math.floor(Math.random() * node.length); });
    sendCodes();
  });
  const reset = button("Reset", "codes-reset", "All codes back to 0", () => {
    [...sliders, ...selects].forEach((node) => { node.value = 0; });
    sendCodes();
  });

  // --- one slider from end to end ------------------------------------------------------------------------------------
  async function sweep(count, shown = () => {}) { // the pictures of the code moved last, and the values above them
    const key = model.get("moved"), at = keys.indexOf(key), now = codes(), mine = playing, pictures = [];
    if (!mask.some(Boolean)) throw new Error("Nothing is painted yet: paint a region to see what the code does.");
    const values = at < nContinuous ? Array.from({ length: count }, (_, k) => -1 + 2 * k / (count - 1))
      : Array.from({ length: model.get("n_categories") }, (_, k) => k);
    for (const value of values) {
      pictures.push(await look(now.map((old, i) => (i === at ? value : old))));
      if (closed || playing !== mine) return null;
      shown(pictures.at(-1));
    }
    const words = values.map((v) => (at < nContinuous && v > 1e-6 ? "+" : "") + Number(v.toFixed(2)));
    return { key, pictures, words, title: nameOf(key) === key ? key : `${nameOf(key)} (${key})` };
  }
  const show = (rgb) => { fill(base, rgb, size); draw(); };
  const play = button("", "roi-play", "The slider moved last, to and fro, until anything else is moved", act(async () => {
    if (play.getAttribute("aria-pressed") === "true") { playing++; return; }
    const mine = ++playing;
    play.setAttribute("aria-pressed", true);
    refreshNames();
    try {
      const swept = await sweep(13, show), frames = swept ? [...swept.pictures, ...swept.pictures.slice(1, -1).reverse()] : [];
      for (let k = 0; frames.length && playing === mine && !closed; k = (k + 1) % frames.length) {
        show(frames[k]);
        await new Promise((done) => setTimeout(done, 80));
      }
    } finally {
      play.setAttribute("aria-pressed", false);
      refreshNames();
      refreshPictures();
    }
  }));
  const stripButton = button("", "roi-strip", "The slider moved last from end to end, as a PNG", act(async () => {
    const swept = await sweep(STEPS);
    if (!swept) return "given up: something was moved";
    return `${download(`strip-${swept.key}.png`, "image/png", await strip(swept.title, swept.words, swept.pictures, size))}.`;
  }));
  const filmButton = button("", "roi-film", "The slider moved last, to and fro, as an animated WebP", act(async () => {
    if (model.get("batch")) throw new Error("Leave the batch view first: a film shows one picture.");
    const swept = await sweep(13);
    if (!swept) return "given up: something was moved";
    return `${download(`film-${fileName(nameOf(swept.key))}.webp`, "image/webp", await film(swept.pictures, size))}.`;
  }));

  // --- settings: what it takes to see the same again, as JSON ------------------------------------------------------
  const whose = () => ({ model: model.get("title"), checkpoint: model.get("checkpoint"), n_continuous: nContinuous, n_discrete: nDiscrete });
  const settings = () => JSON.stringify({
    ...whose(), names: model.get("names"), index: model.get("index"), image: model.get("image_names")[model.get("index")],
    seed: model.get("seed"), codes: codes(), mask: pack(mask),
  });
  function restore(words, name) {
    let content;
    try {
      content = JSON.parse(words);
      if (Object.keys(whose()).some((key) => !(key in content)) || typeof (content.names ?? null) !== "object") throw new Error();
    } catch {
      const why = name === "the link" ? "damaged or cut off: copy it again" : "no complete file of settings: write one by Save settings";
      throw new Error(`${name} is ${why}.`);
    }
    const [mine, theirs] = [whose(), content].map((who) => who.checkpoint ?? who.model);
    if (mine !== theirs || content.n_continuous !== nContinuous || content.n_discrete !== nDiscrete) {
      throw new Error(`The settings in ${name} belong to ${content.model} (checkpoint ${content.checkpoint}), not to this model.`);
    }
    const given = Object.entries(content.names ?? {}).filter(([key, value]) => keys.includes(key) && typeof value === "string" && value.trim());
    const values = { names: Object.fromEntries(given.map(([key, value]) => [key, value.trim().slice(0, 40)])) };
    let missing = "";
    if (content.mask !== undefined) { // a file of names alone, as save_names writes it, has no more
      const right = (code, i) => (i < nContinuous ? Math.abs(code) <= reach : Number.isInteger(code) && code >= 0 && code < model.get("n_categories"));
      let region = null;
      try { region = unpack(content.mask, size * size); } catch { /* told below */ }
      if (!region || !Array.isArray(content.codes) || content.codes.length !== keys.length || !content.codes.every(right) || !Number.isInteger(content.seed)) {
        throw new Error(`The settings in ${name} do not fit a model of ${size} × ${size} pixels and ${keys.length} codes.`);
      }
      const index = model.get("image_names").indexOf(content.image);
      if (index < 0) missing = `; its picture, ${content.image}, is not among these: open it first`;
      Object.assign(values, { code_values: content.codes, seed: content.seed, batch: false }, index < 0 ? {} : { index });
      past = [...past.slice(-49), mask];
      mask = region;
      values.mask_bytes = kept(mask);
    }
    request(values);
    refreshControls();
    refreshNames();
    refreshPictures();
    return `settings loaded from ${name}${missing}`;
  }
  const saveSettings = button("Save settings", "settings-save", "Region, codes, seed and names as a JSON file",
    act(() => `${download(`${model.get("title")}.json`, "application/json", settings())}.`));
  const settingsFile = h("input", {
    type: "file", accept: ".json", hidden: true, "data-testid": "settings-file",
    onchange: act(async () => {
      const chosen = settingsFile.files[0];
      if (!chosen) return "";
      const words = await chosen.slice(0, 100000).text();
      settingsFile.value = ""; // the same file may be chosen again
      return restore(words, chosen.name);
    }),
  });
  const loadSettings = button("Load settings", "settings-load", "From such a file; or paste its text", () => settingsFile.click());
  const toClipboard = (words, what) => act(async () => {
    try { await navigator.clipboard.writeText(words()); } catch {
      throw new Error("The browser does not let this page copy: save the settings as a file.");
    }
    return `${what} copied.${photograph() ? " Your photograph is not in it: whoever opens it sees another picture." : ""}`;
  });
  const copy = model.get("link")
    ? button("Copy link", "settings-copy", "A link to this page that shows the same again; a photograph of yours is not in it",
      toClipboard(() => `${model.get("link")}~${btoa(settings()).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`, "The link is"))
    : button("Copy settings", "settings-copy", "The same as text, to paste here or elsewhere", toClipboard(settings, "The settings are"));
  const sheet = button("Update sheet", "roi-sheet", "Redraw the contact sheet below with what is shown here",
    act(async () => { await ask({ do: "sheet" }); return "the contact sheet is redrawn"; }));
  sheet.hidden = without.includes("sheet"); // a page has no cell to put it below

  const figure = (node, caption) => h("figure", {}, node, h("figcaption", {}, caption));
  const coded = keys.length > 0;
  const moving = h("div", { class: "roi-group", role: "toolbar", "aria-label": "All codes", hidden: !coded }, random, reset, play);
  const keeping = h("div", { class: "roi-group", role: "toolbar", "aria-label": "Keep" },
    ...(coded ? [stripButton, filmButton] : []), saveSettings, loadSettings, copy, sheet);
  const more = h("details", { class: "roi-more", "data-testid": "roi-more", ontoggle: () => settle.forEach((one) => one()) },
    h("summary", {}, "What the model sees, seed, strips, films, settings"),
    h("div", { class: "roi-inputs" }, figure(original, "Original"), figure(masked, "What the model sees"),
      h("dl", {}, h("dt", {}, "Model"), h("dd", {}, model.get("title")),
        h("dt", {}, "Pixels"), h("dd", {}, `${size} × ${size}`), h("dt", {}, "Seed"), h("dd", {}, seed))), keeping, settingsFile);
  const right = h("div", { class: "roi-right" }, h("div", { class: "roi-group" }, openButton, saveButton, file), thumbs,
    ...live, still, moving, more);
  const quiet = { "data-lm-suppress-shortcuts": "true" }; // JupyterLab keeps its shortcuts to itself in here
  const root = h("div", { class: "roi-explorer", "data-testid": "roi-explorer", ...quiet, onkeydown: shortcut },
    h("div", { class: "roi-side" }, h("div", { class: "roi-left" }, toolbar, regions, stage, below, seedRow, status, told)), right,
    h("p", { id: `roi-hint-${uid}`, class: "roi-hint" }, HINT), dialog);
  root.style.setProperty("--roi-px", `${model.get("size_px")}px`);
  root.style.setProperty("--roi-end", 1 / reach);
  root.classList.toggle("roi-far", reach > 1);
  const box = h("div", { class: "roi-box" }, root);
  el.append(box);
  const buttonsOf = (group) => () => [...group.querySelectorAll("button")];
  const settle = [steps, regions, seedRow, moving, keeping].map((group) => rove(group, buttonsOf(group), "ArrowLeft", "ArrowRight"));
  const listedKeys = [...order.filter((key) => !dead.includes(key)), ...dead];
  settle.push(rove(right, () => listedKeys.map((key) => rows[key].querySelector("[data-code]")), "ArrowUp", "ArrowDown"));

  // --- drawing ----------------------------------------------------------------------------------------------------
  function track(slider, origin = 0) { // the coloured part of the track runs from the origin to the thumb
    const part = (v) => (100 * (v - slider.min)) / (slider.max - slider.min);
    const [from, to] = [part(origin), part(slider.value)].sort((a, b) => a - b);
    slider.style.setProperty("--from", `${from}%`);
    slider.style.setProperty("--to", `${to}%`);
  }
  function paintCodes() {
    sliders.forEach((node, i) => {
      const value = Number(node.value);
      outputs[i].textContent = (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(2);
      outputs[i].title = Math.abs(value) > 1 ? "beyond what the model saw in training" : "";
      outputs[i].classList.toggle("roi-beyond", Math.abs(value) > 1);
      track(node);
    });
  }
  function draw() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; paint(); });
  }
  function paint() {
    const wide = Math.round(canvas.clientWidth * devicePixelRatio) || model.get("size_px"), side = wide / across;
    if (canvas.width !== wide) canvas.width = canvas.height = wide;
    const context = canvas.getContext("2d"), scale = side / size, dot = devicePixelRatio;
    const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, wide, wide);
    context.drawImage(held || showing === "original" ? source : base, 0, 0, wide, wide);
    if (showing === "wipe" && !held) {
      const at = wipe / size * wide, part = source.width * wipe / size;
      context.drawImage(source, 0, 0, part, source.height, 0, 0, at, wide);
      context.fillStyle = "#fff";
      context.fillRect(at - dot, 0, 2 * dot, wide);
    }
    const tint = new Path2D(); // one path: overlapping squares must not add up
    for (let i = 0; stroke && i < mask.length; i++) {
      if (mask[i]) tint.rect((i % size) * scale, Math.floor(i / size) * scale, scale + 0.5, scale + 0.5);
    }
    const region = edge.checked || stroke ? outline(mask, size, scale) : new Path2D(), ring = new Path2D();
    if (stroke?.tool === "lasso") stroke.points.forEach(({ x, y }) => ring.lineTo(x * scale, y * scale));
    if (cursor && showing !== "wipe" && tool === "brush") {
      ring.moveTo((cursor.x + radius) * scale, cursor.y * scale);
      ring.arc(cursor.x * scale, cursor.y * scale, radius * scale, 0, 7);
    } else if (cursor && showing !== "wipe") {
      const arm = 7 * dot, x = cursor.x * scale, y = cursor.y * scale;
      ring.moveTo(x - arm, y); ring.lineTo(x + arm, y);
      ring.moveTo(x, y - arm); ring.lineTo(x, y + arm);
    }
    for (let k = 0; k < count; k++) {
      const at = { x: k % across, y: Math.floor(k / across) };
      context.save();
      context.translate(at.x * side, at.y * side);
      context.beginPath(); context.rect(0, 0, side, side); context.clip();
      context.globalAlpha = 0.5; context.fillStyle = colour("--roi-accent"); context.fill(tint);
      context.globalAlpha = 1; context.lineCap = "round";
      for (const path of at.x === tile.x && at.y === tile.y ? [region, ring] : [region]) { // dark under light:
        context.lineWidth = 3 * dot; context.strokeStyle = "rgba(0, 0, 0, 0.35)"; context.stroke(path);
        context.lineWidth = 1.4 * dot; context.strokeStyle = "#fff"; context.stroke(path); // visible on any picture
      }
      context.restore();
    }
    context.fillStyle = colour("--roi-back");
    for (let k = 1; k < across; k++) {
      context.fillRect(k * side - 2 * dot, 0, 4 * dot, wide);
      context.fillRect(0, k * side - 2 * dot, wide, 4 * dot);
    }
  }
  function refreshPictures() {
    const before = bytesOf(model.get("original_rgb")), bytes = 3 * size * size;
    count = Math.max(1, Math.floor(before.length / bytes));
    across = inRow(count);
    const chosen = model.get("index") < count ? model.get("index") : 0;
    const one = before.subarray(chosen * bytes, (chosen + 1) * bytes);
    fill(base, bytesOf(model.get("completed_rgb")), size);
    fill(source, before, size);
    fill(original, one, size);
    fill(masked, one, size, mask);
    if (!stroke && (tile.x >= across || tile.y * across + tile.x >= count)) tile = { x: 0, y: 0 };
    draw();
  }
  // What nobody waits for, when all has been at rest for a while: the row of seeds, and the sliders' ends.
  function refreshIdle() {
    const now = model.get("seed"), on = seeds.checked && !model.get("batch");
    const here = [model.get("index"), mask.join("")].join(";"), mine = ++round, state = [codes(), here].join(";");
    if (here !== place) {
      for (const node of ends.flat()) node.firstChild.width = 1; // they show another region
      [place, ended] = [here, ""];
    }
    clearTimeout(later);
    seedRow.hidden = !on;
    if (on && (now < first || now >= first + SEEDS)) first = now;
    const stale = on && `${state};${first}` !== filled, old = `${state};${now}` !== ended && !model.get("batch") && !model.get("failed");
    seedTiles.forEach((node, k) => {
      node.lastChild.textContent = `seed ${first + k}`;
      node.setAttribute("aria-pressed", first + k === now);
      node.classList.toggle("roi-stale", stale);
    });
    settle[2]();
    if (busy() || waiting || lost) return;
    if (stale || old) later = setTimeout(act(async () => {
      if (stale) await fillSeeds(mine, `${state};${first}`);
      if (old && round === mine) await fillEnds(mine, `${state};${now}`);
    }), PAUSE);
  }
  async function fillSeeds(mine, state) { // one at a time, so that a slider never waits for more than one of them
    for (const [k, node] of seedTiles.entries()) {
      const rgb = first + k === model.get("seed") ? bytesOf(model.get("completed_rgb")) : await look(codes(), first + k);
      if (round !== mine) return;
      fill(node.firstChild, rgb, size);
      node.classList.remove("roi-stale");
    }
    filled = state;
  }
  async function fillEnds(mine, state) { // of the sliders in sight, the region with a little around it
    const { left, top, right: end, bottom, pixels } = extent(mask, size), now = codes();
    const side = Math.min(size, Math.max(end - left, bottom - top) + 1 + size / 8);
    const within = (from, to) => Math.min(size - side, Math.max(0, (from + to + 1 - side) / 2));
    for (const key of listedKeys) {
      const i = keys.indexOf(key), pair = ends[i];
      if (!pair || !pixels || !rows[key].checkVisibility()) continue;
      for (const [k, node] of pair.entries()) {
        const rgb = await look(now.map((old, at) => (at === i ? 2 * k - 1 : old)));
        if (round !== mine || closed) return;
        const small = node.firstChild;
        small.width = small.height = 56;
        small.getContext("2d").drawImage(toCanvas(rgb, size), within(left, end), within(top, bottom), side, side, 0, 0, 56, 56);
      }
    }
    ended = state;
  }
  function refreshControls() {
    const values = model.get("code_values");
    [...sliders, ...selects].forEach((node, i) => { if (Number(node.value) !== values[i]) node.value = values[i]; });
    paintCodes();
    seed.value = model.get("seed");
    const chosen = thumbs.querySelectorAll("input")[model.get("index")];
    if (chosen) chosen.checked = true;
    undoButton.disabled = !past.length;
    redoButton.disabled = !future.length;
    clearButton.disabled = !mask.some(Boolean);
    batch.checked = model.get("batch");
    seeds.disabled = batch.checked;
    settle.forEach((one) => one());
  }
  function refreshNames() {
    const names = model.get("names");
    for (const [key, field] of Object.entries(fields)) {
      const shown = names[key] ?? "", typing = field.getRootNode().activeElement === field && field.value !== field.dataset.shown;
      if (!typing) field.value = shown; // an answer may come in the middle of a word
      field.dataset.shown = shown;
      field.title = names[key] ?? "Type a name of your own";
    }
    for (const node of [...sliders, ...selects]) {
      const key = node.dataset.code;
      node.setAttribute("aria-label", names[key] ? `${names[key]}, code ${key}` : `Code ${key}`);
    }
    const moved = nameOf(model.get("moved"));
    play.textContent = play.getAttribute("aria-pressed") === "true" ? "Stop" : `Play ${moved}`;
    stripButton.textContent = `Save strip of ${moved}`;
    filmButton.textContent = `Save film of ${moved}`;
  }
  function refreshMask() {
    const bytes = bytesOf(model.get("mask_bytes"));
    if (bytes.length === mask.length && !stroke) mask = Uint8Array.from(bytes);
    refreshPictures();
  }
  function tellRegion() {
    const { left, top, right: end, bottom, pixels } = extent(mask, size);
    told.textContent = pixels ? `Region: ${pixels} pixels, columns ${left} to ${end}, rows ${top} to ${bottom} of ${size}` : "No region";
  }

  // --- painting ---------------------------------------------------------------------------------------------------
  const drawer = `roi-undo ${model.get("title")} ${model.get("checkpoint")} ${size}`; // outlives a reload, not the browser's tab
  function remember() {
    try { sessionStorage.setItem(drawer, JSON.stringify({ mask: pack(mask), past: past.slice(-20).map(pack) })); } catch { /* not allowed */ }
  }
  function recall() {
    try {
      const there = JSON.parse(sessionStorage.getItem(drawer));
      if (there?.mask === pack(mask)) past = there.past.map((words) => unpack(words, size * size));
    } catch { /* nothing kept, or nothing of this kind */ }
  }
  function send() {
    request({ mask_bytes: kept(mask) });
    remember();
    refreshControls();
    refreshPictures();
    tellRegion();
  }
  function commit(next) {
    if (next.every((v, i) => v === mask[i])) return draw();
    past = [...past.slice(-49), mask];
    future = [];
    mask = next;
    send();
  }
  function undo() { if (past.length && !stroke) { future.push(mask); mask = past.pop(); send(); } }
  function redo() { if (future.length && !stroke) { past.push(mask); mask = future.pop(); send(); } }
  function down(point, less) {
    const value = (subtract.getAttribute("aria-pressed") === "true") !== less ? 0 : 1;
    stroke = { tool, value, before: mask, start: point, last: point, points: [] };
    move(point);
  }
  function move(point) {
    cursor = point;
    if (stroke) {
      const { before, start, last, points, value } = stroke;
      if (stroke.tool === "brush") {
        if (mask === before) mask = Uint8Array.from(mask);
        dab(mask, size, last, point, radius, value);
      } else {
        mask = Uint8Array.from(before);
        if (stroke.tool === "lasso") polygon(mask, size, (points.push(point), points), value);
        else shape(mask, size, stroke.tool, start, point, value);
      }
      stroke.last = point;
    }
    draw();
  }
  function up(keep = true) {
    if (!stroke) return;
    const after = mask;
    mask = stroke.before;
    stroke = null;
    if (keep) commit(after); else draw();
  }
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * across, y = ((event.clientY - box.top) / box.height) * across;
    const on = { x: Math.floor(x), y: Math.floor(y) };
    if (!stroke && on.x >= 0 && on.y >= 0 && on.x < across && on.y * across + on.x < count) tile = on;
    return { x: (x - tile.x) * size, y: (y - tile.y) * size };
  };
  const within = (v) => Math.min(size, Math.max(0, v));
  function wipeTo(event) {
    const box = canvas.getBoundingClientRect();
    wipe = within((event.clientX - box.left) / box.width * size);
    draw();
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || byKey && stroke) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    if (showing === "wipe") wipeTo(event); else down(point(event), event.altKey);
  });
  canvas.addEventListener("pointermove", (event) => {
    byKey = false;
    if (showing === "wipe") { if (event.buttons & 1) wipeTo(event); return; }
    for (const step of event.getCoalescedEvents?.() ?? []) move(point(step));
    move(point(event));
  });
  canvas.addEventListener("pointerup", () => up());
  canvas.addEventListener("pointercancel", () => up(false));
  canvas.addEventListener("pointerleave", () => { if (!stroke) { cursor = null; draw(); } });
  canvas.addEventListener("blur", () => { if (byKey) { up(false); cursor = null; draw(); } });
  canvas.addEventListener("keydown", (event) => {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const pace = event.shiftKey ? size / 16 : 1, from = cursor ?? { x: size / 2, y: size / 2 };
    if (arrow && showing === "wipe") {
      wipe = within(wipe + pace * arrow[0]);
      draw();
    } else if (arrow) {
      byKey = true;
      move({ x: within(from.x + pace * arrow[0]), y: within(from.y + pace * arrow[1]) });
      told.textContent = `${Math.round(cursor.x)}, ${Math.round(cursor.y)}`;
    } else if (event.key === " " && showing !== "wipe") {
      byKey = true;
      if (stroke) up(); else down(from, event.altKey);
    } else if (event.key === "Escape" && stroke) up(false);
    else return;
    event.preventDefault();
  });
  function shortcut(event) {
    event.stopPropagation();
    const chord = (event.ctrlKey || event.metaKey) && event.key.toLowerCase();
    if (chord === "s" && !el.dispatchEvent(new KeyboardEvent("keydown", event))) event.preventDefault(); // the notebook saves
    if (event.target.type === "text" || event.target.type === "number") return; // there, keys are for what is typed
    if (event.key === "[" || event.key === "]") {
      if (event.key === "[") width.stepDown(); else width.stepUp();
      resize();
    }
    if (chord === "z") {
      event.preventDefault();
      if (event.shiftKey) redo(); else undo();
    }
  }

  // --- following the model ----------------------------------------------------------------------------------------
  const follow = [
    ["change:answered", () => { clearTimeout(timer); flush(); refreshIdle(); }],
    ["change:status change:failed", () => { if (!note?.stays) note = null; showStatus(); }],
    ["change:tick", () => showStatus()],
    ["change:completed_rgb change:original_rgb", () => { refreshPictures(); refreshIdle(); }],
    ["change:mask_bytes", refreshMask],
    ["change:thumbs", refreshThumbs],
    ["change:index change:seed change:code_values change:batch", () => { if (!waiting) refreshControls(); }],
    ["change:names change:moved", refreshNames],
    ["comm_live_update", disconnected], // after a view is there, a host says so of a comm that it lost
    ["msg:custom", answer],
  ].flatMap(([names, action]) => names.split(" ").map((name) => [name, action]));
  for (const [name, action] of follow) model.on(name, action);
  const turned = (_, state) => { if (GONE.includes(state)) disconnected(); }; // a kernel that crashed is told of by no comm
  kernel?.statusChanged?.connect?.(turned);
  kernel?.disposed?.connect?.(disconnected);
  const where = model.get("link") ? window : box; // on a page of its own a photograph may be dropped anywhere
  const dropped = (event) => {
    event.preventDefault();
    event.stopPropagation();
    if (event.type === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  };
  const pasted = (event) => {
    const words = event.clipboardData.getData("text");
    if (event.clipboardData.files[0]) open(event.clipboardData.files[0]);
    else if (words.startsWith("{") && event.target.type !== "text") act(() => restore(words, "what was pasted"))();
  };
  const heard = [["dragover", dropped], ["drop", dropped], ["paste", pasted]];
  for (const [name, action] of heard) where.addEventListener(name, action);
  const observer = new ResizeObserver(draw);
  observer.observe(canvas);
  track(width, 1);
  refreshThumbs();
  refreshMask();
  recall();
  refreshControls();
  refreshNames();
  showStatus();
  refreshIdle();
  if (el.closest(".jupyter-widgets-disconnected")) disconnected(); // a state that was stored, without a kernel
  if (model.get("given")) act(() => restore(model.get("given"), "the link"))();
  if (model.get("carried")) carry(model.get("carried"));
  return () => {
    closed = true;
    for (const [name, action] of follow) model.off(name, action);
    kernel?.statusChanged?.disconnect?.(turned);
    kernel?.disposed?.disconnect?.(disconnected);
    for (const [name, action] of heard) where.removeEventListener(name, action);
    observer.disconnect();
    darkroom?.dismiss();
    clearTimeout(timer);
    clearTimeout(later);
    cancelAnimationFrame(frame);
  };
}

export default { render };
