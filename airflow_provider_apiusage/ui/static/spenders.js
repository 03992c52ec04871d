// Who spent the calls of the last 24 hours, or of any day that a source tells of.

import { h } from "./dom.js";
import { nothing } from "./states.js";
import { bar, choice, pager, table } from "./lists.js";
import { bounds, percent, time } from "./words.js";

const BY = [
  ["user", "Users"],
  ["app", "Connected apps"],
  ["client", "Clients"],
  ["family", "API families"],
  ["resource", "Resources"],
];
const ONE = { user: "User", app: "Connected app", client: "Client", family: "API family", resource: "Resource" };
const SOURCES = { "event-logs": "Event logs", "daily-report": "Daily report" };
const DAY = 86_400_000;
const MOST_DAYS = 60;

export const spenders = (body, place) =>
  h(
    "section",
    { class: "card", "aria-labelledby": "spenders-title", "data-key": "spenders" },
    h("h2", { id: "spenders-title" }, `Who spent the calls of ${place.day || "the last 24 hours"}`),
    h("div", { class: "filters" }, choice("By", BY, place.by, "by", { offset: "0" }), days(body, place)),
    body.state === "none" ? nothing("No source tells who made these calls", body.todo, "h3") : known(body, place),
  );

const days = (body, place) => {
  if (!body.first_day || !body.last_day) return null;
  const [first, last] = [body.first_day, body.last_day].map((day) => Date.parse(`${day}T00:00:00Z`));
  const all = [];
  for (let at = last; at >= first && all.length < MOST_DAYS; at -= DAY) {
    all.push(new Date(at).toISOString().slice(0, 10));
  }
  if (place.day && !all.includes(place.day)) all.push(place.day);
  return h(
    "div",
    { class: "field" },
    h("label", { for: "day" }, "Time"),
    h(
      "select",
      { id: "day", "data-do": "day" },
      h("option", { value: "", selected: !place.day }, "the last 24 hours"),
      all.map((day) => h("option", { value: day, selected: day === place.day }, `${day} (UTC day)`)),
    ),
  );
};

function known(body, place) {
  const one = ONE[body.by] ?? body.by;
  const windowed = !body.day && body.source === "event-logs";
  const columns = [
    { title: one, sort: "name", first: "asc" },
    { title: "Calls", number: true, sort: "calls" },
    { title: "Share", number: true },
    ...(windowed ? [{ title: "Half is back by", number: true }, { title: "All back by", number: true }] : []),
  ];
  const rows = body.spenders.map((each) => ({
    key: each.key,
    cells: [
      who(each),
      bounds(each.calls),
      [percent(each.share), bar(each.share)],
      ...(windowed ? [time(each.half_back_at, body.end), time(each.all_back_at, body.end)] : []),
    ],
  }));
  const blank = columns.slice(2).map(() => "");
  const foot = [
    ["All of these", body.total],
    [`of no known ${one} (in the sum)`, body.unattributed],
    ["may count or not (not in the sum)", body.unknown],
    ["do not count against the limit (not in the sum)", body.uncounted],
  ]
    .filter(([, range], index) => index === 0 || range.high === null || range.high > 0)
    .map(([words, range]) => [words, bounds(range), ...blank]);
  const sorted = { by: place.sort, order: place.order };
  return [
    h("p", null, body.sentence),
    h("p", { class: "note" }, SOURCES[body.source] ?? body.source, ", ", time(body.start), " to ", time(body.end)),
    body.spenders.length > 0
      ? table("Who spent how many calls", columns, rows, { sorted, foot, hidden: true })
      : h("p", { class: "notice" }, "Nobody made a call in this time, as far as the source tells."),
    pager(body.page, "offset", "spenders"),
  ];
}

const who = (each) =>
  each.name && each.name !== each.key
    ? [h("bdi", null, each.name), " ", h("code", { class: "key" }, each.key)]
    : h("bdi", null, each.key);
