// In the app: this tab draws what it can by itself, and the server what is left, all of it until the
// decoder is here, and wherever the tab fails. `python app.py --web dist` serves this file.

import { call, start } from "./client.js";

const DRAWN = { morph: ["strip", "blend"], edit: ["redraw"], age: ["strip"], explore: ["face", "gallery", "background", "traverse"] };
const faces = new Map(); // key → whether the worker has the face

// Sends a face to the worker, once.
async function place(server, key) {
  if (faces.has(key)) return;
  faces.set(key, false); // until it is there
  const face = await server.drawable({ face: key }).catch(() => null);
  if (face && !face.error) faces.set(key, !(await call("page", "place", { key, ...face })).error);
}

// In place of `server[name](request)` of a tab.
async function answerInTab(tab, server, name, request) {
  const keys = request?.faces || (request?.face ? [request.face] : []);
  keys.forEach((key) => place(server, key));
  if (DRAWN[tab]?.includes(name) && keys.every((key) => faces.get(key))) {
    const answer = await call(tab, name, request);
    if (!answer.error) return answer;
    keys.forEach((key) => faces.set(key, false)); // the server's from now on
  }
  return server[name](request);
}

start(/decoder/).then(() => (window.answerInTab = answerInTab), () => null); // else all is the server's
