// The page: loads the worker that answers in place of a server, and opens a tab's element the first
// time that the tab is shown. The elements and what they share are the app's, as plain scripts.

import { call, start } from "./client.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
let props;

// What an element calls its server; a photo in which no face is found comes back with two eyes.
function serverOf(tab) {
  const special = {
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

function show(bytes, all) {
  const [bar, text] = document.querySelectorAll(".loading > *");
  bar.value = bytes / all;
  text.textContent = bytes < all ? `Loading the model: ${(bytes / 1e6).toFixed(1)} of ${(all / 1e6).toFixed(1)} MB` : "Starting";
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

async function begin() {
  // The worker of the cache checks every file by its hash, and makes the page work offline.
  const cache = isSecureContext && navigator.serviceWorker;
  if (cache) {
    const controlled = new Promise((done) => cache.addEventListener("controllerchange", done, { once: true }));
    const registered = cache.register("sw.js").then(() => controlled, () => null);
    if (!cache.controller) await Promise.race([registered, new Promise((done) => setTimeout(done, 10_000))]);
  }
  const about = await start(/./, show);
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

begin().catch(({ message }) => {
  document.querySelector(".loading p").textContent = `The page could not start (${message}): reload it, or use a newer browser.`;
});
