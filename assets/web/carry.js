// The photos' own detail on the way from face to face, warped so that no face has two mouths: what
// facevae/imaging/morphing.py does, which also says why.

import { area, bilinear, enlarge } from "./align.js";

const GRID = 32; // cells a side of the coarse grid on which displacements and fades are computed
const CELLS = GRID * GRID;
const SMOOTHING = 1e-4; // of the spline: landmarks that nearly coincide must not tear the picture
const MAX_SHIFT = 0.15; // of the side: a landmark further off is an error, and moves no further
const [NOISE, UNLIKE] = [0.02, 0.06]; // mean difference: alike below the first, all unlike above the second
const STEEPEST = 4; // power of the fade where all is unlike; 1 is the even fade
const STAYS = 6; // odds of the strongest residual half way, where all is unlike
const QUARTERS = [0, 0.25, 0.5, 0.75, 1];
const BORDER = QUARTERS.flatMap((x) => QUARTERS.map((y) => [x, y])).filter((place) => place.some((at) => at % 1 === 0)); // held in place
const BLUR = Array.from({ length: 9 }, (_, i) => Math.exp(-((i - 4) ** 2) / 8)); // of a deviation of 2 cells

// Residuals (3, S, S) of faces as one: [{residual, share, points}], shares above 0 of sum 1; where all
// points are known, in fractions of the side, the residuals are warped.
export function mixed(parts, size) {
  if (parts.length === 1) return parts[0].residual;
  const strengths = parts.map(({ residual }) => strength(residual, size));
  let residuals = parts.map(({ residual }) => residual);
  if (parts.every(({ points }) => points)) {
    const mean = (i, axis) => parts.reduce((sum, { points, share }) => sum + share * points[i][axis], 0);
    const middle = parts[0].points.map((_, i) => [mean(i, 0), mean(i, 1)]);
    residuals = parts.map(({ residual, points }) => warp(residual, middle, points.map(([x, y], i) => [x - middle[i][0], y - middle[i][1]]), size));
  }
  const unlike = unlikeness(residuals.map((one) => area({ width: size, height: size, planes: one }, [0, 0, size, size], GRID, GRID)));
  const weights = parts.map(({ share }, n) => {
    const odds = strengths[n] === Math.max(...strengths) ? STAYS : 1;
    return unlike.map((value) => share ** (1 + (STEEPEST - 1) * value) * odds ** value);
  });
  const result = new Float32Array(3 * size * size);
  for (const [n, one] of weights.entries()) {
    const share = enlarge(one.map((value, i) => value / weights.reduce((sum, other) => sum + other[i], 0)), GRID, size);
    const residual = residuals[n];
    for (let channel = 0, i = 0; channel < 3; channel++) for (let k = 0; k < share.length; k++, i++) result[i] += share[k] * residual[i];
  }
  return result;
}

// How much there is of a residual in the middle.
function strength(residual, size) {
  const inner = Math.floor((size * 3) / 4);
  const first = Math.round((size - inner) / 2);
  let sum = 0;
  for (let channel = 0; channel < 3; channel++) {
    for (let y = first; y < first + inner; y++) {
      for (let x = first; x < first + inner; x++) sum += residual[(channel * size + y) * size + x] ** 2;
    }
  }
  return sum;
}

// From cells of several residuals, how unlike they are in each, 0 … 1, smoothed.
function unlikeness(cells) {
  const differ = Float32Array.from({ length: CELLS }, (_, i) => {
    const range = (at) => Math.max(...cells.map((one) => one[at])) - Math.min(...cells.map((one) => one[at]));
    return (range(i) + range(CELLS + i) + range(2 * CELLS + i)) / 3;
  });
  const inside = (at) => (at < 0 ? -at : at >= GRID ? 2 * GRID - 2 - at : at); // mirrored at the border
  const total = BLUR.reduce((sum, one) => sum + one);
  const blurred = (values, place) => values.map((_, i) => BLUR.reduce((sum, one, k) => sum + one * values[place(i, k - 4)], 0) / total);
  const across = blurred(differ, (i, by) => i - (i % GRID) + inside((i % GRID) + by));
  const both = blurred(across, (i, by) => GRID * inside(Math.floor(i / GRID) + by) + (i % GRID));
  return both.map((value) => Math.min(1, Math.max(0, (value - NOISE) / (UNLIKE - NOISE))));
}

// Planes sampled at x + s(x): s is `shifts` at `points`, zero at the border, and smooth between: a
// thin-plate spline. Bilinear; Python's is bicubic for small pictures. Source: Bookstein, PAMI 1989.
function warp(planes, points, shifts, size) {
  const spline = splined([...points, ...BORDER], [...shifts.map((shift) => shift.map((by) => Math.min(MAX_SHIFT, Math.max(-MAX_SHIFT, by)))), ...BORDER.map(() => [0, 0])]);
  const fields = [new Float32Array(CELLS), new Float32Array(CELLS)];
  for (let i = 0; i < CELLS; i++) {
    const place = [i % GRID, Math.floor(i / GRID)].map((at) => (0.5 + (at * (size - 1)) / (GRID - 1)) / size);
    spline(place).forEach((by, axis) => (fields[axis][i] = by * size));
  }
  const result = new Float32Array(planes.length);
  for (let y = 0, i = 0; y < size; y++) {
    for (let x = 0; x < size; x++, i++) {
      const [column, row] = [(x * (GRID - 1)) / (size - 1), (y * (GRID - 1)) / (size - 1)];
      const [right, below] = [x + bilinear(fields[0], GRID, column, row), y + bilinear(fields[1], GRID, column, row)];
      for (let channel = 0; channel < 3; channel++) result[channel * size * size + i] = bilinear(planes, size, right, below, channel);
    }
  }
  return result;
}

// The spline through values (two each) at places.
function splined(places, values) {
  const bend = ([x, y], [u, v]) => {
    const square = (x - u) ** 2 + (y - v) ** 2;
    return square && 0.5 * square * Math.log(square);
  };
  const rows = places.map((place, i) => [...places.map((other, k) => bend(place, other) + (i === k ? SMOOTHING : 0)), 1, ...place, ...values[i]]);
  for (const term of [() => 1, ([x]) => x, ([, y]) => y]) rows.push([...places.map(term), 0, 0, 0, 0, 0]);
  const solved = solve(rows);
  return (place) => {
    const sum = [0, 0];
    [...places.map((other) => bend(place, other)), 1, ...place].forEach((term, k) => solved[k].forEach((by, axis) => (sum[axis] += by * term)));
    return sum;
  };
}

// The two solutions of a linear system whose rows end in two right-hand sides, by elimination.
function solve(rows) {
  const many = rows.length;
  for (let column = 0; column < many; column++) {
    const pivot = rows.reduce((best, row, i) => (i > column && Math.abs(row[column]) > Math.abs(rows[best][column]) ? i : best), column);
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    for (const [i, row] of rows.entries()) {
      const factor = i === column ? 0 : row[column] / rows[column][column];
      if (factor) for (let k = column; k < many + 2; k++) row[k] -= factor * rows[column][k];
    }
  }
  return rows.map((row, i) => [row[many] / row[i], row[many + 1] / row[i]]);
}
