// What the last reconciliations found.

import { h } from "./dom.js";
import { findings, nothing, verdict } from "./states.js";
import { earlier } from "./lists.js";
import { counted, number, prose, time } from "./words.js";

export const reconciliations = (body, now, before) => {
  if (!body.reconciliations.length && !before) return nothing("Nothing has been reconciled yet", body.todo);
  const near = new Date(now).toISOString();
  return h(
    "section",
    { class: "card", "aria-labelledby": "findings-title", "data-key": "findings" },
    h("h2", { id: "findings-title" }, before ? "Earlier reconciliations" : "Findings of the last reconciliations"),
    h("ol", { class: "reconciled" }, body.reconciliations.map((each, index) => reconciled(each, near, index === 0))),
    earlier(body.next, before, "reconciliations"),
  );
};

/** The newest is open, earlier ones are folded. */
const reconciled = (each, near, newest) => {
  const title = [
    h("strong", null, time(each.at, near)),
    " ",
    verdict(each.status),
    ` ${counted(each.findings.length, "finding")}`,
  ];
  const days = `today ${number(each.today)}, yesterday ${number(each.yesterday)}`;
  const calls = `${number(each.rolling)} of ${number(each.limit)}; ${days}`;
  const whole = [
    h("p", { class: "about" }, each.verdict, ` Calls of the last 24 hours: ${calls}.`),
    each.findings.length > 0 ? findings(each.findings, prose) : h("p", { class: "notice good" }, "Nothing was found."),
  ];
  return h(
    "li",
    { "data-key": each.at },
    newest ? [h("p", { class: "about" }, title), whole] : h("details", null, h("summary", null, title), whole),
  );
};

/** The mark beside the way to the findings: how many of the newest reconciliation want a look. */
export const graveOf = (body) => {
  const list = body?.reconciliations[0]?.findings ?? [];
  const grave = list.filter((each) => each.severity !== "info");
  const kind = grave.some((each) => each.severity === "error") ? "bad" : "warn";
  return grave.length ? { text: number(grave.length), kind, words: `${grave.length} to look at` } : null;
};
