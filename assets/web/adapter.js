// In place of the server: a worker that answers what the elements of assets/app/ ask, as
// facevae/ui/ does in Python. A message {id, tab, name, request} is answered by {id, answer}.

import { toImage } from "./align.js";
import { explore } from "./explorer.js";
import { HEIGHT, add, begin, faceOf, place } from "./faces.js";
import { imageOf, linspace, load, pause, studio } from "./model.js";
import { animation, dataUri, jpeg, picture } from "./save.js";
import { NoFace } from "./studio.js";

const MAX_FACE_HEIGHT = 1024; // of a face that is saved
const STRIP_FRAMES = 25; // the canvas blends between neighbours
const ROUND = { 2: [0, 1], 3: [0, 1, 2], 4: [0, 1, 3, 2] }; // from face to face, as the pad plays
const [FRAMES_PER_SECOND, MAX_FRAMES] = [12, 120];

const jobs = {}; // share of each animation that is drawn
const shared = { begin, add, progress: (job) => jobs[job] || 0 };
const file = async (name, image) => ({ name, uri: dataUri(await picture(image)) });

// An animation of frames that are drawn one by one; of one way it plays back, too.
async function animated(name, { kind, seconds, job }, draws, ways) {
  const frames = [];
  for (const draw of draws) {
    frames.push(await draw());
    jobs[job] = (0.8 * frames.length) / draws.length;
    await pause();
  }
  const rate = frames.length / (ways * seconds);
  const played = ways === 1 ? [...frames, ...frames.slice(1, -1).reverse()] : frames;
  const blob = await animation(kind, played, rate, (share) => (jobs[job] = 0.8 + 0.2 * share));
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
    return { picture: await studio.decode(code, condition), hold: null };
  },

  async frame(a, b, t, { detail, path, size }) {
    return studio.shown([[a, 1 - t], [b, t]], await morph.drawn(a, b, t, path), detail, size);
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
    const drawn = { picture: await studio.decode(mean("mean"), mean("condition")), hold: null };
    return studio.shown(parts, drawn, detail, size);
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
    return { seen: await jpeg(toImage(face.decoded, studio.size)), own: studio.readingsOf(face.condition) };
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
    return Promise.all([false, true].map(async (has) => jpeg(await imageOf(studio.average(name, has)))));
  },
};

const age = {
  look({ face: key }) { return { own: Math.round(faceOf(key).years) }; },

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

const mirror = {
  // A frame of the camera (ImageBitmap) as the strengths and the age change it. The face is looked
  // for every few frames; in between it is taken to be where it was.
  async see({ frame, strengths, years, look }) {
    const context = new OffscreenCanvas(frame.width, frame.height).getContext("2d", { willReadFrequently: true });
    context.drawImage(frame, 0, 0);
    frame.close();
    const photo = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
    const face = await studio.read(photo, { ...(look ? {} : mirror.place), edits: true });
    mirror.place = { alignment: face.alignment, points: face.points };
    let state = studio.moved(ownState(face), strengths, [], face.years);
    if (years) state = studio.aged(state, years);
    return { picture: await createImageBitmap(await studio.show(face, state, 1)) };
  },
};

const tabs = { morph, edit, age, explore, mirror, page: { load, place } };

self.addEventListener("message", async ({ data: { id, tab, name, request } }) => {
  let answer;
  try {
    answer = (await (tabs[tab][name] || shared[name])(request)) ?? {};
  } catch (error) {
    answer = { error: error.message, noFace: error instanceof NoFace };
  }
  const bitmaps = [answer, answer?.picture, ...(answer?.frames || []), ...(answer?.plain || [])].filter((one) => one instanceof ImageBitmap);
  self.postMessage({ id, answer }, bitmaps);
});
