// The Explore tab in place of the server, as facevae/ui/explore.py.

import { imageOf, linspace, pause, studio } from "./model.js";
import { jpeg } from "./save.js";

const [GALLERY_FACES, MAP_TILES, MAP_REACH] = [12, 7, 2.5]; // the reach in standard deviations
const [TRAVERSED, STEPS, REACH] = [8, 7, 3]; // latents, faces of each, standard deviations either way

export const explore = {
  key: "", // of the latest dozen, whose states are kept

  dozen({ seed = 0, temperature = 0.8, age: years, gender }) {
    const key = JSON.stringify([seed, temperature, years, gender]);
    if (key !== explore.key) {
      const wanted = gender === undefined ? {} : { Male: 1 - 2 * gender };
      const states = studio.sampled(GALLERY_FACES, seed, temperature).map((state) => studio.moved(state, wanted));
      Object.assign(explore, { key, states: years === undefined ? states : states.map((state) => studio.aged(state, years)) });
    }
    return explore.states;
  },

  code(x, y, latents) {
    const [mean, std, main] = ["mean", "std", "main"].map((name) => studio.tensors[`plane_${name}`].data);
    const axis = (row, i) => (latents ? (latents[row] === i ? std[i] : 0) : main[row * studio.latents + i]);
    return Float32Array.from(mean, (value, i) => value + MAP_REACH * (x * axis(0, i) + y * axis(1, i)));
  },

  // The face at a place of the map, under the condition that it suits.
  mapped({ x = 0, y = 0, latents }) {
    const code = explore.code(x, y, latents);
    const suited = studio.likely(code);
    return { code, condition: suited, suited };
  },

  state(spot) {
    const state = spot.seed === undefined ? explore.mapped(spot) : explore.dozen(spot)[spot.index || 0];
    return Object.entries(spot.moved || {}).reduce((last, [latent, value]) => explore.set(last, +latent, value), state);
  },

  set(state, latent, value) {
    const [mean, std] = [studio.tensors.plane_mean.data, studio.tensors.plane_std.data];
    return { ...state, code: state.code.map((own, i) => (i === latent ? mean[i] + value * std[i] : own)) };
  },

  async face(spot) { return createImageBitmap(await imageOf(explore.state(spot))); },

  async gallery(spot) {
    const pictures = [];
    for (const state of explore.dozen(spot)) pictures.push(await jpeg(await imageOf(state)));
    return pictures;
  },

  // States side by side in rows of `columns`, each `side` pixels.
  async sheet(states, side, columns) {
    const canvas = new OffscreenCanvas(side * columns, side * Math.ceil(states.length / columns));
    const context = Object.assign(canvas.getContext("2d"), { imageSmoothingQuality: "high" });
    for (const [i, state] of states.entries()) {
      const tile = await createImageBitmap(await imageOf(state));
      context.drawImage(tile, side * (i % columns), side * Math.floor(i / columns), side, side);
      tile.close();
      await pause();
    }
    return jpeg(context.getImageData(0, 0, canvas.width, canvas.height));
  },

  async background({ latents }) {
    const steps = Array.from({ length: MAP_TILES }, (_, i) => ((i + 0.5) / MAP_TILES) * 2 - 1);
    const states = steps.flatMap((y) => steps.map((x) => explore.mapped({ x, y, latents })));
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
