// Nodes, and a page that is brought up to date without flicker. Every text goes in as text: there is no markup here.

const SVG = "http://www.w3.org/2000/svg";

const filled = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  append(node, children);
  return node;
};

const append = (node, children) => {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(node, child);
    else node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
};

/** Make an element of HTML. Attributes that are null or false are left out; so are such children. */
export const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);

/** The same for SVG. */
export const s = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

/** Words for screen readers alone. */
export const unseen = (...words) => h("span", { class: "unseen" }, ...words);

const same = (old, fresh) =>
  old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);
const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);

/** Make `old` look like `fresh`, touching only what differs: focus, scrolling and what is unfolded stay. */
export function patch(old, fresh) {
  if (!same(old, fresh)) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return undefined;
  }
  patchAttributes(old, fresh);
  // What draws itself is given its data and left alone.
  if ("data" in fresh && old.localName.includes("-")) old.data = fresh.data;
  else patchChildren(old, fresh);
  if (old.localName === "select" && old.value !== fresh.value) old.value = fresh.value;
  return undefined;
}

function patchAttributes(old, fresh) {
  const chosen = old.localName === "details" ? "open" : "";
  for (const { name } of [...old.attributes]) {
    if (name !== chosen && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== chosen && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function patchChildren(old, fresh) {
  const wanted = new Set([...fresh.childNodes].map(keyOf));
  const kept = new Map();
  for (const child of [...old.childNodes]) {
    const key = keyOf(child);
    if (key === null) continue;
    if (wanted.has(key)) kept.set(key, child);
    else child.remove();
  }
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    const target = key === null ? (place && keyOf(place) === null ? place : null) : kept.get(key);
    if (!target) {
      old.insertBefore(child, place);
      continue;
    }
    if (target === place) place = place.nextSibling;
    else old.insertBefore(target, place);
    patch(target, child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}
