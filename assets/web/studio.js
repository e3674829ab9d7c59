// What facevae/studio.py does, in the browser: networks, conditions, and the one formula
//   shown = edit(z, y′) + hold · (photo − edit(z, y)).

import { Alignment, enlarge, pasted, toImage } from "./align.js";
import { mixed } from "./carry.js";
import { findFaces } from "./detect.js";
import { generator } from "./generator.js";

const FULL_CHANGE = 0.5; // a condition that moves this far lets go of the photo as far as `hold` says
const [YOUNG, OLD, MIN_SHIFT] = [22, 70, 15]; // years: where the attribute Young leads, and how far at least
const [MIN_SHARE_INSIDE, MAX_NOSE_OFFSET, SURE] = [0.85, 0.55, 0.99]; // of facevae/imaging/alignment.py
const FEATHER = 0.12; // of a crop's side, over which an edit fades into the photo
const MAX_PASTE_SIDE = 512; // pixels, of the face that is put back into its photo
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export class NoFace extends Error {}

export class Studio {
  #last = Promise.resolve(); // networks run one at a time

  // `about`: studio.json; `tensors`: name → {shape, data}; `network(name, failed)` gives a session of
  // onnxruntime-web, another one where it has failed.
  constructor(ort, about, tensors, network) { Object.assign(this, { ort, ...about, tensors, network }); }

  // A network's outputs, [{dims, data}]; each input is [data, dims].
  run(name, ...inputs) {
    const answer = this.#last.then(async () => {
      const network = await this.network(name);
      const feeds = inputs.map(([data, dims], i) => [network.inputNames[i], new this.ort.Tensor("float32", data, dims)]);
      const given = Object.fromEntries(feeds);
      const outputs = await network.run(given).catch(async () => (await this.network(name, true)).run(given));
      return network.outputNames.map((output) => outputs[output]);
    });
    this.#last = answer.catch(() => null);
    return answer;
  }

  // The decoder's picture, (3, S, S); of the edit decoder (4, S, S), the last is how much stays of a photo.
  async decode(code, condition, network = "decoder") {
    const expanded = this.expanded(condition);
    return (await this.run(network, [code, [1, code.length]], [expanded, [1, expanded.length]]))[0].data;
  }

  // The picture of a code that suits a condition, edited to another, and how much stays of a photo's
  // detail, (1, S, S), or null for all; `lacking` is what the edit decoder's picture lacks, if known.
  async draw(code, condition, edited, lacking) {
    const [before, after] = [this.expanded(condition), this.expanded(edited)];
    const distance = Math.min(1, Math.max(...after.map((value, k) => Math.abs(value - before[k]))) / FULL_CHANGE);
    if (!this.hold || !distance) return { picture: await this.decode(code, edited), hold: null };
    const [drawn, plane] = [await this.decode(code, edited, "edit_decoder"), this.size ** 2];
    const hold = drawn.subarray(3 * plane).map((value) => 1 - distance * (1 - value));
    lacking ||= await this.lacking(code, condition, await this.decode(code, condition));
    return { picture: drawn.subarray(0, 3 * plane).map((value, i) => value + hold[i % plane] * lacking[i]), hold };
  }

  async lacking(code, condition, decoded) {
    const own = await this.decode(code, condition, "edit_decoder");
    return decoded.map((value, i) => value - own[i]);
  }

  // A face of a photo, found, or placed by two `eyes` or by an `alignment`; `edits`: for edits with all
  // of the photo's detail alone, which do without the decoder.
  async read(photo, { eyes, alignment, points, edits = false } = {}) {
    let [found, confidence] = [1, 1];
    if (!alignment) {
      let marks = eyes;
      if (!eyes) {
        const faces = await findFaces(photo, (name, planes, dims) => this.run(name, [planes, dims]));
        if (!faces.length) throw new NoFace("No face was found: show where the eyes are, or use another photo.");
        [found, marks, confidence] = [faces.length, faces[0].points, faces[0].confidence];
      }
      alignment = Alignment.fit(marks, this.template);
      if (!(alignment.side >= 8)) throw new Error("The face is too small to use: it needs more pixels.");
      points = eyes ? null : marks.map((mark) => alignment.toUnit(mark));
    }
    const image = alignment.crop(photo, this.size);
    const input = [image, [1, 3, this.size, this.size]];
    const [{ data: mean }] = await this.run("encoder", input);
    const readings = {};
    if (this.reads.length) {
      const [{ data }] = await this.run("classifier", input);
      this.reads.forEach((name, i) => (readings[name] = data[i]));
    }
    const condition = this.reads.length ? this.condition(readings) : this.probe(mean);
    const [own, values] = [edits && this.hold, 3 * this.size ** 2];
    const decoded = (await this.decode(mean, condition, own ? "edit_decoder" : "decoder")).subarray(0, values);
    const lacking = own ? new Float32Array(values) : null;
    const years = readings.age ?? this.ageOf(condition);
    return { photo, alignment, points, found, mean, readings, condition, decoded, lacking, years, warning: this.#warning(photo, alignment, points, confidence) };
  }

  // What makes a photo unfit: a face partly outside it, seen from the side, or covered.
  #warning(photo, alignment, points, confidence) {
    const marks = (points || this.template).map((point) => alignment.toPixels(point));
    const [left, top, right, bottom] = Alignment.fit(marks, this.face).bounds();
    const share = (low, high, length) => Math.max(0, Math.min(high, length) - Math.max(low, 0)) / (high - low);
    const inside = share(left, right, photo.width) * share(top, bottom, photo.height);
    if (inside < MIN_SHARE_INSIDE) return `${Math.round(100 - 100 * inside)} % of the face lies outside the photo and is made up: use a photo that shows it whole.`;
    if (!points) return "";
    const [p, q] = [0, 1].map((axis) => marks[1][axis] - marks[0][axis]);
    const [x, y] = [0, 1].map((axis) => marks[2][axis] - (marks[0][axis] + marks[1][axis]) / 2);
    const turned = Math.abs(x * p + y * q) > MAX_NOSE_OFFSET * (p * p + q * q);
    if (turned) return "The face is turned to the side, and the model has learnt faces from the front: use a photo that shows both eyes.";
    return confidence < SURE ? "Something may cover a part of the face: use a photo that shows all of it." : "";
  }

  // The face at another age than was read.
  async corrected(face, years) {
    const condition = this.condition({ ...face.readings, age: years });
    return { ...face, condition, years, decoded: await this.decode(face.mean, condition), lacking: null, sized: null };
  }

  // Conditions: attributes in [0, 1] and the age in centuries, in the order of `conditions`.
  condition(readings) {
    const condition = [...this.tensors.mean_condition.data];
    if ("age" in readings) this.#set(condition, "age", readings.age / 100);
    for (const [name, column] of Object.entries(this.columns)) {
      if (name in readings) this.#set(condition, column, column === "gender" ? 1 - readings[name] : readings[name]);
    }
    return condition;
  }

  #set(condition, column, value) {
    const place = this.conditions.indexOf(column);
    if (place >= 0) condition[place] = value;
  }

  ageOf(condition) { return 100 * condition[this.conditions.indexOf("age")]; }

  // What a condition has of each attribute, from −1 to 1.
  readingsOf(condition) {
    const values = Object.entries(this.columns).map(([name, column]) => {
      const value = condition[this.conditions.indexOf(column)];
      return [name, 2 * (column === "gender" ? 1 - value : value) - 1];
    });
    return Object.fromEntries(values);
  }

  // What a linear reading takes a code to have.
  probe(code) {
    const { data } = this.tensors.probe;
    const many = this.conditions.length;
    return this.conditions.map((_, k) => {
      let sum = data[code.length * many + k];
      for (let i = 0; i < code.length; i++) sum += code[i] * data[i * many + k];
      return clamp(sum, 0, 1);
    });
  }

  // With the age as weights of the two nearest anchors.
  expanded(condition) {
    const age = this.conditions.indexOf("age");
    if (!this.anchors.length || age < 0) return Float32Array.from(condition);
    const [first, last] = [this.anchors[0], this.anchors.at(-1)];
    const years = clamp(100 * condition[age], first, last);
    const upper = Math.max(1, this.anchors.findIndex((anchor) => anchor >= years));
    const share = (years - this.anchors[upper - 1]) / (this.anchors[upper] - this.anchors[upper - 1]);
    const weights = this.anchors.map((_, i) => (i === upper ? share : i === upper - 1 ? 1 - share : 0));
    return Float32Array.from([...condition.filter((_, k) => k !== age), ...weights]);
  }

  // A state, {code, condition}, with attributes at strengths from −1 to 1, and what depends on them.
  moved(state, strengths, locked = [], years = this.ageOf(state.condition)) {
    const { condition } = state;
    const wanted = Object.entries(strengths).filter(([name]) => name in this.columns);
    const result = [...condition];
    const asked = wanted.map(([name]) => this.columns[name]);
    const move = (column, strength, from) => {
      const place = this.conditions.indexOf(column);
      if (place >= 0) result[place] = from[place] + Math.abs(strength) * ((strength > 0 ? 1 : 0) - from[place]);
    };
    for (const [name, given] of wanted) {
      const column = this.columns[name];
      const strength = column === "gender" ? -given : given;
      move(column, strength, condition);
      const go = (names, to) => (names || []).forEach((other) => asked.includes(other) || move(other, to, result));
      go((strength > 0 ? this.removes : this.takes)[column], -Math.abs(strength));
      if (strength > 0) go(this.brings[column], strength);
    }
    const fixed = locked.map((name) => this.columns[name]).filter((column) => column && !asked.includes(column));
    for (const column of fixed) this.#set(result, column, condition[this.conditions.indexOf(column)]);
    if (!strengths.Young) return { ...state, condition: result };
    const goal = strengths.Young > 0 ? Math.min(YOUNG, years - MIN_SHIFT) : Math.max(OLD, years + MIN_SHIFT);
    const after = years + Math.min(1, Math.abs(strengths.Young)) * (goal - years);
    return this.aged({ ...state, condition: result }, after, "condition", years, [...fixed, ...asked]);
  }

  // A state at another age: by the condition, or by the difference of the mean codes of two ages.
  aged(state, years, method = "condition", own = this.ageOf(state.condition), locked = []) {
    years = clamp(years, ...this.span);
    if (method === "vector") return { ...state, code: state.code.map((value, i) => value + this.#meanAt(years, i) - this.#meanAt(own, i)) };
    const [child, grown] = this.grown;
    const most = clamp((years / 100 - child) / (grown - child), 0, 1); // no child has a beard
    const lost = (column, value) => this.adult.includes(column) && !locked.includes(column) && value > 0.5;
    const condition = state.condition.map((value, k) => (lost(this.conditions[k], value) ? Math.min(value, most) : value));
    this.#set(condition, "age", years / 100);
    return { ...state, condition };
  }

  #meanAt(years, latent) {
    const [ages, codes] = [this.tensors.ages.data, this.tensors.age_codes.data];
    years = clamp(years, ages[0], ages.at(-1));
    const upper = Math.max(1, ages.findIndex((age) => age >= years));
    const share = (years - ages[upper - 1]) / (ages[upper] - ages[upper - 1]);
    const [low, high] = [upper - 1, upper].map((row) => codes[row * this.latents + latent]);
    return low + share * (high - low);
  }

  average(name, has) {
    const suited = [...this.tensors.mean_condition.data];
    const state = { code: Float32Array.from(this.tensors.mean.data), condition: suited, suited };
    return this.moved(state, { [name]: has ? 1 : -1 });
  }

  // Codes of faces of nobody, the conditions that they suit, which an edit leaves as they are, and their
  // own: for a seed the same as Python's, of two or more.
  sampled(many, seed, temperature) {
    const { share, normals } = generator(seed);
    const [weights, means, factors] = ["weights", "means", "factors"].map((name) => this.tensors[`prior_${name}`].data);
    const size = this.latents;
    const components = Array.from({ length: many }, () => {
      let left = share();
      return Math.max(0, weights.findIndex((weight) => (left -= weight) <= 0));
    });
    const noise = normals(many * size);
    return components.map((component, n) => {
      const factor = (component * size * size) % factors.length; // or one for all
      const code = Float32Array.from({ length: size }, (_, i) => {
        let sum = 0;
        for (let k = 0; k <= i; k++) sum += factors[factor + i * size + k] * noise[n * size + k];
        return means[component * size + i] + temperature * sum;
      });
      const suited = this.likely(code);
      return { code, condition: suited, suited };
    });
  }

  // What a code is likely to have: half an attribute is none.
  likely(code) { return this.probe(code).map((value, k) => (this.conditions[k] === "age" ? value : Math.round(value))); }

  // How a state of a face is to be drawn: its picture, and what stays of the photo, or null for all.
  async drawn(face, { code, condition }) {
    const moved = condition.some((value, k) => value !== face.condition[k]);
    if (!moved && code === face.mean) return { picture: face.decoded, hold: null };
    if (moved && code === face.mean) face.lacking ||= await this.lacking(code, face.condition, face.decoded);
    return this.draw(code, face.condition, condition, code === face.mean && face.lacking);
  }

  // A face's crop at a size, and what the decoder's picture lacks of it; the last size is kept.
  cropOf(face, size) { return this.#sized(face, size).crop; }

  #sized(face, size) {
    if (face.sized?.size !== size) {
      const crop = face.alignment.crop(face.photo, size);
      const decoded = enlarge(face.decoded, this.size, size);
      face.sized = { size, crop, residual: crop.map((value, i) => value - decoded[i]) };
    }
    return face.sized;
  }

  // A decoder's picture with the detail of its faces, [[face, share], …], as ImageData: alone or, without
  // a size, in the first face's whole photo.
  shown(parts, drawn, detail, size) { return size ? this.#framed(parts, drawn, detail, size) : this.#pasted(parts, drawn, detail); }

  #framed(parts, { picture, hold }, detail, size) {
    const shown = enlarge(picture, this.size, size).slice();
    if (detail > 0) {
      const some = parts.filter(([, share]) => share > 0);
      const residual = mixed(some.map(([face, share]) => ({ residual: this.#sized(face, size).residual, share, points: face.points })), size);
      const kept = hold && enlarge(hold, this.size, size);
      for (let channel = 0, i = 0; channel < 3; channel++) {
        for (let k = 0; k < size * size; k++, i++) shown[i] += detail * residual[i] * (kept ? kept[k] : 1);
      }
    }
    return toImage(shown, size);
  }

  // A morph, which brings another background, fades over more.
  #pasted(parts, drawn, detail) {
    const [face, share] = parts[0];
    const size = Math.min(MAX_PASTE_SIDE, Math.max(this.size, Math.round(face.alignment.side)));
    const { data } = this.#framed(parts, drawn, detail, size);
    const frame = Float32Array.from({ length: 3 * size * size }, (_, i) => data[4 * (i % (size * size)) + Math.floor(i / (size * size))] / 255);
    const hold = drawn.hold || Float32Array.of(1);
    const kept = { planes: hold.map((value) => share * detail * value), size: Math.sqrt(hold.length) };
    return pasted(face.photo, face.alignment, this.cropOf(face, size), frame, size, kept, FEATHER * Math.min(2, parts.length));
  }

  // A face in another state, alone or, without a size, in its photo.
  async show(face, state, detail, size) { return this.shown([[face, 1]], await this.drawn(face, state), detail, size); }
}
