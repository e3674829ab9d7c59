// <face-ages>: the Age tab. A face through the years: a strip to scrub, a row of stills, and how old
// it is now. The strip is asked for once for a face, and again when its age or detail is corrected.

class FaceAges extends LiveElement {
  #asked = 0; // counts the requests

  async connect(server, trigger, props) {
    [this.server, this.years] = [server, props.years];
    this.parts({ input: "face-input", player: "strip-player", own: ".own", range: ".detail input", decades: ".decades" });
    this.on("strip-player", "position", () => this.#tell());
    this.on(".own", "input", () => this.own.value && this.own.checkValidity() && this.#ask());
    this.on(".own", "change", () => this.#tidy());
    this.on(".detail input, .method", "input", () => this.#ask());
    [this.own.min, this.own.max] = props.span.map((years, end) => Math[end ? "floor" : "ceil"](years));
    this.find(".photo").hidden = !props.whole;
    this.find(".methods").hidden = props.methods.length < 2;
    this.find(`[value=${props.methods[0]}]`).checked = true;
    this.ask = newest(server.strip, (answer, { face }) => face === this.input.face.key && this.#show(answer));
    this.years.forEach((age, i) => age % 10 === 0 && this.#layStill(age, i));
    const others = {
      photo: () => server.keep({ ...this.request, at: this.age }),
      still: () => ({ name: "aged-face.png", uri: this.player.canvas.toDataURL() }),
    };
    wireSavers(this, server, others, (animation) => server.save({ ...this.request, ...animation }));
    this.input.connect(server, props, (face) => this.#begin(face));
    this.input.begin((await server.begin([undefined, linkedFace("age")]))[1]);
  }

  async #begin({ key, crop }) {
    this.toggleAttribute("busy", true);
    const look = await this.answer(this.server.look({ face: key }));
    if (!look || key !== this.input.face.key) return;
    this.estimate = this.own.value = look.own;
    this.find(".guess").textContent = `The model reads ${look.own}: correct it if you know better.`;
    this.player.pause();
    this.player.load({ frames: [crop] });
    this.age = look.own;
    this.#follow(openedLink("age") || {});
    LINKS.age = () => ({ ...this.request, face: this.input.origin, at: Math.round(this.age) });
    this.#ask();
  }

  // What of a link can be: it may have been written by hand.
  #follow({ own, detail, method, at }) {
    this.own.value = within(own, +this.own.min, +this.own.max, this.own.value);
    this.range.value = within(detail, 0, 1, this.range.value);
    if (method === "vector" && !this.find(".methods").hidden) this.find("[value=vector]").checked = true;
    this.age = within(at, this.years[0], this.years.at(-1), this.age);
  }

  get request() {
    const method = this.find(".method :checked").value;
    return { face: this.input.face.key, own: this.own.valueAsNumber, detail: this.range.valueAsNumber, method };
  }

  get age() { return this.years[0] + this.player.position * (this.years.at(-1) - this.years[0]); }
  set age(age) { this.player.position = (age - this.years[0]) / (this.years.at(-1) - this.years[0]); }

  #ask() {
    fillTrack(this.range);
    this.toggleAttribute("busy", true);
    keepLink();
    this.#asked++;
    this.ask(this.request);
  }

  // An age that is none, or out of range, becomes one again.
  #tidy() {
    if (this.own.value && this.own.checkValidity()) return;
    const wanted = this.own.value ? this.own.valueAsNumber : this.estimate;
    this.own.value = Math.round(Math.min(this.own.max, Math.max(this.own.min, wanted)));
    this.#ask();
  }

  async #show({ frames, error }) {
    const asked = this.#asked;
    this.say(error);
    if (frames) {
      for (const still of this.decades.children) still.firstChild.src = frames[still.dataset.frame];
      await this.player.load({ frames });
      this.toggleAttribute("ready", true);
    }
    if (asked === this.#asked) this.toggleAttribute("busy", false);
  }

  #tell() {
    keepLink();
    const age = Math.round(this.age);
    this.find(".age-now").textContent = `${age} years`;
    this.player.range.ariaValueText = `${age} years`;
    for (const still of this.decades.children) still.ariaPressed = Math.abs(this.years[still.dataset.frame] - this.age) < 2.5;
  }

  #layStill(age, frame) {
    const show = () => { this.player.pause(); this.age = age; };
    this.decades.append(makeButton(`<img alt=""><span>${age}</span>`, show, `At ${age}`));
    this.decades.lastChild.dataset.frame = frame;
  }
}

customElements.define("face-ages", FaceAges);
