// Links that lead out of the page. Airflow's frame is sandboxed: it may neither navigate the tab nor open another one,
// but Airflow's page around it, which is of our origin, may.

import { h } from "./dom.js";

/** A link into Airflow, or to another host; `href` is relative to the page. */
export const leaving = (href, attributes, ...children) =>
  h("a", { href, target: "_top", rel: "noreferrer", "data-leaving": true, ...attributes }, ...children);

const outer = () => {
  try {
    return top === window ? null : top.document;
  } catch {
    return null; // framed by another site: the link goes as it may
  }
};

export const listen = () => {
  const leave = (event) => {
    const from = event.target.closest?.("a[data-leaving]");
    const page = from && outer();
    if (!page || event.defaultPrevented || event.button > 1) return;
    event.preventDefault();
    const link = page.createElement("a");
    link.href = from.href;
    link.rel = "noreferrer";
    const apart = event.button === 1 || event.ctrlKey || event.metaKey || event.shiftKey;
    if (apart || from.target === "_blank") link.target = "_blank";
    page.body.append(link);
    link.click();
    link.remove();
  };
  document.addEventListener("click", leave);
  document.addEventListener("auxclick", (event) => event.button === 1 && leave(event));
};
