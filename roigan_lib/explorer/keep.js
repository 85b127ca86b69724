// What is kept of a picture: bytes, three a pixel, as a picture of the browser's; a strip of several; a film; a file.

export function toImage(rgb, size, mask = null) {
  const out = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) {
    for (let c = 0; c < 3; c++) out.data[4 * i + c] = mask?.[i] ? 128 : rgb[3 * i + c];
    out.data[4 * i + 3] = 255;
  }
  return out;
}

export function toCanvas(rgb, size) {
  const canvas = new OffscreenCanvas(size, size);
  canvas.getContext("2d").putImageData(toImage(rgb, size), 0, 0);
  return canvas;
}

export async function encoded(canvas, type = "image/png", quality = undefined) {
  const blob = await canvas.convertToBlob({ type, quality });
  if (blob.type !== type) throw new Error(`This browser writes no ${type.slice(6).toUpperCase()}: take another one for that.`);
  return new Uint8Array(await blob.arrayBuffer());
}

export function download(name, type, bytes) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  return `Saved as ${name}`;
}

// Small pictures under the words above them, as PNG; columns: one or several pictures each
export function strip(title, words, columns, size, tile = 64, head = 24, gap = 6) {
  const each = 3 * size * size, rows = columns[0].length / each;
  const canvas = new OffscreenCanvas(columns.length * (tile + gap) + gap, 2 * head + rows * (tile + gap));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#444";
  context.font = "12px sans-serif";
  context.textBaseline = "middle";
  context.fillText(title, gap, head / 2);
  context.textAlign = "center";
  columns.forEach((rgb, k) => {
    const x = gap + k * (tile + gap);
    context.fillText(words[k], x + tile / 2, 1.5 * head);
    for (let row = 0; row < rows; row++) {
      context.drawImage(toCanvas(rgb.subarray(row * each), size), x, 2 * head + row * (tile + gap), tile, tile);
    }
  });
  return encoded(canvas);
}

// An animated WebP that runs to and fro: the browser encodes the pictures, this puts them into the container
// (developers.google.com/speed/webp/docs/riff_container).
export async function film(frames, size, side = 256, pause = 80) {
  const number = (value, bytes) => Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) % 256);
  const chunk = (name, ...parts) => {
    const body = parts.flatMap((part) => [...part]);
    return [...[...name].map((letter) => letter.charCodeAt(0)), ...number(body.length, 4), ...body, ...Array(body.length % 2).fill(0)];
  };
  const pictures = [];
  for (const rgb of frames) {
    const canvas = new OffscreenCanvas(side, side), context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(toCanvas(rgb, size), 0, 0, side, side);
    const file = await encoded(canvas, "image/webp", 0.92);
    for (let at = 12; at < file.length;) { // the picture's own part: lossy or lossless
      const name = String.fromCharCode(...file.subarray(at, at + 4));
      const long = new DataView(file.buffer, at + 4).getUint32(0, true);
      if (name === "VP8 " || name === "VP8L") pictures.push(chunk(name, file.subarray(at + 8, at + 8 + long)));
      at += 8 + long + long % 2;
    }
  }
  const there = [...pictures, ...pictures.slice(1, -1).reverse()], square = [...number(side - 1, 3), ...number(side - 1, 3)];
  const all = there.map((picture) => chunk("ANMF", number(0, 6), square, number(pause, 3), [2], picture));
  const body = [chunk("VP8X", number(2, 4), square), chunk("ANIM", number(0, 6)), ...all];
  return Uint8Array.from(chunk("RIFF", [...("WEBP")].map((letter) => letter.charCodeAt(0)), ...body));
}
