// The page: where it is, what it asks for, and when it asks again.

import { link, readAddress, taskOf, writeAddress } from "./address.js";
import { answer, ask, ofOrg, path } from "./answers.js";
import { patch } from "./dom.js";
import { titleOf } from "./head.js";
import * as leaving from "./leaving.js";
import { page } from "./page.js";

const PACE = 30_000;
const SLOWEST = 8 * PACE;

const state = {
  place: readAddress(),
  before: "", // which earlier decisions or reconciliations are looked at
  live: true,
  busy: true,
  failures: 0,
  loadedAt: 0,
  said: "",
};

/** The paths that a view needs beside the summary, by name. */
const needed = (org, place) => {
  const before = { before: state.before };
  const { by, day, sort, order, offset, held_offset } = place;
  return {
    summary: { series: ofOrg(org, "series") },
    series: { series: ofOrg(org, "series") },
    bridge: { bridge: ofOrg(org, "bridge") },
    spenders: { spenders: ofOrg(org, "spenders", { by, day, sort, order, offset }) },
    gate: { gate: ofOrg(org, "gate", { offset, held_offset }), decisions: ofOrg(org, "decisions", before) },
    findings: { reconciliations: ofOrg(org, "reconciliations", before) },
  }[place.view];
};

const paths = () => {
  const { place } = state;
  const asked = taskOf(place);
  const task = asked && path("api/task", asked);
  const seen = answer("api/orgs").body?.orgs ?? [];
  // A tab of a DAG is about the orgs that the DAG has asked, and about none if it has asked none.
  const org = place.org || (task ? answer(task).body?.orgs[0] : seen[0]?.org_id) || null;
  return { task, org, view: org ? needed(org, place) : {} };
};

const recent = new Map();

/** The answers of a view. Until that of another order, day or part has come, the one before it stays. */
const told = (org, names) =>
  Object.fromEntries(Object.entries(names).map(([name, where]) => [name, latest(org, name, where)]));

function latest(org, name, where) {
  const there = answer(where);
  const before = recent.get(name);
  if (!there.body && !there.failure && before?.org === org) return answer(before.where);
  if (there.body) recent.set(name, { org, where });
  return there;
}

function render() {
  const { task, org, view } = paths();
  const fresh = page({
    ...state,
    orgs: answer("api/orgs"),
    health: answer("api/health"),
    task: task && answer(task),
    org,
    summary: org ? answer(ofOrg(org, "summary")) : null,
    latest: org ? answer(ofOrg(org, "reconciliations")) : null,
    told: told(org, view),
  });
  patch(document.getElementById("page"), fresh);
  document.title = `${titleOf(state.place.view)} – API usage`;
  return { org };
}

const all = (names) => Promise.all(Object.values(names).map((where) => ask(where).then(render)));

let round = 0;

/** Ask for everything that is in sight, the figures first. */
async function load() {
  const { place } = state;
  const mine = ++round;
  state.busy = true;
  render();
  const first = [ask("api/orgs")];
  if (paths().task) first.push(ask(paths().task));
  if (place.org) first.push(ask(ofOrg(place.org, "summary")));
  await Promise.all(first.map((asked) => asked.then(render)));
  const { org } = paths();
  if (org) {
    if (!place.org) await ask(ofOrg(org, "summary")).then(render);
    await all({ ...paths().view, latest: ofOrg(org, "reconciliations"), health: "api/health" });
  }
  if (mine === round) settle(org);
}

function settle(org) {
  const asked = ["api/orgs", ...(org ? [ofOrg(org, "summary"), ...Object.values(paths().view)] : [])];
  state.busy = false;
  state.failures = asked.some((where) => answer(where).failure) ? state.failures + 1 : 0;
  state.loadedAt = Date.now();
  render();
  const sentence = org ? answer(ofOrg(org, "summary")).body?.sentence : null;
  if (sentence && state.said && sentence !== state.said) say(sentence);
  state.said = sentence ?? "";
  wait();
}

const say = (words) => {
  document.getElementById("spoken").textContent = words;
};

let timer = 0;
const pause = () => Math.min(SLOWEST, PACE * 2 ** state.failures);

function wait() {
  clearTimeout(timer);
  if (state.live && !document.hidden) {
    timer = setTimeout(load, Math.max(0, state.loadedAt + pause() - Date.now()));
  }
}

/** Go to another place of the page. */
function go(changes, { replace = false } = {}) {
  const before = state.place;
  state.place = { ...before, ...changes };
  writeAddress(state.place, { replace });
  arrive(before);
}

function arrive(before) {
  const { place } = state;
  if (place.view !== before.view || place.org !== before.org) {
    state.before = "";
    say(titleOf(place.view));
  }
  load();
}

const DOES = {
  refresh: () => load(),
  live: () => {
    state.live = !state.live;
    render();
    wait();
  },
  org: (from) => go({ org: from.value, offset: "0", held_offset: "0", day: "" }),
  day: (from) => go({ day: from.value, offset: "0" }),
  place: (from) => go(JSON.parse(from.dataset.place)),
  before: (from) => {
    state.before = from.dataset.before;
    load();
  },
  copy: (from) => copy(from.previousElementSibling),
};

async function copy(from) {
  try {
    await navigator.clipboard.writeText(from.textContent);
    say("Copied");
  } catch {
    // Without the right to write there, what is to be copied is at least selected.
    getSelection().selectAllChildren(from);
    say("Selected: copy it with the keyboard");
  }
}

document.addEventListener("click", (event) => {
  const way = event.target.closest("a[data-go]");
  if (way && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    const search = new URL(way.href).search;
    const before = state.place;
    history.pushState(null, "", search || "./");
    state.place = readAddress();
    writeAddress(state.place, { replace: true });
    arrive(before);
    return;
  }
  const from = event.target.closest("button[data-do]");
  if (from) DOES[from.dataset.do](from);
});
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-do]")) DOES[event.target.dataset.do](event.target);
});
document.addEventListener("visibilitychange", wait);
addEventListener("popstate", () => {
  const before = state.place;
  state.place = readAddress();
  if (link(before) === link(state.place)) return;
  writeAddress(state.place, { replace: true });
  arrive(before);
});
leaving.listen();

writeAddress(state.place, { replace: true });
load();
