// The gate: who waits and why, who holds calls and until when, what was decided last.

import { h } from "./dom.js";
import { drawn, nothing } from "./states.js";
import { earlier, pager, table } from "./lists.js";
import { leaving } from "./leaving.js";
import { counted, needs, number, span, time } from "./words.js";

const KINDS = { grant: "Granted", wait: "Wait", refuse: "Refused", extend: "Topped up", decline: "Not topped up" };

/** A task instance, with a link to it; its DAG may be none of the caller's business. */
export const holder = (who) =>
  who
    ? leaving(who.href, { class: "holder" }, h("bdi", null, who.label))
    : h("span", { class: "note" }, "a DAG that you may not see");

/**
 * @param now the present, by our clock and by the org's: leases go by ours, what is free by the org's
 * @param before which earlier decisions are looked at; blank for the last ones
 */
export const gate = (body, decisions, now, before) => {
  if (body.state === "none") return nothing("No load has asked this gate yet", body.todo);
  const [at, orgAt] = [now.ours, now.org].map((ms) => new Date(ms).toISOString());
  return [
    h(
      "section",
      { class: "card", "aria-labelledby": "waiting-title", "data-key": "waiting" },
      h("h2", { id: "waiting-title" }, "Who waits"),
      h("p", null, body.sentence),
      body.waiting.length > 0
        ? h("ol", { class: "queue" }, body.waiting.map((each) => waiting(each, at, orgAt)))
        : h("p", { class: "notice good" }, "Nobody waits."),
      pager(body.waiting_page, "offset", "loads that wait"),
      body.hidden > 0 &&
        h("p", { class: "note" }, `On this page, ${counted(body.hidden, "load")} of DAGs that you may not see.`),
    ),
    h(
      "section",
      { class: "card", "aria-labelledby": "held-title", "data-key": "held" },
      h("h2", { id: "held-title" }, "Who holds calls"),
      body.held.length > 0
        ? table("Reservations, oldest first", HELD, body.held.map((each) => held(each, at)), { hidden: true })
        : h("p", { class: "notice" }, "Nothing is reserved."),
      pager(body.held_page, "held_offset", "reservations"),
    ),
    h(
      "section",
      { class: "card", "aria-labelledby": "decisions-title", "data-key": "decisions" },
      h("h2", { id: "decisions-title" }, before ? "Earlier decisions" : "The last decisions"),
      drawn(decisions, "the last decisions", (told) => decided(told, at, before)),
    ),
  ];
};

const waiting = (each, at, orgAt) =>
  h(
    "li",
    { "data-key": `${each.place}-${each.holder?.label ?? ""}` },
    h("span", { class: "place", "aria-label": `Place ${each.place}` }, number(each.place)),
    h(
      "div",
      null,
      h("p", { class: "who" }, holder(each.holder), each.priority !== 0 && badge(`priority ${each.priority}`)),
      h(
        "dl",
        { class: "inline" },
        pair("Asks for", needs(each.needs)),
        pair("Waits since", [time(each.since, at), ` (${span(Math.max(0, Date.parse(at) - Date.parse(each.since)))})`]),
        pair("Opens", opening(each.opens, orgAt)),
      ),
      h("p", { class: "reason" }, each.reason ?? "The gate has not looked at it yet."),
    ),
  );

const badge = (words) => h("span", { class: "badge plain" }, words);
const pair = (title, words) => h("div", null, h("dt", null, title), h("dd", null, words));

function opening(opens, at) {
  if (!opens) return "not foreseen for this limit";
  const { earliest_at: earliest, expected_at: expected, likely_at: likely } = opens;
  if (!earliest && !expected) return "not within 24 hours, as far as is known";
  const parts = [];
  if (expected) parts.push(["expected ", time(expected, at)]);
  if (earliest && earliest !== expected) parts.push(["not before ", time(earliest, at)]);
  if (likely && likely !== expected) parts.push(["9 in 10 by ", time(likely, at)]);
  return parts.flatMap((part, index) => (index ? [", ", ...part] : part));
}

const HELD = [
  { title: "Task" },
  { title: "Holds", number: true },
  { title: "Spent of it", number: true },
  { title: "Granted", number: true },
  { title: "Until", number: true },
];

const held = (each, at) => ({
  key: each.reservation_id,
  cells: [
    holder(each.holder),
    needs(each.held),
    each.spent === null ? "not metered" : needs(each.spent),
    time(each.granted_at, at),
    time(each.held_until, at),
  ],
});

const decision = (each, at) =>
  h(
    "li",
    { class: each.kind },
    h(
      "p",
      { class: "who" },
      h("span", { class: "badge" }, KINDS[each.kind] ?? each.kind),
      time(each.at, at),
      holder(each.holder),
      h("span", { class: "asked" }, needs(each.calls)),
    ),
    h("details", null, h("summary", null, "Why"), h("p", { class: "reason" }, each.reason)),
  );

function decided(told, at, before) {
  if (!told.decisions.length) return h("p", { class: "notice" }, "Nothing was decided yet.");
  return [
    h(
      "ol",
      { class: "decisions" },
      told.decisions.map((each) => decision(each, at)),
    ),
    earlier(told.next, before, "decisions"),
  ];
}
