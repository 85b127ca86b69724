// The explorer's view. `model` holds the state; this file draws it and turns gestures into requests. In a notebook the model
// is anywidget's, with Python behind it; on the page that needs no Python it is a Session (session.js), with a worker behind
// it. The view asks six things of either: get, set, save_changes, send, on and off.

const ICONS = {
  brush: '<path d="M13.2 2.2a1.6 1.6 0 0 0-2.3 0L5.6 7.6l2.8 2.8 5.4-5.4a1.6 1.6 0 0 0-.6-2.8z"/>' +
    '<path d="M4.8 8.6c-1.7 0-2.6 1.2-2.6 2.7 0 1-.5 1.5-1.2 1.8.9.9 5.7 1.5 6.5-1.7z"/>',
  erase: '<path d="m6 13.2-3.6-3.6 7-7 4.2 4.2-6.4 6.4zM2.4 9.6l3.5-3.5 4.2 4.2" fill="none" ' +
    'stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"/>',
  rectangle: '<rect x="2" y="3.5" width="12" height="9" rx="1" fill="none" stroke="currentColor" stroke-width="1.6"/>',
  undo: '<path d="M6.5 2.5 3 6l3.5 3.5M3.4 6h6.1a3.5 3.5 0 0 1 0 7H6" fill="none" ' +
    'stroke="currentColor" stroke-width="1.5"/>',
  redo: '<path d="M9.5 2.5 13 6 9.5 9.5M12.6 6H6.5a3.5 3.5 0 0 0 0 7H10" fill="none" ' +
    'stroke="currentColor" stroke-width="1.5"/>',
  ellipse: '<ellipse cx="8" cy="8" rx="6.2" ry="4.7" fill="none" stroke="currentColor" stroke-width="1.6"/>',
  lasso: '<path d="M4.2 9.6C2.8 8.9 2 7.9 2 6.7c0-2.3 2.7-4.1 6-4.1s6 1.8 6 4.1-2.7 4.1-6 4.1h-.8' +
    'M7 11.2a1.5 1.5 0 1 1-3 0 1.5 1.5 0 0 1 3 0zM4.9 12.7c.2.9-.2 1.5-1.2 1.9" fill="none" ' +
    'stroke="currentColor" stroke-width="1.5"/>',
};
const TOOLS = { brush: "Brush", erase: "Erase", rectangle: "Rectangle", ellipse: "Ellipse", lasso: "Free outline" };
const HINT = "Paint on the picture. With the keyboard: arrows move the tool, Space puts it down and lifts it, " +
  "Escape gives up, [ and ] size the brush, Ctrl+Z undoes.";
const PATIENCE = 5000; // milliseconds without an answer before the status line says so
const SEEDS = 4, PAUSE = 250; // the row of seeds waits for so many milliseconds of rest, and gives way to any request
const BATCH = 9;

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

// A pixel belongs to a stroke when its centre does; every shape is exact at the model's resolution.
function dab(mask, size, from, to, radius, value) {
  const dx = to.x - from.x, dy = to.y - from.y, length = dx * dx + dy * dy || 1e-9;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const px = x + 0.5 - from.x, py = y + 0.5 - from.y;
      const t = Math.min(1, Math.max(0, (px * dx + py * dy) / length));
      if ((px - t * dx) ** 2 + (py - t * dy) ** 2 <= radius * radius) mask[y * size + x] = value;
    }
  }
}

function shape(mask, size, tool, a, b) {
  const cx = (a.x + b.x) / 2, rx = Math.abs(a.x - b.x) / 2 || 1e-9;
  const cy = (a.y + b.y) / 2, ry = Math.abs(a.y - b.y) / 2 || 1e-9;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const u = Math.abs(x + 0.5 - cx) / rx, v = Math.abs(y + 0.5 - cy) / ry;
      if (tool === "ellipse" ? u * u + v * v <= 1 : u <= 1 && v <= 1) mask[y * size + x] = 1;
    }
  }
}

// Winding number not 0: what an outline goes round twice is inside as well.
function polygon(mask, size, points) {
  for (let y = 0; y < size; y++) {
    const level = y + 0.5, crossings = [];
    points.forEach((a, i) => {
      const b = points[(i + 1) % points.length];
      if ((a.y <= level) !== (b.y <= level)) {
        crossings.push([a.x + ((level - a.y) / (b.y - a.y)) * (b.x - a.x), a.y < b.y ? 1 : -1]);
      }
    });
    crossings.sort((a, b) => a[0] - b[0]);
    let winding = 0;
    crossings.forEach(([from, turn], i) => {
      winding += turn;
      if (!winding) return;
      const to = Math.min(size, Math.ceil(crossings[i + 1][0] - 0.5));
      for (let x = Math.max(0, Math.ceil(from - 0.5)); x < to; x++) mask[y * size + x] = 1;
    });
  }
}

function outline(mask, size, scale) {
  const path = new Path2D();
  const at = (x, y) => x >= 0 && y >= 0 && x < size && y < size && mask[y * size + x];
  const line = (x0, y0, x1, y1) => { path.moveTo(x0 * scale, y0 * scale); path.lineTo(x1 * scale, y1 * scale); };
  for (let y = 0; y <= size; y++) {
    for (let x = 0; x <= size; x++) {
      if (!at(x, y) !== !at(x - 1, y)) line(x, y, x, y + 1);
      if (!at(x, y) !== !at(x, y - 1)) line(x, y, x + 1, y);
    }
  }
  return path;
}

function fill(canvas, rgb, size, mask = null) { // one picture, or several in rows of three
  const count = rgb.length / (3 * size * size), across = count > 1 ? 3 : 1;
  if (!count || count % 1) return;
  canvas.width = canvas.height = across * size;
  for (let k = 0; k < count; k++) {
    const image = new ImageData(size, size);
    for (let i = 0; i < size * size; i++) {
      const hidden = mask && mask[i];
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = hidden ? 128 : rgb[3 * (k * size * size + i) + c];
      image.data[4 * i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, (k % 3) * size, Math.floor(k / 3) * size);
  }
}

function download(name, type, bytes) {
  const link = h("a", { href: URL.createObjectURL(new Blob([bytes], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function render({ model, el }) {
  const size = model.get("size"), nContinuous = model.get("n_continuous"), nDiscrete = model.get("n_discrete");
  const uid = Math.random().toString(36).slice(2, 8);
  let mask = new Uint8Array(size * size), past = [], future = [];
  let tool = "brush", radius = Math.max(1, size / 16), stroke = null, cursor = null, byKey = false;
  let showing = "completed", held = false, waiting = false, timer = null, frame = 0, note = null;
  let count = 1, across = 1, tile = { x: 0, y: 0 }; // pictures on the stage, in a row of it, and where the cursor is
  let first = model.get("seed"), filled = "", round = 0, later = null; // the row of seeds

  // --- talking to the kernel: the newest state only, and only after its last answer -------------------------------
  const busy = () => model.get("tick") > model.get("answered"); // less, where another browser tab asked as well
  function request(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    waiting = true;
    round++;
    clearTimeout(later);
    flush();
  }
  function flush() {
    if (waiting && !busy()) {
      waiting = false;
      note = null;
      model.set("tick", model.get("answered") + 1);
      model.save_changes();
      clearTimeout(timer);
      timer = setTimeout(showStatus, PATIENCE, true);
    }
    showStatus();
  }
  function showStatus(late = false) {
    const lost = late === true && busy();
    status.dataset.state = (note?.failed ?? model.get("failed")) ? "failed" : busy() ? "busy" : "ready";
    const patience = model.get("waits") ?? "waiting for the kernel; if none is running, run this notebook first";
    text.textContent = lost ? patience : note?.text ?? model.get("status");
  }
  const asked = new Map(); // questions that are answered once, beside the shared state
  function ask(content) {
    const id = `${uid}-${Math.random()}`;
    model.send({ ...content, id });
    return new Promise((resolve) => asked.set(id, resolve));
  }
  function answer({ id, error }, buffers) {
    asked.get(id)?.({ error, bytes: bytesOf(buffers?.[0]) });
    asked.delete(id);
  }
  async function tell(question, done) { // the same, for a button: what came of it goes to the status line
    const { error, bytes } = await ask(question);
    note = { failed: Boolean(error), text: error ?? done(bytes) };
    showStatus();
  }

  // --- parts ------------------------------------------------------------------------------------------------------
  const square = (testid, label) =>
    h("canvas", { width: size, height: size, "data-testid": testid, role: "img", "aria-label": label });
  const base = square("roi-completed", "completed picture at the model's resolution");
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
  const seedRow = h("div", { class: "roi-seeds", role: "group", "aria-label": "Seeds", hidden: true }, ...seedTiles);
  const text = h("span", { "data-testid": "roi-status" });
  const status = h("div", { class: "roi-status", role: "status", "aria-live": "polite" }, h("i"), text);

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
  const width = h("input", {
    type: "range", min: 1, max: Math.round(size / 3), step: 1, value: 2 * radius, "data-testid": "brush-size",
    "aria-label": "Brush size in pixels", oninput: resize,
  });
  function resize() { radius = width.value / 2; track(width, 1); draw(); }
  const undoButton = button(icon("undo"), "roi-undo", "Undo the last stroke (Ctrl+Z)", undo);
  const redoButton = button(icon("redo"), "roi-redo", "Redo (Ctrl+Shift+Z)", redo);
  const clearButton = button("Clear", "roi-clear", "Remove the whole region",
    () => commit(new Uint8Array(size * size)));
  const views = h("div", { class: "roi-segment roi-words", role: "radiogroup", "aria-label": "Show" },
    ...["original", "completed"].map((name) =>
      choice("show", name, name === showing, `show-${name}`, `Show the ${name} picture`,
        h("span", {}, name[0].toUpperCase() + name.slice(1)), () => { showing = name; draw(); })));
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
  const several = Math.min(BATCH, model.get("n_images"));
  const [batch, batchLabel] = check("Batch", "show-batch",
    `The first ${several} images at once, under one region and the same codes`, false,
    () => request({ batch: batch.checked }));
  batchLabel.hidden = several < 2;
  const [seeds, seedsLabel] =
    check("Seeds", "show-seeds", "The same with other seeds, side by side", false, refreshSeeds);
  const toolbar = h("div", { class: "roi-toolbar" }, tools,
    h("label", { class: "roi-size" }, h("span", {}, "Size"), width),
    h("div", { class: "roi-group" }, undoButton, redoButton, clearButton));

  const thumbs = h("div", { class: "roi-thumbs", role: "radiogroup", "aria-label": "Image" });
  for (let i = 0; i < model.get("n_images"); i++) {
    thumbs.append(choice("image", i, i === model.get("index"), `image-${i}`, `Image ${i + 1}`,
      h("canvas", { width: 64, height: 64 }), () => request({ index: i, batch: false })));
  }
  thumbs.style.gridTemplateColumns = `repeat(${Math.min(12, model.get("n_images"))}, minmax(0, 44px))`;
  createImageBitmap(new Blob([bytesOf(model.get("thumbs"))], { type: "image/png" })).then((sprite) => {
    thumbs.querySelectorAll("canvas").forEach((node, i) =>
      node.getContext("2d").drawImage(sprite, i * sprite.height, 0, sprite.height, sprite.height, 0, 0, 64, 64));
  });

  const reach = model.get("reach") ?? 1; // training showed the model codes from -1 to 1
  const sliders = [], outputs = [], selects = [];
  const codes = () => [...sliders, ...selects].map((node) => Number(node.value));
  const sendCodes = () => { paintCodes(); request({ code_values: codes() }); };
  const nameOf = (key) => model.get("names")[key] ?? key;
  const fields = {}, rows = {};
  const row = (key, node, ...rest) => { // a code's key, its name (a text to type over), its control
    fields[key] = h("input", {
      type: "text", class: "roi-name", maxlength: 40, placeholder: "name", spellcheck: "false", autocomplete: "off",
      "data-testid": `name-${key}`, "aria-label": `Name of code ${key}`,
      onchange: (event) => {
        const names = { ...model.get("names") }, name = event.target.value.trim();
        if (name) names[key] = name; else delete names[key];
        model.set("names", names);
        model.save_changes();
      },
      onkeydown: (event) => {
        if (event.key === "Escape") refreshNames();
        if (event.key === "Enter" || event.key === "Escape") node.focus();
      },
    });
    node.dataset.code = key;
    rows[key] = h("div", { class: "roi-code" }, h("span", { "aria-hidden": "true" }, key), fields[key], ...rest);
  };
  for (let i = 0; i < nContinuous; i++) {
    const slider = h("input", {
      type: "range", min: -reach, max: reach, step: 0.01, value: 0, "data-testid": `code-${i + 1}`, title: "Double-click for 0",
      oninput: sendCodes, ondblclick: () => { slider.value = 0; sendCodes(); },
    });
    sliders.push(slider);
    outputs.push(h("output", { "aria-hidden": "true" }));
    row(`c${i + 1}`, slider, outputs[i], slider);
  }
  for (let i = 0; i < nDiscrete; i++) {
    const options = Array.from({ length: model.get("n_categories") }, (_, k) => h("option", { value: k }, String(k)));
    selects.push(h("select", { "data-testid": `disc-${i + 1}`, onchange: sendCodes }, ...options));
    row(`d${i + 1}`, selects[i], selects[i]);
  }
  const order = model.get("order"), dead = model.get("dead");
  const listed = (keys) => [["c", "roi-codes"], ["d", "roi-codes roi-discs"]].map(([kind, style]) =>
    h("div", { class: style }, ...keys.filter((key) => key[0] === kind).map((key) => rows[key])));
  const still = h("details", { "data-testid": "codes-dead", hidden: !dead.length },
    h("summary", { title: "Measured once, on the first picture and region: on others they may move something" },
      `${dead.length} ${dead.length > 1 ? "sliders move" : "slider moves"} nothing visible here`),
    ...listed(dead));
  const seed = h("input", {
    type: "number", min: 0, step: 1, value: model.get("seed"), "data-testid": "roi-seed", "aria-label": "Noise seed",
    onchange: () => request({ seed: Math.min(2 ** 31 - 1, Math.max(0, Math.trunc(Number(seed.value)) || 0)) }),
  });
  const random = button("Random codes", "codes-random", "Draw every code at random", () => {
    sliders.forEach((node) => { node.value = 2 * Math.random() - 1; });
    selects.forEach((node) => { node.value = Math.floor(Math.random() * node.length); });
    sendCodes();
  });
  const reset = button("Reset", "codes-reset", "All codes back to 0", () => {
    [...sliders, ...selects].forEach((node) => { node.value = 0; });
    sendCodes();
  });
  const sheet = button("Update sheet", "roi-sheet", "Redraw the contact sheet below with what is shown here",
    () => tell({ do: "sheet" }, () => "the contact sheet is redrawn"));
  const strip = button("", "roi-strip", "Save the last moved code from end to end, as a PNG", () => {
    const file = `strip-${model.get("moved")}.png`;
    tell({ do: "strip" }, (bytes) => { download(file, "image/png", bytes); return `saved ${file}`; });
  });
  const save = button("Save names", "names-save", "Save the names of the codes to a file", () => {
    const file = `names-${model.get("title")}.json`;
    tell({ do: "save" }, (bytes) => { download(file, "application/json", bytes); return `saved ${file}`; });
  });
  const picker = h("input", {
    type: "file", accept: ".json", hidden: true, "data-testid": "names-file",
    onchange: async () => {
      const file = picker.files[0];
      if (!file) return;
      const text = await file.slice(0, 100000).text();
      picker.value = ""; // the same file may be chosen again
      tell({ do: "load", file: file.name, text }, () => `names loaded from ${file.name}`);
    },
  });
  const load = button("Load names", "names-load", "Load names from such a file", () => picker.click());
  const offered = (model.get("without") ?? []).includes("sheet") ? [] : [sheet]; // a page has no cell to put it below
  const buttons = nContinuous + nDiscrete ? [random, reset, save, load, picker, strip, ...offered] : offered;

  const figure = (node, caption) => h("figure", {}, node, h("figcaption", {}, caption));
  const quiet = { "data-lm-suppress-shortcuts": "true" }; // JupyterLab keeps its shortcuts to itself in here
  const root = h("div", { class: "roi-explorer", "data-testid": "roi-explorer", ...quiet, onkeydown: shortcut },
    h("div", { class: "roi-left" }, toolbar, stage,
      h("div", { class: "roi-below" }, views, compare,
        h("div", { class: "roi-checks" }, edgeLabel, batchLabel, seedsLabel)), seedRow, status),
    h("div", { class: "roi-right" }, thumbs,
      h("div", { class: "roi-inputs" }, figure(original, "Original"), figure(masked, "What the model sees"),
        h("dl", {}, h("dt", {}, "Model"), h("dd", {}, model.get("title")),
          h("dt", {}, "Pixels"), h("dd", {}, `${size} × ${size}`), h("dt", {}, "Seed"), h("dd", {}, seed))),
      ...listed(order.filter((key) => !dead.includes(key))), still,
      h("div", { class: "roi-group" }, ...buttons)),
    h("p", { id: `roi-hint-${uid}`, class: "roi-hint" }, HINT));
  root.style.setProperty("--roi-px", `${model.get("size_px")}px`);
  root.style.setProperty("--roi-end", 1 / reach);
  root.classList.toggle("roi-far", reach > 1);
  el.append(root);

  // --- drawing ----------------------------------------------------------------------------------------------------
  function track(slider, origin = 0) { // the coloured part of the track runs from the origin to the thumb
    const part = (v) => (100 * (v - slider.min)) / (slider.max - slider.min);
    const ends = [part(origin), part(slider.value)].sort((a, b) => a - b);
    slider.style.setProperty("--from", `${ends[0]}%`);
    slider.style.setProperty("--to", `${ends[1]}%`);
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
    const tint = new Path2D(); // one path: overlapping squares must not add up
    for (let i = 0; stroke && i < mask.length; i++) {
      if (mask[i]) tint.rect((i % size) * scale, Math.floor(i / size) * scale, scale + 0.5, scale + 0.5);
    }
    const region = edge.checked || stroke ? outline(mask, size, scale) : new Path2D(), ring = new Path2D();
    if (stroke?.tool === "lasso") stroke.points.forEach(({ x, y }) => ring.lineTo(x * scale, y * scale));
    if (cursor && (tool === "brush" || tool === "erase")) {
      ring.moveTo((cursor.x + radius) * scale, cursor.y * scale);
      ring.arc(cursor.x * scale, cursor.y * scale, radius * scale, 0, 7);
    } else if (cursor) {
      const arm = 7 * dot, x = cursor.x * scale, y = cursor.y * scale;
      ring.moveTo(x - arm, y); ring.lineTo(x + arm, y);
      ring.moveTo(x, y - arm); ring.lineTo(x, y + arm);
    }
    for (let k = 0; k < count; k++) {
      const at = { x: k % 3, y: Math.floor(k / 3) };
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
    across = count > 1 ? 3 : 1;
    const chosen = model.get("index") < count ? model.get("index") : 0;
    const one = before.subarray(chosen * bytes, (chosen + 1) * bytes);
    fill(base, bytesOf(model.get("completed_rgb")), size);
    fill(source, before, size);
    fill(original, one, size);
    fill(masked, one, size, mask);
    if (!stroke && (tile.x >= across || tile.y * across + tile.x >= count)) tile = { x: 0, y: 0 };
    draw();
  }
  function refreshSeeds() {
    const now = model.get("seed"), on = seeds.checked && !model.get("batch");
    const state = () => [model.get("code_values"), model.get("index"), first, mask.join("")].join(";");
    const mine = ++round;
    clearTimeout(later);
    seedRow.hidden = !on;
    if (!on) return;
    if (now < first || now >= first + SEEDS) first = now;
    const stale = state() !== filled;
    seedTiles.forEach((node, k) => {
      node.lastChild.textContent = `seed ${first + k}`;
      node.setAttribute("aria-pressed", first + k === now);
      node.classList.toggle("roi-stale", stale);
    });
    if (stale && !busy() && !waiting) later = setTimeout(fillSeeds, PAUSE, mine, state());
  }
  async function fillSeeds(mine, state) { // one at a time, so that a slider never waits for more than one of them
    for (const [k, node] of seedTiles.entries()) {
      const shown = first + k === model.get("seed") && { bytes: bytesOf(model.get("completed_rgb")) };
      const { bytes, error } = shown || await ask({ do: "seed", seed: first + k });
      if (round !== mine || error) return;
      fill(node.firstChild, bytes, size);
      node.classList.remove("roi-stale");
    }
    filled = state;
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
    batch.checked = model.get("batch");
    seeds.disabled = batch.checked;
  }
  function refreshNames() {
    const names = model.get("names");
    for (const [key, field] of Object.entries(fields)) {
      field.value = names[key] ?? "";
      field.title = names[key] ?? "Type a name of your own";
    }
    for (const node of [...sliders, ...selects]) {
      const key = node.dataset.code;
      node.setAttribute("aria-label", names[key] ? `${names[key]}, code ${key}` : `Code ${key}`);
    }
    strip.textContent = `Save strip of ${nameOf(model.get("moved"))}`;
  }
  function refreshMask() {
    const bytes = bytesOf(model.get("mask_bytes"));
    if (bytes.length === mask.length && !stroke) mask = Uint8Array.from(bytes);
    refreshPictures();
  }

  // --- painting ---------------------------------------------------------------------------------------------------
  function send() {
    request({ mask_bytes: new DataView(Uint8Array.from(mask).buffer) });
    refreshControls();
    refreshPictures();
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
  function down(point) { stroke = { tool, before: mask, start: point, last: point, points: [] }; move(point); }
  function move(point) {
    cursor = point;
    if (stroke) {
      if (stroke.tool === "brush" || stroke.tool === "erase") {
        if (mask === stroke.before) mask = Uint8Array.from(mask);
        dab(mask, size, stroke.last, point, radius, stroke.tool === "brush" ? 1 : 0);
      } else {
        mask = Uint8Array.from(stroke.before);
        if (stroke.tool === "lasso") polygon(mask, size, (stroke.points.push(point), stroke.points));
        else shape(mask, size, stroke.tool, stroke.start, point);
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
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || byKey && stroke) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    down(point(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    byKey = false;
    for (const step of event.getCoalescedEvents?.() ?? []) move(point(step));
    move(point(event));
  });
  canvas.addEventListener("pointerup", () => up());
  canvas.addEventListener("pointercancel", () => up(false));
  canvas.addEventListener("pointerleave", () => { if (!stroke) { cursor = null; draw(); } });
  canvas.addEventListener("blur", () => { if (byKey) { up(false); cursor = null; draw(); } });
  canvas.addEventListener("keydown", (event) => {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrow) {
      const from = cursor ?? { x: size / 2, y: size / 2 }, pace = event.shiftKey ? size / 16 : 1;
      const within = (v) => Math.min(size, Math.max(0, v));
      byKey = true;
      move({ x: within(from.x + pace * arrow[0]), y: within(from.y + pace * arrow[1]) });
    } else if (event.key === " ") {
      byKey = true;
      if (stroke) up(); else down(cursor ?? { x: size / 2, y: size / 2 });
    } else if (event.key === "Escape" && stroke) up(false);
    else return;
    event.preventDefault();
  });
  function shortcut(event) {
    event.stopPropagation();
    if (event.target.type === "text") return; // there, Ctrl+Z takes back what was typed
    if (event.key === "[" || event.key === "]") {
      if (event.key === "[") width.stepDown(); else width.stepUp();
      resize();
    }
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      if (event.shiftKey) redo(); else undo();
    }
  }

  // --- following the model ----------------------------------------------------------------------------------------
  const follow = [
    ["change:answered", () => { clearTimeout(timer); flush(); refreshSeeds(); }],
    ["change:status change:failed", () => { note = null; showStatus(); }],
    ["change:tick", () => showStatus()],
    ["change:completed_rgb change:original_rgb", () => { refreshPictures(); refreshSeeds(); }],
    ["change:mask_bytes", refreshMask],
    ["change:index change:seed change:code_values change:batch", () => { if (!waiting) refreshControls(); }],
    ["change:names change:moved", refreshNames],
    ["msg:custom", answer],
  ].flatMap(([names, action]) => names.split(" ").map((name) => [name, action]));
  for (const [name, action] of follow) model.on(name, action);
  const observer = new ResizeObserver(draw);
  observer.observe(canvas);
  track(width, 1);
  refreshMask();
  refreshControls();
  refreshNames();
  showStatus();
  return () => {
    for (const [name, action] of follow) model.off(name, action);
    observer.disconnect();
    clearTimeout(timer);
    clearTimeout(later);
    cancelAnimationFrame(frame);
  };
}

export default { render };
