// The page's state in its address, after the #: the tab, where its faces came from, its sliders.
// A photo is never in it: such a face is left out, and the link opens with another.
//
//   LINKS.edit = () => ({face, …})   what a tab puts there
//   keepLink()                       after something has changed
//   openedLink("edit")               what the page was opened with, if that was for this tab; once

const LINKS = {};
const LINK_REST_MS = 300; // browsers count how often an address changes
let linkOpened = readLink();
const linkTab = linkOpened.tab; // which may have taken its link before the tabs are there
let linkKeeping = 0;

function readLink() {
  try {
    const link = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    return link && typeof link === "object" ? link : {};
  } catch {
    return {}; // none, or a broken one
  }
}

function openedLink(tab) {
  if (linkOpened.tab !== tab) return null;
  const link = linkOpened;
  linkOpened = {};
  return link;
}

function keepLink() {
  clearTimeout(linkKeeping);
  linkKeeping = setTimeout(() => {
    const tab = document.querySelector("[role=tab][aria-selected=true]")?.textContent.trim().toLowerCase();
    const link = { tab, ...LINKS[tab]?.() };
    history.replaceState(history.state, "", `#${encodeURIComponent(JSON.stringify(link))}`);
  }, LINK_REST_MS);
}

document.addEventListener("click", (event) => event.target.closest("[role=tab]") && keepLink());

// Where the face of a side came from, undefined for a photo.
function originOf(side) {
  const origin = document.querySelector(`.${side} figure`)?.dataset.origin;
  return origin && JSON.parse(origin);
}

// For Gradio's events when the page opens.
function linkedFace(tab) {
  return linkOpened.tab === tab ? linkOpened.face || null : null;
}

function linkedTab() {
  const tabs = [...document.querySelectorAll("[role=tab]")].map((tab) => tab.textContent.trim().toLowerCase());
  return { __type__: "update", ...(tabs.includes(linkTab) && { selected: linkTab }) };
}

function within(value, low, high, otherwise) {
  return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : otherwise;
}

function isPlace(value, many) {
  return Number.isInteger(value) && value >= 0 && value < many;
}
