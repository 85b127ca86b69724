// The model's two graphs on the page, in a thread of their own. Pictures are bytes, three a pixel; masks hold 0 or 1.

import { serve } from "./store.js";

const FEATURES = 9; // pairs of picture and mask whose features are kept: as many as the batch view shows
const models = new Map(); // name -> a promise of its graphs
let runtime = null;

// WebGPU where there is one in hardware, else WebAssembly; threads only where the server's headers allow shared memory.
async function start(gpu) {
  const adapter = gpu ? await navigator.gpu?.requestAdapter().catch(() => null) : null;
  const real = adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  const ort = await import(`./ort/ort.${real ? "webgpu" : "wasm"}.min.mjs`);
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const engine = `WebAssembly, ${ort.env.wasm.numThreads} thread${ort.env.wasm.numThreads > 1 ? "s" : ""}`;
  return { ort, providers: real ? ["wasm", "webgpu"] : ["wasm"], engine };
}

async function bytesAt(path) {
  const answer = await fetch(new URL(path, import.meta.url));
  if (!answer.ok) throw new Error(`${path} did not come: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function load({ name, gpu }) {
  const files = ["fixed", "moving"].map((part) => bytesAt(`./models/${name}.${part}.onnx`));
  runtime ??= start(gpu);
  const { ort, providers, engine } = await runtime;
  const session = async (file, provider) => ort.InferenceSession.create(await file,
    { executionProviders: [provider], graphOptimizationLevel: "all", logSeverityLevel: 3 });
  const fixed = await session(files[0], "wasm"); // windows are searched and sorted, which graphics processors do not do
  const ways = [];
  for (const provider of providers) {
    try {
      ways.push(await session(files[1], provider));
    } catch (error) {
      if (provider === "wasm") throw error;
    }
  }
  return { ort, features: [], fixed, ways, engine };
}

// Of two ways to draw, the faster one; the graphics processor's only where it draws the same.
async function settle(model, feed) {
  const tried = [];
  for (const way of model.ways) {
    try {
      await way.run(feed); // compiles what it needs
      const start = performance.now(), { completed } = await way.run(feed);
      tried.push({ way, data: completed.data, took: performance.now() - start });
    } catch { /* a driver that cannot: the other way is there */ }
  }
  const same = ({ data }) => data.every((value, i) => Math.abs(value - tried[0].data[i]) < 0.01);
  const best = tried.filter(same).reduce((a, b) => (b.took < a.took ? b : a));
  model.ways = [best.way];
}

const equal = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);

async function featuresOf(model, size, rgb, mask) {
  const known = model.features.find((one) => equal(one.mask, mask) && equal(one.rgb, rgb));
  if (known) return known;
  const { Tensor } = model.ort, area = size * size, planes = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) planes[c * area + i] = rgb[3 * i + c] / 127.5 - 1;
  const image = new Tensor("float32", planes, [1, 3, size, size]);
  const region = new Tensor("float32", Float32Array.from(mask), [1, 1, size, size]);
  const kept = await model.fixed.run({ image, mask: region });
  const one = { rgb, mask, feed: { image, mask: region, ...kept } };
  model.features = [one, ...model.features].slice(0, FEATURES);
  return one;
}

const work = {
  async load(question) {
    if (!models.has(question.name)) models.set(question.name, load(question));
    try {
      const { ways, engine } = await models.get(question.name);
      return { engine: ways.length > 1 ? "WebGPU where it is the faster" : engine };
    } catch (error) {
      models.delete(question.name); // the next question tries again
      throw error;
    }
  },

  // pictures under one mask and the same codes, each with noise of its own: the completed ones, one behind the other
  async draw({ name, size, pictures, mask, codes, noise }) {
    const model = await models.get(name), { Tensor } = model.ort, area = size * size, length = noise.length / pictures.length;
    const done = new Uint8Array(3 * area * pictures.length);
    for (const [k, rgb] of pictures.entries()) {
      const { feed } = await featuresOf(model, size, rgb, mask);
      const given = {
        ...feed, codes: new Tensor("float32", Float32Array.from(codes), [1, codes.length]),
        noise: new Tensor("float32", noise.slice(k * length, (k + 1) * length), [1, length]),
      };
      const taken = Object.fromEntries(model.ways[0].inputNames.map((key) => [key, given[key]]));
      if (model.ways.length > 1) await settle(model, taken);
      const { data: drawn } = (await model.ways[0].run(taken)).completed;
      const out = done.subarray(3 * area * k);
      for (let i = 0; i < area; i++) {
        for (let c = 0; c < 3; c++) {
          out[3 * i + c] = mask[i] ? Math.round((drawn[c * area + i] + 1) * 127.5) : rgb[3 * i + c];
        }
      }
    }
    return { rgb: done };
  },
};

serve(work);
