// <strip-player>: scrubs a ready-made strip of frames on a canvas, without asking the server.
//
//   player.load({frames, plain})   pictures, first to last; perhaps those without the photos' detail,
//   player.detail = 0.5            and how much of it is shown
//   player.position = 0.25         0 is the first frame, 1 the last; a "position" event tells of it
//
// Between two frames it shows their blend, so that a strip of thirty looks continuous.

class StripPlayer extends LiveElement {
  #frames = [];
  #plain = []; // as many, or none
  #detail = 1;
  #position = 0.5;
  #loading = 0; // the latest load; an earlier one that ends later is dropped
  #drawing = 0; // the animation frame that will draw

  built() {
    [this.canvas, this.button, this.range, this.pingpong] = this.all("canvas, button, input");
    this.range.ariaLabel = this.getAttribute("label");
    this.pingpong.addEventListener("click", () => (this.pingpong.ariaPressed = this.pingpong.ariaPressed !== "true"));
    this.range.addEventListener("input", () => this.#seek(this.range.valueAsNumber));
    this.runner = new Runner(this.button, () => this.play());
    draggable(this.canvas, (x) => this.#seek(x));
    this.canvas.addEventListener("pointerup", () => this.range.focus({ preventScroll: true })); // for the arrow keys
    this.position = this.#position;
  }

  async load(sources) {
    const loading = ++this.#loading;
    const [frames, plain] = await Promise.all([sources.frames, sources.plain || []].map((list) => Promise.all(list.map(bitmap))));
    if (loading !== this.#loading) return;
    [...this.#frames, ...this.#plain].forEach((frame) => frame.close());
    [this.#frames, this.#plain] = [frames, plain];
    this.toggleAttribute("ready", frames.length > 0);
    this.#draw();
  }

  set detail(value) {
    this.#detail = value;
    this.#drawing ||= requestAnimationFrame(() => this.#draw());
  }

  get position() { return this.#position; }

  set position(value) {
    this.#position = Math.min(1, Math.max(0, value));
    this.range.value = this.#position;
    fillTrack(this.range);
    this.#drawing ||= requestAnimationFrame(() => this.#draw());
    this.dispatchEvent(new Event("position"));
  }

  play() {
    const gone = Math.acos(1 - 2 * this.#position) / Math.PI; // sweeps: it starts where the picture is
    const way = (sweeps) => (this.pingpong.ariaPressed === "true" ? sweeps : sweeps % 1);
    this.runner.run((sweeps) => (this.position = eased(way(gone + sweeps))));
  }

  pause() { this.runner.pause(); }

  #seek(position) { this.pause(); this.position = position; }

  // A blend of four pictures: the two frames nearest to the position, with and without the detail.
  #draw() {
    this.#drawing = 0;
    if (!this.#frames.length) return;
    const place = this.#position * (this.#frames.length - 1);
    const around = (frames, share) => [[frames[Math.floor(place)], share * (1 - (place % 1))], [frames[Math.ceil(place)], share * (place % 1)]];
    const detail = this.#plain.length ? this.#detail : 1;
    resize(this.canvas, this.#frames[0]);
    const context = this.canvas.getContext("2d", { alpha: false });
    let sum = 0;
    for (const [picture, weight] of [...around(this.#frames, detail), ...around(this.#plain, 1 - detail)]) {
      if (!weight) continue;
      context.globalAlpha = weight / (sum += weight);
      context.drawImage(picture, 0, 0);
    }
  }
}

customElements.define("strip-player", StripPlayer);
