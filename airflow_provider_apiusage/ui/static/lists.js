// Tables whose headers sort, and lists of which a part is shown.

import { h, s } from "./dom.js";
import { number } from "./words.js";

/**
 * A table in a frame that scrolls by itself.
 *
 * @param caption what it is, in words
 * @param columns `{title, number, sort, narrow}`: `sort` names an order that the server knows
 * @param rows each a list of cells; the first is the row's heading. `{key, cells}` keeps a row's identity
 * @param sorted `{by, order, link}`: which column sorts now, and where a click leads
 * @param foot further rows below, of totals
 */
export const table = (caption, columns, rows, { sorted = null, foot = [], hidden = false } = {}) =>
  h(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    h(
      "table",
      null,
      h("caption", hidden ? { class: "unseen" } : null, caption),
      h("thead", null, h("tr", null, columns.map((column) => header(column, sorted)))),
      h("tbody", null, rows.map((each) => row(each, columns))),
      foot.length > 0 && h("tfoot", null, foot.map((each) => row(each, columns))),
    ),
  );

/** A button that leads to another place of the page. */
const going = (changes, attributes, ...children) => {
  const does = { type: "button", "data-do": "place", "data-place": JSON.stringify(changes) };
  return h("button", { ...does, ...attributes }, ...children);
};

const ORDERS = { asc: "ascending", desc: "descending" };

function header(column, sorted) {
  const { title, sort, number: numeric } = column;
  const kind = numeric ? { class: "number" } : {};
  if (!title) return h("td", kind);
  if (!sort || !sorted) return h("th", { scope: "col", ...kind }, title);
  const now = sorted.by === sort;
  const next = now ? (sorted.order === "desc" ? "asc" : "desc") : column.first ?? "desc";
  return h(
    "th",
    { scope: "col", ...kind, "aria-sort": now ? ORDERS[sorted.order] : "none" },
    going(
      { sort, order: next, offset: "0" },
      { class: "sort" },
      title,
      h("span", { class: "arrow", "aria-hidden": "true" }, now ? (sorted.order === "asc" ? "▲" : "▼") : "↕"),
    ),
  );
}

function row(each, columns) {
  const [first, ...rest] = each.cells ?? each;
  const cells = rest.map((cell, index) => h("td", columns[index + 1].number ? { class: "number" } : null, cell));
  return h("tr", { "data-key": each.key ?? null }, h("th", { scope: "row" }, first), cells);
}

/** Earlier and later parts of a list; nothing where all of it is shown. `name` is the parameter that moves. */
export const pager = (page, name, what) => {
  const { offset, limit, total } = page;
  if (total <= limit && offset === 0) return null;
  const move = (to, words, there) => going({ [name]: String(to) }, { class: "small", disabled: !there }, words);
  const [first, last] = [Math.min(offset + 1, total), Math.min(offset + limit, total)];
  return h(
    "nav",
    { class: "pager", "aria-label": `Parts of the list of ${what}` },
    move(Math.max(0, offset - limit), "Previous", offset > 0),
    h("span", null, `${number(first)} to ${number(last)} of ${number(total)}`),
    move(offset + limit, "Next", offset + limit < total),
  );
};

/** The way to what is older in a list without numbers, and back to the newest. */
export const earlier = (next, before, what) => {
  if (!next && !before) return null;
  const way = (place, words) =>
    h("button", { type: "button", class: "small", "data-do": "before", "data-before": place }, words);
  return h(
    "nav",
    { class: "pager", "aria-label": `Parts of the list of ${what}` },
    before && way("", "Newest"),
    next && way(next, "Earlier"),
  );
};

/** A choice of few, of which one holds. */
export const choice = (legend, options, chosen, name, more = {}) =>
  h(
    "fieldset",
    { class: "choice" },
    h("legend", { class: "unseen" }, legend),
    options.map(([value, title]) =>
      going({ ...more, [name]: value }, { "aria-pressed": String(value === chosen) }, title),
    ),
  );

/** A bar of a share; what it says stands beside it in figures. */
export const bar = (share, kind = "") => {
  const width = `${Math.min(1, Math.max(0, share ?? 0)) * 100}%`;
  const filled = s("rect", { width, height: "100%", class: kind || null });
  return s("svg", { class: "share-bar", "aria-hidden": "true" }, filled);
};
