// What pictures are made of.

import { s } from "./dom.js";

export const path = (kind, d) => s("path", { class: kind, d });
export const across = (kind, x1, x2, y) => s("line", { class: kind, x1, x2, y1: y, y2: y });
export const upright = (kind, x, y1, y2) => s("line", { class: kind, x1: x, x2: x, y1, y2 });
export const label = (kind, x, y, words, anchor = "middle") =>
  s("text", { class: kind, x, y, "text-anchor": anchor }, words);
