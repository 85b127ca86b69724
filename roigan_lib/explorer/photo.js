// Between a photograph and the model's small square, as roigan_lib.photo does it. A frame is [a, b, c, d, e, f]: (x, y)
// of the photograph lie at (ax + by + c, dx + ey + f) in the square; (0, 0) is the centre of the upper left pixel.

// The frame that puts two eyes where the model's training pictures have them.
export function frameOf(eyes, goal) {
  const [[x1, y1], [x2, y2]] = [...eyes].sort((a, b) => a[0] - b[0] || a[1] - b[1]), [[u1, v1], [u2, v2]] = goal;
  const dx = x2 - x1, dy = y2 - y1, du = u2 - u1, dv = v2 - v1, length = dx * dx + dy * dy;
  const cos = (du * dx + dv * dy) / length, sin = (dv * dx - du * dy) / length;
  return [cos, -sin, u1 - cos * x1 + sin * y1, sin, cos, v1 - sin * x1 - cos * y1];
}

function inverse([a, b, c, d, e, f]) {
  const area = a * e - b * d;
  return [e / area, -b / area, (b * f - c * e) / area, -d / area, a / area, (c * d - a * f) / area];
}

// The photograph in the frame: each pixel the mean of as many bilinear samples as it covers pixels; borders go on.
export function sample({ width, height, pixels }, frame, size) {
  const [a, b, c, d, e, f] = inverse(frame), k = Math.max(1, Math.ceil(Math.hypot(a, d) - 1e-9));
  const out = new Uint8Array(3 * size * size), sum = [0, 0, 0];
  const within = (v, n) => Math.min(n - 1, Math.max(0, v));
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      sum.fill(0);
      for (let i = 0; i < k; i++) {
        for (let j = 0; j < k; j++) {
          const u = column + (j + 0.5) / k - 0.5, v = row + (i + 0.5) / k - 0.5;
          const x = a * u + b * v + c, y = d * u + e * v + f, x0 = Math.floor(x), y0 = Math.floor(y);
          const left = within(x0, width), right = within(x0 + 1, width), p = x - x0, q = y - y0;
          const top = within(y0, height) * width, bottom = within(y0 + 1, height) * width;
          for (let n = 0; n < 3; n++) {
            const high = pixels[4 * (top + left) + n] * (1 - p) + pixels[4 * (top + right) + n] * p;
            const low = pixels[4 * (bottom + left) + n] * (1 - p) + pixels[4 * (bottom + right) + n] * p;
            sum[n] += high * (1 - q) + low * q;
          }
        }
      }
      for (let n = 0; n < 3; n++) out[3 * (row * size + column) + n] = Math.round(sum[n] / (k * k));
    }
  }
  return out;
}

// The pixels of the photograph whose centres lie in the region: their numbers, and the box around them with a rim.
function hole({ width, height }, mask, frame, size) {
  const [a, b, c, d, e, f] = frame, back = inverse(frame), corners = [];
  for (const u of [-0.5, size - 0.5]) {
    for (const v of [-0.5, size - 0.5]) corners.push([back[0] * u + back[1] * v + back[2], back[3] * u + back[4] * v + back[5]]);
  }
  const range = (values, n) => [Math.max(0, Math.floor(Math.min(...values))), Math.min(n - 1, Math.ceil(Math.max(...values)))];
  const [left, right] = range(corners.map(([x]) => x), width), [top, bottom] = range(corners.map(([, y]) => y), height);
  const box = { left: width, top: height, right: -1, bottom: -1 }, inside = [];
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const u = Math.round(a * x + b * y + c), v = Math.round(d * x + e * y + f);
      if (u < 0 || v < 0 || u >= size || v >= size || !mask[v * size + u]) continue;
      inside.push(x, y);
      box.left = Math.min(box.left, x); box.right = Math.max(box.right, x);
      box.top = Math.min(box.top, y); box.bottom = Math.max(box.bottom, y);
    }
  }
  return { inside, box };
}

const cubic = (t) => { // Keys' kernel with a = -0.75, as PyTorch has it
  const a = -0.75, x = Math.abs(t);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
};

function enlarge(rgb, size, u, v, sum) { // adds one bicubic sample
  const x = Math.floor(u), y = Math.floor(v), within = (w) => Math.min(size - 1, Math.max(0, w));
  const across = [-1, 0, 1, 2].map((i) => cubic(u - x - i));
  for (let j = -1; j < 3; j++) {
    const row = within(y + j) * size, high = cubic(v - y - j);
    for (let i = -1; i < 3; i++) {
      const weight = high * across[i + 1], at = 3 * (row + within(x + i));
      sum[0] += weight * rgb[at];
      sum[1] += weight * rgb[at + 1];
      sum[2] += weight * rgb[at + 2];
    }
  }
}

// Push-pull over a square whose side is a power of two: values where `known` is 1 spread smoothly over the rest.
function spread(values, known, side) {
  if (side === 1) { values[0] /= Math.max(known[0], 1e-6); return values; }
  const half = side / 2, small = new Float32Array(half * half), share = new Float32Array(half * half);
  for (let y = 0; y < half; y++) {
    for (let x = 0; x < half; x++) {
      const i = 2 * y * side + 2 * x, at = [i, i + 1, i + side, i + side + 1];
      small[y * half + x] = at.reduce((sum, j) => sum + values[j], 0) / 4;
      share[y * half + x] = at.reduce((sum, j) => sum + known[j], 0) / 4;
    }
  }
  const coarse = spread(small, share, half), within = (v) => Math.min(half - 1, Math.max(0, v));
  for (let y = 0; y < side; y++) {
    const v = (y + 0.5) / 2 - 0.5, y0 = Math.floor(v), q = v - y0, top = within(y0) * half, bottom = within(y0 + 1) * half;
    for (let x = 0; x < side; x++) {
      const i = y * side + x, u = (x + 0.5) / 2 - 0.5, x0 = Math.floor(u), p = u - x0, left = within(x0), right = within(x0 + 1);
      const fill = (coarse[top + left] * (1 - p) + coarse[top + right] * p) * (1 - q) +
        (coarse[bottom + left] * (1 - p) + coarse[bottom + right] * p) * q;
      values[i] += (1 - known[i]) * fill;
    }
  }
  return values;
}

// The photograph with the region of what the model drew, RGBA; every other pixel is the photograph's own.
export function paste(photo, rgb, mask, frame, size) {
  const { width, height, pixels } = photo, result = Uint8ClampedArray.from(pixels);
  const { inside, box } = hole(photo, mask, frame, size), [a, b, c, d, e, f] = frame;
  if (!inside.length) throw new Error("the region lies outside the photograph: paint it on the face");
  const left = Math.max(0, box.left - 1), top = Math.max(0, box.top - 1);
  const wide = Math.min(width - 1, box.right + 1) - left + 1, high = Math.min(height - 1, box.bottom + 1) - top + 1;
  const side = 2 ** Math.ceil(Math.log2(Math.max(wide, high, 2))), drawn = new Uint8Array(wide * high);
  for (let i = 0; i < inside.length; i += 2) drawn[(inside[i + 1] - top) * wide + inside[i] - left] = 1;
  const rim = new Float32Array(side * side), fine = Math.max(1, Math.ceil(Math.hypot(a, d) - 1e-9));
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      if (drawn[y * wide + x]) continue;
      for (let j = Math.max(0, y - 1); j <= Math.min(high - 1, y + 1); j++) {
        for (let i = Math.max(0, x - 1); i <= Math.min(wide - 1, x + 1); i++) if (drawn[j * wide + i]) rim[y * side + x] = 1;
      }
    }
  }
  const sum = [0, 0, 0];
  const content = (x, y) => { // where the photograph is the coarser of the two, the mean over its pixel
    sum.fill(0);
    for (let j = 0; j < fine; j++) {
      for (let i = 0; i < fine; i++) {
        const px = x + (i + 0.5) / fine - 0.5, py = y + (j + 0.5) / fine - 0.5;
        enlarge(rgb, size, a * px + b * py + c, d * px + e * py + f, sum);
      }
    }
    return sum.map((value) => value / (fine * fine));
  };
  const mismatch = [0, 1, 2].map(() => new Float32Array(side * side));
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      if (!rim[y * side + x]) continue;
      const at = 4 * ((top + y) * width + left + x);
      content(left + x, top + y).forEach((value, n) => { mismatch[n][y * side + x] = pixels[at + n] - value; });
    }
  }
  for (const values of mismatch) spread(values, rim, side);
  for (let i = 0; i < inside.length; i += 2) {
    const x = inside[i], y = inside[i + 1], at = (y - top) * side + x - left;
    content(x, y).forEach((value, n) => { result[4 * (y * width + x) + n] = Math.round(value + mismatch[n][at]); });
  }
  return result;
}
