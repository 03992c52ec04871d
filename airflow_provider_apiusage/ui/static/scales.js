// From calls and instants to pixels.

import { DAY, clock, monthDay, weekday } from "./words.js";

/** A linear scale. */
export const scale = (from, to, start, end) => {
  const of = (value) => start + ((value - from) / (to - from || 1)) * (end - start);
  of.back = (pixel) => from + ((pixel - start) / (end - start || 1)) * (to - from);
  return of;
};

/** Round numbers from 0 (or below it) up to `most`, some five of them. */
export const ticks = (least, most, wished = 5) => {
  const rough = (most - least || 1) / wished;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough));
  const list = [];
  for (let at = Math.ceil(least / step) * step; at <= most; at += step) list.push(at);
  return list;
};

const HOURS = [3, 6, 12, 24, 48].map((hours) => (hours * DAY) / 24);

/** Instants on an axis of time, UTC: whole days, or every few hours of it, as there is room. */
export const timeTicks = (since, until, width) => {
  const room = Math.max(2, Math.floor(width / 72));
  const step = HOURS.find((each) => (until - since) / each <= room) ?? HOURS.at(-1);
  const list = [];
  for (let at = Math.ceil(since / step) * step; at <= until; at += step) {
    const midnight = at % DAY === 0;
    list.push({ at, midnight, words: midnight ? [weekday(at), monthDay(at)] : [clock(at)] });
  }
  return list;
};

/** Index of the last of `instants` not after `at`; -1 if there is none. */
export const lastUntil = (instants, at) => {
  let [low, high] = [0, instants.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (instants[middle] <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
};

const point = (x, y) => `${x.toFixed(1)},${y.toFixed(1)}`;

/** A path through points; a null breaks it. Steps keep a value until the next. */
export const linePath = (xs, ys, { steps = false } = {}) => {
  let path = "";
  let pen = false;
  xs.forEach((x, index) => {
    const y = ys[index];
    if (y === null) {
      pen = false;
      return;
    }
    path += pen ? (steps ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `L${point(x, y)}`) : `M${point(x, y)}`;
    pen = true;
  });
  return path;
};

/** The area between two lines. */
export const areaPath = (xs, lows, highs) => {
  if (!xs.length) return "";
  const there = xs.map((x, index) => point(x, highs[index]));
  const back = xs.map((x, index) => point(x, lows[index])).reverse();
  return `M${[...there, ...back].join("L")}Z`;
};
