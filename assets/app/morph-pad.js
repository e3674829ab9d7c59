// <morph-pad>: three or four faces at the corners of a pad, and their blend where its handle is.
//
//   pad.faces = 4          how many; with 2 it is not shown and asks for nothing
//   pad.detail = 0.5       of the photos in the blend
//   pad.place = [0.5, 0.5] of its handle, from the left and the top; a "position" event tells of
//                          every change
//   pad.refresh()          when a face has changed
//
// The weights are bilinear in the square and barycentric in the triangle. Play goes to the nearest
// face and from there round to all others, as a saved animation does.

const SIDES = ["first", "second", "third", "fourth"];
const CORNERS = {
  3: [[0, 0], [1, 0], [0.5, 0.87]],
  4: [[0, 0], [1, 0], [0, 1], [1, 1]],
}; // prettier-ignore
const ROUND = { 3: [0, 1, 2], 4: [0, 1, 3, 2] }; // from face to face

class MorphPad extends HTMLElement {
  #faces = 2;
  #detail = 1;
  #place = [0.5, 0.4];

  connectedCallback() {
    if (this.canvas) return;
    this.innerHTML = `
      <canvas width="320" height="320" aria-hidden="true"></canvas>
      <button type="button" class="play" aria-label="Play" aria-pressed="false"></button>
      <div class="pad" tabindex="0" role="slider" aria-label="Blend of the faces" aria-valuemin="0" aria-valuemax="100">
        <svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true"><polygon/></svg>
        ${SIDES.map(() => `<img alt="" draggable="false">`).join("")}
        <span class="handle"></span>
      </div>
      <p role="status"></p>`;
    [this.canvas, this.button, this.pad, this.handle, this.said] = this.querySelectorAll("canvas, button, .pad, .handle, p");
    this.runner = new Runner(this.button);
    this.button.addEventListener("click", () => (this.runner.running ? this.pause() : this.play()));
    draggable(this.pad, (x, y, step) => {
      this.pause();
      this.place = step ? [this.#place[0] + x, this.#place[1] + y] : [x, y];
    });
  }

  connect(server) {
    this.ask = newest(
      (wish) => server.blend(wish),
      async ({ picture, error }) => {
        this.said.textContent = error || "";
        if (picture) await paint(this.canvas, picture);
        this.toggleAttribute("ready", Boolean(picture));
      },
    );
    this.refresh();
  }

  get faces() {
    return this.#faces;
  }

  set faces(many) {
    this.pause();
    this.#faces = many;
    this.place = [0.5, many === 3 ? 0.29 : 0.5];
    this.refresh();
  }

  set detail(detail) {
    this.#detail = detail;
    this.#request();
  }

  refresh() {
    const corners = CORNERS[this.#faces] || [];
    this.querySelector("polygon").setAttribute("points", [0, 1, 3, 2].map((i) => corners[i] || "").join(" "));
    this.querySelectorAll("img").forEach((image, i) => {
      image.hidden = !corners[i];
      if (!corners[i]) return;
      const crop = document.querySelector(`.${SIDES[i]} figure img`);
      image.src = crop?.src || "";
      image.title = crop?.alt || "";
      image.style.translate = `calc(${corners[i][0]} * var(--pad) - 50%) calc(${corners[i][1]} * var(--pad) - 50%)`;
    });
    this.#request();
  }

  get weights() {
    const [x, y] = this.#place;
    if (this.#faces === 3) return barycentric(x, y);
    return [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y];
  }

  get place() {
    return this.#place;
  }

  set place(place) {
    this.#place = place.map((value) => Math.min(1, Math.max(0, value)));
    if (this.#faces === 3) {
      const weights = this.weights; // what lies outside the triangle is drawn to its edge
      this.#place = [0, 1].map((axis) => weights.reduce((sum, w, i) => sum + w * CORNERS[3][i][axis], 0));
    }
    const [left, top] = this.#place;
    this.handle.style.translate = `calc(${left} * var(--pad) - 50%) calc(${top} * var(--pad) - 50%)`;
    this.#request();
    this.dispatchEvent(new Event("position"));
  }

  play() {
    const [here, round] = [this.#place, ROUND[this.#faces].map((corner) => CORNERS[this.#faces][corner])];
    const far = round.map(([x, y]) => Math.hypot(x - here[0], y - here[1]));
    const nearest = far.indexOf(Math.min(...far));
    const first = far[nearest] < 0.01 ? nearest + 1 : nearest; // it may be there already
    const stop = (n) => (n ? round[(first + n - 1) % round.length] : here);
    this.runner.run((sweeps) => {
      if (!this.offsetParent) return this.pause(); // another tab is open
      const [from, to] = [stop(Math.floor(sweeps)), stop(Math.floor(sweeps) + 1)];
      this.place = from.map((value, axis) => value + eased(sweeps % 1) * (to[axis] - value));
    });
  }

  pause() {
    this.runner.pause();
  }

  #request() {
    if (this.#faces < 3 || !this.ask) return;
    const weights = this.weights;
    const parts = weights.map((w, i) => `${this.querySelectorAll("img")[i].title} ${Math.round(100 * w)} %`);
    this.pad.setAttribute("aria-valuetext", parts.join(", "));
    this.pad.setAttribute("aria-valuenow", Math.round(100 * weights[0]));
    this.ask({ weights, detail: this.#detail });
  }
}

// Weights of the corners of the triangle, whose third is the lowest.
function barycentric(x, y) {
  y /= CORNERS[3][2][1];
  const weights = [1 - x - y / 2, x - y / 2, y].map((w) => Math.max(0, w));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((w) => w / sum);
}

customElements.define("morph-pad", MorphPad);

let linkedPlace; // on the pad

function beginMorph(many, detail) {
  showFaces(many);
  if (linkedPlace) document.querySelector("morph-pad").place = linkedPlace;
  padDetail(detail);
  changedFaces();
}

function showFaces(many) {
  document.querySelector(".morph").dataset.faces = many;
  document.querySelector("strip-player").pause();
  document.querySelector("morph-pad").faces = many;
  keepLink();
}

function padDetail(detail) {
  document.querySelector("morph-pad").detail = detail;
  document.querySelector("strip-player").detail = detail;
}

function changedFaces() {
  document.querySelector("morph-pad")?.refresh();
  keepLink();
}

const MORPH_CONTROLS = ".morph .controls";
const MORPH_PATHS = ["linear", "spherical"];

LINKS.morph = () => {
  const { faces, place } = document.querySelector("morph-pad");
  return {
    ...Object.fromEntries(SIDES.slice(0, faces).map((side) => [side, originOf(side)])),
    ...(faces > 2 ? { faces, place } : { at: stripPosition() }),
    detail: document.querySelector(`${MORPH_CONTROLS} [type=range]`)?.valueAsNumber,
    path: document.querySelector(`${MORPH_CONTROLS} .path :checked`)?.value,
  };
};
document.addEventListener("position", keepLink, true); // it does not bubble
document.addEventListener("input", (event) => event.target.closest(MORPH_CONTROLS) && keepLink());

// What of a link the server needs, as far as it can be: it may have been written by hand.
function linkedMorph() {
  const link = openedLink("morph");
  if (!link) return null;
  document.querySelector("strip-player").position = within(link.at, 0, 1, 0.5);
  if (Array.isArray(link.place)) linkedPlace = [0, 1].map((axis) => within(link.place[axis], 0, 1, 0.5));
  const path = MORPH_PATHS.includes(link.path) ? link.path : MORPH_PATHS[0];
  const origins = Object.fromEntries(SIDES.map((side) => [side, link[side]]));
  return { ...origins, faces: [3, 4].includes(link.faces) ? link.faces : 2, detail: within(link.detail, 0, 1, 1), path };
}

// Where the stage is: on the way from the first face to the second, or the weights of all.
function placeShown() {
  const pad = document.querySelector("morph-pad");
  return pad.faces > 2 ? pad.weights : stripPosition();
}

// What the stage shows, as a PNG that the browser makes.
function downloadStill() {
  const shown = document.querySelector("morph-pad").faces > 2 ? "morph-pad" : "strip-player";
  download({ name: "morph.png", uri: document.querySelector(`${shown} canvas`).toDataURL() });
}
