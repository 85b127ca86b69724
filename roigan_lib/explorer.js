// The explorer's view. The model (Python) holds the state; this file draws it and turns gestures into requests.

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
};
const TOOLS = { brush: "Brush", erase: "Erase", rectangle: "Rectangle", ellipse: "Ellipse" };
const HINT = "Paint on the picture. With the keyboard: arrows move the brush, Space puts it down and lifts it, " +
  "Escape gives up, Ctrl+Z undoes.";
const PATIENCE = 5000; // milliseconds without an answer before the status line says so

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

function fill(canvas, rgb, size, mask = null) {
  if (rgb.length !== size * size * 3) return;
  const image = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) {
    const hidden = mask && mask[i];
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = hidden ? 128 : rgb[3 * i + c];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function render({ model, el }) {
  const size = model.get("size"), nContinuous = model.get("n_continuous"), nDiscrete = model.get("n_discrete");
  const uid = Math.random().toString(36).slice(2, 8);
  let mask = new Uint8Array(size * size), past = [], future = [];
  let tool = "brush", radius = Math.max(1, size / 16), stroke = null, cursor = null, byKey = false;
  let showing = "completed", waiting = false, timer = null, frame = 0;

  // --- talking to the kernel: the newest state only, and only after its last answer -------------------------------
  const busy = () => model.get("tick") !== model.get("answered");
  function request(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    waiting = true;
    flush();
  }
  function flush() {
    if (waiting && !busy()) {
      waiting = false;
      model.set("tick", model.get("tick") + 1);
      model.save_changes();
      clearTimeout(timer);
      timer = setTimeout(showStatus, PATIENCE, true);
    }
    showStatus();
  }
  function showStatus(late = false) {
    const lost = late === true && busy();
    status.dataset.state = model.get("failed") ? "failed" : busy() ? "busy" : "ready";
    const patience = "waiting for the kernel; if none is running, run this notebook first";
    text.textContent = lost ? patience : model.get("status");
  }

  // --- parts ------------------------------------------------------------------------------------------------------
  const square = (testid, label) =>
    h("canvas", { width: size, height: size, "data-testid": testid, role: "img", "aria-label": label });
  const base = square("roi-completed", "completed picture at the model's resolution");
  base.className = "roi-base";
  const original = square("roi-original", "original picture");
  const masked = square("roi-masked", "what the model is shown");
  const canvas = h("canvas", {
    class: "roi-canvas", "data-testid": "roi-canvas", tabindex: 0, role: "application",
    "aria-label": "Picture: paint the region to redraw", "aria-describedby": `roi-hint-${uid}`,
  });
  const stage = h("div", { class: "roi-stage" }, base, canvas);
  const text = h("span", { "data-testid": "roi-status" });
  const status = h("div", { class: "roi-status", role: "status", "aria-live": "polite" }, h("i"), text);

  const button = (label, testid, title, action) =>
    h("button",
      { type: "button", class: "roi-button", "data-testid": testid, title, "aria-label": title, onclick: action },
      label);
  const choice = (group, value, checked, testid, title, body, action) =>
    h("label", { title, "data-testid": testid },
      h("input", { type: "radio", name: `${group}-${uid}`, value, checked, "aria-label": title, onchange: action }),
      body);

  const tools = h("div", { class: "roi-segment", role: "radiogroup", "aria-label": "Tool" },
    ...Object.entries(TOOLS).map(([name, label]) =>
      choice("tool", name, name === tool, `tool-${name}`, label, icon(name), () => { tool = name; draw(); })));
  const width = h("input", {
    type: "range", min: 1, max: Math.round(size / 3), step: 1, value: 2 * radius, "data-testid": "brush-size",
    "aria-label": "Brush size in pixels", oninput: () => { radius = width.value / 2; track(width, 1); draw(); },
  });
  const undoButton = button(icon("undo"), "roi-undo", "Undo the last stroke (Ctrl+Z)", undo);
  const redoButton = button(icon("redo"), "roi-redo", "Redo (Ctrl+Shift+Z)", redo);
  const clearButton = button("Clear", "roi-clear", "Remove the whole region",
    () => commit(new Uint8Array(size * size)));
  const views = h("div", { class: "roi-segment roi-words", role: "radiogroup", "aria-label": "Show" },
    ...["original", "completed"].map((name) =>
      choice("show", name, name === showing, `show-${name}`, `Show the ${name} picture`,
        h("span", {}, name[0].toUpperCase() + name.slice(1)), () => { showing = name; draw(); })));
  const edge = h("input", { type: "checkbox", checked: true, "data-testid": "show-outline", onchange: draw });
  const toolbar = h("div", { class: "roi-toolbar" }, tools,
    h("label", { class: "roi-size" }, h("span", {}, "Size"), width),
    h("div", { class: "roi-group" }, undoButton, redoButton, clearButton));

  const thumbs = h("div", { class: "roi-thumbs", role: "radiogroup", "aria-label": "Image" });
  for (let i = 0; i < model.get("n_images"); i++) {
    thumbs.append(choice("image", i, i === model.get("index"), `image-${i}`, `Image ${i + 1}`,
      h("canvas", { width: 64, height: 64 }), () => request({ index: i })));
  }
  thumbs.style.gridTemplateColumns = `repeat(${Math.min(12, model.get("n_images"))}, minmax(0, 44px))`;
  createImageBitmap(new Blob([bytesOf(model.get("thumbs"))], { type: "image/png" })).then((sprite) => {
    thumbs.querySelectorAll("canvas").forEach((node, i) =>
      node.getContext("2d").drawImage(sprite, i * sprite.height, 0, sprite.height, sprite.height, 0, 0, 64, 64));
  });

  const sliders = [], outputs = [], selects = [];
  const codes = () => [...sliders, ...selects].map((node) => Number(node.value));
  const sendCodes = () => { paintCodes(); request({ code_values: codes() }); };
  const sliderRows = Array.from({ length: nContinuous }, (_, i) => {
    const slider = h("input", {
      type: "range", min: -1, max: 1, step: 0.01, value: 0,
      "data-testid": `code-${i + 1}`, "aria-label": `Code c${i + 1}`, title: "Double-click for 0",
      oninput: sendCodes, ondblclick: () => { slider.value = 0; sendCodes(); },
    });
    sliders.push(slider);
    outputs.push(h("output", { "aria-hidden": "true" }));
    return h("label", { class: "roi-code" }, h("span", {}, `c${i + 1}`), slider, outputs[i]);
  });
  const selectRows = Array.from({ length: nDiscrete }, (_, i) => {
    const options = Array.from({ length: model.get("n_categories") }, (_, k) => h("option", { value: k }, String(k)));
    const names = { "data-testid": `disc-${i + 1}`, "aria-label": `Discrete code d${i + 1}` };
    selects.push(h("select", { ...names, onchange: sendCodes }, ...options));
    return h("label", { class: "roi-disc" }, h("span", {}, `d${i + 1}`), selects[i]);
  });
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
    () => model.send("sheet"));

  const figure = (node, caption) => h("figure", {}, node, h("figcaption", {}, caption));
  const quiet = { "data-lm-suppress-shortcuts": "true" }; // JupyterLab keeps its shortcuts to itself in here
  const root = h("div", { class: "roi-explorer", "data-testid": "roi-explorer", ...quiet, onkeydown: shortcut },
    h("div", { class: "roi-left" }, toolbar, stage,
      h("div", { class: "roi-below" }, views, h("label", { class: "roi-check" }, edge, h("span", {}, "Outline"))),
      status),
    h("div", { class: "roi-right" }, thumbs,
      h("div", { class: "roi-inputs" }, figure(original, "Original"), figure(masked, "What the model sees"),
        h("dl", {}, h("dt", {}, "Model"), h("dd", {}, model.get("title")),
          h("dt", {}, "Pixels"), h("dd", {}, `${size} × ${size}`), h("dt", {}, "Seed"), h("dd", {}, seed))),
      h("div", { class: "roi-codes" }, ...sliderRows), h("div", { class: "roi-discs" }, ...selectRows),
      h("div", { class: "roi-group" }, random, reset, sheet)),
    h("p", { id: `roi-hint-${uid}`, class: "roi-hint" }, HINT));
  root.style.setProperty("--roi-px", `${model.get("size_px")}px`);
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
      track(node);
    });
  }
  function draw() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; paint(); });
  }
  function paint() {
    const wide = Math.round(canvas.clientWidth * devicePixelRatio) || model.get("size_px"), scale = wide / size;
    if (canvas.width !== wide) canvas.width = canvas.height = wide;
    const context = canvas.getContext("2d");
    const accent = getComputedStyle(root).getPropertyValue("--roi-accent").trim() || "#1976d2";
    context.imageSmoothingQuality = "high";
    context.drawImage(showing === "original" ? original : base, 0, 0, wide, wide);
    if (stroke) {
      context.fillStyle = accent;
      context.globalAlpha = 0.5;
      const tint = new Path2D(); // one path: overlapping squares must not add up
      for (let i = 0; i < mask.length; i++) {
        if (mask[i]) tint.rect((i % size) * scale, Math.floor(i / size) * scale, scale + 0.5, scale + 0.5);
      }
      context.fill(tint);
      context.globalAlpha = 1;
    }
    const rings = edge.checked || stroke ? [outline(mask, size, scale)] : [];
    if (cursor) {
      const ring = new Path2D();
      if (tool === "brush" || tool === "erase") ring.arc(cursor.x * scale, cursor.y * scale, radius * scale, 0, 7);
      else {
        const arm = 7 * devicePixelRatio;
        const x = cursor.x * scale, y = cursor.y * scale;
        ring.moveTo(x - arm, y); ring.lineTo(x + arm, y);
        ring.moveTo(x, y - arm); ring.lineTo(x, y + arm);
      }
      rings.push(ring);
    }
    for (const ring of rings) { // dark under light: visible on any picture
      context.lineCap = "round";
      context.lineWidth = 3 * devicePixelRatio; context.strokeStyle = "rgba(0, 0, 0, 0.35)"; context.stroke(ring);
      context.lineWidth = 1.4 * devicePixelRatio; context.strokeStyle = "#fff"; context.stroke(ring);
    }
  }
  function refreshPictures() {
    fill(base, bytesOf(model.get("completed_rgb")), size);
    fill(original, bytesOf(model.get("original_rgb")), size);
    fill(masked, bytesOf(model.get("original_rgb")), size, mask);
    draw();
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
  function down(point) { stroke = { tool, before: mask, start: point, last: point }; move(point); }
  function move(point) {
    cursor = point;
    if (stroke) {
      if (stroke.tool === "brush" || stroke.tool === "erase") {
        if (mask === stroke.before) mask = Uint8Array.from(mask);
        dab(mask, size, stroke.last, point, radius, stroke.tool === "brush" ? 1 : 0);
      } else {
        mask = Uint8Array.from(stroke.before);
        shape(mask, size, stroke.tool, stroke.start, point);
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
    return { x: ((event.clientX - box.left) / box.width) * size, y: ((event.clientY - box.top) / box.height) * size };
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
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      if (event.shiftKey) redo(); else undo();
    }
  }

  // --- following the model ----------------------------------------------------------------------------------------
  const follow = [
    ["change:answered", () => { clearTimeout(timer); flush(); }],
    ["change:status change:failed change:tick", () => showStatus()],
    ["change:completed_rgb change:original_rgb", refreshPictures],
    ["change:mask_bytes", refreshMask],
    ["change:index change:seed change:code_values", () => { if (!waiting) refreshControls(); }],
  ].flatMap(([names, action]) => names.split(" ").map((name) => [name, action]));
  for (const [name, action] of follow) model.on(name, action);
  const observer = new ResizeObserver(draw);
  observer.observe(canvas);
  track(width, 1);
  refreshMask();
  refreshControls();
  showStatus();
  return () => {
    for (const [name, action] of follow) model.off(name, action);
    observer.disconnect();
    clearTimeout(timer);
    cancelAnimationFrame(frame);
  };
}

export default { render };
