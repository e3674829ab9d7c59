// The model in the worker: networks and numbers, loaded once.

import { Studio } from "./studio.js";
import { toImage } from "./align.js";

const SHOWN_MS = 1000; // until the first picture is drawn, which the rest must not delay
export let studio;

// By the files given; of a runtime with a GPU the decoders alone run there. What the first picture
// needs is told of by `loaded` messages and comes first, the other networks after it.
export async function load({ files, gpu, threads }) {
  const read = async (name, told) => {
    const stream = (await fetch(`../${name}`, { integrity: files[name][1], cache: "no-cache" })).body.pipeThrough(new TransformStream({
      transform(part, out) {
        told?.(part.length);
        out.enqueue(part);
      },
    }));
    const packed = name.endsWith(".packed");
    return new Response(packed ? stream.pipeThrough(new DecompressionStream("gzip")) : stream).arrayBuffer();
  };
  const tell = (loaded) => self.postMessage({ loaded });
  const drawing = Object.keys(files).filter((name) => /decoder/.test(name));
  const kind = gpu ? "ort-wasm-simd-threaded.asyncify" : "ort-wasm-simd-threaded";
  const [ort, about, held, wasmBinary, ...decoders] = await Promise.all([
    import(`../runtime/ort.${gpu ? "webgpu" : "wasm"}.min.mjs`),
    read("studio.json", tell).then((content) => JSON.parse(new TextDecoder().decode(content))),
    read("networks/studio.safetensors.packed", tell),
    read(`runtime/${kind}.wasm.packed`, tell),
    ...drawing.map((name) => read(name, tell)),
  ]);
  Object.assign(ort.env.wasm, { wasmBinary, numThreads: threads, wasmPaths: { mjs: new URL(`../runtime/${kind}.mjs`, import.meta.url).href } });
  ort.env.logLevel = "error";
  const make = (graph, provider = "wasm") => ort.InferenceSession.create(graph, { executionProviders: [provider] });
  const keyOf = (name) => name.split(/[/.]/)[1];
  const drawn = Object.fromEntries(drawing.map((name, i) => [keyOf(name), decoders[i]]));
  const made = {};
  for (const [name, graph] of Object.entries(drawn)) { // one after the other, as WebGPU wants it
    await (made[name] = gpu ? make(graph, "webgpu").catch(() => make(graph)) : make(graph));
  }
  const later = Object.keys(files).filter((name) => /onnx/.test(name) && !/decoder/.test(name));
  const shown = pause(SHOWN_MS);
  const graphs = Object.fromEntries(later.map((name) => [keyOf(name), shown.then(() => read(name)).catch(() => null)]));
  const makeLater = async (graph) => {
    if (!graph) throw new Error("A part of the model could not be loaded: reload the page.");
    return make(graph);
  };
  const network = (name, failed) => {
    if (failed && drawn[name]) made[name] = make(drawn[name]); // a GPU may be lost at any time
    return (made[name] ||= graphs[name].then(makeLater));
  };
  studio = new Studio(ort, about, tensorsOf(held), network);
  const { source, shared, props } = about;
  return { source, props: Object.fromEntries(Object.entries(props).map(([tab, own]) => [tab, { ...shared, ...own }])) };
}

// What a safetensors file holds.
function tensorsOf(content) {
  const length = Number(new DataView(content).getBigUint64(0, true));
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 8, length)));
  delete about.__metadata__;
  const read = ({ shape, data_offsets: [from, to] }) => ({ shape, data: new Float32Array(content.slice(8 + length + from, 8 + length + to)) });
  return Object.fromEntries(Object.entries(about).map(([name, tensor]) => [name, read(tensor)]));
}

// The picture of a state of nobody, as ImageData.
export async function imageOf({ code, suited, condition }) { return toImage((await studio.draw(code, suited, condition)).picture, studio.size); }

export function linspace(first, last, many) { return Array.from({ length: many }, (_, i) => first + ((last - first) * i) / (many - 1)); }
export function pause(ms = 0) { return new Promise((done) => setTimeout(done, ms)); } // other messages come in between
