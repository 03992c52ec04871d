// Figures and instants in words, as the HTML report has them. An unknown is the word, never 0.

import { h } from "./dom.js";

const UNKNOWN = "unknown";
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export const number = (calls) => (calls === null || calls === undefined ? UNKNOWN : calls.toLocaleString("en-US"));

/** `1,200`, `1,200 to 3,400`, `at least 1,200`, or `unknown`. */
export const bounds = (range) => {
  if (!range || (range.low === 0 && range.high === null)) return UNKNOWN;
  if (range.high === null) return `at least ${number(range.low)}`;
  return range.low === range.high ? number(range.low) : `${number(range.low)} to ${number(range.high)}`;
};

export const percent = (share) => (share === null || share === undefined ? UNKNOWN : `${(share * 100).toFixed(1)}%`);

export const counted = (amount, what) => `${number(amount)} ${what}${amount === 1 ? "" : "s"}`;

/** Short for an axis: `20k`, `1.5M`. */
export const short = (calls) => {
  for (const [step, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(calls) >= step) return `${+(calls / step).toFixed(2)}${sign}`;
  }
  return String(calls);
};

const two = (part) => String(part).padStart(2, "0");
export const clock = (ms) => {
  const at = new Date(ms);
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
};
export const weekday = (ms) => WEEKDAYS[new Date(ms).getUTCDay()];
export const monthDay = (ms) => `${new Date(ms).getUTCDate()} ${MONTHS[new Date(ms).getUTCMonth()]}`;

/** `Wed 7 Oct 14:30 UTC`, without the day where it is that of `near`, and with the year where that is another. */
export const moment = (ms, near = null) => {
  const [at, by] = [new Date(ms), near === null ? null : new Date(near)];
  if (by && at.toISOString().slice(0, 10) === by.toISOString().slice(0, 10)) {
    return `${clock(ms)} UTC`;
  }
  const year = by && at.getUTCFullYear() !== by.getUTCFullYear() ? ` ${at.getUTCFullYear()}` : "";
  return `${weekday(ms)} ${monthDay(ms)}${year} ${clock(ms)} UTC`;
};

/** The same as an element that tells the reader's own time when pointed at. */
export const time = (iso, near = null) => {
  if (!iso) return UNKNOWN;
  const ms = Date.parse(iso);
  return h("time", { datetime: iso, title: local(ms) }, moment(ms, near === null ? null : Date.parse(near)));
};

const local = (ms) => {
  const day = { weekday: "short", day: "numeric", month: "short", year: "numeric" };
  const clock = { hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
  return `${new Date(ms).toLocaleString(undefined, { ...day, ...clock })} where you are`;
};

/** How long, in the one unit that says it best. */
export const span = (ms) => {
  if (ms < MINUTE) return "less than a minute";
  if (ms < 2 * HOUR) return counted(Math.floor(ms / MINUTE), "minute");
  if (ms < 2 * DAY) return counted(Math.floor(ms / HOUR), "hour");
  return counted(Math.floor(ms / DAY), "day");
};

/** `DailyApiRequests` are calls; other limits are named. `{DailyApiRequests: 5}` is `5 calls`. */
export const needs = (amounts) => {
  const parts = Object.entries(amounts ?? {}).map(([name, amount]) =>
    name === "DailyApiRequests" ? counted(amount, "call") : `${number(amount)} ${name}`,
  );
  return parts.join(", ") || "nothing";
};

/** A text in pieces: words of the org stand by themselves, so that they turn nothing around. */
export const prose = (runs) =>
  runs.map(({ text, kind }) => {
    const tag = { strong: "strong", code: "code", name: "bdi" }[kind];
    return tag ? h(tag, null, text) : text;
  });
