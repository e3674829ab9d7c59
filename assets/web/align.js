// Between a photo and its aligned crop, with the numbers that facevae/imaging/alignment.py gets from
// Pillow and compositing.py from PyTorch. A photo is ImageData; pictures are planes of floats, 0 … 1:
// Float32Array of channels × size × size.

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// A similarity from fractions of the crop's side to photo pixels: (u, v) → (a·u − b·v + x, b·u + a·v + y).
export class Alignment {
  constructor(a, b, x, y) { Object.assign(this, { a, b, x, y, side: Math.hypot(a, b) }); }

  // By least squares from as many points as both have. Source: Umeyama, PAMI 1991.
  static fit(points, template) {
    template = template.slice(0, points.length);
    points = points.slice(0, template.length);
    const mean = (list) => [0, 1].map((axis) => list.reduce((sum, point) => sum + point[axis], 0) / list.length);
    const [from, to] = [mean(template), mean(points)];
    let [a, b, norm] = [0, 0, 0];
    for (const [i, [u, v]] of template.entries()) {
      const [s, t, p, q] = [u - from[0], v - from[1], points[i][0] - to[0], points[i][1] - to[1]];
      a += s * p + t * q;
      b += s * q - t * p;
      norm += s * s + t * t;
    }
    [a, b] = [a / norm, b / norm];
    return new Alignment(a, b, to[0] - a * from[0] + b * from[1], to[1] - b * from[0] - a * from[1]);
  }

  toPixels([u, v]) { return [this.a * u - this.b * v + this.x, this.b * u + this.a * v + this.y]; }

  toUnit([x, y]) {
    const [p, q] = [(x - this.x) / this.side ** 2, (y - this.y) / this.side ** 2];
    return [this.a * p + this.b * q, this.a * q - this.b * p];
  }

  // The upright box around the crop: left, top, right, bottom.
  bounds(margin = 0) {
    const corners = [[0, 0], [1, 0], [0, 1], [1, 1]].map((corner) => this.toPixels(corner));
    const [xs, ys] = [0, 1].map((axis) => corners.map((corner) => corner[axis]));
    const low = (list) => Math.floor(Math.min(...list)) - margin;
    const high = (list) => Math.ceil(Math.max(...list)) + margin;
    return [low(xs), low(ys), high(xs), high(ys)];
  }

  // The crop as planes: shrunk by a whole number, then by a bicubic of 4 × 4 pixels.
  crop(photo, size) {
    const step = Math.max(1, Math.floor(this.side / size));
    const bounds = this.bounds(2 * step);
    const region = reduced(photo, bounds, step);
    const [a, b] = [this.a / size / step, this.b / size / step];
    const [x0, y0] = [(this.x - bounds[0]) / step, (this.y - bounds[1]) / step];
    const crop = new Float32Array(3 * size * size);
    for (let row = 0; row < size; row++) {
      for (let column = 0; column < size; column++) {
        const [u, v] = [column + 0.5, row + 0.5];
        bicubic(region, a * u - b * v + x0, b * u + a * v + y0, crop, row * size + column, size * size);
      }
    }
    return crop;
  }
}

// A part of a photo, its edge repeated outside it, each step × step pixels as their mean: planes of levels.
function reduced(photo, [left, top, right, bottom], step) {
  const [width, height] = [Math.ceil((right - left) / step), Math.ceil((bottom - top) / step)];
  const planes = new Float64Array(3 * width * height);
  for (let channel = 0, out = 0; channel < 3; channel++) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++, out++) {
        let [sum, count] = [0, 0];
        for (let y = top + row * step; y < Math.min(bottom, top + (row + 1) * step); y++) {
          const line = clamp(y, 0, photo.height - 1) * photo.width;
          for (let x = left + column * step; x < Math.min(right, left + (column + 1) * step); x++, count++) {
            sum += photo.data[4 * (line + clamp(x, 0, photo.width - 1)) + channel];
          }
        }
        planes[out] = Math.floor((sum + count / 2) / count);
      }
    }
  }
  return { width, height, planes };
}

// Between the second and the third of four values, by Pillow's cubic (a = −1).
function cubic(p, q, r, s, d) { return q + d * (r - p + d * (2 * (p - q) + r - s + d * (q - p - r + s))); }

// Pillow's bicubic of 4 × 4 pixels, whole levels rounded down.
function bicubic({ width, height, planes }, x, y, crop, place, plane) {
  const [left, top] = [Math.floor(x - 0.5), Math.floor(y - 0.5)];
  const [dx, dy] = [x - 0.5 - left, y - 0.5 - top];
  const [c0, c1, c2, c3] = [clamp(left - 1, 0, width - 1), clamp(left, 0, width - 1), clamp(left + 1, 0, width - 1), clamp(left + 2, 0, width - 1)];
  const line = (row, channel) => {
    const at = (channel * height + clamp(row, 0, height - 1)) * width;
    return cubic(planes[at + c0], planes[at + c1], planes[at + c2], planes[at + c3], dx);
  };
  for (let channel = 0; channel < 3; channel++) {
    const level = cubic(line(top - 1, channel), line(top, channel), line(top + 1, channel), line(top + 2, channel), dy);
    crop[channel * plane + place] = Math.floor(clamp(level, 0, 255)) / 255;
  }
}

// Planes at another size, bilinear as PyTorch does it.
export function enlarge(planes, from, to) {
  if (from === to) return planes;
  const channels = planes.length / from ** 2;
  const result = new Float32Array(channels * to * to);
  const line = new Float32Array(from);
  const [low, share] = [new Int32Array(to), new Float32Array(to)];
  for (let i = 0; i < to; i++) {
    const at = Math.max(0, ((i + 0.5) * from) / to - 0.5);
    [low[i], share[i]] = [Math.floor(at), at - Math.floor(at)];
  }
  for (let channel = 0, out = 0; channel < channels; channel++) {
    for (let row = 0; row < to; row++) {
      const first = (channel * from + low[row]) * from;
      const second = low[row] + 1 < from ? first + from : first;
      for (let i = 0; i < from; i++) line[i] = planes[first + i] + share[row] * (planes[second + i] - planes[first + i]);
      for (let i = 0; i < to; i++, out++) {
        const next = line[Math.min(low[i] + 1, from - 1)];
        result[out] = line[low[i]] + share[i] * (next - line[low[i]]);
      }
    }
  }
  return result;
}

// Planes of three channels as ImageData.
export function toImage(planes, size) {
  const image = new ImageData(size, size);
  for (let i = 0, plane = size * size; i < plane; i++) {
    for (let channel = 0; channel < 3; channel++) image.data[4 * i + channel] = 255 * planes[channel * plane + i]; // it rounds and clamps
    image.data[4 * i + 3] = 255;
  }
  return image;
}

// One value of planes at a place in pixels, from the first one's centre; the border is repeated.
export function bilinear(planes, size, x, y, channel = 0) {
  const last = size - 1;
  x = x < 0 ? 0 : x > last ? last : x;
  y = y < 0 ? 0 : y > last ? last : y;
  const [column, row] = [x | 0, y | 0];
  const at = (channel * size + row) * size + column;
  const [right, below] = [column < last ? 1 : 0, row < last ? size : 0];
  const above = planes[at] + (x - column) * (planes[at + right] - planes[at]);
  const under = planes[at + below] + (x - column) * (planes[at + below + right] - planes[at + below]);
  return above + (y - row) * (under - above);
}

// A window of planes of levels or values, each place of the result the mean of those it covers.
export function area({ width, height, planes }, [left, top, right, bottom], columns, rows) {
  const result = new Float32Array(3 * columns * rows);
  const [w, h] = [right - left, bottom - top];
  for (let channel = 0, out = 0; channel < 3; channel++) {
    for (let row = 0; row < rows; row++) {
      const [low, high] = [top + Math.floor((row * h) / rows), top + Math.ceil(((row + 1) * h) / rows)];
      for (let column = 0; column < columns; column++, out++) {
        const [first, last] = [left + Math.floor((column * w) / columns), left + Math.ceil(((column + 1) * w) / columns)];
        let sum = 0;
        for (let y = low; y < high; y++) {
          const line = (channel * height + y) * width;
          for (let x = first; x < last; x++) sum += planes[line + x];
        }
        result[out] = sum / ((high - low) * (last - first));
      }
    }
  }
  return result;
}

// The photo with a frame (planes of `size`) in place of its `crop` of that size, faded out towards a
// square with round corners. `kept`, {planes, size}, is the share of the photo's finer detail that stays.
export function pasted(photo, alignment, crop, frame, size, kept, feather) {
  const result = new ImageData(new Uint8ClampedArray(photo.data), photo.width, photo.height);
  const [left, top, right, bottom] = alignment.bounds();
  for (let y = Math.max(0, top); y < Math.min(photo.height, bottom); y++) {
    for (let x = Math.max(0, left); x < Math.min(photo.width, right); x++) {
      const [u, v] = alignment.toUnit([x + 0.5, y + 0.5]);
      const inside = (0.5 - ((u - 0.5) ** 4 + (v - 0.5) ** 4) ** 0.25) / feather;
      if (inside <= 0) continue;
      const fade = inside < 1 ? inside * inside * (3 - 2 * inside) : 1;
      const [column, row] = [u * size - 0.5, v * size - 0.5];
      const keep = bilinear(kept.planes, kept.size, u * kept.size - 0.5, v * kept.size - 0.5);
      const place = 4 * (y * photo.width + x);
      for (let channel = 0; channel < 3; channel++) {
        const [own, old] = [photo.data[place + channel] / 255, bilinear(crop, size, column, row, channel)];
        const change = bilinear(frame, size, column, row, channel) - old + (keep - 1) * (own - old);
        result.data[place + channel] = 255 * (own + fade * change);
      }
    }
  }
  return result;
}
