// Regions: bytes of 0 and 1, size x size. A pixel belongs to a stroke when its centre does; every shape is exact at the model's
// resolution. Places are (x, y) in pixels, (0, 0) the upper left corner.

export function dab(mask, size, from, to, radius, value) {
  const dx = to.x - from.x, dy = to.y - from.y, length = dx * dx + dy * dy || 1e-9;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const px = x + 0.5 - from.x, py = y + 0.5 - from.y;
      const t = Math.min(1, Math.max(0, (px * dx + py * dy) / length));
      if ((px - t * dx) ** 2 + (py - t * dy) ** 2 <= radius * radius) mask[y * size + x] = value;
    }
  }
}

export function shape(mask, size, tool, a, b, value) {
  const cx = (a.x + b.x) / 2, rx = Math.abs(a.x - b.x) / 2 || 1e-9;
  const cy = (a.y + b.y) / 2, ry = Math.abs(a.y - b.y) / 2 || 1e-9;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const u = Math.abs(x + 0.5 - cx) / rx, v = Math.abs(y + 0.5 - cy) / ry;
      if (tool === "ellipse" ? u * u + v * v <= 1 : u <= 1 && v <= 1) mask[y * size + x] = value;
    }
  }
}

export function ellipses(size, list) { // each [x, y, half width, half height], as shares of the side
  const mask = new Uint8Array(size * size);
  for (const [x, y, rx, ry] of list) {
    const at = (sign) => ({ x: size * (x + sign * rx), y: size * (y + sign * ry) });
    shape(mask, size, "ellipse", at(-1), at(1), 1);
  }
  return mask;
}

// Winding number not 0: what an outline goes round twice is inside as well.
export function polygon(mask, size, points, value) {
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
      for (let x = Math.max(0, Math.ceil(from - 0.5)); x < to; x++) mask[y * size + x] = value;
    });
  }
}

export function outline(mask, size, scale) {
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

export function extent(mask, size) { // the box around a region, its last row and column included, and its pixels
  const box = { left: size, top: size, right: -1, bottom: -1, pixels: 0 };
  mask.forEach((bit, i) => {
    if (!bit) return;
    const x = i % size, y = Math.floor(i / size);
    Object.assign(box, { left: Math.min(box.left, x), right: Math.max(box.right, x), pixels: box.pixels + 1 });
    Object.assign(box, { top: Math.min(box.top, y), bottom: Math.max(box.bottom, y) });
  });
  return box;
}

export function pack(mask) { // as text, eight pixels a byte
  const bytes = new Uint8Array(Math.ceil(mask.length / 8));
  mask.forEach((bit, i) => { bytes[i >> 3] |= bit << (i & 7); });
  return btoa(String.fromCharCode(...bytes));
}

export function unpack(text, length) {
  const bytes = atob(text);
  if (bytes.length !== Math.ceil(length / 8)) throw new Error("a region of another size");
  return Uint8Array.from({ length }, (_, i) => (bytes.charCodeAt(i >> 3) >> (i & 7)) & 1);
}
