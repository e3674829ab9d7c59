// <face-editor>: one face and a slider for each attribute; one request under way, the last wins.
//
//   editor.load({before, own})   a new face: its picture, and its strength in every attribute
//   editor.state                 {wanted, locked, detail}: all that is undone, redone and asked for
//
// `wanted` holds only what was moved; the other sliders show where that took them. The divider
// parts the picture into before, on its left, and after.

const UNTOUCHED = { wanted: {}, locked: [], detail: 1 };

class FaceEditor extends HTMLElement {
  #past = [];
  #state = UNTOUCHED;
  #saved = UNTOUCHED; // the state when the last move ended: a drag is one step of the history
  #future = [];
  #face = 0; // counts the faces: an answer about an earlier one is dropped
  #own = {};
  #now = {};
  #rows = {};

  connectedCallback() {
    if (this.picture) return;
    this.innerHTML = `
      <section class="sight">
        <div class="picture" tabindex="0" role="slider" aria-label="Before and after" aria-valuemin="0" aria-valuemax="100">
          <canvas class="before" width="320" height="320" aria-hidden="true"></canvas>
          <canvas class="after" width="320" height="320" role="img" aria-label="The edited face"></canvas>
          <span class="word">before</span><span class="word">after</span>
          <span class="divider"></span>
        </div>
        <p class="status" role="status"></p>
      </section>
      <section class="tools">
        <div>
          <button type="button" class="undo" title="Undo (Ctrl+Z)">Undo</button>
          <button type="button" class="redo" title="Redo (Ctrl+Shift+Z)">Redo</button>
          <button type="button" class="clear">Reset all</button>
        </div>
        <label class="controls">Photo detail <input type="range" class="detail" min="0" max="1" step="0.05" value="1"></label>
        <div class="save"><span>Save</span><button type="button" class="whole">Photo</button><button type="button" class="alone">Face</button></div>
      </section>
      <section class="panel"></section>`;
    const find = (selector) => this.querySelector(selector);
    [this.picture, this.before, this.after] = [".picture", ".before", ".after"].map(find);
    [this.detail, this.status] = [".detail", ".status"].map(find);
    [this.undoing, this.redoing, this.clearing] = [".undo", ".redo", ".clear"].map(find);
    draggable(this.picture, (x, _, step) => this.#part(step ? this.split + x : x));
    this.detail.addEventListener("input", () => this.#try({ detail: this.detail.valueAsNumber }));
    this.detail.addEventListener("change", () => this.#commit());
    this.undoing.addEventListener("click", () => this.undo());
    this.redoing.addEventListener("click", () => this.redo());
    this.clearing.addEventListener("click", () => this.#change(UNTOUCHED));
    find(".whole").addEventListener("click", (event) => this.#keep(event.target, true));
    find(".alone").addEventListener("click", (event) => this.#keep(event.target, false));
    document.addEventListener("keydown", (event) => this.#onKey(event));
    this.#part(0);
    LINKS.edit = () => ({ face: originOf("edited"), ...this.#state });
  }

  connect(server, trigger, { groups, reach }) {
    this.server = server;
    this.ask = newest(
      ({ wish }) => server.redraw(wish),
      (answer, { face }) => face === this.#face && this.#show(answer),
    );
    for (const group of groups) this.#layGroup(group, reach);
    this.#refresh();
  }

  async load(value) {
    if (!value) return;
    const face = ++this.#face;
    this.#own = this.#now = value.own;
    [this.#past, this.#future] = [[], []];
    this.#state = this.#saved = UNTOUCHED;
    this.status.textContent = "";
    this.#refresh();
    await paint(this.before, value.before);
    if (face !== this.#face) return;
    if (this.#state === UNTOUCHED) await paint(this.after, value.before);
    const link = openedLink("edit");
    if (link) this.#change(this.#linked(link));
    this.toggleAttribute("ready", true);
    keepLink();
  }

  // What of a link can be: it may have been written by hand.
  #linked({ wanted, locked, detail }) {
    const known = Object.entries(wanted || {}).filter(([name, value]) => this.#rows[name] && Number.isFinite(value));
    return {
      wanted: Object.fromEntries(known.map(([name, value]) => [name, within(value, -this.#rows[name].reach, this.#rows[name].reach)])),
      locked: Object.keys(this.#rows).filter((name) => Array.isArray(locked) && locked.includes(name)),
      detail: within(detail, 0, 1, 1),
    };
  }

  get state() {
    return this.#state;
  }

  undo() {
    this.#step(this.#past, this.#future);
  }

  redo() {
    this.#step(this.#future, this.#past);
  }

  #commit() {
    if (this.#saved === this.#state) return;
    this.#past.push(this.#saved);
    this.#saved = this.#state;
    this.#future = [];
    this.#refresh();
    keepLink();
  }

  #try(part) {
    this.#state = { ...this.#state, ...part };
    this.#refresh();
    this.ask({ face: this.#face, wish: this.#state });
  }

  #change(part) {
    this.#try(part);
    this.#commit();
  }

  #step(from, to) {
    this.#commit();
    if (!from.length) return;
    to.push(this.#state);
    this.#saved = from.pop();
    this.#try(this.#saved);
    this.#saved = this.#state;
    keepLink();
  }

  #move(name, value) {
    this.#try({ wanted: { ...this.#state.wanted, [name]: value } });
  }

  #reset(name) {
    const { [name]: _, ...wanted } = this.#state.wanted;
    if (name in this.#state.wanted) this.#change({ wanted });
  }

  #lock(name) {
    const { locked } = this.#state;
    this.#change({ locked: locked.includes(name) ? locked.filter((other) => other !== name) : [...locked, name] });
  }

  async #show({ picture, now, error }) {
    this.status.textContent = error || "";
    if (error) return;
    this.#now = now;
    this.#refresh();
    await paint(this.after, picture);
  }

  async #keep(button, whole) {
    button.disabled = true;
    const { name, uri, error } = await this.server.keep({ ...this.#state, whole });
    button.disabled = false;
    this.status.textContent = error || "";
    if (uri) download({ name, uri });
  }

  get split() {
    return +this.picture.style.getPropertyValue("--split");
  }

  #part(split) {
    split = Math.min(1, Math.max(0, split));
    this.picture.style.setProperty("--split", split);
    this.picture.setAttribute("aria-valuenow", Math.round(100 * split));
    this.picture.setAttribute("aria-valuetext", `${Math.round(100 * split)} % before`);
  }

  #onKey(event) {
    const typing = event.target.matches("textarea, input:not([type=range])");
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || typing || !this.picture.offsetParent) return;
    event.preventDefault();
    event.shiftKey ? this.redo() : this.undo();
  }

  #layGroup({ title, rows }, reach) {
    const group = document.createElement("fieldset");
    group.innerHTML = `<legend>${title}</legend>`;
    for (const { name, label, ends } of rows) {
      const row = document.createElement("div");
      row.className = "row-of-one";
      row.innerHTML = `
        <label for="edit-${name}">${label}</label>
        <span class="controls"><input type="range" id="edit-${name}" min="${-reach}" max="${reach}" step="0.05">
        ${ends ? `<small aria-hidden="true"><span>${ends[0]}</span><span>${ends[1]}</span></small>` : ""}</span>
        <button type="button" class="reset" aria-label="Reset ${label}" title="Reset">↺</button>
        <button type="button" class="lock" aria-label="Lock ${label}" title="Lock: leave it as it is"></button>`;
      const slider = row.querySelector("input");
      slider.addEventListener("input", () => this.#move(name, slider.valueAsNumber));
      slider.addEventListener("change", () => this.#commit());
      row.querySelector(".controls").addEventListener("dblclick", () => this.#reset(name));
      row.querySelector(".reset").addEventListener("click", () => this.#reset(name));
      row.querySelector(".lock").addEventListener("click", () => this.#lock(name));
      group.append(row);
      this.#rows[name] = { row, slider, reach };
    }
    this.querySelector(".panel").append(group);
  }

  // Everything but the pictures, from the state.
  #refresh() {
    const { wanted, locked, detail } = this.#state;
    for (const [name, { row, slider, reach }] of Object.entries(this.#rows)) {
      const place = (value = 0) => (Math.min(1, Math.max(-1, value / reach)) + 1) / 2;
      const moved = name in wanted;
      const value = moved ? wanted[name] : this.#now[name] || 0;
      slider.value = value;
      slider.disabled = locked.includes(name);
      slider.style.setProperty("--own", place(this.#own[name]));
      slider.style.setProperty("--at", place(value));
      slider.setAttribute("aria-valuetext", value.toFixed(1));
      row.classList.toggle("moved", moved);
      row.querySelector(".reset").disabled = !moved || slider.disabled;
      row.querySelector(".lock").setAttribute("aria-pressed", slider.disabled);
    }
    this.detail.value = detail;
    this.detail.style.setProperty("--filled", `${100 * detail}%`);
    this.undoing.disabled = !this.#past.length;
    this.redoing.disabled = !this.#future.length;
    this.clearing.disabled = JSON.stringify(this.#state) === JSON.stringify(UNTOUCHED);
  }
}

customElements.define("face-editor", FaceEditor);
