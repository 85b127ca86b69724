// The noise that a seed stands for, number for number as the kernel draws it: PyTorch's CPU generator is the Mersenne
// twister (Matsumoto & Nishimura 1998), and its normal numbers are Box and Muller's, sixteen at a time.

const N = 624, M = 397;

function twister(seed) { // whole numbers of 32 bits
  const state = new Uint32Array(N);
  let at = N;
  state[0] = seed;
  for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  return () => {
    if (at === N) {
      for (let i = 0; i < N; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7fffffff);
        state[i] = state[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      at = 0;
    }
    let y = state[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}

export function noise(seed, count) { // RoIGAN.sample_noise; count: a multiple of 16
  const next = twister(seed + 1000003), z = Float32Array.from({ length: count }, () => (next() & 0xffffff) / 2 ** 24);
  for (let start = 0; start < count; start += 16) {
    for (let i = start; i < start + 8; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - z[i])), angle = 2 * Math.PI * z[i + 8];
      z[i] = radius * Math.cos(angle);
      z[i + 8] = radius * Math.sin(angle);
    }
  }
  return z;
}
