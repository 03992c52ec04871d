// All of the page as nodes, from what is known at the moment.

import { h } from "./dom.js";
import { head, ways } from "./head.js";
import { link } from "./address.js";
import { drawn, failed, loading, nothing } from "./states.js";
import { answerLine, figures, limits } from "./summary.js";
import { series } from "./series.js";
import { bridge } from "./bridge.js";
import { spenders } from "./spenders.js";
import { gate } from "./gate.js";
import { graveOf, reconciliations } from "./reconciliations.js";
import { task } from "./task.js";
import { number } from "./words.js";

/** The page at a state, see app.js. */
export const page = (state) => {
  const { orgs, org, summary, place } = state;
  const now = timeOf(summary, (told) => Date.parse(told.body.at));
  const seen = orgs.body?.orgs ?? [];
  const chosen = summary?.body?.org ?? seen.find((each) => each.org_id === org) ?? null;
  const known = chosen !== null && Boolean(summary?.body);
  return h(
    "div",
    { id: "page", class: "page" },
    head({ orgs: seen, chosen, summary: summary?.body, now, live: state.live, missed: Boolean(summary?.failure) }),
    h(
      "main",
      { id: "main", tabindex: "-1", "aria-busy": String(state.busy) },
      state.task && drawn(state.task, "what it has asked", (body) => task(body, place, ours(state.task))),
      known && summary.body.state !== "none" && answerLine(summary.body),
      known && ways(place, marks(chosen, state.latest.body)),
      content(state, now, known),
    ),
    footer(state.health.body),
  );
};

/** A time now: as it was when an answer came, and what has passed since. Readings go by the org's, leases by ours. */
const timeOf = (told, then) => (told?.body ? then(told) + Math.max(0, Date.now() - told.at) : Date.now());
const ours = (told) => timeOf(told, ({ served }) => served);
const clocks = (told, org) => ({ ours: ours(told), org });

const marks = (org, latest) => ({
  gate: org.waiting ? { text: number(org.waiting), kind: "warn", words: `${number(org.waiting)} waiting` } : null,
  findings: graveOf(latest),
});

function content(state, now, known) {
  const { orgs, place, summary } = state;
  if (!state.org) {
    if (state.task) return null;
    if (orgs.failure) return failed(orgs.failure);
    return orgs.body ? nothing("No org can be shown yet", orgs.body.todo) : loading("the figures", "tall");
  }
  return [
    summary.failure && summaryFailed(summary, place),
    known ? view(state, now) : !summary.failure && loading("the figures", "tall"),
  ];
}

function summaryFailed(summary, place) {
  const since = summary.body && new Date(summary.at).toISOString();
  const back = summary.failure.error === "not-found" ? link(place, { org: "", view: "summary" }) : null;
  return failed(summary.failure, { since, back });
}

/** What is shown below the answer. */
function view({ place, summary, told, before }, now) {
  switch (place.view) {
    case "series":
      return drawn(told.series, "the week and the day ahead", (body) => series(body, place), "tall");
    case "bridge":
      return drawn(told.bridge, "the bridge", bridge, "tall");
    case "spenders":
      return drawn(told.spenders, "who spends", (body) => spenders(body, place), "tall");
    case "gate":
      return drawn(told.gate, "the gate", (body) => gate(body, told.decisions, clocks(told.gate, now), before), "tall");
    case "findings":
      return drawn(told.reconciliations, "the findings", (body) => reconciliations(body, now, before), "tall");
    default:
      return [
        figures(summary.body),
        summary.body.state !== "none" &&
          drawn(told.series, "the week and the day ahead", (body) => series(body, place, { whole: false }), "tall"),
        limits(summary.body),
      ];
  }
}

const footer = (health) =>
  health &&
  h(
    "footer",
    { "data-key": "footer" },
    `airflow-provider-apiusage ${health.version}. Times are in UTC; point at one for yours.`,
  );
