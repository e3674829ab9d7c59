// <strip-player>: scrubs a ready-made strip of frames on a canvas, without asking the server.
//
//   player.load(["data:image/jpeg;base64,…", …])   the frames, first to last; keeps the position
//   player.load({frames, plain})                   with and without the photos' detail, and
//   player.detail = 0.5                            how much of it is shown
//   player.position = 0.25                         0 is the first frame, 1 the last; a "position"
//                                                  event tells of every change
//   <strip-player label="Age">                     names the slider
//
// Drag on the picture or the slider, use the arrow keys, or press play: back and forth, or once to
// the second face and again from the first. Between two frames the canvas shows their blend, so
// that a strip of thirty looks continuous.

class StripPlayer extends LiveElement {
  #frames = [];
  #plain = []; // as many, or none
  #detail = 1;
  #position = 0.5;
  #loading = 0; // the latest load; an earlier one that ends later is dropped
  #drawing = 0; // the animation frame that will draw

  get markup() {
    return `
      <canvas width="320" height="320" aria-hidden="true"></canvas>
      <div class="transport">
        <button type="button" class="play" aria-label="Play" aria-pressed="false"></button>
        <input type="range" class="slider" min="0" max="1" step="any" aria-label="${this.getAttribute("label") || "From the first face to the second"}">
        <button type="button" class="pingpong" aria-label="Back and forth" title="Back and forth" aria-pressed="true">⇄</button>
      </div>`;
  }

  built() {
    [this.canvas, this.button, this.range, this.pingpong] = this.all("canvas, button, input");
    this.pingpong.addEventListener("click", () => this.#turn());
    this.range.addEventListener("input", () => this.#seek(this.range.valueAsNumber));
    this.range.addEventListener("keydown", (event) => this.#onKey(event));
    this.runner = new Runner(this.button);
    this.button.addEventListener("click", () => (this.runner.running ? this.pause() : this.play()));
    draggable(this.canvas, (x) => this.#seek(x));
    this.canvas.addEventListener("pointerup", () => this.range.focus({ preventScroll: true })); // for the arrow keys
    this.position = this.#position;
  }

  async load(sources) {
    const loading = ++this.#loading;
    const { frames: own, plain: bare = [] } = Array.isArray(sources) ? { frames: sources } : sources || { frames: [] };
    const [frames, plain] = await Promise.all([own, bare].map((list) => Promise.all(list.map(bitmap))));
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
    const back = this.pingpong.getAttribute("aria-pressed") === "true";
    this.runner.run((sweeps) => (this.position = eased(back ? gone + sweeps : (gone + sweeps) % 1)));
  }

  pause() { this.runner.pause(); }

  #turn() {
    this.pingpong.setAttribute("aria-pressed", this.pingpong.getAttribute("aria-pressed") !== "true");
    if (!this.runner.running) return;
    this.pause();
    this.play();
  }

  #seek(position) {
    this.pause();
    this.position = position;
  }

  #onKey(event) {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.#seek(this.#position + step / Math.max(1, this.#frames.length - 1));
  }

  #draw() {
    this.#drawing = 0;
    if (!this.#frames.length) return;
    const place = this.#position * (this.#frames.length - 1);
    const [before, after] = this.#around(this.#frames, place);
    if (this.canvas.width !== before.width) this.canvas.width = before.width;
    if (this.canvas.height !== before.height) this.canvas.height = before.height;
    const brush = this.canvas.getContext("2d", { alpha: false });
    brush.globalAlpha = 1;
    brush.drawImage(before, 0, 0);
    brush.globalAlpha = place % 1;
    brush.drawImage(after, 0, 0);
    if (this.#detail < 1 && this.#plain.length) {
      // over it a blend of two more, whose weights must add up to what is left of the whole
      const bare = this.#around(this.#plain, place);
      const last = (1 - this.#detail) * (place % 1);
      brush.globalAlpha = (1 - this.#detail - last) / (1 - last);
      brush.drawImage(bare[0], 0, 0);
      brush.globalAlpha = last;
      brush.drawImage(bare[1], 0, 0);
    }
  }

  #around(frames, place) { return [frames[Math.floor(place)], frames[Math.ceil(place)]]; }
}

customElements.define("strip-player", StripPlayer);
