// <face-explorer>: faces of nobody, from a gallery or under the mouse on a map. What is shown is
// `explorer.spot`, which says to the server (and to a link) which face it is.

const ORDINALS = new Intl.PluralRules("en", { type: "ordinal" });
const ordinal = (n) => n + { one: "st", two: "nd", few: "rd", other: "th" }[ORDINALS.select(n)];

const DECADES = [5, 10, 20, 30, 40, 50, 60, 70, 80];

class FaceExplorer extends HTMLElement {
  #pinned = { seed: 0, temperature: 0.8, index: 0 };
  #soon = 0; // the timer of the nearest faces
  #latents = null; // of the map, or null for the main axes

  connectedCallback() {
    if (this.preview) return;
    this.innerHTML = `
      <section class="gallery">
        <h2>Faces of nobody</h2>
        <div class="tiles"></div>
        <div class="settings">
          <button type="button" class="another">Another dozen</button>
          <label>Seed <input class="seed" type="number" min="0" max="99999" step="1" value="0"></label>
          <label class="wide">Variety <input class="temperature" type="range" min="0.2" max="1.4" step="0.1" value="0.8"></label>
          <label class="settled">Age <select class="years" aria-label="Age of the faces"><option value="">any</option>${DECADES.map((years) => `<option>${years}</option>`).join("")}</select></label>
          <label class="settled">Gender <select class="gender" aria-label="Gender of the faces"><option value="">any</option><option value="1">female</option><option value="0">male</option></select></label>
        </div>
        <h2>Nearest to the chosen face <small>of a thousand others</small></h2>
        <div class="near"></div>
      </section>
      <section class="chosen">
        <canvas class="preview" width="128" height="128" role="img" aria-label="The chosen face"></canvas>
        <div class="targets"><span>Use as</span></div>
      </section>
      <section class="map">
        <h2>A map of faces <small>point or drag; a click keeps</small></h2>
        <div class="plane" tabindex="0" role="slider" aria-label="Place on the map" aria-valuemin="-100" aria-valuemax="100">
          <img alt="" draggable="false"><span class="handle"></span>
        </div>
        <div class="settings">
          <div class="choice" role="radiogroup" aria-label="Axes of the map">
            <label><input type="radio" name="axes" value="main" checked> Main axes</label>
            <label><input type="radio" name="axes" value="two"> Two latents</label>
          </div>
          <div class="two" hidden>
            <label>across <select class="across" aria-label="Latent across"></select></label>
            <label>down <select class="down" aria-label="Latent down"></select></label>
          </div>
        </div>
      </section>`;
    const find = (selector) => this.querySelector(selector);
    [this.tiles, this.preview, this.plane] = [".tiles", ".preview", ".plane"].map(find);
    [this.seed, this.temperature] = [".seed", ".temperature"].map(find);
    [this.years, this.gender, this.near] = [".years", ".gender", ".near"].map(find);
    [this.across, this.down, this.handle] = [".across", ".down", ".handle"].map(find);
    find(".another").addEventListener("click", () => {
      this.seed.value = Math.floor(Math.random() * 100000);
      this.#fill();
    });
    for (const input of [this.seed, this.temperature, this.years, this.gender]) input.addEventListener("input", () => this.#fill());
    for (const radio of this.querySelectorAll("[name=axes]")) radio.addEventListener("change", () => this.#axes());
    for (const list of [this.across, this.down]) list.addEventListener("change", () => this.#axes());
    draggable(this.plane, (x, y, step) => this.#point(x, y, step));
    this.plane.addEventListener("pointermove", (event) => event.pointerType === "mouse" && !event.buttons && this.#hover(event));
    this.plane.addEventListener("pointerleave", () => this.#show(this.#pinned));
    LINKS.explore = () => ({ spot: this.#pinned });
  }

  connect(server, trigger, { targets, settles, many, others }) {
    this.server = server;
    for (const label of this.querySelectorAll(".settled")) label.hidden = !settles;
    for (const [name, label] of Object.entries(targets)) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
      button.addEventListener("click", () => trigger(name, { spot: this.#pinned }));
      this.querySelector(".targets").append(button);
    }
    this.fillTiles = newest(server.gallery, (faces, wish) => this.#tile(faces, wish));
    this.showFace = newest(server.face, (face) => this.#paint(face));
    this.showPlane = newest(server.background, (picture) => (this.plane.querySelector("img").src = picture));
    this.findNearest = newest(server.nearest, (faces) => this.#neighbours(faces));
    this.#follow(openedLink("explore")?.spot || {}, { settles, many, others });
    this.#fill();
  }

  // What of a link can be: it may have been written by hand.
  #follow({ seed, temperature, index, age, gender, other, x, y, latents }, { settles, many, others }) {
    if (isPlace(seed, 100000) && isPlace(index, many)) {
      this.seed.value = seed;
      this.temperature.value = within(temperature, 0.2, 1.4, 0.8);
      if (settles && DECADES.includes(age)) this.years.value = age;
      if (settles && isPlace(gender, 2)) this.gender.value = gender;
      this.#pinned = { seed, temperature: this.temperature.valueAsNumber, index }; // the rest comes with the gallery
    } else if (isPlace(other, others)) {
      this.#pin({ other });
      this.#show(this.#pinned);
    } else if (Number.isFinite(x) && Number.isFinite(y)) {
      this.#pinned = { x: within(x, -1, 1), y: within(y, -1, 1), latents: null };
      this.querySelector("[value=two]").checked = Array.isArray(latents);
    }
    this.#axes(latents);
  }

  get spot() {
    return this.#pinned;
  }

  #fill() {
    if (!this.seed.checkValidity() || this.seed.value === "") return;
    const wish = { seed: this.seed.valueAsNumber, temperature: this.temperature.valueAsNumber };
    if (this.years.value) wish.age = +this.years.value;
    if (this.gender.value) wish.gender = +this.gender.value;
    this.fillTiles(wish);
  }

  #tile(faces, wish) {
    const tiles = faces.map((face, index) => this.#button(`Face ${index + 1}`, face, { ...wish, index }));
    this.tiles.replaceChildren(...tiles);
    if ("seed" in this.#pinned) tiles[this.#pinned.index].click(); // the same place, anew
  }

  #neighbours(faces) {
    this.near.replaceChildren(
      ...faces.map(({ other, picture }, i) => this.#button(`Nearest face ${i + 1}`, picture, { other })),
    );
  }

  #button(label, face, spot) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.setAttribute("aria-label", label);
    button.innerHTML = `<img alt="" src="${face}">`;
    button.addEventListener("click", () => {
      this.#pin(spot);
      this.#show(spot);
    });
    return button;
  }

  async #paint(face) {
    await paint(this.preview, face);
    this.toggleAttribute("ready", true);
  }

  #pin(spot) {
    this.#pinned = spot;
    [...this.tiles.children].forEach((tile, i) => tile.setAttribute("aria-pressed", i === spot.index));
    this.plane.toggleAttribute("pinned", "x" in spot);
    keepLink();
    clearTimeout(this.#soon); // not while dragging
    this.#soon = setTimeout(() => this.findNearest(spot), 250);
  }

  #show(spot) {
    if (!this.showFace) return;
    const { x = 0, y = 0 } = spot;
    this.handle.style.left = `${50 + 50 * x}%`;
    this.handle.style.top = `${50 + 50 * y}%`;
    this.plane.setAttribute("aria-valuenow", Math.round(100 * x));
    this.plane.setAttribute("aria-valuetext", `across ${x.toFixed(2)}, down ${y.toFixed(2)}`);
    this.showFace(spot);
  }

  #point(x, y, step) {
    const from = "x" in this.#pinned ? this.#pinned : { x: 0, y: 0 };
    [x, y] = step ? [from.x + 2 * x, from.y + 2 * y] : [2 * x - 1, 2 * y - 1];
    [x, y] = [x, y].map((value) => Math.min(1, Math.max(-1, value)));
    this.#pin({ x, y, latents: this.#latents });
    this.#show(this.#pinned);
  }

  #hover(event) {
    const box = this.plane.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    this.#show({ x: 2 * x - 1, y: 2 * y - 1, latents: this.#latents });
  }

  async #axes(latents) {
    const two = this.querySelector("[value=two]").checked;
    this.querySelector(".two").hidden = !two;
    if (two && !this.across.options.length) {
      const order = await this.server.strongest(null);
      const options = order.map((latent, i) => `<option value="${latent}">${ordinal(i + 1)}: latent ${latent}</option>`);
      this.across.innerHTML = this.down.innerHTML = options.join("");
      this.down.selectedIndex = 1;
      if (latents?.length === 2 && latents.every((latent) => order.includes(latent))) [this.across.value, this.down.value] = latents;
    }
    this.#latents = two ? [+this.across.value, +this.down.value] : null;
    this.showPlane({ latents: this.#latents });
    if (!("x" in this.#pinned)) return; // the map has no say in the chosen face
    this.#pin({ ...this.#pinned, latents: this.#latents });
    this.#show(this.#pinned);
  }
}

customElements.define("face-explorer", FaceExplorer);

function openTab(id) {
  window.scrollTo({ top: 0 });
  return { selected: id, __type__: "update" };
}
