// The picture of the week and the day ahead.

import { s } from "./dom.js";
import { across, label, path, upright } from "./strokes.js";
import { areaPath, linePath, scale, ticks, timeTicks } from "./scales.js";
import { latest } from "./series_data.js";
import { number, short } from "./words.js";

const ROOM = 1.08;
/** A limit of which less is used than this share would press the curve to the ground. */
const LIMIT_IN_VIEW = 0.2;

const ROW = 17;
const AXIS = 36;
const ROWS = [
  ["snapshot", "snapshots"],
  ["grant", "granted"],
  ["wait", "waits"],
  ["refuse", "refused"],
];
const ROOM_FOR_A_SIGN = 10;
const ROW_OF = { grant: "grant", extend: "grant", wait: "wait", refuse: "refuse", decline: "refuse" };
const SIGNS = {
  grant: "M0-5L5,4H-5Z",
  extend: "M0-5L5,4H-5Z",
  wait: "M0-5L5,0L0,5L-5,0Z",
  refuse: "M-4-4L4,4M4-4L-4,4",
  decline: "M-4-4L4,4M4-4L-4,4",
};

/** Measures of a picture: where the plot is, and how instants and calls become pixels. */
export const measures = (data, width, since, until) => {
  const narrow = width < 560;
  const [left, right, top, height] = [narrow ? 66 : 72, 10, 22, narrow ? 200 : 280];
  const seen = (instant) => instant >= since && instant <= until;
  const inside = (line, key) => line[key].filter((calls, index) => calls !== null && seen(line.at[index]));
  const highest = Math.max(0, ...inside(data.used, "calls"), ...inside(data.forecast, "high"));
  const limits = data.limit.calls.filter((calls) => calls !== null && highest >= calls * LIMIT_IN_VIEW);
  const most = Math.max(5, highest, ...limits) * ROOM;
  const decided = (row) => data.decisions.some((mark) => ROW_OF[mark.kind] === row);
  const rows = ROWS.filter(([row]) => (row === "snapshot" ? data.snapshots.at.length > 0 : decided(row)));
  return {
    left, right, top, height, width, narrow, since, until, rows, limits,
    bottom: top + height,
    whole: top + height + AXIS + rows.length * ROW,
    x: scale(since, until, left, width - right),
    y: scale(0, most, top + height, top),
    most,
  };
};

export const picture = (data, at, id) => {
  const clip = `${id}-plot`;
  const plot = { x: at.left, y: at.top - 2, width: at.width - at.left - at.right, height: at.height + 4 };
  return s(
    "svg",
    { width: at.width, height: at.whole, viewBox: `0 0 ${at.width} ${at.whole}`, "aria-hidden": "true" },
    s("clipPath", { id: clip }, s("rect", plot)),
    axes(at),
    s("g", { "clip-path": `url(#${clip})` }, curves(data, at)),
    present(data, at),
    strip(data, at),
    s("line", { class: "cursor", y1: at.top, y2: at.whole }),
  );
};

function axes(at) {
  const right = at.width - at.right;
  return [
    ticks(0, at.most, at.narrow ? 4 : 6).map((calls) => [
      across("grid", at.left, right, at.y(calls)),
      label("tick", at.left - 8, at.y(calls) + 4, short(calls), "end"),
    ]),
    timeTicks(at.since, at.until, right - at.left).map((tick) => [
      upright(tick.midnight ? "grid midnight" : "grid", at.x(tick.at), at.top, at.bottom),
      tick.words.map((words, line) =>
        label(line ? "tick small" : "tick", at.x(tick.at), at.bottom + 15 + line * 13, words),
      ),
    ]),
  ];
}

function curves(data, at) {
  const xs = (line) => line.at.map(at.x);
  const ys = (calls) => calls.map((each) => (each === null ? null : at.y(each)));
  const { forecast, expiry } = data;
  const now = latest(data);
  const dense = data.used.at.length > (at.width - at.left) / 4;
  return [
    forecast.at.length > 0 && path("band", areaPath(xs(forecast), ys(forecast.low), ys(forecast.high))),
    at.limits.length > 0 && path("limit", linePath(xs(data.limit), ys(data.limit.calls), { steps: true })),
    expiry.at.length > 0 && now !== null && expired(expiry, now, at),
    forecast.at.length > 0 && path("expected", linePath(xs(forecast), ys(forecast.expected))),
    path("used", linePath(xs(data.used), ys(data.used.calls))),
    !dense && data.snapshots.at.map((instant, index) => dot(at, instant, data.snapshots.calls[index])),
  ];
}

const dot = (at, instant, calls) =>
  calls === null ? null : s("circle", { class: "dot", cx: at.x(instant), cy: at.y(calls), r: 2.6 });

/** What is in use now, less what will have left by then: where use would go if nobody called any more. */
function expired(expiry, now, at) {
  const xs = expiry.at.map(at.x);
  const atMost = expiry.low.map((calls) => at.y(Math.max(0, now - calls)));
  const atLeast = expiry.high.map((calls) => at.y(calls === null ? 0 : Math.max(0, now - calls)));
  return [
    path("expiry-band", areaPath(xs, atLeast, atMost)),
    path("expiry", linePath(xs, atMost)),
  ];
}

function present(data, at) {
  const x = at.x(data.now);
  const above = data.limit.calls.findLast((calls) => calls !== null);
  return [
    data.now >= at.since && [
      upright("now", x, at.top, at.whole),
      label("tick strong", x, at.top - 7, "now"),
    ],
    !at.limits.length && above !== undefined &&
      label("tick", at.left + 4, at.top - 7, `limit ${number(above)}, above this picture`, "start"),
  ];
}

/** Below the plot, a row each: when snapshots were taken, and what the gate decided. */
function strip(data, at) {
  return at.rows.map(([row, words], index) => {
    const y = at.bottom + AXIS + index * ROW + ROW / 2;
    const seen = (instant) => instant >= at.since && instant <= at.until;
    const x = (instant) => at.x(instant).toFixed(1);
    const stroke = (instant) => `M${x(instant)},${y - 4}v8`;
    const taken = () => path("snapshot", data.snapshots.at.filter(seen).map(stroke).join(""));
    const decided = data.decisions.filter((mark) => ROW_OF[mark.kind] === row && seen(mark.at));
    // Where signs would cover one another there are strokes; the row says what they mean.
    const dense = decided.length > (at.width - at.left) / ROOM_FOR_A_SIGN;
    const sign = ({ kind, at: instant }) => {
      const d = dense ? "M0-5V5" : SIGNS[kind];
      return s("path", { class: `decision ${kind}`, d, transform: `translate(${x(instant)},${y})` });
    };
    return [
      across("grid", at.left, at.width - at.right, y),
      label("tick small", at.left - 8, y + 4, words, "end"),
      row === "snapshot" ? taken() : decided.map(sign),
    ];
  });
}
