// The page's back end for explorer.js: what anywidget's model is in a notebook (get, set, save_changes, send, on, off), with
// a worker in the kernel's place. Beside it a plain store of values with the same interface, for eyes.js.

import { noise } from "./random.js";

export class Store {
  constructor(values) {
    this.values = values;
    this.listeners = new Map();
  }
  get(name) { return this.values[name]; }
  set(name, value) {
    const before = this.values[name];
    this.values[name] = value;
    if (before !== value && JSON.stringify(before) !== JSON.stringify(value)) this.tell(`change:${name}`);
  }
  put(values) { // all at once: listeners see the whole of it
    const changed = Object.keys(values).filter((name) => this.values[name] !== values[name]);
    Object.assign(this.values, values);
    for (const name of changed) this.tell(`change:${name}`);
  }
  tell(event, ...rest) { for (const action of [...(this.listeners.get(event) ?? [])]) action(...rest); }
  on(names, action) {
    for (const name of names.split(" ")) this.listeners.set(name, [...(this.listeners.get(name) ?? []), action]);
  }
  off(name, action) { this.listeners.set(name, (this.listeners.get(name) ?? []).filter((one) => one !== action)); }
  save_changes() {}
}

const area = (pixels) => pixels.toLocaleString("en");

// ask: (question) -> a promise of the worker's answer; card: what is known of the model; pictures: bytes, three a pixel
export class Session extends Store {
  constructor(ask, card, pictures, thumbs, kept = {}) {
    const empty = new Uint8Array();
    super({
      reach: 2, ...card, n_images: pictures.length, size_px: 448, thumbs, without: ["sheet"],
      waits: "still computing; before the first picture the model has to be loaded",
      status: `loading the model, ${card.megabytes} MB …`, failed: false, index: 0, seed: 0, batch: false,
      mask_bytes: Uint8Array.from(card.mask, Number), code_values: Array(card.n_continuous + card.n_discrete).fill(0),
      original_rgb: pictures[kept.index ?? 0], completed_rgb: pictures[kept.index ?? 0] ?? empty, moved: card.order[0] ?? "",
      tick: 0, answered: 0, ...kept,
    });
    this.ask = ask;
    this.pictures = pictures;
    this.keys = Array.from({ length: card.n_continuous }, (_, i) => `c${i + 1}`);
    this.keys.push(...Array.from({ length: card.n_discrete }, (_, i) => `d${i + 1}`));
    this.loaded = ask({ do: "load", name: card.name, gpu: card.gpu });
    this.loaded.catch(() => {}); // told by whoever draws
    this.codes = [...this.get("code_values")];
    this.values.tick = this.get("answered") + 1; // the first picture
    this.answer();
  }

  save_changes() {
    const differ = this.keys.filter((_, i) => this.codes[i] !== this.get("code_values")[i]);
    if (differ.length === 1) this.set("moved", differ[0]);
    this.codes = [...this.get("code_values")];
    if (this.get("tick") > this.get("answered") && this.get("tick") !== this.asked) this.answer();
  }

  get original() { return this.get("batch") ? this.pictures.slice(0, 9) : [this.pictures[this.get("index")]]; }

  mask() {
    const bytes = this.get("mask_bytes");
    return bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  async draw(pictures, codes, seed) {
    await this.loaded;
    const { name, size, n_noise } = this.values;
    const question = { do: "draw", name, size, pictures, mask: this.mask(), codes, noise: noise(seed, pictures.length * n_noise) };
    return (await this.ask(question)).rgb;
  }

  async answer() {
    const tick = this.asked = this.get("tick"), mask = this.mask(), pixels = mask.reduce((sum, bit) => sum + bit, 0);
    const original = this.original, before = together(original);
    const told = { original_rgb: before, completed_rgb: before, failed: false, answered: tick };
    if (!pixels) told.status = "nothing painted yet: this is the original";
    else if (pixels > 0.9 * mask.length) {
      const share = Math.round(100 * pixels / mask.length);
      Object.assign(told, { failed: true, status: `the region covers ${share} % of the picture: leave the model more to go by` });
    } else {
      try {
        await this.loaded;
        const start = performance.now();
        told.completed_rgb = await this.draw(original, this.get("code_values"), this.get("seed"));
        const many = original.length > 1 ? `${original.length} pictures ` : "";
        told.status = `mask ${area(pixels)} px, ${many}rendered in ${Math.round(performance.now() - start)} ms`;
      } catch (error) {
        Object.assign(told, { failed: true, status: `the model failed: ${error.message}` });
      }
    }
    this.put(told);
  }

  async send({ id, ...content }) { // what buttons ask for, answered once
    const told = { id }, data = [];
    await null; // an answer never comes before its question is out
    try {
      if (content.do === "seed") data.push(await this.draw([this.pictures[this.get("index")]], this.get("code_values"), content.seed));
      if (content.do === "strip") data.push(await this.strip());
      if (content.do === "save") data.push(this.file());
      if (content.do === "load") this.take(content);
    } catch (error) {
      told.error = error.message;
    }
    this.tell("msg:custom", told, data);
  }

  whose() {
    const { name: model, checkpoint, n_continuous, n_discrete } = this.values;
    return { model, checkpoint, n_continuous, n_discrete };
  }
  file() { return new TextEncoder().encode(JSON.stringify({ ...this.whose(), names: this.get("names") }, null, 2)); }
  take({ file, text }) {
    let content;
    try {
      content = JSON.parse(text);
      if (Object.keys(this.whose()).some((key) => !(key in content)) || typeof content.names !== "object") throw new Error();
    } catch {
      throw new Error(`${file} is no complete file of names: write one by Save names.`);
    }
    const [mine, theirs] = [this.whose(), content].map((who) => who.checkpoint ?? who.model);
    if (mine !== theirs) {
      throw new Error(`The names in ${file} belong to ${content.model} (checkpoint ${content.checkpoint}), not to this model.`);
    }
    this.set("names", Object.fromEntries(Object.entries(content.names).filter(([key]) => this.keys.includes(key))));
  }

  // the code moved last from end to end, as PNG: small pictures under their values
  async strip(steps = 9, tile = 64, head = 24, gap = 6) {
    const { moved, size, n_categories, n_continuous, seed } = this.values, at = this.keys.indexOf(moved);
    if (at < 0 || !this.mask().some(Boolean)) throw new Error("Nothing is painted yet: paint a region to see what the code does.");
    const values = at < n_continuous ? Array.from({ length: steps }, (_, k) => -1 + 2 * k / (steps - 1))
      : Array.from({ length: n_categories }, (_, k) => k);
    const original = this.original, words = (v) => (at < n_continuous && v > 1e-6 ? "+" : "") + Number(v.toFixed(2));
    const canvas = new OffscreenCanvas(values.length * (tile + gap) + gap, 2 * head + original.length * (tile + gap));
    const context = canvas.getContext("2d"), codes = [...this.get("code_values")];
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = "#444";
    context.font = "12px sans-serif";
    context.textBaseline = "middle";
    const name = this.get("names")[moved];
    context.fillText(name ? `${name} (${moved})` : moved, gap, head / 2);
    context.textAlign = "center";
    for (const [k, value] of values.entries()) {
      codes[at] = value;
      const rgb = await this.draw(original, codes, seed), x = gap + k * (tile + gap);
      context.fillText(words(value), x + tile / 2, 1.5 * head);
      for (const row of original.keys()) {
        const small = new OffscreenCanvas(size, size);
        small.getContext("2d").putImageData(image(rgb.subarray(row * 3 * size * size), size), 0, 0);
        context.drawImage(small, x, 2 * head + row * (tile + gap), tile, tile);
      }
    }
    return new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
  }
}

function together(pictures) {
  const all = new Uint8Array(pictures.length * pictures[0].length);
  pictures.forEach((one, k) => all.set(one, k * one.length));
  return all;
}

// Bytes, three a pixel, as a picture of the browser's.
export function image(rgb, size) {
  const out = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) {
    for (let c = 0; c < 3; c++) out.data[4 * i + c] = rgb[3 * i + c];
    out.data[4 * i + 3] = 255;
  }
  return out;
}
