// In place of the server: a worker that answers what the elements of assets/app/ ask, as
// facevae/ui/ does in Python. A message {id, tab, name, request} is answered by {id, answer}.

import { Alignment, toImage } from "./align.js";
import { animation, picture } from "./save.js";
import { NoFace, Studio } from "./studio.js";

const HEIGHT = 320; // pixels of a frame, which the canvas scales
const MIN_SIDE = 16; // pixels of a photo
const MAX_FACE_HEIGHT = 1024; // of a face that is saved
const START_SEEDS = [36, 56]; // of the drawn faces to begin with
const STRIP_FRAMES = 25; // the canvas blends between neighbours
const ROUND = { 2: [0, 1], 3: [0, 1, 2], 4: [0, 1, 3, 2] }; // from face to face, as the pad plays
const [FRAMES_PER_SECOND, MAX_FRAMES] = [12, 120];
const [GALLERY_FACES, MAP_TILES, MAP_REACH] = [12, 7, 2.5]; // the reach in standard deviations
const [TRAVERSED, STEPS, REACH] = [8, 7, 3]; // latents, faces of each, standard deviations either way
const MAX_FACES = 40; // that are kept: the oldest goes first

let studio;
const faces = new Map(); // key → face

const pause = () => new Promise((done) => setTimeout(done)); // other messages come in between
const dataUri = (blob) => new FileReaderSync().readAsDataURL(blob);
const jpeg = async (image) => dataUri(await picture(image, "image/jpeg"));
const file = async (name, image) => ({ name, uri: dataUri(await picture(image)) });
const linspace = (first, last, many) => Array.from({ length: many }, (_, i) => first + ((last - first) * i) / (many - 1));

// Networks and numbers by name; of a runtime with a GPU the decoder alone runs there.
async function load({ files, gpu, threads }) {
  const read = async (name) => {
    const [size, integrity] = files[name];
    const stream = (await fetch(`../${name}`, { integrity })).body.pipeThrough(new TransformStream({
      transform(part, out) {
        self.postMessage({ loaded: part.length });
        out.enqueue(part);
      },
    }));
    const packed = name.endsWith(".packed");
    return new Response(packed ? stream.pipeThrough(new DecompressionStream("gzip")) : stream).arrayBuffer();
  };
  const kind = gpu ? "ort-wasm-simd-threaded.asyncify" : "ort-wasm-simd-threaded";
  const names = ["encoder", "decoder", "classifier", "pnet", "rnet", "onet"].filter((name) => files[`networks/${name}.onnx.packed`]);
  const [ort, about, held, wasmBinary, ...graphs] = await Promise.all([
    import(`../runtime/ort.${gpu ? "webgpu" : "wasm"}.min.mjs`),
    read("studio.json").then((content) => JSON.parse(new TextDecoder().decode(content))),
    read("networks/studio.safetensors.packed"),
    read(`runtime/${kind}.wasm.packed`),
    ...names.map((name) => read(`networks/${name}.onnx.packed`)),
  ]);
  Object.assign(ort.env.wasm, { wasmBinary, numThreads: threads, wasmPaths: { mjs: new URL(`../runtime/${kind}.mjs`, import.meta.url).href } });
  const networks = {}; // each is made when it is first run
  for (const [i, name] of names.entries()) {
    const executionProviders = gpu && name === "decoder" ? ["webgpu", "wasm"] : ["wasm"];
    let made;
    networks[name] = () => (made ||= ort.InferenceSession.create(graphs[i], { executionProviders }));
  }
  studio = new Studio(ort, about, tensorsOf(held), networks);
  const { source, shared, props } = about;
  return { source, props: Object.fromEntries(Object.entries(props).map(([tab, own]) => [tab, { ...shared, ...own }])) };
}

// What a safetensors file holds.
function tensorsOf(content) {
  const length = Number(new DataView(content).getBigUint64(0, true));
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 8, length)));
  delete about.__metadata__;
  const read = ({ shape, data_offsets: [from, to] }) => ({ shape, data: new Float32Array(content.slice(8 + length + from, 8 + length + to)) });
  return Object.fromEntries(Object.entries(about).map(([name, tensor]) => [name, read(tensor)]));
}

// A picture file as ImageData, upright, over white, of at most `side` pixels a side.
async function opened(source, side) {
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

async function keep(read, name, origin = null, key = crypto.randomUUID()) {
  const face = await read;
  faces.set(key, face);
  const visitors = [...faces.keys()].filter((one) => !(one in studio.portraits));
  if (visitors.length > MAX_FACES) faces.delete(visitors[0]);
  const notes = face.found > 1 ? [`${face.found} faces were found: the largest was taken.`] : [];
  if (face.warning) notes.push(face.warning);
  const crop = await jpeg(toImage(studio.cropOf(face, HEIGHT), HEIGHT));
  return { key, name, origin, crop, note: notes.join(" ") };
}

function faceOf(key) {
  if (!faces.has(key)) throw new Error("This face was forgotten: choose one again.");
  return faces.get(key);
}

async function portrait(name) {
  const { file, alignment, points } = studio.portraits[name];
  const read = async () => faces.get(name) || studio.read(await opened(`../${file}`, studio.shared.side), { alignment: new Alignment(...alignment), points });
  return keep(read(), name, { portrait: name }, name);
}

// A face of nobody, from its state.
async function nobody(state, origin, key) {
  const drawn = toImage((await studio.decode(state.code, state.condition)).picture, studio.size);
  const eyes = studio.template.slice(0, 2).map((eye) => eye.map((at) => at * studio.size));
  return keep(studio.read(drawn, { eyes }), "Nobody", origin, key);
}

const drawn = (seed, key) => nobody(studio.sampled(1, seed, 0.9)[0], { draw: seed }, key);

const shared = {
  // The first faces of a tab, in the places that no link fills.
  async begin(origins) {
    const first = [...Object.keys(studio.portraits).map((name) => () => portrait(name)), ...START_SEEDS.map((seed) => () => drawn(seed))];
    const begun = [];
    for (const [i, origin] of origins.entries()) begun.push((origin && (await shared.add({ origin }).catch(() => null))) || (await first[i]()));
    return begun;
  },

  async add({ photo, eyes, origin }) {
    if (photo) return keep(studio.read(await opened(photo, studio.shared.side), { eyes }), "Your photo");
    if (origin?.portrait in studio.portraits) return portrait(origin.portrait);
    if (origin?.spot) return nobody(explore.state(origin.spot), origin);
    return drawn(Number.isInteger(origin?.draw) ? origin.draw : crypto.getRandomValues(new Uint32Array(1))[0] >>> 1);
  },
};

// An animation of frames that are drawn one by one; of one way it plays back, too.
async function animated(name, { kind, seconds, job }, draws, ways) {
  const frames = [];
  for (const draw of draws) {
    frames.push(await draw());
    self.postMessage({ job, share: (0.8 * frames.length) / draws.length });
    await pause();
  }
  const rate = frames.length / (ways * seconds);
  const played = ways === 1 ? [...frames, ...frames.slice(1, -1).reverse()] : frames;
  const tell = (share) => self.postMessage({ job, share: 0.8 + 0.2 * share });
  const blob = await animation(kind, played, rate, tell);
  return { name: `${name}.${kind.toLowerCase()}`, uri: dataUri(blob) };
}

const morph = {
  // The picture at t on the way from a to b, which `shown` and `pasted` of the studio take.
  async drawn(a, b, t, path) {
    const lengths = [a, b].map((face) => Math.hypot(...face.mean));
    const cosine = a.mean.reduce((sum, value, i) => sum + value * b.mean[i], 0) / lengths[0] / lengths[1];
    const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
    let shares = [1 - t, t];
    if (path === "spherical" && Math.sin(angle) > 1e-4) {
      const length = (lengths[0] + t * (lengths[1] - lengths[0])) / Math.sin(angle);
      shares = [(length * Math.sin((1 - t) * angle)) / lengths[0], (length * Math.sin(t * angle)) / lengths[1]];
    }
    const code = a.mean.map((value, i) => shares[0] * value + shares[1] * b.mean[i]);
    const condition = a.condition.map((value, k) => value + t * (b.condition[k] - value));
    return { picture: (await studio.decode(code, condition)).picture, hold: null };
  },

  async frame(a, b, t, { detail, path, size }) {
    const parts = [[a, 1 - t], [b, t]];
    const drawn = await morph.drawn(a, b, t, path);
    return size ? studio.shown(parts, drawn, detail, size) : studio.pasted(parts, drawn, detail);
  },

  // With all of the photos' detail and with none: the page blends the two by itself.
  async strip({ faces: keys, path }) {
    const [a, b] = keys.slice(0, 2).map(faceOf);
    const answer = { frames: [], plain: [] };
    for (const t of linspace(0, 1, STRIP_FRAMES)) {
      const drawn = await morph.drawn(a, b, t, path);
      for (const [detail, kind] of ["plain", "frames"].entries()) {
        answer[kind].push(await createImageBitmap(studio.shown([[a, 1 - t], [b, t]], drawn, detail, HEIGHT)));
      }
      await pause();
    }
    return answer;
  },

  async blended(keys, weights, detail, size) {
    const total = weights.reduce((sum, weight) => sum + weight);
    const parts = keys.map((key, i) => [faceOf(key), weights[i] / total]);
    const mean = (name) => parts[0][0][name].map((_, i) => parts.reduce((sum, [face, share]) => sum + share * face[name][i], 0));
    const drawn = { picture: (await studio.decode(mean("mean"), mean("condition"))).picture, hold: null };
    return size ? studio.shown(parts, drawn, detail, size) : studio.pasted(parts, drawn, detail);
  },

  async blend({ faces: keys, weights, detail }) {
    return { picture: await createImageBitmap(await morph.blended(keys, weights, detail, HEIGHT)) };
  },

  async save(request) {
    const stops = ROUND[request.faces.length].map((place) => faceOf(request.faces[place]));
    const steps = Math.min(Math.floor(MAX_FRAMES / stops.length), FRAMES_PER_SECOND * request.seconds) - 1;
    const how = { ...request, size: request.height };
    const draws = stops.flatMap((from, i) => {
      const to = stops[(i + 1) % stops.length];
      return Array.from({ length: steps }, (_, step) => () => morph.frame(from, to, step / steps, how));
    });
    return animated("morph", request, draws, stops.length);
  },

  // The first face's whole photo with the morph in it.
  async photo({ faces: keys, place, detail, path }) {
    const whole = Array.isArray(place) ? morph.blended(keys, place, detail) : morph.frame(...keys.slice(0, 2).map(faceOf), place, { detail, path });
    return file("morph-photo.png", await whole);
  },
};

const ownState = (face) => ({ code: face.mean, condition: face.condition });
const edited = (face, { strengths, locked }) => studio.moved(ownState(face), strengths, locked, face.years);

const edit = {
  async look({ face: key }) {
    const face = faceOf(key);
    const before = await jpeg(toImage(studio.cropOf(face, HEIGHT), HEIGHT));
    return { before, seen: await jpeg(toImage(face.decoded, studio.size)), own: studio.readingsOf(face.condition) };
  },

  async redraw(request) {
    const face = faceOf(request.face);
    const state = edited(face, request);
    const shown = await studio.show(face, state, request.detail, request.size || HEIGHT);
    return { picture: await createImageBitmap(shown), now: studio.readingsOf(state.condition) };
  },

  async keep(request) {
    const face = faceOf(request.face);
    const state = edited(face, request);
    if (request.whole) return file("edited-photo.png", await studio.show(face, state, request.detail));
    const size = Math.max(HEIGHT, Math.min(MAX_FACE_HEIGHT, Math.round(face.alignment.side)));
    return file("edited-face.png", await studio.show(face, state, request.detail, size));
  },

  async average({ name }) {
    const pictures = [];
    for (const has of [false, true]) {
      const { code, condition } = studio.average(name, has);
      pictures.push(await jpeg(toImage((await studio.decode(code, condition)).picture, studio.size)));
    }
    return pictures;
  },
};

const age = {
  async look({ face: key }) {
    const face = faceOf(key);
    return { crop: await jpeg(toImage(studio.cropOf(face, HEIGHT), HEIGHT)), own: Math.round(face.years) };
  },

  // Draws the face at an age, taken to be as old as the request says.
  async drawer({ face: key, own, detail, method }, draw) {
    let face = faceOf(key);
    const years = Math.min(studio.span[1], Math.max(studio.span[0], own));
    if (years !== Math.round(face.years)) face = await studio.corrected(face, years);
    return (at) => draw(face, studio.aged(ownState(face), at, method, face.years), detail);
  },

  async strip(request) {
    const draw = await age.drawer(request, (...how) => studio.show(...how, HEIGHT));
    const frames = [];
    for (const at of studio.props.age.years) {
      frames.push(await jpeg(await draw(at)));
      await pause();
    }
    return { frames };
  },

  async save(request) {
    const draw = await age.drawer(request, (...how) => studio.show(...how, request.height));
    const years = studio.props.age.years;
    const ages = linspace(years[0], years.at(-1), FRAMES_PER_SECOND * request.seconds);
    return animated("ageing", request, ages.map((at) => () => draw(at)), 1);
  },

  async keep(request) {
    const draw = await age.drawer(request, (...how) => studio.show(...how));
    return file("aged-photo.png", await draw(request.at));
  },
};

const explore = {
  galleries: new Map(), // states of a seed and settings

  dozen({ seed = 0, temperature = 0.8, age: years, gender }) {
    const key = JSON.stringify([seed, temperature, years, gender]);
    if (!explore.galleries.has(key)) {
      const wanted = gender === undefined ? {} : { Male: 1 - 2 * gender };
      const states = studio.sampled(GALLERY_FACES, seed, temperature).map((state) => studio.moved(state, wanted));
      explore.galleries.clear();
      explore.galleries.set(key, years === undefined ? states : states.map((state) => studio.aged(state, years)));
    }
    return explore.galleries.get(key);
  },

  code(x, y, latents) {
    const [mean, std, main] = ["mean", "std", "main"].map((name) => studio.tensors[`plane_${name}`].data);
    const axis = (row, i) => (latents ? (latents[row] === i ? std[i] : 0) : main[row * studio.latents + i]);
    return Float32Array.from(mean, (value, i) => value + MAP_REACH * (x * axis(0, i) + y * axis(1, i)));
  },

  state(spot) {
    const { x = 0, y = 0, latents, moved = {} } = spot;
    const code = explore.code(x, y, latents);
    const state = spot.seed === undefined ? { code, condition: studio.likely(code) } : explore.dozen(spot)[spot.index || 0];
    return Object.entries(moved).reduce((last, [latent, value]) => explore.set(last, +latent, value), state);
  },

  set({ code, condition }, latent, value) {
    const [mean, std] = [studio.tensors.plane_mean.data, studio.tensors.plane_std.data];
    return { code: code.map((own, i) => (i === latent ? mean[i] + value * std[i] : own)), condition };
  },

  async image({ code, condition }) { return toImage((await studio.decode(code, condition)).picture, studio.size); },
  async face(spot) { return createImageBitmap(await explore.image(explore.state(spot))); },

  async gallery(spot) {
    const pictures = [];
    for (const state of explore.dozen(spot)) pictures.push(await jpeg(await explore.image(state)));
    return pictures;
  },

  // States side by side in rows of `columns`, each `side` pixels.
  async sheet(states, side, columns) {
    const canvas = new OffscreenCanvas(side * columns, side * Math.ceil(states.length / columns));
    const context = canvas.getContext("2d");
    for (const [i, state] of states.entries()) {
      const tile = await createImageBitmap(await explore.image(state));
      context.drawImage(tile, side * (i % columns), side * Math.floor(i / columns), side, side);
      tile.close();
      await pause();
    }
    return dataUri(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 }));
  },

  async background({ latents }) {
    const steps = Array.from({ length: MAP_TILES }, (_, i) => ((i + 0.5) / MAP_TILES) * 2 - 1);
    const states = steps.flatMap((y) => steps.map((x) => explore.state({ x, y, latents })));
    return explore.sheet(states, 64, MAP_TILES);
  },

  async strongest() { return studio.strongest; },

  async traverse(spot) {
    const state = explore.state(spot);
    const rows = [];
    for (const latent of studio.strongest.slice(0, TRAVERSED)) {
      const [mean, std] = [studio.tensors.plane_mean.data[latent], studio.tensors.plane_std.data[latent]];
      const states = linspace(-REACH, REACH, STEPS).map((value) => explore.set(state, latent, value));
      rows.push({ latent, value: (state.code[latent] - mean) / std, strip: await explore.sheet(states, 56, STEPS) });
    }
    return rows;
  },
};

const mirror = {
  // A frame of the camera (ImageBitmap) as the strengths and the age change it. The face is looked
  // for every few frames; in between it is taken to be where it was.
  async see({ frame, strengths, years, look }) {
    const context = new OffscreenCanvas(frame.width, frame.height).getContext("2d", { willReadFrequently: true });
    context.drawImage(frame, 0, 0);
    frame.close();
    const photo = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
    const known = look ? {} : mirror.place || {};
    const face = await studio.read(photo, known);
    const { alignment, points } = face;
    mirror.place = { alignment, points };
    let state = studio.moved(ownState(face), strengths, [], face.years);
    if (years) state = studio.aged(state, years);
    return { picture: await createImageBitmap(await studio.show(face, state, 1)), own: studio.readingsOf(face.condition), years: face.years };
  },
};

const tabs = { morph, edit, age, explore, mirror, page: { load } };

self.addEventListener("message", async ({ data: { id, tab, name, request } }) => {
  let answer;
  try {
    answer = await (tabs[tab][name] || shared[name])(request);
  } catch (error) {
    answer = { error: error.message, noFace: error instanceof NoFace };
  }
  const bitmaps = [answer, answer?.picture, ...(answer?.frames || []), ...(answer?.plain || [])].filter((one) => one instanceof ImageBitmap);
  self.postMessage({ id, answer }, bitmaps);
});
