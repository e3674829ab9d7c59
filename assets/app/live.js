// What the elements share.
const SWEEP_MS = 3500; // of play, from one end or face to the next
const UNANSWERED = "The server did not answer: try again, or reload the page.";

// An element that asks the server for all it shows. A tab's is laid out by its .html file, and
// Gradio's gr.HTML calls its `connect(server, trigger, props)` once; smaller ones begin by `built()`.
class LiveElement extends HTMLElement {
  connectedCallback() { this.built?.(); }
  find(selector) { return this.querySelector(selector); }
  all(selector) { return [...this.querySelectorAll(selector)]; }
  on(selector, type, listener) { this.all(selector).forEach((one) => one.addEventListener(type, listener)); }

  // Its parts as properties: {range: ".detail input"} is this.range.
  parts(selectors) { for (const [name, selector] of Object.entries(selectors)) this[name] = this.find(selector); }
  say(sentence) { this.find(":scope > .status, :scope > section > .status").textContent = sentence || ""; }

  // An answer, or null after showing its error.
  async answer(asked) {
    const answer = (await asked) ?? { error: UNANSWERED };
    this.say(answer.error);
    return answer.error ? null : answer;
  }
}

// A tab's server; the tab answers by itself what it can, once assets/web/beside.js is loaded.
function answering(tab, server) {
  const ask = (name, request) => (window.answerInTab ? window.answerInTab(tab, server, name, request) : server[name](request));
  return new Proxy(server, { get: (_, name) => (request) => ask(name, request) });
}

// A function that has one request under way: of the requests that come meanwhile the last is asked
// next, and the others never. `show` gets each answer in turn.
function newest(ask, show) {
  let busy = false;
  let next;
  return async (request) => {
    next = request;
    if (busy) return;
    busy = true;
    try {
      while (next !== undefined) {
        const now = next;
        next = undefined;
        await show((await ask(now)) ?? { error: UNANSWERED }, now);
      }
    } finally { busy = false; }
  };
}

async function bitmap(source) { return source instanceof ImageBitmap ? source : createImageBitmap(await (await fetch(source)).blob()); }

// A picture onto a canvas, which takes its size.
async function paint(canvas, source) {
  const picture = await bitmap(source);
  resize(canvas, picture);
  canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
  picture.close();
}

// Gives a canvas a size, which would empty it where it has that already.
function resize(canvas, { width, height }) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}

// Where the pointer is in an element, 0 … 1 from its left and from its top.
function placeIn(element, { clientX, clientY }) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return [within((clientX - left) / width, 0, 1), within((clientY - top) / height, 0, 1)];
}

// Calls moved(x, y) with the pointer's place while an element is dragged on, and moved(±step, ±step,
// true) for the arrow keys.
function draggable(element, moved, step = 0.05) {
  const at = (event) => moved(...placeIn(element, event));
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

// What a play button runs: step(sweeps) at every frame of the screen, until it is paused.
class Runner {
  #frame = 0; // the animation frame that will step

  constructor(button, play) {
    this.button = button;
    button.addEventListener("click", () => (this.#frame ? this.pause() : play()));
  }

  run(step) {
    const start = performance.now();
    const next = (now) => {
      this.#frame = requestAnimationFrame(next); // before the step, which may pause
      step(Math.max(0, now - start) / SWEEP_MS);
    };
    this.#show(requestAnimationFrame(next));
  }

  pause() { cancelAnimationFrame(this.#frame); this.#show(0); }

  #show(frame) {
    this.#frame = frame;
    Object.assign(this.button, { ariaPressed: frame > 0, ariaLabel: frame ? "Pause" : "Play" });
  }
}

// From 0 to 1 and back in two sweeps, resting at both.
function eased(sweeps) { return (1 - Math.cos(Math.PI * sweeps)) / 2; }

// Hands a file made on the server, {name, uri}, to the reader.
function download({ name, uri }) { make("a", { href: uri, download: name }).click(); }
function make(tag, properties) { return Object.assign(document.createElement(tag), properties); }

// A button; `html` is a word or a picture, whose meaning the label says.
function makeButton(html, onclick, label = null) {
  return make("button", { type: "button", innerHTML: html, onclick, ariaLabel: label });
}

// Fills a slider's track up to its thumb.
function fillTrack(range) {
  range.style.setProperty("--filled", `${(100 * (range.value - range.min)) / (range.max - range.min)}%`);
}

// Wires the buttons of `.save`: an animation of each kind, by save({kind, seconds, height, job}) and
// with how far it is; or, by a button's class, one of the others, which give {name, uri}.
function wireSavers(owner, server, others, save) {
  const [seconds, height, progress] = [".seconds", ".height", "progress"].map((one) => owner.find(`.save ${one}`));
  const animate = async (kind) => {
    const job = crypto.getRandomValues(new Uint32Array(4)).join("-");
    progress.hidden = false;
    progress.removeAttribute("value");
    const look = setInterval(async () => (progress.value = (await server.progress(job)) || 1), 300);
    const made = await save({ kind, seconds: +seconds.value, height: +height.value, job });
    clearInterval(look);
    progress.hidden = true;
    return made;
  };
  owner.on(".save button", "click", async ({ target }) => {
    target.disabled = true;
    const made = await owner.answer(others[target.className]?.() ?? animate(target.textContent));
    target.disabled = false;
    if (made) download(made);
  });
}
