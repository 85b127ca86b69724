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

// Numbers that look drawn from N(0, 1), the same ones for a place each time: four hashes' sum (C. Wellons' lowbias32).
function normal(y, x, c) {
  let total = 0;
  for (let k = 0; k < 4; k++) {
    let n = Math.imul(Math.imul(Math.imul(y, 65536) + x, 3) + c, 4) + k >>> 0;
    for (const [shift, factor] of [[16, 0x7feb352d], [15, 0x846ca68b], [16, 1]]) n = Math.imul(n ^ (n >>> shift), factor) >>> 0;
    total += n / 2 ** 32;
  }
  return (total - 2) * Math.sqrt(3);
}

const BLEND = 2; // pixels of the model
const BINOMIAL = [1, 4, 6, 4, 1];
const LEFT = 0.7935, LOST = 0.161; // of white noise: its variance, and its neighbours' correlation without what `outside` makes of it

// Noise like that of the photograph around the hole, its colours and its fineness: (x, y) -> three numbers. rough: the photograph
// less `outside`, NaN where it was not asked for; the quieter half of it counts, since hair and edges are no noise.
function grainOf(rough, wide, high) {
  const size = wide * high, list = Array.from({ length: size }, (_, i) => i).filter((i) => !Number.isNaN(rough[3 * i]));
  const power = (i) => rough[3 * i] ** 2 + rough[3 * i + 1] ** 2 + rough[3 * i + 2] ** 2;
  const loud = Float32Array.from(list, (at) => {
    const x = at % wide, y = Math.floor(at / wide);
    let total = 0, count = 0;
    for (let j = Math.max(0, y - 3); j <= Math.min(high - 1, y + 3); j++) {
      for (let i = Math.max(0, x - 3); i <= Math.min(wide - 1, x + 3); i++) {
        const one = power(j * wide + i);
        if (!Number.isNaN(one)) { total += one; count++; }
      }
    }
    return total / count;
  });
  const level = Float32Array.from(loud).sort()[Math.floor((list.length - 1) / 2)];
  const fine = new Uint8Array(size), near = list.filter((_, k) => loud[k] <= level);
  if (!near.length) return () => [0, 0, 0];
  const colours = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
  let both = 0, alone = 1e-9;
  for (const i of near) {
    fine[i] = 1;
    for (let n = 0; n < 3; n++) for (let m = 0; m < 3; m++) colours[n][m] += rough[3 * i + n] * rough[3 * i + m] / (near.length * LEFT);
    if (!(i % wide && fine[i - 1])) continue;
    for (let n = 0; n < 3; n++) { both += rough[3 * i + n] * rough[3 * i - 3 + n]; alone += rough[3 * i + n] ** 2; }
  }
  const along = Math.min(0.6, Math.max(0, both / alone + LOST));
  const a = along > 1e-3 ? (1 - Math.sqrt(1 - 2 * along * along)) / (2 * along) : 0, root = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
  for (let n = 0; n < 3; n++) { // Cholesky
    for (let m = 0; m <= n; m++) {
      const rest = colours[n][m] + (n === m ? 1e-6 : 0) - root[n].slice(0, m).reduce((sum, value, k) => sum + value * root[m][k], 0);
      root[n][m] = n === m ? Math.sqrt(Math.max(rest, 1e-12)) : rest / root[m][m];
    }
  }
  return (x, y) => {
    const own = [0, 0, 0];
    for (let c = 0; c < 3; c++) {
      for (let j = -1; j < 2; j++) for (let i = -1; i < 2; i++) own[c] += (j ? a : 1) * (i ? a : 1) * normal(y + j, x + i, c);
      own[c] /= 1 + 2 * a * a;
    }
    return root.map((row) => row.reduce((sum, value, k) => sum + value * own[k], 0));
  };
}

// For each pixel the place of the nearest one where `bits` is `wanted`, or -1 (Danielsson's two passes).
function nearest(bits, wide, high, wanted) {
  const place = new Int32Array(wide * high).fill(-1);
  const apart = (x, y, to) => (to < 0 ? Infinity : (x - to % wide) ** 2 + (y - Math.floor(to / wide)) ** 2);
  for (const turn of [1, -1, 1, -1]) {
    for (let k = 0, y = turn > 0 ? 0 : high - 1; k < high; k++, y += turn) {
      for (let n = 0, x = turn > 0 ? 0 : wide - 1; n < wide; n++, x += turn) {
        const at = y * wide + x;
        if (bits[at] === wanted) { place[at] = at; continue; }
        for (const [i, j] of [[-1, 0], [-1, -1], [0, -1], [1, -1]]) {
          const px = x + turn * i, py = y + turn * j;
          if (px < 0 || py < 0 || px >= wide || py >= high) continue;
          if (apart(x, y, place[py * wide + px]) < apart(x, y, place[at])) place[at] = place[py * wide + px];
        }
      }
    }
  }
  return place;
}

// The photograph with the region of what the model drew, RGBA; every other pixel is the photograph's own.
export function paste(photo, rgb, mask, frame, size) {
  const { width, height, pixels } = photo, result = Uint8ClampedArray.from(pixels);
  const { inside, box } = hole(photo, mask, frame, size), [a, b, c, d, e, f] = frame;
  if (!inside.length) throw new Error("the region lies outside the photograph: paint it on the face");
  const [across, , , down] = inverse(frame), step = Math.hypot(across, down), ring = Math.ceil(step - 1e-9) + 3;
  const left = Math.max(0, box.left - ring), top = Math.max(0, box.top - ring);
  const wide = Math.min(width - 1, box.right + ring) - left + 1, high = Math.min(height - 1, box.bottom + ring) - top + 1;
  const side = 2 ** Math.ceil(Math.log2(Math.max(wide, high, 2))), drawn = new Uint8Array(wide * high);
  for (let i = 0; i < inside.length; i += 2) drawn[(inside[i + 1] - top) * wide + inside[i] - left] = 1;
  const near = nearest(drawn, wide, high, 0), around = nearest(drawn, wide, high, 1);
  const outside = (x, y) => { // the mean of the pixels outside the hole around one, weighed by a 5 x 5 binomial
    const sum = [0, 0, 0];
    let weights = 0;
    for (let j = Math.max(0, y - 2); j <= Math.min(high - 1, y + 2); j++) {
      for (let i = Math.max(0, x - 2); i <= Math.min(wide - 1, x + 2); i++) {
        if (drawn[j * wide + i]) continue;
        const weight = BINOMIAL[j - y + 2] * BINOMIAL[i - x + 2], at = 4 * ((top + j) * width + left + i);
        weights += weight;
        for (let n = 0; n < 3; n++) sum[n] += weight * pixels[at + n];
      }
    }
    return sum.map((value) => value / Math.max(weights, 1e-6));
  };
  const fine = Math.max(1, Math.ceil(1 / step - 1e-9)), sum = [0, 0, 0];
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
  const rim = new Float32Array(side * side), mismatch = [0, 1, 2].map(() => new Float32Array(side * side));
  const rough = new Float32Array(3 * wide * high).fill(NaN);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const to = around[y * wide + x], steps = Math.max(Math.abs(x - to % wide), Math.abs(y - Math.floor(to / wide)));
      const grainy = step > 1 && steps > 2 && steps < ring;
      if (steps !== 1 && !grainy) continue;
      const at = 4 * ((top + y) * width + left + x), smooth = step > 1 ? outside(x, y) : [...pixels.subarray(at, at + 3)];
      if (grainy) smooth.forEach((value, n) => { rough[3 * (y * wide + x) + n] = pixels[at + n] - value; });
      if (steps !== 1) continue;
      rim[y * side + x] = 1;
      content(left + x, top + y).forEach((value, n) => { mismatch[n][y * side + x] = smooth[n] - value; });
    }
  }
  const filled = mismatch.map((values) => spread(Float32Array.from(values), rim, side)), blend = BLEND * Math.max(1, step);
  const grain = step > 1 ? grainOf(rough, wide, high) : () => [0, 0, 0];
  for (let i = 0; i < inside.length; i += 2) {
    const x = inside[i], y = inside[i + 1], at = (y - top) * side + x - left, noise = grain(x, y);
    const from = near[(y - top) * wide + x - left], fx = from % wide, fy = Math.floor(from / wide);
    const share = Math.min(1, Math.hypot(x - left - fx, y - top - fy) / blend); // from the nearest one's to a smooth filling
    content(x, y).forEach((value, n) => {
      const taken = share * filled[n][at] + (1 - share) * mismatch[n][fy * side + fx];
      result[4 * (y * width + x) + n] = Math.round(value + taken + noise[n]);
    });
  }
  return result;
}
