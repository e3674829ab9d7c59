// <face-input place="edited">: a face, and the ways to another: a file, the camera, the clipboard, a
// drawn face, portraits. `connect(server, props, changed)` calls changed(face) with every new one.

const MAX_PLAIN_BYTES = 2_000_000; // a larger file is shrunk before it is sent, where the browser can read it
const MAX_PHOTO_BYTES = 20_000_000;
const SENT = {}; // faces for inputs that are not there yet

// Shows a face in a place of another tab, which may not have been opened yet.
function sendFace(place, face) {
  const input = document.querySelector(`face-input[place="${place}"]`);
  input?.server ? input.take(face) : (SENT[place] = face);
}

class FaceInput extends LiveElement {
  #asked = 0; // counts the requests: of several the last one's face is shown
  #stream = null; // of the camera
  face = null;

  built() {
    this.parts({ image: "img", video: "video", file: "[type=file]" });
    this.file.ariaLabel = `${this.getAttribute("label")}: choose a photo`;
    this.on("[type=file]", "change", () => this.#send(this.file.files[0]));
    this.on(".crop", "dragover", (event) => event.preventDefault());
    this.on(".crop", "drop", (event) => {
      event.preventDefault();
      this.#send(event.dataTransfer.files[0]);
    });
    this.on(".upload", "click", () => this.file.click());
    this.on(".camera", "click", () => this.#film());
    this.on(".paste", "click", () => this.#paste());
    this.on(".dice", "click", () => this.#add({}));
    this.find(".camera").hidden = !navigator.mediaDevices;
    this.find(".paste").hidden = !navigator.clipboard?.read;
  }

  connect(server, { portraits, side }, changed) {
    Object.assign(this, { server, side, changed });
    for (const [portrait, picture] of Object.entries(portraits)) {
      const click = () => this.#add({ origin: { portrait } });
      this.find(".starters").append(makeButton(`<img alt="" src="${picture}" title="${portrait}">`, click, portrait));
    }
  }

  // The face to begin with, or one that another tab has sent meanwhile.
  begin(face) {
    const place = this.getAttribute("place");
    this.take(SENT[place] || face);
    delete SENT[place];
  }

  take(face) {
    this.#asked++;
    this.toggleAttribute("busy", false);
    this.face = face;
    Object.assign(this.image, { src: face.crop, alt: face.name });
    this.find("figcaption").textContent = face.name;
    this.say(face.note);
    this.changed(face);
    keepLink();
  }

  // Where the face came from, undefined for a photo: links name it.
  get origin() { return this.face?.origin || undefined; }

  async #add(request) {
    const asked = ++this.#asked;
    this.toggleAttribute("busy", true);
    const face = (await this.server.add(request)) ?? { error: UNANSWERED };
    if (asked !== this.#asked) return;
    this.toggleAttribute("busy", false);
    face.error ? this.say(face.error) : this.take(face);
  }

  async #send(file) {
    if (!file) return;
    const photo = await photoUri(file, this.side);
    this.file.value = ""; // so that the same photo can be chosen again
    if (photo.length * 0.75 > MAX_PHOTO_BYTES) return this.say("This photo has over 20 MB: send a smaller one.");
    await this.#add({ photo });
  }

  // Turns the camera on, and at the second click takes the photo.
  async #film() {
    if (!this.#stream) {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } }).catch(() => null);
      this.video.srcObject = this.#stream;
      this.video.hidden = !this.#stream;
      return this.#stream ? this.video.play() : this.say("There is no camera that this page may use.");
    }
    const photo = shrunk(this.video, this.video.videoWidth, this.video.videoHeight, this.side);
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.video.hidden = true;
    await this.#add({ photo });
  }

  async #paste() {
    for (const item of (await navigator.clipboard.read().catch(() => null)) || []) {
      const type = item.types.find((one) => one.startsWith("image/"));
      if (type) return this.#send(await item.getType(type));
    }
    this.say("There is no picture on the clipboard that this page may read.");
  }
}

// A picture of at most `side` pixels a side, as a data URI.
function shrunk(picture, width, height, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = make("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.95);
}

// A file as a data URI; a large one that the browser can read is shrunk.
async function photoUri(file, side) {
  const picture = file.size > MAX_PLAIN_BYTES && (await createImageBitmap(file).catch(() => null));
  if (picture) return shrunk(picture, picture.width, picture.height, side);
  return new Promise((done) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.readAsDataURL(file);
  });
}

customElements.define("face-input", FaceInput);
