// The page around the explorer: which model, and with what settings. What is heavy is asked of worker.js.

import explorer from "./explorer.js";
import { Session } from "./session.js";
import { hire } from "./store.js";

const at = (id) => document.getElementById(id);
const script = (name) => `import ${JSON.stringify(new URL(name, import.meta.url).href)};`;
const gpu = new URLSearchParams(location.search).get("gpu") !== "0";
const sessions = new Map(); // model -> { session, card }
let ask, cards = [], unmount = null, photo = null; // the last photograph taken, for the models beside it

function say(text) {
  at("message").textContent = text;
  at("message").hidden = !text;
}

async function pixelsOf(bytes) { // pictures side by side in one PNG
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
  const size = bitmap.height, context = new OffscreenCanvas(bitmap.width, size).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return Array.from({ length: bitmap.width / size }, (_, k) => {
    const { data } = context.getImageData(k * size, 0, size, size);
    return Uint8Array.from({ length: 3 * size * size }, (_, i) => data[4 * Math.floor(i / 3) + i % 3]);
  });
}

async function show(card, given = null) {
  if (!sessions.has(card.name)) {
    const answer = await fetch(`models/${card.name}.png`);
    if (!answer.ok) throw new Error(`The pictures of ${card.label} did not come (${answer.status}): reload the page.`);
    const thumbs = new Uint8Array(await answer.arrayBuffer()), pictures = await pixelsOf(thumbs);
    const better = card.name.startsWith("synthfaces") && cards.find(({ name }) => name.startsWith("celeba"));
    const tip = better ? `This model was shown drawn faces only: for a photograph choose ${better.label} first.` : "";
    const here = { gpu, tip, darkroom: script("./darkroom.js"), link: `${location.href.replace(/#.*/, "")}#${card.name}` };
    const session = new Session(ask, { ...card, ...here }, pictures, thumbs), files = new Set();
    session.on("change:taken", () => {
      photo = { ...session.get("taken"), from: card.name };
      files.add(photo.file);
    });
    sessions.set(card.name, { card, files, session });
  }
  const { session, files } = sessions.get(card.name);
  say("");
  unmount?.();
  at("explorer").replaceChildren();
  session.set("given", given);
  const follows = photo && !files.has(photo.file) && [photo.from, card.name].every((name) => name.startsWith("celeba"));
  session.set("carried", follows ? photo : null);
  unmount = explorer.render({ model: session, el: at("explorer") });
  session.set("given", null);
  const credits = () => {
    const slow = navigator.gpu ? "" : " This browser offers no WebGPU: the processor draws.";
    const lines = [...card.credits, `Drawn by ${session.get("engine") ?? "…"}.${slow}`];
    at("credits").replaceChildren(...lines.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
  };
  session.on("change:engine", credits);
  credits();
}

async function begin() {
  if (typeof WebAssembly !== "object") throw new Error("WebAssembly is switched off in this browser: the model cannot run here.");
  ask = hire(script("./worker.js"), (why) => say(`The page's worker stopped: ${why}. Reload the page.`));
  cards = await (await fetch("models.json")).json();
  for (const card of cards) {
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "model", value: card.name });
    radio.dataset.testid = `model-${card.name}`;
    radio.addEventListener("change", () => {
      history.replaceState(null, "", `#${card.name}`); // for the next reload
      show(card).catch((error) => say(error.message));
    });
    const label = document.createElement("label"), words = document.createElement("span");
    words.textContent = card.label;
    label.append(radio, words);
    at("models").append(label);
  }
  addEventListener("hashchange", () => follow().catch((error) => say(error.message)));
  await follow();
}

async function follow() { // the address: a model, and behind it settings that were copied as a link
  const [name, settings] = location.hash.slice(1).split("~"), wanted = cards.find((card) => card.name === name) ?? cards[0];
  at("models").querySelector(`[value="${CSS.escape(wanted.name)}"]`).checked = true;
  let given = null;
  if (settings) {
    try { given = atob(settings.replaceAll("-", "+").replaceAll("_", "/")); } catch { given = "broken"; }
  }
  await show(wanted, given);
}

begin().catch((error) => say(error.message));
