// <face-editor>: the Edit tab. One face and a slider for each attribute; one request under way, the
// last wins.
// Where the model reads an attribute, its slider shows what it reads, from −1 (has it not) to 1, and
// a strength is the share of the way from there. Any other slider begins in the middle, at the photo
// as it is. `state` is all that is undone, redone and asked for.

const UNTOUCHED = { strengths: {}, locked: [], detail: 1, method: "mean" };
const shareOf = (value, own) => (value >= own ? (value - own) / (1 - own || 1) : (value - own) / (1 + own || 1));
const valueOf = (share, own) => own + share * (share >= 0 ? 1 - own : 1 + own);

class FaceEditor extends LiveElement {
  #state = UNTOUCHED;
  #history = [UNTOUCHED]; // the state whenever a move ended: a drag is one step
  #at = 0; // place in the history
  #own = {};
  #now = {};
  #rows = {};

  async connect(server, trigger, props) {
    this.server = server;
    this.parts({ input: "face-input", picture: ".picture", before: ".before", after: ".after", range: ".detail input" });
    this.on(".undo", "click", () => this.#step(-1));
    this.on(".redo", "click", () => this.#step(1));
    this.on(".clear", "click", () => this.#change(UNTOUCHED));
    this.on(".meet", "click", () => this.#average());
    this.on(".average select", "change", () => this.#average());
    this.on(".method", "change", ({ target }) => this.#change({ method: target.value }));
    this.on(".detail input", "input", () => this.#try({ detail: this.range.valueAsNumber }));
    this.on(".detail input", "change", () => this.#commit());
    const keep = (whole) => server.keep({ face: this.input.face.key, ...this.#state, whole });
    wireSavers(this, server, { photo: () => keep(true), alone: () => keep(false) });
    const named = (event) => event.target.closest(".attribute")?.dataset.name;
    this.on(".panel", "input", (event) => this.#slide(named(event), event.target.valueAsNumber));
    this.on(".panel", "change", () => this.#commit());
    this.on(".panel", "dblclick", (event) => event.target.matches("input") && this.#reset(named(event)));
    this.on(".panel", "click", (event) => {
      if (event.target.matches(".reset")) this.#reset(named(event));
      if (event.target.matches(".lock")) this.#lock(named(event));
    });
    draggable(this.picture, (x, _, step) => this.#part(step ? this.split + x : x));
    document.addEventListener("keydown", (event) => this.#onKey(event));
    this.#part(0);
    this.find(".photo").hidden = !props.whole;
    this.find(".methods").hidden = !props.methods;
    this.ask = newest(server.redraw, (answer, { face }) => face === this.input.face.key && this.#draw(answer));
    for (const group of props.groups) this.#layGroup(group, props.reach);
    this.#refresh();
    this.input.connect(server, props, (face) => this.#begin(face));
    this.input.begin((await server.begin([undefined, linkedFace("edit")]))[1]);
    LINKS.edit = () => ({ face: this.input.origin, ...this.#state });
  }

  async #begin({ key, crop }) {
    const look = await this.answer(this.server.look({ face: key }));
    if (!look || key !== this.input.face.key) return;
    this.#own = this.#now = look.own;
    [this.#state, this.#history, this.#at] = [UNTOUCHED, [UNTOUCHED], 0];
    this.find(".seen img").src = look.seen;
    this.#refresh();
    await Promise.all([paint(this.before, crop), paint(this.after, crop)]);
    const link = openedLink("edit");
    if (link) this.#change(this.#linked(link));
    this.toggleAttribute("ready", true);
  }

  // What of a link can be: it may have been written by hand.
  #linked({ strengths, locked, detail, method }) {
    const known = Object.entries(strengths || {}).filter(([name, value]) => this.#rows[name] && Number.isFinite(value));
    return {
      strengths: Object.fromEntries(known.map(([name, value]) => [name, within(value, -this.#reach(name), this.#reach(name))])),
      locked: Object.keys(this.#rows).filter((name) => Array.isArray(locked) && locked.includes(name)),
      detail: within(detail, 0, 1, 1),
      method: method === "balanced" ? method : "mean",
    };
  }

  get state() { return this.#state; }

  #commit() {
    if (this.#history[this.#at] !== this.#state) this.#history.splice(++this.#at, Infinity, this.#state);
    this.#refresh();
    keepLink();
  }

  #show(state) {
    this.#state = state;
    this.#refresh();
    if (this.input.face) this.ask({ face: this.input.face.key, ...state }); // else the first is on its way
  }

  #try(part) { this.#show({ ...this.#state, ...part }); }
  #change(part) { this.#try(part); this.#commit(); }

  #step(by) {
    this.#commit();
    if (!this.#history[this.#at + by]) return;
    this.#show(this.#history[(this.#at += by)]);
    this.#commit();
  }

  #slide(name, value) {
    this.#try({ strengths: { ...this.#state.strengths, [name]: shareOf(value, this.#own[name] || 0) } });
  }

  #reset(name) {
    const { [name]: _, ...strengths } = this.#state.strengths;
    if (name in this.#state.strengths) this.#change({ strengths });
  }

  #lock(name) {
    const { locked } = this.#state;
    this.#change({ locked: locked.includes(name) ? locked.filter((other) => other !== name) : [...locked, name] });
  }

  async #draw(answer) {
    this.say(answer.error);
    if (answer.error) return;
    this.#now = answer.now;
    this.#refresh();
    await paint(this.after, answer.picture);
  }

  async #average() {
    const pictures = await this.answer(this.server.average({ name: this.find("select").value }));
    this.find(".pair").hidden = !pictures;
    this.all(".pair img").forEach((image, i) => (image.src = pictures?.[i] || ""));
  }

  get split() { return +this.picture.style.getPropertyValue("--split"); }

  #part(split) {
    split = Math.min(1, Math.max(0, split));
    this.picture.style.setProperty("--split", split);
    const percent = Math.round(100 * split);
    Object.assign(this.picture, { ariaValueNow: percent, ariaValueText: `${percent} % before` });
  }

  #onKey(event) {
    const typing = event.target.matches("textarea, input:not([type=range])");
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || typing || !this.picture.offsetParent) return;
    event.preventDefault();
    this.#step(event.shiftKey ? 1 : -1);
  }

  #reach(name) { return name in this.#own ? 1 : this.#rows[name].reach; }

  #layGroup({ title, rows }, reach) {
    const group = document.createElement("fieldset");
    group.innerHTML = `<legend>${title}</legend>`;
    for (const { name, label, ends } of rows) {
      const row = this.find("template").content.firstElementChild.cloneNode(true);
      const [range, reset, lock] = row.querySelectorAll("input, button");
      range.id = row.querySelector("label").htmlFor = `edit-${name}`;
      row.querySelector("label").textContent = label;
      [reset.ariaLabel, lock.ariaLabel] = [`Reset ${label}`, `Lock ${label}`];
      row.querySelectorAll("i").forEach((end, i) => (end.textContent = ends?.[i] || ""));
      row.dataset.name = name;
      group.append(row);
      this.#rows[name] = { row, range, reset, lock, reach };
      this.find("select").append(new Option(label, name));
    }
    this.find(".panel").append(group);
  }

  // Everything but the pictures, from the state.
  #refresh() {
    const { strengths, locked, detail, method } = this.#state;
    for (const [name, { row, range, reset, lock }] of Object.entries(this.#rows)) {
      const [own, reach, moved] = [this.#own[name] || 0, this.#reach(name), name in strengths];
      const place = (value) => (Math.min(1, Math.max(-1, value / reach)) + 1) / 2;
      const value = moved ? valueOf(strengths[name], own) : (this.#now[name] ?? own);
      [range.min, range.max, range.value] = [-reach, reach, value];
      range.disabled = locked.includes(name);
      range.style.setProperty("--own", place(own));
      range.style.setProperty("--at", place(value));
      range.setAttribute("aria-valuetext", value.toFixed(1));
      row.classList.toggle("moved", moved);
      reset.disabled = !moved || range.disabled;
      lock.setAttribute("aria-pressed", range.disabled);
    }
    this.range.value = detail;
    fillTrack(this.range);
    this.find(`.method [value=${method}]`).checked = true;
    this.find(".undo").disabled = !this.#at && this.#state === this.#history[0];
    this.find(".redo").disabled = this.#at + 1 >= this.#history.length;
    this.find(".clear").disabled = JSON.stringify(this.#state) === JSON.stringify(UNTOUCHED);
  }
}

customElements.define("face-editor", FaceEditor);
