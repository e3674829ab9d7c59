// The page's state in its address, after the #: the tab, where its faces came from, its sliders.
// A photo is never in it: such a face is left out, and the link opens with another.

const LINKS = {}; // LINKS.edit() gives what that tab puts there
const LINK_REST_MS = 300; // browsers count how often an address changes
let linkOpened = readLink();
let tabOpen = linkOpened.tab || "morph";
let linkKeeping = 0;

function readLink() {
  try {
    const link = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    return link && typeof link === "object" ? link : {};
  } catch {
    return {}; // none, or a broken one
  }
}

// What the page was opened with, if that was for this tab; once.
function openedLink(tab) {
  const link = linkOpened.tab === tab ? linkOpened : null;
  if (link) linkOpened = {};
  return link;
}

function keepLink() {
  clearTimeout(linkKeeping);
  linkKeeping = setTimeout(() => {
    const link = { tab: tabOpen, ...LINKS[tabOpen]?.() };
    history.replaceState(history.state, "", `#${encodeURIComponent(JSON.stringify(link))}`);
  }, LINK_REST_MS);
}

// For Gradio's events: a tab was opened, and which one a link opens.
function openedTab(tab) { tabOpen = tab; keepLink(); }
function linkedTab() { return typeof linkOpened.tab === "string" ? linkOpened.tab : ""; }

// A number of a link, which may have been written by hand.
function within(value, low, high, otherwise) {
  return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : otherwise;
}

function isPlace(value, many) { return Number.isInteger(value) && value >= 0 && value < many; }

// An origin of a link in the server's words, or null; and that of a tab's one face.
function linkedOrigin(origin) { return origin && typeof origin === "object" && !Array.isArray(origin) ? origin : null; }
function linkedFace(tab) { return linkOpened.tab === tab ? linkedOrigin(linkOpened.face) : null; }
