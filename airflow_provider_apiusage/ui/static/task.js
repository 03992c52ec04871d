// What a DAG, a run or a task has to do with orgs: what its tab in Airflow shows first.

import { h } from "./dom.js";
import { link } from "./address.js";
import { holder } from "./gate.js";
import { needs, time } from "./words.js";

const TOP = { offset: "0", held_offset: "0" };

const STATES = {
  waiting: "Waits",
  granted: "Holds calls",
  released: "Released",
  lapsed: "Lapsed",
  refused: "Refused",
  withdrawn: "Withdrawn",
};

export const task = (body, place, now) => {
  const near = new Date(now).toISOString();
  const what = place.task_id ? "task" : place.run_id ? "run" : "DAG";
  return h(
    "section",
    { class: "card", "aria-labelledby": "task-title", "data-key": "task" },
    h("h2", { id: "task-title" }, `This ${what} at the gate`),
    h("p", null, body.sentence),
    body.leases.length > 0 && h("ol", { class: "decisions" }, body.leases.map((each) => lease(each, place, near))),
  );
};

const lease = (each, place, near) =>
  h(
    "li",
    { class: each.state },
    h(
      "p",
      { class: "who" },
      h("span", { class: "badge" }, STATES[each.state] ?? each.state),
      holder(each.holder),
      h("span", { class: "asked" }, needs(each.needs)),
    ),
    h(
      "p",
      { class: "note" },
      "asked ", time(each.requested_at, near),
      each.granted_at && ["; granted ", time(each.granted_at, near)],
      each.ended_at && ["; ended ", time(each.ended_at, near)],
      !each.ended_at && each.state === "granted" && ["; held until ", time(each.held_until, near)],
      each.spent && `; spent ${needs(each.spent)}`,
      "; ",
      h("a", { href: link(place, { ...TOP, org: each.org_id, view: "gate" }), "data-go": true }, "the gate of its org"),
    ),
    each.reason && h("details", null, h("summary", null, "Why"), h("p", { class: "reason" }, each.reason)),
  );
