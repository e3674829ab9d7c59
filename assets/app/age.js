// <face-ages>: a face through the years: a strip to scrub, a row of stills, and how old it is now.
//
//   ages.load({crop, own, gender})   a new face, with its estimated age (years) and gender
//   ages.age                         the age that is shown
//
// The strip is asked for once for a face, and again when its age, gender or detail is corrected.

class FaceAges extends HTMLElement {
  #face = 0; // counts the faces: a strip of an earlier one is dropped
  #asked = 0; // counts the wishes
  #estimate;

  connectedCallback() {
    if (this.player) return;
    this.innerHTML = `
      <section class="sight">
        <div class="shown"><strip-player label="Age"></strip-player><output class="age-now"></output></div>
        <p class="status" role="status"></p>
      </section>
      <section class="panel">
        <h2>How old is this face?</h2>
        <p class="guess"></p>
        <div class="correct">
          <label>Age <input type="number" class="own" step="1" aria-label="Age of the face in years"></label>
          <div class="choice" role="radiogroup" aria-label="Gender of the face">
            <label><input type="radio" name="gender" value="1"> female</label>
            <label><input type="radio" name="gender" value="0"> male</label>
          </div>
        </div>
        <label class="how"><span>Photo detail</span><span class="controls"><input type="range" class="detail" min="0" max="1" step="0.05" value="1"></span></label>
        <h2>Keep it</h2>
        <div class="save"></div>
        <div class="sizes">
          <label>Length <select class="length" aria-label="Length of the animation"></select></label>
          <label>Size <select class="size" aria-label="Size of the animation"></select></label>
        </div>
      </section>
      <section class="decades" aria-label="By decade"></section>`;
    const find = (selector) => this.querySelector(selector);
    [this.player, this.shown, this.status] = ["strip-player", ".age-now", ".status"].map(find);
    [this.own, this.detail, this.guess] = [".own", ".detail", ".guess"].map(find);
    [this.decades, this.saving, this.length, this.size] = [".decades", ".save", ".length", ".size"].map(find);
    this.genders = [...this.querySelectorAll("[name=gender]")];
    this.player.addEventListener("position", () => this.#tell());
    this.own.addEventListener("input", () => this.own.value && this.own.checkValidity() && this.#ask());
    this.own.addEventListener("change", () => this.#tidy());
    for (const gender of this.genders) gender.addEventListener("change", () => this.#ask());
    this.detail.addEventListener("input", () => this.#ask());
    // before the first face is there, there is nothing to tell
    LINKS.age = () => this.#estimate && { face: originOf("aged"), ...this.wish, at: Math.round(this.age) };
  }

  connect(server, trigger, { years, decade, span, kinds, lengths, length, sides, side }) {
    this.years = years;
    [this.own.min, this.own.max] = span;
    this.ask = newest(
      ({ wish }) => server.strip(wish),
      (answer, { face, asked }) => face === this.#face && this.#show(answer, asked === this.#asked),
    );
    years.forEach((age, i) => age % decade === 0 && this.#layStill(age, i));
    this.#layChoice(this.length, lengths, length, "s");
    this.#layChoice(this.size, sides, side, "px");
    const animation = () => ({ ...this.wish, seconds: +this.length.value, side: +this.size.value });
    for (const kind of kinds) this.#laySaver(kind, () => server.animate({ ...animation(), kind }));
    this.#laySaver("Photo", () => server.keep({ ...this.wish, at: this.age }));
    this.#laySaver("PNG", () => ({ name: "aged-face.png", uri: this.player.canvas.toDataURL() }));
  }

  load(value) {
    if (!value) return;
    this.#face++;
    this.#estimate = value;
    this.own.value = value.own;
    for (const gender of this.genders) gender.checked = +gender.value === value.gender;
    this.guess.textContent = `About ${value.own}, ${value.gender ? "female" : "male"}: that is how the photo reads. Correct it if you know better.`;
    this.player.pause();
    this.player.load([value.crop]);
    this.age = value.own;
    this.#follow(openedLink("age"));
    this.#ask();
    keepLink();
  }

  // What of a link can be: it may have been written by hand.
  #follow(link) {
    if (!link) return;
    this.own.value = within(link.own, +this.own.min, +this.own.max, this.own.value);
    for (const gender of this.genders) gender.checked ||= +gender.value === link.gender;
    this.detail.value = within(link.detail, 0, 1, 1);
    this.age = within(link.at, this.years[0], this.years.at(-1), this.age);
  }

  get wish() {
    const gender = +this.genders.find((one) => one.checked).value;
    return { own: this.own.valueAsNumber, gender, detail: this.detail.valueAsNumber };
  }

  get age() {
    const [low, high] = [this.years[0], this.years.at(-1)];
    return low + this.player.position * (high - low);
  }

  set age(age) {
    const [low, high] = [this.years[0], this.years.at(-1)];
    this.player.position = (age - low) / (high - low);
  }

  #ask() {
    this.detail.style.setProperty("--filled", `${100 * this.detail.value}%`);
    this.toggleAttribute("busy", true);
    keepLink();
    this.ask({ face: this.#face, asked: ++this.#asked, wish: this.wish });
  }

  // An age that is none, or that no face was seen at, becomes one again.
  #tidy() {
    if (this.own.value && this.own.checkValidity()) return;
    const wanted = this.own.value ? this.own.valueAsNumber : this.#estimate.own;
    this.own.value = Math.round(Math.min(this.own.max, Math.max(this.own.min, wanted)));
    this.#ask();
  }

  async #show({ frames, error }, last) {
    this.status.textContent = error || "";
    if (last && error) this.toggleAttribute("busy", false);
    if (error) return;
    this.decades.querySelectorAll("button").forEach((still) => (still.querySelector("img").src = frames[still.dataset.frame]));
    await this.player.load(frames);
    if (last) this.toggleAttribute("busy", false);
    this.toggleAttribute("ready", true);
  }

  #tell() {
    if (!this.years) return;
    keepLink();
    const age = Math.round(this.age);
    this.shown.textContent = `${age} years`;
    this.player.range.setAttribute("aria-valuetext", `${age} years`);
    for (const still of this.decades.children) {
      still.setAttribute("aria-pressed", Math.abs(this.years[still.dataset.frame] - this.age) < 2.5);
    }
  }

  #layStill(age, frame) {
    const still = Object.assign(document.createElement("button"), { type: "button" });
    still.dataset.frame = frame;
    still.innerHTML = `<img alt=""><span>${age}</span>`;
    still.setAttribute("aria-label", `At ${age}`);
    still.addEventListener("click", () => {
      this.player.pause();
      this.age = age;
    });
    this.decades.append(still);
  }

  #layChoice(select, values, chosen, unit) {
    select.append(...values.map((value) => new Option(`${value} ${unit}`, value, false, value === chosen)));
  }

  #laySaver(label, make) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const made = await make();
        this.status.textContent = made.error || "";
        if (made.uri) download(made);
      } finally {
        button.disabled = false;
      }
    });
    this.saving.append(button);
  }
}

customElements.define("face-ages", FaceAges);
