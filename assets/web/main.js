// The page: loads the worker that answers in place of a server, and opens a tab's element the first
// time that the tab is shown. The elements and what they share are the app's, as plain scripts.

const waiting = new Map(); // id of a message → what takes its answer
const progress = {}; // job → share of an animation that is done
const dark = matchMedia("(prefers-color-scheme: dark)");
let worker;
let asked = 0;
let loaded = 0;
let props;

function call(tab, name, request, transfer = []) {
  worker.postMessage({ id: ++asked, tab, name, request }, transfer);
  return new Promise((done) => waiting.set(asked, done));
}

function onMessage({ data }) {
  if (data.loaded) show((loaded += data.loaded));
  if (data.job) progress[data.job] = data.share;
  if (!data.id) return;
  waiting.get(data.id)(data.answer);
  waiting.delete(data.id);
}

// What an element calls its server; a photo in which no face is found comes back with two eyes.
function serverOf(tab) {
  const special = {
    progress: async (job) => progress[job],
    add: async (request) => {
      const answer = await call(tab, "add", request);
      if (!answer.noFace || !request.photo) return answer;
      const eyes = await askEyes(request.photo);
      return eyes ? call(tab, "add", { ...request, eyes }) : answer;
    },
  };
  return new Proxy(special, { get: (_, name) => special[name] || ((request) => call(tab, name, request)) });
}

// Two rings to drag onto a photo: their places in its pixels, or null.
async function askEyes(photo) {
  const dialog = document.querySelector(".eyes");
  const [canvas, ...rings] = dialog.querySelectorAll("canvas, .eye");
  await paint(canvas, photo);
  const scale = Math.min(1, props.edit.side / Math.max(canvas.width, canvas.height));
  const places = [[0.35, 0.4], [0.65, 0.4]];
  const put = (i, [x, y]) => {
    places[i] = [x, y].map((at) => Math.min(1, Math.max(0, at)));
    [rings[i].style.left, rings[i].style.top] = places[i].map((at) => `${100 * at}%`);
  };
  for (const [i, ring] of rings.entries()) {
    put(i, places[i]);
    ring.onpointerdown = (event) => ring.setPointerCapture(event.pointerId);
    ring.onpointermove = (event) => {
      const box = canvas.getBoundingClientRect();
      if (event.buttons) put(i, [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
    };
    ring.onkeydown = ({ key }) => {
      const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key] || [0, 0];
      put(i, [places[i][0] + x / 200, places[i][1] + y / 200]);
    };
  }
  dialog.showModal();
  const used = await new Promise((done) => {
    dialog.querySelector(".use").onclick = () => done(true);
    dialog.querySelector(".leave").onclick = dialog.oncancel = () => done(false);
  });
  dialog.close();
  return used ? places.map(([x, y]) => [x * canvas.width * scale, y * canvas.height * scale]) : null;
}

function show(bytes) {
  const [bar, text] = document.querySelectorAll(".loading > *");
  bar.value = bytes / show.whole;
  text.textContent = bytes < show.whole ? `Loading the model: ${(bytes / 1e6).toFixed(1)} of ${(show.whole / 1e6).toFixed(1)} MB` : "Starting";
}

const opened = new Set();

function open(tab) {
  for (const button of document.querySelectorAll("[role=tab]")) {
    const here = button.id === `tab-${tab}`;
    button.classList.toggle("selected", here);
    button.ariaSelected = here;
    button.tabIndex = here ? 0 : -1;
    document.getElementById(button.getAttribute("aria-controls")).hidden = !here;
  }
  openedTab(tab);
  const element = document.getElementById(tab).firstElementChild;
  if (opened.has(tab) || !element.connect) return;
  opened.add(tab);
  element.connect(serverOf(tab), (event, { tab: other }) => open(other), props[tab] || {});
}

async function start() {
  const files = FILES;
  // The worker of the cache checks every file by its hash, and makes the page work offline.
  if ("serviceWorker" in navigator && isSecureContext) {
    const controlled = new Promise((done) => navigator.serviceWorker.addEventListener("controllerchange", done, { once: true }));
    const registered = await navigator.serviceWorker.register("sw.js").catch(() => null);
    if (registered && !navigator.serviceWorker.controller) await Promise.race([controlled, new Promise((done) => setTimeout(done, 10_000))]);
  }
  // WebGPU where the address asks for it by ?gpu: it has not been compared on a real GPU yet.
  const wanted = new URLSearchParams(location.search).has("gpu");
  const gpu = wanted && Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
  const wasm = gpu ? "asyncify.wasm" : "threaded.wasm";
  const loading = Object.entries(files).filter(([name]) => /^(networks|studio)/.test(name) || name.endsWith(`${wasm}.packed`));
  show.whole = loading.reduce((sum, [, [size]]) => sum + size, 0);
  show(0);
  worker = new Worker("page/adapter.js", { type: "module" });
  worker.addEventListener("message", onMessage);
  worker.addEventListener("error", (event) => fail(event.message || "its worker was refused"));
  const threads = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const about = await call("page", "load", { files, gpu, threads });
  if (about.error) throw new Error(about.error);
  props = { ...about.props, mirror: about.props.edit };
  document.querySelector(".learned").textContent = about.source;
  document.querySelector(".loading").hidden = true;
  document.querySelector(".tabs").hidden = false;
  const linked = linkedTab();
  open(document.getElementById(`tab-${linked}`) ? linked : "morph");
}

function paintTheme() { document.body.classList.toggle("dark", dark.matches); }
dark.addEventListener("change", paintTheme);
paintTheme();

for (const button of document.querySelectorAll("[role=tab]")) {
  button.addEventListener("click", () => open(button.getAttribute("aria-controls")));
  button.addEventListener("keydown", ({ key }) => {
    const next = { ArrowRight: button.nextElementSibling, ArrowLeft: button.previousElementSibling }[key];
    next?.focus();
    next?.click();
  });
}

function fail(reason) {
  worker?.terminate(); // its progress would be shown over this
  document.querySelector(".loading p").textContent = `The page could not start (${reason}): reload it, or use a newer browser.`;
}

start().catch((error) => fail(error.message));
