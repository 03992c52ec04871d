// What stands where figures would: nothing yet, loading, old, failed.

import { h, unseen } from "./dom.js";
import { leaving } from "./leaving.js";
import { time } from "./words.js";

const HEADINGS = {
  "not-logged-in": "You are logged out",
  forbidden: "You may not see this page",
  "not-found": "No such org, or not for you",
  "store-unavailable": "The store cannot be reached",
  silent: "Airflow does not answer",
  "bad-parameter": "This address makes no sense",
};

/** A grey shape of what is coming; screen readers hear the words. */
export const loading = (what, kind = "block") =>
  h("div", { class: `loading ${kind}`, "data-key": `loading-${kind}` }, unseen(`Loading ${what} …`));

/** Why there is nothing, and what to add. */
export const nothing = (title, todo, level = "h2") =>
  h(
    "div",
    { class: "state nothing" },
    h(level, null, title),
    todo && [
      h("p", null, todo.words),
      todo.example && [
        h("p", { class: "todo" }, "Add ", h("code", null, todo.task), " to a DAG:"),
        h(
          "div",
          { class: "snippet" },
          h("pre", { tabindex: "0", role: "region", "aria-label": "Example" }, h("code", null, todo.example)),
          h("button", { type: "button", class: "small", "data-do": "copy" }, "Copy"),
        ),
      ],
      h("p", { class: "note" }, "More in the documentation: ", h("code", null, todo.docs)),
    ],
  );

/** What failed, and what to do; with figures beneath it, it says how old they are. */
export const failed = (failure, { since = null, level = "h2", back = null } = {}) => {
  // An expired log-in is told as "forbidden" by some versions of Airflow.
  const login = ["not-logged-in", "forbidden"].includes(failure.error);
  const again = !login && failure.error !== "bad-parameter";
  return h(
    "div",
    { class: `state failed ${since ? "slim" : ""}`, role: "alert", "data-key": `failed-${failure.error}` },
    h(since ? "strong" : level, null, HEADINGS[failure.error] ?? "Something went wrong"),
    h("p", null, failure.message, failure.fix && ` ${failure.fix}`),
    since && h("p", null, "What is shown was read at ", time(since), " and may have changed."),
    h(
      "p",
      { class: "actions" },
      login && leaving("../", { class: "button" }, "Log in again"),
      again && h("button", { type: "button", "data-do": "refresh" }, "Try again"),
      back && h("a", { class: "button", href: back, "data-go": true }, "Show the orgs I may see"),
    ),
  );
};

/**
 * Draw an answer: what is known of it, below what went wrong lately.
 *
 * @param told an answer, see answers.js
 * @param what is being loaded, in words
 * @param draw makes nodes of the body
 */
export const drawn = (told, what, draw, kind = "block") => {
  if (!told.body) return told.failure ? failed(told.failure) : loading(what, kind);
  const since = told.failure && new Date(told.at).toISOString();
  return [told.failure && failed(told.failure, { since }), draw(told.body)];
};

const PLACES = { error: "Error", warning: "Warning", info: "Note" };

const STATUS = { agree: "✓ Sources agree", contradict: "✗ Sources contradict", undecided: "? Undecided" };

/** Whether sources agree, in a word. */
export const verdict = (status) => h("span", { class: `verdict ${status}` }, STATUS[status] ?? status);

/** Findings, as the report has them. */
export const findings = (list, prose) =>
  h(
    "ul",
    { class: "findings" },
    list.map((each) =>
      h(
        "li",
        { class: each.severity },
        h("span", { class: "badge" }, PLACES[each.severity] ?? each.severity),
        h("code", null, each.code),
        h("p", null, prose(each.words)),
      ),
    ),
  );
