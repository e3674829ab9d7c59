// The faces in the worker, by key: those to begin with, photos, and faces of nobody.

import { Alignment, toImage } from "./align.js";
import { explore } from "./explorer.js";
import { imageOf, studio } from "./model.js";
import { jpeg } from "./save.js";

export const HEIGHT = 320; // pixels of a frame, which the canvas scales
const MIN_SIDE = 16; // pixels of a photo
const MAX_FACES = 40; // that are kept: the oldest goes first
const faces = new Map(); // key → face

export function faceOf(key) {
  if (!faces.has(key)) throw new Error("This face was forgotten: choose one again.");
  return faces.get(key);
}

function keep(key, face) {
  faces.set(key, face);
  if (faces.size > MAX_FACES) faces.delete(faces.keys().next().value);
}

async function cropOf(key) { return jpeg(toImage(studio.cropOf(faceOf(key), HEIGHT), HEIGHT)); }

// A picture file as ImageData, upright, over white, of at most `side` pixels a side.
async function opened(source, side = studio.shared.side) {
  const bitmap = await fetch(source).then((answer) => answer.blob()).then((blob) => createImageBitmap(blob)).catch(() => null);
  if (!bitmap) throw new Error("This file cannot be read as a picture: give a whole JPEG, PNG or WebP.");
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale)));
  if (Math.min(width, height) < MIN_SIDE) throw new Error(`This photo is only ${width}×${height} pixels: give a larger one.`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  Object.assign(context, { fillStyle: "white", imageSmoothingQuality: "high" });
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

// Keeps a face of which all is known that Studio.read would find: one to begin with, or one that the
// app's server has read, by its crop.
export async function place({ key, crop, alignment = [HEIGHT, 0, 0, 0], mean, ...known }, photo) {
  const face = { ...known, photo: photo || (await opened(crop)), alignment: new Alignment(...alignment), mean: Float32Array.from(mean) };
  keep(key, { ...face, decoded: await studio.decode(face.mean, face.condition) });
}

const drawn = (seed) => imageOf(studio.sampled(2, seed, 0.9)[0]); // a face of nobody

// One of the faces to begin with.
async function first({ key, name, origin, note, file, ...known }) {
  if (!faces.has(key)) await place({ key, ...known }, await (file ? opened(`../${file}`) : drawn(origin.draw)));
  return { key, name, origin, note, crop: await cropOf(key) };
}

// The first faces of a tab, in the places that no link fills; none where `undefined` is asked for.
export async function begin(origins) {
  const begun = [];
  for (const [i, origin] of origins.entries()) begun.push(origin === undefined ? null : (origin && (await add({ origin }).catch(() => null))) || (await first(studio.faces[i])));
  return begun;
}

// Reads a photo, or a face of nobody; what the page shows of it.
export async function add({ photo, eyes, origin }) {
  const known = studio.faces.find(({ key }) => key === origin?.portrait);
  if (known) return first(known);
  if (!photo) origin = origin?.spot ? { spot: origin.spot } : { draw: Number.isInteger(origin?.draw) ? origin.draw : crypto.getRandomValues(new Uint32Array(1))[0] >>> 1 };
  const image = await (photo ? opened(photo) : origin.spot ? imageOf(explore.state(origin.spot)) : drawn(origin.draw));
  const places = studio.template.slice(0, 2).map((eye) => eye.map((at) => at * studio.size));
  const [key, face] = [crypto.randomUUID(), await studio.read(image, { eyes: photo ? eyes : places })];
  keep(key, face);
  const several = face.found > 1 ? `${face.found} faces were found: the largest was taken. ` : "";
  return { key, name: photo ? "Your photo" : "Nobody", origin: photo ? null : origin, note: several + face.warning, crop: await cropOf(key) };
}
