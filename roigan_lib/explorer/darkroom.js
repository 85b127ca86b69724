// Photographs, in a thread of their own: opened, brought into the model's frame, and saved with the drawing in them. The pixels are
// those of the file: no colour profile is applied, so that the profile can go back into the file that is saved.

import { carried, kindOf } from "./files.js";
import { frameOf, paste, sample } from "./photo.js";
import { serve } from "./store.js";

let photo = { number: null };

async function open({ file, number }) {
  if (photo.number === number) return photo;
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" }), { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data: pixels } = context.getImageData(0, 0, width, height);
  let clear = false;
  for (let i = 0; i < pixels.length; i += 4) { // white under what is transparent
    const opacity = pixels[i + 3] / 255;
    if (opacity === 1) continue;
    clear = true;
    for (let c = 0; c < 3; c++) pixels[i + c] = Math.round(opacity * pixels[i + c] + 255 * (1 - opacity));
    pixels[i + 3] = 255;
  }
  photo = { number, width, height, pixels, clear };
  return photo;
}

serve({
  async open(question) {
    const { width, height } = await open(question);
    return { width, height };
  },

  async frame({ eyes, goal, size, ...which }) {
    return { rgb: sample(await open(which), frameOf(eyes, goal), size) };
  },

  async save({ eyes, goal, size, rgb, mask, file, number }) {
    const { width, height, clear, pixels: before } = await open({ file, number });
    const pixels = paste(photo, rgb, mask, frameOf(eyes, goal), size);
    const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d", { willReadFrequently: true });
    context.putImageData(new ImageData(pixels, width, height), 0, 0);
    const bytes = new Uint8Array(await file.arrayBuffer()), kind = kindOf(bytes), type = kind === "jpeg" ? "image/jpeg" : "image/png";
    const blob = await canvas.convertToBlob({ type, quality: 1 });
    const { parts, lost } = carried(bytes, new Uint8Array(await blob.arrayBuffer()), kind);
    const told = [];
    if (kind !== "jpeg" && kind !== "png") told.push("as PNG, without what else its file held");
    if (lost.length) told.push(`without ${lost.join(" and ")}`);
    if (clear) told.push("white where it was transparent");
    if (kind === "jpeg") { // how far a lossy file is from the photograph outside the region
      const back = await createImageBitmap(new Blob(parts, { type }), { colorSpaceConversion: "none", imageOrientation: "none" });
      context.drawImage(back, 0, 0);
      const { data } = context.getImageData(0, 0, width, height);
      let most = 0;
      for (let i = 0; i < data.length; i++) if (pixels[i] === before[i]) most = Math.max(most, Math.abs(data[i] - before[i]));
      told.push(`JPEG is lossy: outside the region a pixel is up to ${most} of 255 levels off`);
    }
    return { file: new Blob(parts, { type }), ending: kind === "jpeg" ? "jpg" : "png", told };
  },
});
