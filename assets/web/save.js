// Frames (ImageData) as a GIF, a WebP or an MP4 file: a Blob.

const SAMPLE_STEP = 7; // of the pixels that a GIF's one palette is chosen by
const CODECS = ["avc1.42001f", "vp09.00.21.08", "av01.0.04M.08"]; // the first that this browser encodes

// `rate` frames a second; done(share) is called with the share that is done.
export async function animation(kind, frames, rate, done) {
  return { GIF: gif, WebP: webp, MP4: mp4 }[kind](frames, rate, done);
}

export function picture(image, type = "image/png", quality = 0.92) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas.convertToBlob({ type, quality });
}

export function dataUri(blob) { return new FileReaderSync().readAsDataURL(blob); }
export async function jpeg(image) { return dataUri(await picture(image, "image/jpeg")); }

async function gif(frames, rate, done) {
  const { GIFEncoder, applyPalette, quantize } = await import("../runtime/gifenc.esm.js");
  const sample = frames.flatMap(({ data }) => [...new Uint32Array(data.buffer)].filter((_, i) => i % (SAMPLE_STEP * frames.length) === 0));
  const palette = quantize(new Uint8Array(Uint32Array.from(sample).buffer), 256);
  const encoder = GIFEncoder();
  for (const [i, { data, width, height }] of frames.entries()) {
    const options = { delay: 1000 / rate, ...(i ? {} : { palette, repeat: 0 }) };
    encoder.writeFrame(applyPalette(data, palette), width, height, options);
    await done(i / frames.length);
  }
  encoder.finish();
  return new Blob([encoder.bytes()], { type: "image/gif" });
}

// Still WebP pictures in the container of an animation; by developers.google.com/speed/webp/docs/riff_container.
async function webp(frames, rate, done) {
  const [{ width, height }] = frames;
  const size = [...bytes(width - 1, 3), ...bytes(height - 1, 3)];
  const parts = [chunk("VP8X", [2, 0, 0, 0, ...size]), chunk("ANIM", [255, 255, 255, 255, 0, 0])];
  for (const [i, frame] of frames.entries()) {
    const still = new Uint8Array(await (await picture(frame, "image/webp", 0.9)).arrayBuffer());
    if (String.fromCharCode(...still.slice(8, 12)) !== "WEBP") throw new Error("This browser writes no WebP: save a GIF.");
    parts.push(chunk("ANMF", [0, 0, 0, 0, 0, 0, ...size, ...bytes(Math.round(1000 / rate), 3), 2, ...pixelsOf(still)]));
    await done(i / frames.length);
  }
  const body = new Blob([new TextEncoder().encode("WEBP"), ...parts]);
  return new Blob([new TextEncoder().encode("RIFF"), Uint8Array.from(bytes(body.size, 4)), body], { type: "image/webp" });
}

// The chunks of a still WebP that hold its pixels: not its colour profile.
function pixelsOf(still) {
  const found = [];
  const view = new DataView(still.buffer);
  for (let at = 12, next; at < still.length; at = next) {
    const length = view.getUint32(at + 4, true);
    next = at + 8 + length + (length % 2);
    if (/^(ALPH|VP8 |VP8L)$/.test(String.fromCharCode(...still.slice(at, at + 4)))) found.push(...still.slice(at, next));
  }
  return found;
}

function bytes(number, many) { return Array.from({ length: many }, (_, i) => (number >>> (8 * i)) & 255); }

function chunk(name, data) {
  return Uint8Array.from([...new TextEncoder().encode(name), ...bytes(data.length, 4), ...data, ...(data.length % 2 ? [0] : [])]);
}

async function mp4(frames, rate, done) {
  const [width, height] = [frames[0].width, frames[0].height].map((side) => side + (side % 2));
  const settings = CODECS.map((codec) => ({ codec, width, height, framerate: rate, bitrate: 12 * width * height }));
  let chosen = null;
  for (const one of self.VideoEncoder ? settings : []) chosen ||= (await VideoEncoder.isConfigSupported(one)).supported ? one : null;
  if (!chosen) throw new Error("This browser encodes no video: save a GIF or WebP.");
  const { ArrayBufferTarget, Muxer } = await import("../runtime/mp4-muxer.mjs");
  const codec = { avc1: "avc", vp09: "vp9", av01: "av1" }[chosen.codec.slice(0, 4)];
  const muxer = new Muxer({ target: new ArrayBufferTarget(), video: { codec, width, height }, fastStart: "in-memory" });
  let failed = null;
  const encoder = new VideoEncoder({ output: (part, meta) => muxer.addVideoChunk(part, meta), error: (error) => (failed = error) });
  encoder.configure(chosen);
  for (const [i, frame] of frames.entries()) {
    const shown = new VideoFrame(await createImageBitmap(frame), { timestamp: (1e6 * i) / rate });
    encoder.encode(shown, { keyFrame: i % 48 === 0 });
    shown.close();
    await done(i / frames.length);
  }
  await encoder.flush();
  if (failed) throw failed;
  muxer.finalize();
  return new Blob([muxer.target.buffer], { type: "video/mp4" });
}
