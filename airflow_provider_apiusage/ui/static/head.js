// The top of the page: whose figures, how old, and the ways to the views.

import { h, unseen } from "./dom.js";
import { link } from "./address.js";
import { leaving } from "./leaving.js";
import { number, percent, span, time } from "./words.js";

const TITLES = {
  summary: "Overview",
  series: "Week and day ahead",
  bridge: "Where it comes from",
  spenders: "Who spends",
  gate: "Gate",
  findings: "Findings",
};

export const titleOf = (view) => TITLES[view];

const called = (org) => (org.connections.length ? `${org.connections.join(", ")} (${org.org_id})` : org.org_id);

/**
 * @param orgs that the caller may see
 * @param chosen one of them, or null
 * @param summary of it, or null
 * @param now the org's time, in ms, or null
 */
export const head = ({ orgs, chosen, summary, now, live, missed }) =>
  h(
    "header",
    { class: "top", "data-key": "top" },
    h(
      "div",
      { class: "whose" },
      // By itself, as links of tasks open it, the page has no way back around it.
      parent === window && h("a", { href: "../" }, h("span", { "aria-hidden": "true" }, "← "), "Airflow"),
      h("h1", null, "Salesforce API usage"),
      chosen && (orgs.length > 1 ? picker(orgs, chosen) : h("p", { class: "org" }, named(chosen))),
      chosen?.overview_url && outside(chosen.overview_url),
    ),
    h(
      "div",
      { class: "freshness" },
      chosen && summary && age(summary, now, missed),
      h(
        "div",
        { class: "controls", role: "group", "aria-label": "Updating" },
        h(
          "button",
          {
            type: "button",
            class: "small",
            "data-do": "live",
            "aria-pressed": String(live),
            title: "Every half a minute, while this page is in sight",
          },
          h("span", { class: `lamp ${live ? "on" : ""}`, "aria-hidden": "true" }),
          "Keep up to date",
        ),
        h("button", { type: "button", class: "small", "data-do": "refresh" }, "Refresh"),
      ),
    ),
  );

const outside = (url) =>
  leaving(url, { target: "_blank" }, "System Overview", h("span", { "aria-hidden": "true" }, " ↗"));

const named = (org) => [
  h("strong", null, org.connections.join(", ") || "Org"),
  " ",
  h("code", null, org.org_id),
];

const picker = (orgs, chosen) =>
  h(
    "div",
    { class: "field" },
    h("label", { for: "org" }, "Org"),
    h(
      "select",
      { id: "org", "data-do": "org" },
      orgs.map((org) => {
        const share = org.share === null ? "" : `, ${percent(org.share)} used`;
        const waiting = org.waiting ? `, ${number(org.waiting)} waiting` : "";
        const selected = org.org_id === chosen.org_id;
        return h("option", { value: org.org_id, selected }, `${called(org)}${share}${waiting}`);
      }),
    ),
  );

const age = (summary, now, missed) => {
  if (!summary.observed_at) return h("p", { class: "age" }, "Not read yet");
  const old = Math.max(0, now - Date.parse(summary.observed_at));
  const stale = summary.state === "stale" || missed;
  return h(
    "p",
    { class: `age ${stale ? "stale" : ""}` },
    stale && h("strong", null, "Old figures: "),
    old < 60_000 ? "read just now, " : `read ${span(old)} ago, `,
    time(summary.observed_at, summary.at),
  );
};

/** A view as it is when nothing was chosen in it. */
const TOP = { offset: "0", held_offset: "0", by: "user", day: "", sort: "calls", order: "desc" };

/** The ways to the views; what waits or is wrong is told beside them. */
export const ways = (place, marks) =>
  h(
    "nav",
    { class: "ways", "aria-label": "Views", "data-key": "ways" },
    h(
      "ul",
      null,
      Object.entries(TITLES).map(([view, title]) => {
        const href = link(place, { ...TOP, view });
        const mark = marks[view];
        return h(
          "li",
          null,
          h(
            "a",
            { href, "data-go": true, "aria-current": view === place.view ? "page" : null },
            title,
            mark && [
              h("span", { class: `mark ${mark.kind}`, "aria-hidden": "true" }, mark.text),
              unseen(` (${mark.words})`),
            ],
          ),
        );
      }),
    ),
  );
