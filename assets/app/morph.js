// <face-morph>: the Morph tab. Two faces with a strip between them, or three or four and a pad.

const PLACES = ["first", "second", "third", "fourth"];

class FaceMorph extends LiveElement {
  #many = 2;
  #drawn = ""; // what the strip shows: its faces and path

  async connect(server, trigger, props) {
    this.parts({ player: "strip-player", pad: "morph-pad", range: ".detail input" });
    this.inputs = this.all("face-input");
    this.drawStrip = newest(server.strip, async (strip) => {
      this.say(strip.error);
      if (!strip.error) await this.player.load(strip);
      this.toggleAttribute("busy", false);
    });
    this.pad.connect((weights) => server.blend({ faces: this.keys, weights, detail: this.detail }));
    for (const input of this.inputs) input.connect(server, props, () => this.#refresh());
    const link = openedLink("morph") || {};
    this.#follow(link);
    this.on(".detail input", "input", () => this.#redetail());
    this.on(".paths", "change", () => this.#refresh());
    this.on(".many", "change", ({ target }) => this.#show(+target.value));
    this.on("strip-player, morph-pad", "position", keepLink);
    const shown = () => ({ faces: this.keys, detail: this.detail, path: this.path });
    const others = {
      photo: () => server.photo({ ...shown(), place: this.#many > 2 ? this.pad.weights : this.player.position }),
      still: () => ({ name: "morph.png", uri: (this.#many > 2 ? this.pad : this.player).canvas.toDataURL() }),
    };
    wireSavers(this, server, others, (animation) => server.save({ ...animation, ...shown() }));
    this.find(".photo").hidden = !props.whole;
    const faces = await server.begin(PLACES.map((place) => linkedOrigin(link[place])));
    faces.forEach((face, i) => this.inputs[i].begin(face));
    if (Array.isArray(link.place)) this.pad.place = [0, 1].map((axis) => within(link.place[axis], 0, 1, 0.5));
    LINKS.morph = () => ({
      ...Object.fromEntries(this.inputs.slice(0, this.#many).map((input, i) => [PLACES[i], input.origin])),
      ...(this.#many > 2 ? { faces: this.#many, place: this.pad.place } : { at: this.player.position }),
      detail: this.detail,
      path: this.path,
    });
  }

  // What of a link can be: it may have been written by hand.
  #follow({ faces, at, detail, path }) {
    this.player.position = within(at, 0, 1, 0.5);
    this.range.value = within(detail, 0, 1, 1);
    if (path === "spherical") this.find("[value=spherical]").checked = true;
    if ([3, 4].includes(faces)) this.find(`.many [value="${faces}"]`).checked = true;
    this.#show([3, 4].includes(faces) ? faces : 2);
    this.#redetail();
  }

  #show(many) {
    this.#many = many;
    this.dataset.faces = many;
    this.player.pause();
    this.#refresh();
  }

  get keys() { return this.inputs.slice(0, this.#many).map((input) => input.face?.key); }
  get detail() { return this.range.valueAsNumber; }
  get path() { return this.find(".paths :checked").value; }

  #redetail() {
    fillTrack(this.range);
    this.player.detail = this.detail;
    this.pad.refresh();
    keepLink();
  }

  // After a face, the path or the number of faces has changed.
  #refresh() {
    if (this.inputs.some((input) => !input.face)) return;
    this.pad.show(this.#many > 2 ? this.inputs.slice(0, this.#many).map((input) => input.face.crop) : []);
    const request = { faces: this.inputs.slice(0, 2).map((input) => input.face.key), path: this.path };
    if (this.#drawn !== (this.#drawn = JSON.stringify(request))) {
      this.toggleAttribute("busy", true);
      this.drawStrip(request);
    }
    keepLink();
  }
}

customElements.define("face-morph", FaceMorph);
