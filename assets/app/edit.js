// <face-editor>: the Edit tab. One face and a slider for each attribute; one request under way, the
// last wins.
//
//   editor.state   {strengths, locked, detail, method}: all that is undone, redone and asked for
//
// Where the model reads an attribute, its slider shows what it reads, from −1 (has it not) to 1, and
// a strength is the share of the way from there. Any other slider begins in the middle, at the photo
// as it is. The divider parts the picture into before, on its left, and after.

const UNTOUCHED = { strengths: {}, locked: [], detail: 1, method: "mean" };
const shareOf = (value, own) => (value >= own ? (value - own) / (1 - own || 1) : (value - own) / (1 + own || 1));
const valueOf = (share, own) => own + share * (share >= 0 ? 1 - own : 1 + own);

class FaceEditor extends LiveElement {
  #past = [];
  #state = UNTOUCHED;
  #saved = UNTOUCHED; // the state when the last move ended: a drag is one step of the history
  #future = [];
  #own = {};
  #now = {};
  #rows = {};

  async connect(server, trigger, props) {
    this.server = server;
    const names = { input: "face-input", picture: ".picture", before: ".before", after: ".after", range: ".detail input" };
    for (const [name, selector] of Object.entries(names)) this[name] = this.find(selector);
    const clicks = {
      undo: () => this.undo(),
      redo: () => this.redo(),
      clear: () => this.#change(UNTOUCHED),
      photo: ({ target }) => this.#keep(target, true),
      alone: ({ target }) => this.#keep(target, false),
      meet: () => this.#average(),
    };
    for (const [name, click] of Object.entries(clicks)) this.find(`.${name}`).addEventListener("click", click);
    draggable(this.picture, (x, _, step) => this.#part(step ? this.split + x : x));
    this.range.addEventListener("input", () => this.#try({ detail: this.range.valueAsNumber }));
    this.range.addEventListener("change", () => this.#commit());
    this.find(".method").addEventListener("change", ({ target }) => this.#change({ method: target.value }));
    this.find("select").addEventListener("change", () => this.#average());
    document.addEventListener("keydown", (event) => this.#onKey(event));
    this.#part(0);
    this.find(".photo").hidden = !props.whole;
    this.find(".methods").hidden = !props.methods;
    this.ask = newest(server.redraw, (answer, { face }) => face === this.input.face.key && this.#show(answer));
    for (const group of props.groups) this.#layGroup(group, props.reach);
    this.#refresh();
    this.input.connect(server, props, (face) => this.#begin(face));
    this.input.begin((await server.begin([null, linkedFace("edit")]))[1]);
    LINKS.edit = () => ({ face: this.input.origin, ...this.#state });
  }

  async #begin({ key }) {
    const look = await this.answer(this.server.look({ face: key }));
    if (!look || key !== this.input.face.key) return;
    this.#own = this.#now = look.own;
    [this.#past, this.#future] = [[], []];
    this.#state = this.#saved = UNTOUCHED;
    this.find(".seen img").src = look.seen;
    this.#refresh();
    await Promise.all([paint(this.before, look.before), paint(this.after, look.before)]);
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

  undo() { this.#step(this.#past, this.#future); }

  redo() { this.#step(this.#future, this.#past); }

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
    this.ask({ face: this.input.face.key, ...this.#state });
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

  #reset(name) {
    const { [name]: _, ...strengths } = this.#state.strengths;
    if (name in this.#state.strengths) this.#change({ strengths });
  }

  #lock(name) {
    const { locked } = this.#state;
    this.#change({ locked: locked.includes(name) ? locked.filter((other) => other !== name) : [...locked, name] });
  }

  async #show({ picture, now, error }) {
    this.say(error);
    if (error) return;
    this.#now = now;
    this.#refresh();
    await paint(this.after, picture);
  }

  async #keep(button, whole) {
    button.disabled = true;
    const file = await this.answer(this.server.keep({ face: this.input.face.key, ...this.#state, whole }));
    button.disabled = false;
    if (file) download(file);
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
    this.picture.setAttribute("aria-valuenow", Math.round(100 * split));
    this.picture.setAttribute("aria-valuetext", `${Math.round(100 * split)} % before`);
  }

  #onKey(event) {
    const typing = event.target.matches("textarea, input:not([type=range])");
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || typing || !this.picture.offsetParent) return;
    event.preventDefault();
    event.shiftKey ? this.redo() : this.undo();
  }

  #reach(name) { return name in this.#own ? 1 : this.#rows[name].reach; }

  #layGroup({ title, rows }, reach) {
    const group = document.createElement("fieldset");
    group.innerHTML = `<legend>${title}</legend>`;
    for (const { name, label, ends } of rows) {
      const row = document.createElement("div");
      row.className = "attribute";
      row.innerHTML = `
        <label for="edit-${name}">${label}</label>
        <span><input type="range" class="slider" id="edit-${name}" step="0.05">${ends ? `<small aria-hidden="true"><i>${ends[0]}</i><i>${ends[1]}</i></small>` : ""}</span>
        <button type="button" class="reset" aria-label="Reset ${label}" title="Reset">↺</button>
        <button type="button" class="lock" aria-label="Lock ${label}" title="Lock: leave it as it is"></button>`;
      const range = row.querySelector("input");
      range.addEventListener("input", () => this.#try({ strengths: { ...this.#state.strengths, [name]: shareOf(range.valueAsNumber, this.#own[name] || 0) } }));
      range.addEventListener("change", () => this.#commit());
      row.querySelector("span").addEventListener("dblclick", () => this.#reset(name));
      row.querySelector(".reset").addEventListener("click", () => this.#reset(name));
      row.querySelector(".lock").addEventListener("click", () => this.#lock(name));
      group.append(row);
      this.#rows[name] = { row, range, reach };
      this.find("select").append(new Option(label, name));
    }
    this.find(".panel").append(group);
  }

  // Everything but the pictures, from the state.
  #refresh() {
    const { strengths, locked, detail, method } = this.#state;
    for (const [name, { row, range }] of Object.entries(this.#rows)) {
      const [own, reach, moved] = [this.#own[name] || 0, this.#reach(name), name in strengths];
      const place = (value) => (Math.min(1, Math.max(-1, value / reach)) + 1) / 2;
      const value = moved ? valueOf(strengths[name], own) : (this.#now[name] ?? own);
      [range.min, range.max, range.value] = [-reach, reach, value];
      range.disabled = locked.includes(name);
      range.style.setProperty("--own", place(own));
      range.style.setProperty("--at", place(value));
      range.setAttribute("aria-valuetext", value.toFixed(1));
      row.classList.toggle("moved", moved);
      row.querySelector(".reset").disabled = !moved || range.disabled;
      row.querySelector(".lock").setAttribute("aria-pressed", range.disabled);
    }
    this.range.value = detail;
    fillTrack(this.range);
    this.find(`.method [value=${method}]`).checked = true;
    this.find(".undo").disabled = !this.#past.length;
    this.find(".redo").disabled = !this.#future.length;
    this.find(".clear").disabled = JSON.stringify(this.#state) === JSON.stringify(UNTOUCHED);
  }
}

customElements.define("face-editor", FaceEditor);
