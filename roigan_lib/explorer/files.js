// What a file holds beside its pixels, from the photograph into the file that is saved: JPEG's EXIF, XMP, IPTC and colour profile,
// PNG's chunks of the same. The turn in EXIF is done in the pixels, so that it becomes 1; its small preview, which would show
// the picture as it was, is left out.

const PNG = [137, 80, 78, 71, 13, 10, 26, 10];
const KEPT = ["eXIf", "iCCP", "sRGB", "gAMA", "cHRM", "pHYs", "tEXt", "iTXt", "zTXt", "tIME"];
const letters = (bytes, at, long) => String.fromCharCode(...bytes.subarray(at, at + long));

export function kindOf(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return "jpeg";
  if (PNG.every((value, i) => bytes[i] === value)) return "png";
  return "other";
}

function upright(tiff) { // EXIF (a TIFF's first directory) with turn 1 and no preview, or null where it is damaged
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength), small = letters(tiff, 0, 2) === "II";
  try {
    const first = view.getUint32(4, small), count = view.getUint16(first, small);
    for (let i = 0; i < count; i++) {
      const at = first + 2 + 12 * i;
      if (view.getUint16(at, small) === 0x0112) view.setUint16(at + 8, 1, small);
    }
    const next = first + 2 + 12 * count, preview = view.getUint32(next, small);
    view.setUint32(next, 0, small);
    if (preview) { // its bytes go, too: they show the face as it was
      const entries = view.getUint16(preview, small), found = {};
      for (let i = 0; i < entries; i++) found[view.getUint16(preview + 2 + 12 * i, small)] = view.getUint32(preview + 10 + 12 * i, small);
      if (found[0x0201]) tiff.fill(0, found[0x0201], found[0x0201] + (found[0x0202] ?? 0));
    }
    return tiff;
  } catch {
    return null;
  }
}

function segments(bytes) { // of a JPEG before its pixels: [marker, from, to]
  const found = [];
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
    const long = 256 * bytes[at + 2] + bytes[at + 3];
    found.push([bytes[at + 1], at, at + 2 + long]);
    at += 2 + long;
  }
  return found;
}

function ofJpeg(bytes, lost) {
  const kept = [];
  for (const [marker, from, to] of segments(bytes)) {
    const part = bytes.slice(from, to), name = letters(part, 4, 29);
    if (marker === 0xe1 && name.startsWith("Exif\0\0")) {
      if (upright(part.subarray(10))) kept.push(part); else lost.push("its EXIF notes, which are damaged");
    } else if (marker === 0xe1 && name.startsWith("http://ns.adobe.com/xap/1.0/")) kept.push(part);
    else if (marker === 0xed) kept.push(part);
    else if (marker === 0xe2 && name.startsWith("ICC_PROFILE\0")) {
      const space = letters(part, 18 + 16, 4);
      if (part[16] === 1 && space !== "RGB ") lost.push(`its ${space.trim()} colour profile`);
      else if (!lost.some((what) => what.endsWith("colour profile"))) kept.push(part);
    }
  }
  return kept;
}

function chunks(bytes) { // of a PNG: [name, from, to]
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), found = [];
  for (let at = 8; at + 12 <= bytes.length;) {
    const to = at + 12 + view.getUint32(at);
    found.push([letters(bytes, at + 4, 4), at, to]);
    at = to;
  }
  return found;
}

function ofPng(bytes, lost) {
  return chunks(bytes).filter(([name]) => KEPT.includes(name)).map(([name, from, to]) => {
    const part = bytes.slice(from, to);
    if (name !== "eXIf") return part;
    if (!upright(part.subarray(8, -4))) { lost.push("its EXIF notes, which are damaged"); return new Uint8Array(); }
    new DataView(part.buffer).setUint32(part.length - 4, checksum(part.subarray(4, -4)));
    return part;
  });
}

function checksum(bytes) { // CRC-32, as PNG has it
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let k = 0; k < 8; k++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

// The parts of the saved file: `fresh`, as the browser wrote it, with what `bytes`, the photograph's file, held beside its pixels.
export function carried(bytes, fresh, kind) {
  const lost = [], cut = (list, drop) => list.filter(([name]) => !drop.includes(name)).map(([, from, to]) => fresh.subarray(from, to));
  try {
    if (kind === "jpeg") {
      const kept = ofJpeg(bytes, lost), own = segments(fresh), [jfif, ...tables] = cut(own, [0xe1, 0xe2]);
      return { parts: [fresh.subarray(0, 2), jfif, ...kept, ...tables, fresh.subarray(own.at(-1)[2])], lost };
    }
    if (kind === "png") {
      const kept = ofPng(bytes, lost), [header, ...pixels] = cut(chunks(fresh), KEPT);
      return { parts: [fresh.subarray(0, 8), header, ...kept, ...pixels], lost };
    }
  } catch {
    lost.push("what else its file held, which is damaged");
  }
  return { parts: [fresh], lost };
}
