// The page around the explorer: which model, whose photograph, where the file goes. What is heavy is asked of worker.js.

import explorer from "./explorer.js";
import eyes from "./eyes.js";
import { image, Session, Store } from "./session.js";

const LARGEST = 50; // megapixels: as photograph, as pixels and as result, each takes 4 bytes a pixel
const at = (id) => document.getElementById(id);

function say(text, done = false) {
  at("message").textContent = text;
  at("message").classList.toggle("done", done);
  at("message").hidden = !text;
}

// --- the worker: a question, a promise of its answer ------------------------------------------------------------
// Started from a blob, a worker is under this page's security policy; started from its own address it would not be.
function hire() {
  const start = `import ${JSON.stringify(new URL("./worker.js", import.meta.url).href)};`;
  const worker = new Worker(URL.createObjectURL(new Blob([start], { type: "text/javascript" })), { type: "module" });
  const open = new Map(), early = [];
  let ready = false, count = 0;
  worker.onmessage = ({ data }) => {
    if (data.ready) { ready = true; for (const question of early) worker.postMessage(question); return; }
    const { good, bad } = open.get(data.id);
    open.delete(data.id);
    if ("error" in data) bad(new Error(data.error)); else good(data);
  };
  worker.onerror = (event) => say(`The page's worker stopped: ${event.message ?? "its script did not load"}. Reload the page.`);
  return (content) => new Promise((good, bad) => {
    const question = { ...content, id: ++count };
    open.set(question.id, { good, bad });
    if (ready) worker.postMessage(question); else early.push(question);
  });
}

// --- models and their pictures ----------------------------------------------------------------------------------
const sessions = new Map(); // model -> { session, card, faces: what each picture came from }
const gpu = new URLSearchParams(location.search).get("gpu") !== "0";
let ask, shown = null, unmount = null;

async function pixelsOf(bytes) { // pictures side by side in one PNG
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
  const size = bitmap.height, context = new OffscreenCanvas(bitmap.width, size).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return Array.from({ length: bitmap.width / size }, (_, k) => {
    const { data } = context.getImageData(k * size, 0, size, size);
    return Uint8Array.from({ length: 3 * size * size }, (_, i) => data[4 * Math.floor(i / 3) + i % 3]);
  });
}

async function sprite(pictures, size) {
  const canvas = new OffscreenCanvas(size * pictures.length, size), context = canvas.getContext("2d");
  pictures.forEach((rgb, k) => context.putImageData(image(rgb, size), k * size, 0));
  return new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
}

async function show(card) {
  if (!sessions.has(card.name)) {
    const answer = await fetch(`models/${card.name}.png`), thumbs = new Uint8Array(await answer.arrayBuffer());
    const pictures = await pixelsOf(thumbs);
    sessions.set(card.name, { card, faces: pictures.map(() => null), session: new Session(ask, { ...card, gpu }, pictures, thumbs) });
  }
  mount(sessions.get(card.name));
}

function mount(one) {
  say("");
  shown = one;
  unmount?.();
  at("explorer").replaceChildren();
  unmount = explorer.render({ model: one.session, el: at("explorer") });
  at("credits").replaceChildren(...one.card.credits.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
}

// --- a photograph of one's own ----------------------------------------------------------------------------------
function measured(file) { // width and height, before anything is decoded at full size
  return new Promise((good, bad) => {
    const picture = new Image(), address = URL.createObjectURL(file);
    picture.onload = () => { good([picture.naturalWidth, picture.naturalHeight]); URL.revokeObjectURL(address); };
    picture.onerror = () => bad(new Error(`${file.name || "That"} is no picture that this browser can read: save it as JPEG or PNG first.`));
    picture.src = address;
  });
}

async function open(file) {
  try {
    say("");
    const [width, height] = await measured(file), millions = width * height / 1e6;
    if (Math.min(width, height) < 16) throw new Error(`${file.name} has ${width} × ${height} pixels: a side needs 16 or more.`);
    if (millions > LARGEST) {
      throw new Error(`${file.name} has ${Math.round(millions)} megapixels: ${LARGEST} are the most this page takes. Save it smaller first.`);
    }
    const photo = await ask({ do: "open", file });
    await place(file, photo);
  } catch (error) {
    say(error.message);
  }
}

async function place(file, photo) { // the eyes, and then the picture joins the others
  const { card } = shown, { size } = card, dialog = at("eyes"), preview = at("preview");
  const narrow = Math.min(480, innerWidth - 80);
  const points = new Store({
    guessed: true, picture: file, photo_size: [photo.width, photo.height],
    shown_px: Math.round(Math.min(narrow, photo.width, 0.55 * innerHeight * photo.width / photo.height)),
    eye_points: [[0.4 * photo.width, 0.45 * photo.height], [0.6 * photo.width, 0.45 * photo.height]],
  });
  const frame = () => ({ eyes: points.get("eye_points"), goal: card.eyes, size });
  let rgb = null, round = 0;
  const look = async () => {
    const mine = ++round, answer = await ask({ do: "frame", ...frame() });
    if (mine !== round) return;
    rgb = answer.rgb;
    preview.width = preview.height = size;
    preview.getContext("2d").putImageData(image(rgb, size), 0, 0);
  };
  const close = eyes.render({ model: points, el: at("picker") });
  points.on("change:eye_points", look);
  await look();
  dialog.showModal();
  const taken = await new Promise((done) => {
    at("take").onclick = () => done(true);
    at("cancel").onclick = dialog.oncancel = () => done(false);
  });
  dialog.close();
  close();
  at("picker").replaceChildren();
  if (!taken) return;
  const { eyes: [[x1, y1], [x2, y2]] } = frame();
  if (Math.hypot(x2 - x1, y2 - y1) < 4) return say("The eyes are less than 4 pixels apart: click on each of them.");
  await look();
  const { session, faces } = shown, pictures = [...session.pictures.slice(0, faces.filter((face) => !face).length), rgb];
  const kept = Object.fromEntries(["seed", "mask_bytes", "code_values", "names"].map((name) => [name, session.get(name)]));
  const next = new Session(ask, { ...card, gpu }, pictures, await sprite(pictures, size), { ...kept, index: pictures.length - 1 });
  sessions.set(card.name, { card, session: next, faces: [...pictures.slice(1).map(() => null), { file, frame: frame() }] });
  mount(sessions.get(card.name));
}

async function save() {
  const { session, faces, card } = shown, face = faces[session.get("index")], rgb = session.get("completed_rgb");
  try {
    if (session.get("batch")) throw new Error("Leave the batch view first: one picture is saved.");
    let name = `${card.name}-${session.get("index") + 1}.png`, data;
    if (face) {
      if (!session.mask().some(Boolean)) throw new Error("Nothing is painted yet: there is nothing to save.");
      ({ file: data } = await ask({ do: "save", ...face.frame, rgb, mask: session.mask(), type: "image/png" }));
      name = `${face.file.name.replace(/\.[^.]*$/, "") || "photograph"}-redrawn.png`;
    } else {
      data = new Blob([await sprite([rgb], card.size)], { type: "image/png" });
    }
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(data), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Saved as ${name}.`, true);
  } catch (error) {
    say(error.message);
  }
}

// --- beginning --------------------------------------------------------------------------------------------------
async function begin() {
  if (typeof WebAssembly !== "object") throw new Error("WebAssembly is switched off in this browser: the model cannot run here.");
  ask = hire();
  const cards = await (await fetch("models.json")).json();
  const wanted = cards.find((card) => card.name === location.hash.slice(1)) ?? cards[0];
  for (const card of cards) {
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "model", value: card.name, checked: card === wanted });
    radio.dataset.testid = `model-${card.name}`;
    radio.addEventListener("change", () => show(card).catch((error) => say(error.message)));
    const label = document.createElement("label"), words = document.createElement("span");
    words.textContent = card.label;
    label.append(radio, words);
    at("models").append(label);
  }
  at("open").onclick = () => at("file").click();
  at("file").onchange = () => { if (at("file").files[0]) open(at("file").files[0]); at("file").value = ""; };
  at("save").onclick = save;
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]); });
  addEventListener("paste", (event) => { if (event.clipboardData.files[0]) open(event.clipboardData.files[0]); });
  say("");
  await show(wanted);
}

begin().catch((error) => say(error.message));
