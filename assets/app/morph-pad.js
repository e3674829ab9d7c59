// <morph-pad>: three or four faces at the corners of a pad, and their blend where its handle is.
//
//   pad.connect(ask)         ask(weights) gives {picture} or {error}
//   pad.show(crops)          the faces' crops, three or four; with fewer it asks for nothing
//   pad.place = [0.5, 0.5]   of its handle, from the left and the top; a "position" event tells of it
//
// The weights are bilinear in the square and barycentric in the triangle. Play goes to the nearest
// face and from there round to all others, as a saved animation does.

const CORNERS = {
  3: [[0, 0], [1, 0], [0.5, 0.87]],
  4: [[0, 0], [1, 0], [0, 1], [1, 1]],
}; // prettier-ignore
const ROUND = { 3: [0, 1, 2], 4: [0, 1, 3, 2] }; // from face to face
const START_PLACES = { 3: [0.5, 0.29], 4: [0.5, 0.5] };

class MorphPad extends LiveElement {
  #crops = [];
  #place = [0.5, 0.4];

  built() {
    this.parts({ canvas: "canvas", pad: ".pad", handle: ".handle", button: ".play" });
    this.runner = new Runner(this.button, () => this.play());
    draggable(this.pad, (x, y, step) => {
      this.runner.pause();
      this.place = step ? [this.#place[0] + x, this.#place[1] + y] : [x, y];
    });
  }

  connect(ask) {
    this.ask = newest(ask, async ({ picture, error }) => {
      this.say(error);
      if (picture) await paint(this.canvas, picture);
      this.toggleAttribute("ready", Boolean(picture));
    });
  }

  show(crops) {
    if (crops.length !== this.#crops.length) this.#place = START_PLACES[crops.length] || this.#place;
    this.#crops = crops;
    const corners = CORNERS[crops.length] || [];
    this.find("polygon").setAttribute("points", [0, 1, 3, 2].map((i) => corners[i] || "").join(" "));
    this.all("img").forEach((image) => image.remove());
    for (const [i, corner] of corners.entries()) this.handle.before(put(make("img", { alt: "", src: crops[i] }), corner));
    this.place = this.#place;
  }

  get weights() {
    const [x, y] = this.#place;
    if (this.#crops.length === 3) return barycentric(x, y);
    return [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y];
  }

  get place() { return this.#place; }

  set place(place) {
    this.#place = place.map((value) => Math.min(1, Math.max(0, value)));
    if (this.#crops.length === 3) {
      const weights = this.weights; // what lies outside the triangle is drawn to its edge
      this.#place = [0, 1].map((axis) => weights.reduce((sum, w, i) => sum + w * CORNERS[3][i][axis], 0));
    }
    put(this.handle, this.#place);
    this.refresh();
    this.dispatchEvent(new Event("position"));
  }

  refresh() {
    if (this.#crops.length < 3 || !this.ask) return;
    const weights = this.weights;
    const parts = weights.map((w, i) => `face ${i + 1}: ${Math.round(100 * w)} %`);
    Object.assign(this.pad, { ariaValueText: parts.join(", "), ariaValueNow: Math.round(100 * weights[0]) });
    this.ask(weights);
  }

  play() {
    const [here, corners] = [this.#place, CORNERS[this.#crops.length]];
    const round = ROUND[corners.length].map((corner) => corners[corner]);
    const far = round.map(([x, y]) => Math.hypot(x - here[0], y - here[1]));
    const nearest = far.indexOf(Math.min(...far));
    const first = far[nearest] < 0.01 ? nearest + 1 : nearest; // it may be there already
    const stop = (n) => (n ? round[(first + n - 1) % round.length] : here);
    this.runner.run((sweeps) => {
      if (!this.offsetParent) return this.runner.pause(); // another tab is open
      const [from, to] = [stop(Math.floor(sweeps)), stop(Math.floor(sweeps) + 1)];
      this.place = from.map((value, axis) => value + eased(sweeps % 1) * (to[axis] - value));
    });
  }
}

// Moves a part of the pad to a place on it.
function put(part, [left, top]) {
  part.style.translate = `calc(${left} * var(--pad) - 50%) calc(${top} * var(--pad) - 50%)`;
  return part;
}

// Weights of the corners of the triangle, whose third is the lowest.
function barycentric(x, y) {
  y /= CORNERS[3][2][1];
  const weights = [1 - x - y / 2, x - y / 2, y].map((w) => Math.max(0, w));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((w) => w / sum);
}

customElements.define("morph-pad", MorphPad);
