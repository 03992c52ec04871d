// Asking our own server, and what became of it. What was answered last is kept, so that a failure takes nothing away.

const PATIENCE = 20_000;

const kept = new Map();
const running = new Map();

const NOTHING = { text: null, body: null, failure: null, at: null, served: null };

/**
 * What is known of a path: `body`, or `failure` of the last attempt, or both. `at` is when the body came by the
 * browser's clock, `served` by the server's (ms).
 */
export const answer = (path) => kept.get(path) ?? NOTHING;

/** Ask for a path; whoever asks meanwhile waits for the same answer. */
export const ask = (path) => {
  if (!running.has(path)) running.set(path, fetched(path).finally(() => running.delete(path)));
  return running.get(path);
};

async function fetched(path) {
  const before = answer(path);
  try {
    const response = await fetch(new URL(path, document.baseURI), {
      headers: { Accept: "application/json" },
      cache: "no-cache",
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE),
    });
    const text = await response.text();
    // What has not changed is the same object, so that nothing is drawn anew.
    const body = text === before.text ? before.body : read(text);
    if (!response.ok || body === null) throw failed(response.status, body);
    const served = Date.parse(response.headers.get("Date")) || Date.now();
    kept.set(path, { text, body, failure: null, at: Date.now(), served });
  } catch (error) {
    const failure = error.told ?? silent(error);
    // Who may not see an org any more keeps nothing of it on the screen.
    const gone = ["not-logged-in", "forbidden", "not-found"].includes(failure.error);
    kept.set(path, { ...(gone ? NOTHING : before), failure });
  }
  return answer(path);
}

const read = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return null; // the page of a proxy, for one
  }
};

const failed = (status, body) => {
  const known = body && typeof body.message === "string" && typeof body.error === "string";
  const message = `Airflow's API server answered with status ${status}.`;
  const told = known ? body : { error: "failed", message, fix: null };
  return Object.assign(new Error(told.message), { told });
};

const silent = (error) => {
  const late = error.name === "TimeoutError" ? ` within ${PATIENCE / 1000} seconds` : "";
  const fix = "Is it running, and is the network there?";
  return { error: "silent", message: `Airflow's API server does not answer${late}.`, fix };
};

/** A path with its parameters; blank ones are left out. */
export const path = (base, parameters = {}) => {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null));
  return query.size ? `${base}?${query}` : base;
};

export const ofOrg = (org, what, parameters) => path(`api/orgs/${encodeURIComponent(org)}/${what}`, parameters);
