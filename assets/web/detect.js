// Faces of a photo and their five landmarks: the steps around the three networks of MTCNN, as
// facevae/imaging/alignment.py takes them with facenet-pytorch. Source: Zhang et al., arXiv 1604.02878.

import { area } from "./align.js";

const SIDES = [640, 1600]; // pixels; the second, finer search runs only if the first finds no face
const MIN_CONFIDENCE = 0.9;
const FIRST_SCALE = 12 / 20; // of the pyramid: no face under 20 pixels is found
const FACTOR = 0.709; // from one step of the pyramid to the next
const PASSES = [0.6, 0.7, 0.7]; // of each network, a box's least score
const f32 = Math.fround;

// [{points: [[x, y] × 5], confidence}] in photo pixels, the largest face first. `run(name, planes,
// shape)` gives a network's outputs; its order of them is [boxes, scores] or [boxes, points, scores].
export async function findFaces(photo, run) {
  const pad = Math.floor(Math.max(photo.width, photo.height) / 4); // tight crops mislead the detector
  for (const side of SIDES) {
    const scale = Math.min(1, side / (Math.max(photo.width, photo.height) + 2 * pad));
    const found = await detect(shrunk(photo, pad, scale), run);
    const sure = found.filter((face) => face.score >= MIN_CONFIDENCE);
    if (sure.length) {
      sure.sort((one, other) => pixels(other.box) - pixels(one.box));
      return sure.map(({ points, score }) => ({ points: points.map((point) => point.map((value) => value / scale - pad)), confidence: score }));
    }
    if (scale === 1) break;
  }
  return [];
}

const pixels = ([left, top, right, bottom]) => (right - left) * (bottom - top);

// The photo with its edges repeated `pad` pixels outwards, at a scale of at most 1: planes of levels.
function shrunk(photo, pad, scale) {
  const even = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value)); // Python's
  const [width, height] = [photo.width, photo.height].map((side) => Math.max(1, even((side + 2 * pad) * scale)));
  const columns = spans(photo.width, pad, width);
  const rows = spans(photo.height, pad, height);
  const lines = new Uint8Array(3 * width * photo.height); // Pillow rounds between its two passes, too
  for (let y = 0, out = 0; y < photo.height; y++) {
    for (const span of columns) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (const x of span) sum += photo.data[4 * (y * photo.width + x) + channel];
        lines[out++] = Math.floor(sum / span.length + 0.5);
      }
    }
  }
  const planes = new Float32Array(3 * width * height);
  for (const [row, span] of rows.entries()) {
    for (let i = 0; i < 3 * width; i++) {
      let sum = 0;
      for (const y of span) sum += lines[3 * width * y + i];
      planes[(i % 3) * width * height + row * width + Math.floor(i / 3)] = Math.floor(sum / span.length + 0.5);
    }
  }
  return { width, height, planes };
}

// For each of `to` places of a padded line, the source pixels that are averaged to it: Pillow's BOX.
function spans(length, pad, to) {
  const scale = (length + 2 * pad) / to;
  return Array.from({ length: to }, (_, i) => {
    const low = Math.max(0, Math.floor(i * scale + 0.5));
    const high = Math.min(length + 2 * pad, Math.floor((i + 1) * scale + 0.5));
    return Array.from({ length: high - low }, (_, k) => Math.min(length - 1, Math.max(0, low + k - pad)));
  });
}

async function detect(image, run) {
  const boxes = [];
  let least = Math.min(image.width, image.height) * FIRST_SCALE;
  for (let scale = FIRST_SCALE; least >= 12; scale *= FACTOR, least *= FACTOR) {
    const [width, height] = [image.width, image.height].map((side) => Math.floor(side * scale + 1));
    const planes = averaged(image, [0, 0, image.width, image.height], width, height);
    boxes.push(...suppressed(proposed(await run("pnet", planes, [1, 3, height, width]), scale), 0.5));
  }
  let some = suppressed(boxes, 0.7).map(({ box: [x, y, right, bottom], shift, score }) => {
    const [w, h] = [right - x, bottom - y];
    return { box: squared([x + shift[0] * w, y + shift[1] * h, right + shift[2] * w, bottom + shift[3] * h]), score };
  });
  some = (await judged(image, some, 24, "rnet", run)).filter(({ score }) => score > PASSES[1]);
  some = suppressed(some, 0.7).map(({ box, shift, score }) => ({ box: squared(shifted(box, shift)), score }));
  some = (await judged(image, some, 48, "onet", run)).filter(({ score }) => score > PASSES[2]);
  return suppressed(some.map((one) => ({ ...one, box: shifted(one.box, one.shift) })), 0.7, true);
}

// Where the first network sees faces: each cell of its map is a window of 12 pixels, 2 apart.
function proposed([shifts, scores], scale) {
  const [height, width] = scores.dims.slice(2);
  const cells = width * height;
  const found = [];
  for (let cell = 0; cell < cells; cell++) {
    const score = scores.data[cells + cell];
    if (score < f32(PASSES[0])) continue;
    const [x, y] = [cell % width, Math.floor(cell / width)];
    const corners = [2 * x + 1, 2 * y + 1, 2 * x + 12, 2 * y + 12];
    const box = corners.map((value) => Math.floor(f32(value / f32(scale))));
    found.push({ box, score, shift: [0, 1, 2, 3].map((i) => shifts.data[i * cells + cell]) });
  }
  return found;
}

// The boxes as the second or third network judges them.
async function judged(image, boxes, side, network, run) {
  const windows = boxes.map(({ box }) => {
    const [left, top, right, bottom] = box.map(Math.trunc);
    return [Math.max(1, left) - 1, Math.max(1, top) - 1, Math.min(image.width, right), Math.min(image.height, bottom)];
  });
  const kept = boxes.filter((_, i) => windows[i][2] > windows[i][0] && windows[i][3] > windows[i][1]);
  const inside = windows.filter(([left, top, right, bottom]) => right > left && bottom > top);
  if (!kept.length) return [];
  const length = 3 * side * side;
  const planes = new Float32Array(kept.length * length);
  inside.forEach((window, i) => planes.set(averaged(image, window, side, side), i * length));
  const outputs = await run(network, planes, [kept.length, 3, side, side]);
  const [shifts, marks, scores] = outputs.length === 3 ? outputs : [outputs[0], null, outputs[1]];
  return kept.map(({ box }, n) => {
    const [x, y, w, h] = [box[0], box[1], box[2] - box[0] + 1, box[3] - box[1] + 1];
    const mark = (i) => [w * marks.data[10 * n + i] + x - 1, h * marks.data[10 * n + 5 + i] + y - 1];
    return { box, score: scores.data[2 * n + 1], shift: shifts.data.slice(4 * n, 4 * n + 4), points: marks && [0, 1, 2, 3, 4].map(mark) };
  });
}

// A window of an image at another size, as the networks read it: from −1 to 1.
function averaged(...window) { return area(...window).map((level) => (level - 127.5) / 128); }

function shifted(box, shift) {
  const [w, h] = [box[2] - box[0] + 1, box[3] - box[1] + 1];
  return box.map((value, i) => value + shift[i] * (i % 2 ? h : w));
}

// The square about a box's middle, as long as its longer side.
function squared([left, top, right, bottom]) {
  const [w, h] = [right - left, bottom - top];
  const side = Math.max(w, h);
  const [x, y] = [left + w / 2 - side / 2, top + h / 2 - side / 2];
  return [x, y, x + side, y + side];
}

// Without the boxes that overlap a better one: by the share of both, or of the smaller (pixels count
// as areas then, so that a side is one longer).
function suppressed(boxes, most, ofSmaller = false) {
  const more = ofSmaller ? 1 : 0;
  const size = ([left, top, right, bottom]) => (right - left + more) * (bottom - top + more);
  const kept = [];
  for (const one of [...boxes].sort((a, b) => b.score - a.score)) {
    const overlaps = kept.some(({ box }) => {
      const w = Math.min(box[2], one.box[2]) - Math.max(box[0], one.box[0]) + more;
      const h = Math.min(box[3], one.box[3]) - Math.max(box[1], one.box[1]) + more;
      const both = Math.max(0, w) * Math.max(0, h);
      const whole = ofSmaller ? Math.min(size(box), size(one.box)) : size(box) + size(one.box) - both;
      return both / whole > most;
    });
    if (!overlaps) kept.push(one);
  }
  return kept;
}
