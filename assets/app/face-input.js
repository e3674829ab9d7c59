// <face-input place="edited">: a face, and the ways to another: a file, the camera, the clipboard, a
// drawn face, portraits.
//
//   input.connect(server, props, changed)   changed(face) is called with every new one
//   input.take({key, name, origin, crop})   shows a face that the server has read
//   sendFace("edited", face)                from another tab, which may not have been opened yet

const MAX_PLAIN_BYTES = 2_000_000; // a larger file is shrunk before it is sent, where the browser can read it
const MAX_PHOTO_BYTES = 20_000_000;
const SENT = {}; // faces for inputs that are not there yet

function sendFace(place, face) {
  const input = document.querySelector(`face-input[place="${place}"]`);
  input?.server ? input.take(face) : (SENT[place] = face);
}

class FaceInput extends LiveElement {
  #asked = 0; // counts the requests: of several the last one's face is shown
  #stream = null; // of the camera
  face = null;

  get markup() {
    const sources = { upload: "Upload a photo", camera: "Take a photo", paste: "Paste a photo" };
    return `
      <figure>
        <figcaption></figcaption>
        <label class="crop"><img alt=""><video muted playsinline hidden></video>
          <input type="file" accept="image/*" aria-label="${this.getAttribute("label")}: choose a photo">
          <span>Drop a photo here<br>or click</span></label>
      </figure>
      <div class="sources">${Object.entries(sources).map(([name, title]) => `<button type="button" class="${name}" title="${title}" aria-label="${title}">${icon(name)}</button>`).join("")}</div>
      <div class="starters"><button type="button" class="dice" title="Random face" aria-label="Random face">${icon("dice")}</button></div>
      <p class="status" role="status"></p>`;
  }

  built() {
    [this.image, this.video, this.file] = ["img", "video", "[type=file]"].map((one) => this.find(one));
    this.file.addEventListener("change", () => this.#send(this.file.files[0]));
    const crop = this.find(".crop");
    crop.addEventListener("dragover", (event) => event.preventDefault());
    crop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#send(event.dataTransfer.files[0]);
    });
    this.find(".upload").addEventListener("click", () => this.file.click());
    this.find(".camera").addEventListener("click", () => this.#film());
    this.find(".paste").addEventListener("click", () => this.#paste());
    this.find(".dice").addEventListener("click", () => this.#add({}));
    this.find(".camera").hidden = !navigator.mediaDevices;
    this.find(".paste").hidden = !navigator.clipboard?.read;
  }

  connect(server, { portraits, side }, changed) {
    [this.server, this.side, this.changed] = [server, side, changed];
    for (const [name, picture] of Object.entries(portraits)) {
      const button = makeButton("", () => this.#add({ origin: { portrait: name } }));
      button.title = name;
      button.setAttribute("aria-label", name);
      button.innerHTML = `<img alt="" src="${picture}">`;
      this.find(".starters").append(button);
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
    this.image.src = face.crop;
    this.image.alt = face.name;
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
      try {
        this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
      } catch { return this.say("There is no camera that this page may use."); }
      this.video.srcObject = this.#stream;
      this.video.hidden = false;
      return this.video.play();
    }
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [this.video.videoWidth, this.video.videoHeight];
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.video.hidden = true;
    await this.#add({ photo: canvas.toDataURL("image/jpeg", 0.95) });
  }

  async #paste() {
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((one) => one.startsWith("image/"));
        if (type) return this.#send(await item.getType(type));
      }
      this.say("There is no picture on the clipboard.");
    } catch { this.say("The browser does not let this page read the clipboard."); }
  }
}

// A file as a data URI; a large one that the browser can read is shrunk to `side` pixels.
async function photoUri(file, side) {
  if (file.size > MAX_PLAIN_BYTES) {
    try {
      const picture = await createImageBitmap(file);
      const scale = Math.min(1, side / Math.max(picture.width, picture.height));
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [picture.width, picture.height].map((length) => Math.round(length * scale));
      canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
      return canvas.toDataURL("image/jpeg", 0.95);
    } catch {
      // a kind that only the server can read
    }
  }
  return new Promise((done) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.readAsDataURL(file);
  });
}

customElements.define("face-input", FaceInput);
