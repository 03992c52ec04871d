// The series as the chart and its table ask it: instants in ms, and what is known at one of them.

import { DAY } from "./words.js";
import { lastUntil } from "./scales.js";

const HOUR = DAY / 24;
/** A reading says nothing of what is farther away. */
const NEAR = 2 * HOUR;

const instants = (list) => list.map((at) => Date.parse(at));

/** Prepare an answer of `series`. */
export const prepared = (body) => ({
  now: Date.parse(body.at),
  since: Date.parse(body.since),
  until: Date.parse(body.until),
  used: { at: instants(body.used.at), calls: body.used.calls },
  snapshots: { at: instants(body.snapshots.at), calls: body.snapshots.calls },
  limit: { at: instants(body.limit.at), calls: body.limit.calls },
  expiry: { at: instants(body.expiry.at), low: body.expiry.low, high: body.expiry.high },
  forecast: { ...body.forecast, at: instants(body.forecast.at) },
  decisions: body.decisions.map((mark) => ({ ...mark, at: Date.parse(mark.at) })),
});

/** Where the known past begins, a day back at least: the days before it would be an empty picture. */
export const beginning = (data) => Math.max(data.since, Math.min(data.now - DAY, data.used.at[0] ?? data.now));

/** Calls in use as last read; `null` if nothing was. */
export const latest = (data) => data.used.calls.findLast((calls) => calls !== null) ?? null;

const nearest = (line, at, reach) => {
  const index = lastUntil(line.at, at);
  return index >= 0 && at - line.at[index] <= reach && line.calls[index] !== null ? index : null;
};

/** What is known at an instant: figures are `null` where nothing is. */
export const knownAt = (data, at) => {
  const past = at <= data.now;
  const read = past ? nearest(data.used, at, NEAR) : null;
  const limit = nearest(data.limit, at, Infinity);
  const ahead = past ? -1 : lastUntil(data.forecast.at, at);
  const back = past ? -1 : lastUntil(data.expiry.at, at);
  return {
    past,
    used: read === null ? null : data.used.calls[read],
    readAt: read === null ? null : data.used.at[read],
    limit: limit === null ? null : data.limit.calls[limit],
    expected: ahead < 0 ? null : ["expected", "low", "high"].map((name) => data.forecast[name][ahead]),
    back: back < 0 ? null : { low: data.expiry.low[back], high: data.expiry.high[back] },
    decisions: data.decisions.filter((mark) => mark.at > at - HOUR / 2 && mark.at <= at + HOUR / 2),
  };
};

/** The past by UTC day: how much was in use, how often it was read, what the gate did. */
export const byDay = (data) => {
  const days = new Map();
  const of = (at) => {
    const day = at - (at % DAY);
    if (!days.has(day)) days.set(day, { day, low: null, high: null, read: 0, decisions: {} });
    return days.get(day);
  };
  data.used.at.forEach((at, index) => {
    const calls = data.used.calls[index];
    if (calls === null) return;
    const day = of(at);
    day.read += 1;
    day.low = Math.min(day.low ?? calls, calls);
    day.high = Math.max(day.high ?? calls, calls);
  });
  for (const { at, kind, decisions } of data.decisions) {
    const day = of(at);
    day.decisions[kind] = (day.decisions[kind] ?? 0) + decisions;
  }
  return [...days.values()].sort((one, other) => one.day - other.day);
};

/** The day ahead by hour. */
export const byHour = (data) => {
  const hours = [];
  for (let at = data.now + HOUR; at <= data.until; at += HOUR) hours.push({ at, ...knownAt(data, at) });
  return hours.filter((hour) => hour.expected || hour.back);
};
