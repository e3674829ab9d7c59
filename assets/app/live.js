// What the elements share.

const SWEEP_MS = 3500; // of play

// A function of a wish that has one request under way: of the wishes that come meanwhile the last
// is asked next, and the others never. `show` gets each answer in turn.
function newest(ask, show) {
  let busy = false;
  let next;
  return async (wish) => {
    next = wish;
    if (busy) return;
    busy = true;
    try {
      while (next !== undefined) {
        const now = next;
        next = undefined;
        await show(await ask(now), now);
      }
    } finally {
      busy = false;
    }
  };
}

async function bitmap(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return createImageBitmap(image);
}

// A picture onto a canvas, which takes its size.
async function paint(canvas, source) {
  const picture = await bitmap(source);
  if (canvas.width !== picture.width) [canvas.width, canvas.height] = [picture.width, picture.height];
  canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
  picture.close();
}

// Calls moved(x, y) with 0 … 1 from the left and the top of an element while it is dragged on, and
// moved(±step, ±step, true) for the arrow keys.
function draggable(element, moved, step = 0.05) {
  const at = (event) => {
    const box = element.getBoundingClientRect();
    const part = (value, length) => Math.min(1, Math.max(0, value / length));
    moved(part(event.clientX - box.left, box.width), part(event.clientY - box.top, box.height));
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    element.focus({ preventScroll: true });
    at(event);
  });
  element.addEventListener("pointermove", (event) => event.buttons && at(event));
  element.addEventListener("mousedown", (event) => event.preventDefault()); // no text is selected
  element.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!way[event.key]) return;
    event.preventDefault();
    const [x, y] = way[event.key];
    moved(x * step, y * step, true);
  });
}

// What a play button runs: step(sweeps) at every frame of the screen, until it is paused; a sweep is
// the time from one end, or face, to the next.
class Runner {
  #frame = 0; // the animation frame that will step

  constructor(button) {
    this.button = button;
  }

  get running() {
    return this.#frame > 0;
  }

  run(step) {
    const start = performance.now();
    const next = (now) => {
      this.#frame = requestAnimationFrame(next); // before the step, which may pause
      step(Math.max(0, now - start) / SWEEP_MS);
    };
    this.#frame = requestAnimationFrame(next);
    this.#show(true);
  }

  pause() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#show(false);
  }

  #show(running) {
    this.button.setAttribute("aria-pressed", running);
    this.button.setAttribute("aria-label", running ? "Pause" : "Play");
  }
}

// From 0 to 1 and back in two sweeps, resting at both.
function eased(sweeps) {
  return (1 - Math.cos(Math.PI * sweeps)) / 2;
}

// Empties a photo input once its photo is read, and turns the camera off.
function emptyInput(selector) {
  document.querySelector(`${selector} [aria-label="Upload file"]:not(.selected)`)?.click();
  return null;
}

// Hands a file made on the server, {name, uri}, to the reader.
function download({ name, uri }) {
  Object.assign(document.createElement("a"), { href: uri, download: name }).click();
}
