// <face-explorer>: faces of nobody, from a gallery or under the mouse on a map, and what each of
// their latents does. `explorer.spot` says to the server, and to a link, which face is shown.

class FaceExplorer extends LiveElement {
  #pinned = { seed: 0, temperature: 0.8, index: 0 };
  #moved = {}; // of a link, until its gallery is there
  #soon = 0; // the timer of the traversals
  #latents = null; // of the map, or null for the main axes

  async connect(server, trigger, props) {
    this.server = server;
    const names = ["tiles", "preview", "plane", "seed", "temperature", "years", "gender", "across", "down", "handle", "strips"];
    this.parts(Object.fromEntries(names.map((name) => [name, `.${name}`])));
    this.find(".ages").hidden = !props.ages;
    this.find(".genders").hidden = !props.genders;
    this.on(".another", "click", () => this.#fill((this.seed.value = Math.floor(Math.random() * 100000))));
    this.on(".gallery :is(input, select)", "input", () => this.#fill());
    this.on("[name=axes], .two select", "change", () => this.#axes());
    draggable(this.plane, (x, y, step) => this.#point(x, y, step));
    this.on(".plane", "pointermove", (event) => event.pointerType === "mouse" && !event.buttons && this.#show(this.#under(...placeIn(this.plane, event))));
    this.on(".strips", "input", ({ target }) => this.#choose({ ...this.#pinned, moved: { ...this.#pinned.moved, [target.name]: target.valueAsNumber } }));
    this.on(".plane", "pointerleave", () => this.#show(this.#pinned));
    for (const [place, [label, tab]] of Object.entries(props.places)) {
      const use = async () => {
        const face = await this.answer(server.add({ origin: { spot: this.#pinned } }));
        if (!face) return;
        sendFace(place, face);
        trigger("go", { tab: (tabOpen = tab) });
        window.scrollTo({ top: 0 });
      };
      this.find(".targets").append(makeButton(label, use));
    }
    this.fillTiles = newest(server.gallery, (faces, request) => this.#tile(faces, request));
    this.showFace = newest(server.face, (face) => face.error || paint(this.preview, face).then(() => this.toggleAttribute("ready", true)));
    this.showPlane = newest(server.background, (picture) => (this.plane.querySelector("img").src = picture));
    this.traverse = newest(server.traverse, (rows) => this.#layStrips(rows));
    LINKS.explore = () => ({ spot: this.#pinned });
    this.#follow(openedLink("explore")?.spot || {}, props);
    this.#fill();
  }

  // What of a link can be: it may have been written by hand.
  #follow({ seed, temperature, index, age, gender, x, y, latents, moved }, { ages, genders }) {
    const latest = Object.entries(moved || {}).filter(([, value]) => Number.isFinite(value));
    this.#moved = latest.length ? { moved: Object.fromEntries(latest.map(([z, value]) => [z, within(value, -3, 3)])) } : {};
    if (isPlace(seed, 100000) && isPlace(index, 12)) {
      this.seed.value = seed;
      this.temperature.value = within(temperature, 0.2, 1.4, 0.8);
      if (ages && Number.isFinite(age)) this.years.value = age; // or none, where there is no such option
      if (genders && isPlace(gender, 2)) this.gender.value = gender;
      this.#pinned = { seed, temperature: this.temperature.valueAsNumber, index }; // the rest comes with the gallery
    } else if (Number.isFinite(x) && Number.isFinite(y)) {
      this.#pinned = { x: within(x, -1, 1), y: within(y, -1, 1), latents: null, ...this.#moved };
      this.find("[value=two]").checked = Array.isArray(latents);
    }
    this.#axes(latents);
  }

  get spot() { return this.#pinned; }

  #fill() {
    fillTrack(this.temperature);
    if (!this.seed.checkValidity() || this.seed.value === "") return;
    const request = { seed: this.seed.valueAsNumber, temperature: this.temperature.valueAsNumber };
    if (this.years.value) request.age = +this.years.value;
    if (this.gender.value) request.gender = +this.gender.value;
    this.fillTiles(request);
  }

  #tile(faces, request) {
    this.say(faces.error);
    if (faces.error) return;
    const tiles = faces.map((face, index) =>
      makeButton(`<img alt="" src="${face}">`, () => this.#choose({ ...request, index }), `Face ${index + 1}`),
    );
    this.tiles.replaceChildren(...tiles);
    if ("seed" in this.#pinned) this.#choose({ ...request, index: this.#pinned.index, ...this.#moved }); // anew
    this.#moved = {};
  }

  #choose(spot) {
    this.#pinned = spot;
    this.all(".tiles button").forEach((tile, i) => tile.setAttribute("aria-pressed", i === spot.index));
    keepLink();
    this.#show(spot);
    clearTimeout(this.#soon); // not while dragging
    this.#soon = setTimeout(() => this.traverse(spot), 250);
  }

  #show(spot) {
    const { x = 0, y = 0 } = spot;
    this.handle.style.left = `${50 + 50 * x}%`;
    this.handle.style.top = `${50 + 50 * y}%`;
    Object.assign(this.plane, { ariaValueNow: Math.round(100 * x), ariaValueText: `across ${x.toFixed(2)}, down ${y.toFixed(2)}` });
    this.showFace(spot);
  }

  #point(x, y, step) {
    const from = { x: 0, y: 0, ...this.#pinned };
    this.#choose(step ? { x: within(from.x + 2 * x, -1, 1), y: within(from.y + 2 * y, -1, 1), latents: this.#latents } : this.#under(x, y));
  }

  // What lies on the map at 0 … 1 from its left and its top.
  #under(x, y) { return { x: 2 * x - 1, y: 2 * y - 1, latents: this.#latents }; }

  async #axes(latents) {
    const two = this.find("[value=two]").checked;
    this.find(".two").hidden = !two;
    if (two && !this.across.options.length) {
      const order = await this.server.strongest(null);
      for (const list of [this.across, this.down]) list.append(...order.map((latent, i) => new Option(`${i + 1}. latent ${latent}`, latent)));
      this.down.selectedIndex = 1;
      if (latents?.length === 2 && latents.every((latent) => order.includes(latent))) [this.across.value, this.down.value] = latents;
    }
    this.#latents = two ? [+this.across.value, +this.down.value] : null;
    this.showPlane({ latents: this.#latents });
    if ("x" in this.#pinned) this.#choose({ ...this.#pinned, latents: this.#latents });
  }

  // A strip for each latent: it is the track of a slider.
  #layStrips(rows) {
    if (rows.error) return;
    rows.forEach(({ latent, value, strip }, i) => {
      const row = this.strips.children[i] || this.strips.appendChild(this.find("template").content.firstElementChild.cloneNode(true));
      const [name, range] = row.children;
      name.textContent = `z${latent}`;
      Object.assign(range, { name: latent, value, ariaLabel: `Latent ${latent}` });
      range.style.backgroundImage = `url("${strip}")`;
    });
  }
}

customElements.define("face-explorer", FaceExplorer);
