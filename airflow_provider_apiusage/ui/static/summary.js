// The answer first: what can be granted now, and the figures it is made of.

import { h, s } from "./dom.js";
import { nothing } from "./states.js";
import { bar, table } from "./lists.js";
import { number, percent, time } from "./words.js";

/** The sentence and the meter, above every view. */
export const answerLine = (summary) => {
  const main = summary.limits.find((limit) => limit.main);
  return h(
    "section",
    { class: `answer ${summary.state}`, "aria-labelledby": "answer-title", "data-key": "answer" },
    h("h2", { id: "answer-title", class: "unseen" }, "The answer"),
    h("p", { class: "sentence" }, summary.sentence),
    summary.more.length > 0 && h("p", { class: "more" }, summary.more.join(" ")),
    main && meter(main),
  );
};

const PARTS = [
  ["used", "used"],
  ["outstanding", "granted, not yet seen"],
  ["reserve", "reserve"],
];

/** One bar of the whole limit: used, outstanding, reserve, what a gate would grant, and what it keeps beside. */
function meter(main) {
  const { used, limit } = main;
  if (used.calls === null || limit.calls === null) return null;
  const parts = PARTS.map(([name, words]) => [name, words, Math.max(0, main[name].calls ?? 0)]);
  const taken = parts.reduce((sum, [, , calls]) => sum + calls, 0);
  const rest = Math.max(0, limit.calls - taken);
  const whole = Math.max(1, limit.calls, taken);
  const headroom = main.headroom.calls;
  // What has left the window since the reading may be granted as well, though the bar has no room for it.
  const free = headroom === null ? rest : Math.min(rest, Math.max(0, headroom));
  const ends = [
    headroom === null ? ["free", "not used", free] : ["free", "can be granted", free, Math.max(0, headroom)],
    ["kept", "kept for bursts and peaks", rest - free],
  ];
  const pieces = [...parts, ...ends].filter(([, , calls]) => calls > 0);
  let from = 0;
  const drawn = pieces.map(([name, , calls]) => {
    const x = `${(from / whole) * 100}%`;
    from += calls;
    return s("rect", { class: name, x, width: `${(calls / whole) * 100}%`, height: "100%" });
  });
  const edge = `${(limit.calls / whole) * 100}%`;
  const over = taken > limit.calls && s("rect", { class: "edge", x: edge, width: 2, height: "100%" });
  return h(
    "div",
    { class: "meter" },
    s("svg", { "aria-hidden": "true" }, drawn, over),
    h(
      "ul",
      { class: "legend" },
      pieces.map(([name, words, calls, said = calls]) => h("li", { class: name }, `${number(said)} ${words}`)),
      h("li", { class: "whole" }, `of ${number(limit.calls)}`),
    ),
  );
}

const FIGURES = [
  ["used", "Used in 24 hours"],
  ["limit", "Limit"],
  ["remaining", "Remaining"],
  ["reserve", "Reserve"],
  ["outstanding", "Outstanding"],
  ["headroom", "Headroom"],
];

/** The figures, each with its time and source, and the sum. */
export const figures = (summary) => {
  if (summary.state === "none") return nothing("Nothing has been read yet", summary.todo);
  const main = summary.limits.find((limit) => limit.main);
  if (!main) return null;
  return h(
    "section",
    { class: "card", "aria-labelledby": "figures-title", "data-key": "figures" },
    h("h2", { id: "figures-title" }, "The figures"),
    h("dl", { class: "facts" }, FIGURES.map(([name, title]) => fact(title, main[name], main, summary))),
    main.terms.length > 0 && sum(main),
    summary.todo && h("div", { class: "notice warning" }, nothing("These figures are old", summary.todo, "h3")),
  );
};

const fact = (title, figure, main, summary) =>
  h(
    "div",
    { class: main.state === "stale" ? "stale" : null },
    h("dt", null, title),
    h("dd", { class: `value ${figure.calls === null ? "unknown" : ""}` }, number(figure.calls)),
    figure === main.used && main.share !== null && h("dd", { class: "share" }, `${percent(main.share)} of the limit`),
    h("dd", { class: "origin" }, figure.at && [time(figure.at, summary.at), ", "], figure.source),
    figure.note && h("dd", { class: "note" }, figure.note),
  );

function sum(main) {
  const signed = (term, index) => {
    const sign = index === 0 && term.calls >= 0 ? "" : term.calls > 0 ? "+ " : "− ";
    return h("li", null, h("span", { class: "term" }, `${sign}${number(Math.abs(term.calls))}`), " ", term.label);
  };
  return h(
    "div",
    { class: "sum" },
    h("h3", null, "How the headroom comes about"),
    h(
      "ul",
      null,
      main.terms.map(signed),
      h("li", { class: "total" }, h("span", { class: "term" }, `= ${number(main.headroom.calls)}`), " headroom"),
    ),
  );
}

const COLUMNS = [
  { title: "Limit" },
  { title: "Used", number: true },
  { title: "Of", number: true },
  { title: "Share", number: true },
  { title: "Remaining", number: true },
];
const HEADROOM = { title: "Headroom", number: true };
const FEW = 6;

/** The org's other limits: those that matter first, the rest folded. */
export const limits = (summary) => {
  const limits = summary.limits.filter((limit) => !limit.main);
  if (!limits.length) return null;
  const first = limits.filter((limit, index) => limit.guarded || index < FEW);
  const rest = limits.filter((limit) => !first.includes(limit));
  const guarded = limits.some((limit) => limit.guarded);
  const columns = guarded ? [...COLUMNS, HEADROOM] : COLUMNS;
  const tabled = (caption, rows) =>
    table(caption, columns, rows.map((limit) => limitRow(limit, guarded)), { hidden: true });
  return h(
    "section",
    { class: "card", "aria-labelledby": "limits-title", "data-key": "limits" },
    h("h2", { id: "limits-title" }, "Other limits"),
    tabled("Other limits of the org", first),
    rest.length > 0 &&
      h(
        "details",
        null,
        h("summary", null, `${rest.length} more, of which less is used`),
        tabled("More limits of the org", rest),
      ),
  );
};

const limitRow = (limit, guarded) => ({
  key: limit.name,
  cells: [
    [limit.name, limit.guarded && h("span", { class: "badge plain" }, "gates ask")],
    number(limit.used.calls),
    number(limit.limit.calls),
    [percent(limit.share), bar(limit.share, limit.share >= 1 ? "over" : limit.share >= 0.8 ? "high" : "")],
    number(limit.remaining.calls),
    ...(guarded ? [limit.guarded ? number(limit.headroom.calls) : ""] : []),
  ],
});
