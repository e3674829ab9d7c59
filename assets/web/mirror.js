// <face-mirror>: the camera, live, with the face edited and aged by sliders; on this device alone.

const LOOK_EVERY = 8; // frames: in between the face is taken to be where it was
const SIDE = 480; // pixels of a frame, across

class FaceMirror extends LiveElement {
  #stream = null;
  #strengths = {};
  #years = 0;

  async connect(server, trigger, props) {
    Object.assign(this, { server });
    this.parts({ canvas: "canvas", video: "video", button: ".open" });
    const sliders = make("div", { className: "sliders" });
    const add = (label, min, max, set) => {
      const row = make("label", { className: "row", innerHTML: `<span>${label}</span>` });
      const range = make("input", { type: "range", className: "slider", min, max, step: 0.05, value: 0 });
      range.addEventListener("input", () => { fillTrack(range); set(range.valueAsNumber); });
      fillTrack(range);
      row.append(range);
      sliders.append(row);
    };
    add("Age by years", -40, 40, (value) => (this.#years = value));
    for (const { name, label } of props.groups.flatMap(({ rows }) => rows)) {
      if (name !== "Young") add(label, -1, 1, (value) => (this.#strengths = { ...this.#strengths, [name]: value }));
    }
    this.find(".panel").append(sliders);
    this.button.addEventListener("click", () => (this.#stream ? this.close() : this.open()));
    document.addEventListener("visibilitychange", () => document.hidden && this.close());
  }

  async open() {
    this.#stream = await navigator.mediaDevices?.getUserMedia({ video: { facingMode: "user", width: 640, height: 480 } }).catch(() => null);
    if (!this.#stream) return this.say("There is no camera that this page may use.");
    this.say("");
    this.button.textContent = "Close the mirror";
    this.video.srcObject = this.#stream;
    await this.video.play();
    for (let frame = 0; this.#stream && this.offsetParent; frame++) await this.#see(frame);
    this.close();
  }

  close() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = this.video.srcObject = null;
    this.button.textContent = "Open the mirror";
  }

  async #see(number) {
    const frame = await createImageBitmap(this.video, { resizeWidth: SIDE });
    const answer = await this.server.see({ frame, strengths: this.#strengths, years: this.#years, look: number % LOOK_EVERY === 0 });
    this.say(answer.error);
    if (answer.picture) await paint(this.canvas, answer.picture);
    this.dataset.frame = number;
    await new Promise(requestAnimationFrame);
  }
}

customElements.define("face-mirror", FaceMirror);
