// Where the page is: which org, which view, which rows. All of it stands in the address: every view can be linked to.

export const VIEWS = ["summary", "series", "bridge", "spenders", "gate", "findings"];

const DEFAULTS = {
  org: "", view: "summary", by: "user", day: "", sort: "calls", order: "desc", offset: "0", held_offset: "0",
  dag_id: "", run_id: "", task_id: "", map_index: "",
};
const TASK = ["dag_id", "run_id", "task_id", "map_index"];

/** Airflow shows its external views at `/plugin/<name>`; only there is its address about us. */
const HOST = /\/plugin\/[^?#]+$/;
const OF_A_TASK = /\/dags\//;

const host = () => {
  try {
    if (parent === window) return null;
    const { pathname } = parent.location;
    return HOST.test(pathname) && !OF_A_TASK.test(pathname.slice(0, pathname.indexOf("/plugin/"))) ? parent : null;
  } catch {
    return null; // framed by another site
  }
};

const parse = (search) => {
  const given = new URLSearchParams(search);
  const place = Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
  if (!VIEWS.includes(place.view)) place.view = DEFAULTS.view;
  // Airflow leaves what it does not know as it stands: `{MAP_INDEX}`.
  for (const name of TASK) if (/^\{[A-Z_]+\}$/.test(place[name])) place[name] = "";
  if (!/^\d+$/.test(place.map_index)) place.map_index = "";
  for (const name of ["offset", "held_offset"]) if (!/^\d+$/.test(place[name])) place[name] = DEFAULTS[name];
  return place;
};

const compose = (place) => {
  const told = Object.entries(DEFAULTS).filter(([name, value]) => place[name] !== value && place[name] !== "");
  const query = new URLSearchParams(told.map(([name]) => [name, place[name]]));
  return told.length ? `?${query}` : "./";
};

/** Read the address: our own, or, where that says nothing, Airflow's around us, which not every Airflow hands on. */
export const readAddress = () => {
  const outer = location.search.length > 1 ? null : host();
  return parse(outer ? outer.location.search || `?${outer.location.hash.slice(1)}` : location.search);
};

/** The address of a place, relative to the page. `changes` leads to the top of another list. */
export const link = (place, changes = {}) => compose({ ...place, ...changes });

/** Go there; Airflow's address, if we are its page, says the same, so that it can be sent to a colleague. */
export const writeAddress = (place, { replace = false } = {}) => {
  const target = compose(place);
  const here = location.search || "./";
  if (target !== here) history[replace ? "replaceState" : "pushState"](null, "", target);
  const outer = host();
  const search = target === "./" ? "" : target;
  if (outer && outer.location.search !== search) {
    outer.history.replaceState(outer.history.state, "", outer.location.pathname + search);
  }
};

/** What a tab of a DAG asks about; `null` on the page itself. */
export const taskOf = (place) =>
  place.dag_id ? Object.fromEntries(TASK.filter((name) => place[name]).map((name) => [name, place[name]])) : null;
