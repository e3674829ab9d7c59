// The worker that draws in this tab (adapter.js): what it loads, and the messages to it.

const waiting = new Map(); // id of a message → what takes its answer
let worker;
let asked = 0;

// What a function of a tab answers to a request: {error} where it fails.
export function call(tab, name, request) {
  worker.postMessage({ id: ++asked, tab, name, request });
  return new Promise((done) => waiting.set(asked, done));
}

// Starts the worker, with all networks or the decoders alone; what studio.json tells of the model.
// `loaded(bytes, all)` is told how much is there of what the first picture needs.
export async function start(networks = /./, loaded = () => {}) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const gpu = Boolean(adapter) && !adapter.info.isFallbackAdapter; // one in software is slower than WebAssembly
  const first = Object.entries(FILES).filter(([name]) => /^studio|safetensors|decoder/.test(name) || name.endsWith(gpu ? "asyncify.wasm.packed" : "threaded.wasm.packed"));
  const all = first.reduce((sum, [, [size]]) => sum + size, 0);
  const later = Object.entries(FILES).filter(([name]) => name.includes(".onnx") && networks.test(name));
  const files = Object.fromEntries([...first, ...later]);
  let bytes = 0;
  loaded(bytes, all);
  worker = new Worker(new URL("adapter.js", import.meta.url), { type: "module" });
  worker.addEventListener("message", ({ data }) => {
    if (data.loaded) loaded((bytes += data.loaded), all);
    waiting.get(data.id)?.(data.answer);
    waiting.delete(data.id);
  });
  worker.addEventListener("error", ({ message }) => {
    waiting.forEach((done) => done({ error: message || "its worker was refused" }));
    waiting.clear();
  });
  const threads = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const about = await call("page", "load", { files, gpu, threads });
  if (!about.error) return about;
  worker.terminate();
  throw new Error(about.error);
}
