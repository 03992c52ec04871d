// From yesterday's total to the rolling figure, as Salesforce's own article lays it out, and the week by day.

import { h } from "./dom.js";
import { findings, nothing, verdict } from "./states.js";
import { table } from "./lists.js";
import { bounds, number, prose, time } from "./words.js";
import "./bridge_chart.js";

const STEPS = [
  { title: "" },
  { title: "Calls", number: true },
  { title: "The evidence allows", number: true },
  { title: "From" },
];

const DAYS = [
  { title: "UTC day" },
  { title: "Daily report", number: true },
  { title: "Event logs", number: true },
  { title: "By all the evidence", number: true },
  { title: "Likeliest", number: true },
  { title: "" },
];

export const bridge = (body) => {
  if (body.state === "none") return nothing("There is nothing to explain yet", body.todo);
  return [
    h(
      "section",
      { class: "card", "aria-labelledby": "bridge-title", "data-key": "bridge" },
      h("h2", { id: "bridge-title" }, body.title),
      h("p", null, body.status && verdict(body.status), " ", body.verdict),
      h("pre", { class: "lines" }, body.lines.map(worded)),
      body.starts_at &&
        h(
          "p",
          { class: "note" },
          ["At ", time(body.at), "; the last 24 hours began at ", time(body.starts_at)],
          ". Days turn at 00:00 UTC, the window does not.",
        ),
      body.missing.map((words) => h("p", { class: "notice warning" }, h("strong", null, "Missing: "), prose(words))),
      h(
        "div",
        { class: "beside" },
        h(
          "figure",
          null,
          chart(body.steps),
          h("figcaption", null, body.caption),
        ),
        table("The bridge in figures", STEPS, stepRows(body)),
      ),
    ),
    h(
      "section",
      { class: "card", "aria-labelledby": "blind-title", "data-key": "blind" },
      h("h2", { id: "blind-title" }, "What the daily source does not see"),
      h("p", null, body.blind),
    ),
    body.days.length > 0 &&
      h(
        "section",
        { class: "card", "aria-labelledby": "days-title", "data-key": "days" },
        h("h2", { id: "days-title" }, "The week by day"),
        table("Each day as each source sees it", DAYS, body.days.map(dayRow), { hidden: true }),
      ),
    body.findings.length > 0 &&
      h(
        "section",
        { class: "card", "aria-labelledby": "bridge-findings-title", "data-key": "found" },
        h("h2", { id: "bridge-findings-title" }, "What was found"),
        findings(body.findings, prose),
      ),
  ];
};

const chart = (steps) => {
  const drawn = h("bridge-chart", { role: "img", "aria-label": "The steps drawn; the table has the same" });
  return Object.assign(drawn, { data: steps });
};

const worded = (line, index, lines) =>
  index === lines.length - 1 ? h("strong", null, line) : `${line}\n`;

function stepRows(body) {
  const rows = body.steps.map((step, index) => {
    const sign = step.part === "rolling" ? "= " : index ? "+ " : "";
    return [`${sign}${step.label}`, number(step.calls), bounds(step.allowed), step.source];
  });
  const unlogged = ["of these in no event log", bounds(body.unlogged), "", "rolling figure minus event logs"];
  return body.unlogged ? [...rows, unlogged] : rows;
}

/** Sources that say nothing do not agree either. */
const agreement = (day) => {
  if (!day.agree) return h("span", { class: "bad" }, "✗ contradict");
  return day.reported === null && !day.logged ? "" : h("span", { class: "good" }, "✓ agree");
};

const dayRow = (day) => ({
  key: day.day,
  cells: [
    [day.label, day.running && " so far"],
    number(day.reported),
    bounds(day.logged),
    bounds(day.calls),
    number(day.estimate),
    agreement(day),
  ],
});
