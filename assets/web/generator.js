// The numbers of torch.Generator().manual_seed(seed) on a CPU: a Mersenne twister (Matsumoto and Nishimura,
// 1998), from which PyTorch makes normals in blocks of 16, by Box and Muller.
export function generator(seed) {
  const state = new Uint32Array(624);
  state.forEach((_, i) => (state[i] = i ? Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i : seed));
  let at = 0;
  const bits = () => {
    const [next, far] = [(at + 1) % 624, (at + 397) % 624];
    const both = (state[at] & 0x80000000) | (state[next] & 0x7fffffff);
    let mixed = (state[at] = state[far] ^ (both >>> 1) ^ (both & 1 && 0x9908b0df));
    at = next;
    mixed ^= mixed >>> 11;
    mixed ^= (mixed << 7) & 0x9d2c5680;
    mixed ^= (mixed << 15) & 0xefc60000;
    return (mixed ^ (mixed >>> 18)) >>> 0;
  };
  const share = () => ((bits() & 0x1fffff) * 2 ** 32 + bits()) / 2 ** 53; // uniform in [0, 1)
  const normals = (many) => {
    const uniform = Float64Array.from({ length: many }, () => (bits() & 0xffffff) / 2 ** 24);
    return uniform.map((_, i) => {
      const first = i - (i % 16) + (i % 8);
      const [length, angle] = [Math.sqrt(-2 * Math.log(1 - uniform[first])), 2 * Math.PI * uniform[first + 8]];
      return length * (i % 16 < 8 ? Math.cos(angle) : Math.sin(angle));
    });
  };
  return { share, normals };
}
