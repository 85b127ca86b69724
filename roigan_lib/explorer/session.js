// The page's back end for explorer.js: what anywidget's model is in a notebook (get, set, save_changes, send, on, off), with
// a worker in the kernel's place.

import { toCanvas, encoded } from "./keep.js";
import { noise } from "./random.js";
import { Store } from "./store.js";

const TAKEN = 24; // photographs of one's own

const area = (pixels) => pixels.toLocaleString("en");

export async function sprite(pictures, size) { // side by side, as PNG
  const canvas = new OffscreenCanvas(size * pictures.length, size), context = canvas.getContext("2d");
  pictures.forEach((rgb, k) => context.drawImage(toCanvas(rgb, size), k * size, 0));
  return encoded(canvas);
}

// ask: (question) -> a promise of the worker's answer; card: what is known of the model; pictures: bytes, three a pixel
export class Session extends Store {
  constructor(ask, card, pictures, thumbs) {
    super({
      reach: 2, steering: null, ...card, n_images: pictures.length, size_px: 448, thumbs, without: ["sheet", "find"],
      late: "Still computing; before the first picture the model has to be loaded.",
      status: `loading the model, ${card.megabytes} MB …`, failed: false, index: 0, seed: 0, batch: false,
      mask_bytes: Uint8Array.from(card.mask, Number), code_values: Array(card.n_continuous + card.n_discrete).fill(0),
      original_rgb: pictures[0], completed_rgb: pictures[0], moved: card.order[0] ?? "", tick: 0, answered: 0,
    });
    this.ask = ask;
    this.pictures = pictures;
    this.keys = Array.from({ length: card.n_continuous }, (_, i) => `c${i + 1}`);
    this.keys.push(...Array.from({ length: card.n_discrete }, (_, i) => `d${i + 1}`));
    this.loaded = ask({ do: "load", name: card.name, gpu: card.gpu }).then(({ engine }) => this.set("engine", engine));
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
    if (!this.mask().some(Boolean)) return together(pictures);
    await this.loaded;
    const { name, size, n_noise, n_continuous, steering } = this.values;
    let own = codes;
    const random = noise(seed, pictures.length * n_noise);
    if (steering) { // a told slider lies so much of the way to one of its two ends, rows of the model's own codes
      const toldAt = codes.slice(0, steering[0].length);
      const along = (i) => toldAt.reduce((sum, value, j) => sum + Math.abs(value) * steering[Number(value < 0)][j][i], 0);
      const sums = codes.slice(0, n_continuous).map((_, i) => along(i));
      const farthest = Math.max(...steering.flat().map((end) => Math.hypot(...end)));
      const shorter = Math.min(1, farthest / Math.max(Math.hypot(...sums), 1e-9)); // several go no farther than the longest
      own = codes.map((value, i) => (i < toldAt.length ? 0 : value) + (i < n_continuous ? shorter * sums[i] : 0));
    }
    return (await this.ask({ do: "draw", name, size, pictures, mask: this.mask(), codes: own, noise: random })).rgb;
  }

  async answer() {
    const tick = this.asked = this.get("tick"), mask = this.mask(), pixels = mask.reduce((sum, bit) => sum + bit, 0);
    const original = this.original, before = together(original);
    const told = { original_rgb: before, completed_rgb: before, failed: false, answered: tick };
    if (!pixels) told.status = "nothing painted yet: this is the original";
    else if (pixels > 0.9 * mask.length) {
      const share = Math.round(100 * pixels / mask.length);
      Object.assign(told, { failed: true, status: `the region covers ${share} % of the picture: leave the model more to go by; this is the original` });
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

  async send({ id, ...content }, _, buffers) { // what is asked beside the shared state, answered once
    const told = { id }, data = [];
    await null; // an answer never comes before its question is out
    try {
      if (content.do === "look") data.push(await this.draw(this.original, content.codes, content.seed));
      if (content.do === "take") await this.take(new Uint8Array(buffers[0]), content.name);
    } catch (error) {
      told.error = error.message;
    }
    this.tell("msg:custom", told, data);
  }

  async take(rgb, name) { // one more picture, and it is chosen
    if (this.pictures.length >= this.get("image_names").length + TAKEN) throw new Error("There are too many pictures here: reload the page.");
    this.pictures.push(rgb);
    const index = this.pictures.length - 1, tick = Math.max(this.get("tick"), this.get("answered")) + 1; // another may be out
    const thumbs = await sprite(this.pictures, this.get("size"));
    this.put({ n_images: index + 1, image_names: [...this.get("image_names"), name], thumbs, index, batch: false, tick });
    await this.answer();
  }
}

function together(pictures) {
  const all = new Uint8Array(pictures.length * pictures[0].length);
  pictures.forEach((one, k) => all.set(one, k * one.length));
  return all;
}
