// The bridge as a waterfall: each step begins where the last one ended, and whiskers reach as far as evidence allows.

import { DrawnElement } from "./drawn_element.js";
import { s } from "./dom.js";
import { across, label, path, upright } from "./strokes.js";
import { scale, ticks } from "./scales.js";
import { number, short } from "./words.js";

const WORDS = {
  tail: ["of yesterday,", "in the window"],
  today: ["today", "so far"],
  rest: ["not in the", "daily counts"],
  rolling: ["last", "24 hours"],
};
const [TOP, HEIGHT, RIGHT, FOOT] = [26, 220, 8, 44];

class BridgeChart extends DrawnElement {
  draw(steps, width) {
    const whole = steps.every((step) => step.calls !== null);
    const known = whole ? steps : steps.filter((step) => step.part === "rolling" && step.calls !== null);
    this.hidden = !known.length;
    if (!known.length) return;
    let height = 0;
    const bars = known.map((step) => {
      const start = step.part === "rolling" ? 0 : height;
      height += step.calls;
      return { ...step, start, end: start + step.calls };
    });
    const reach = (bar) => Math.max(bar.end, bar.start, bar.start + (bar.allowed?.high ?? 0));
    const most = Math.max(5, ...bars.map(reach)) * 1.08;
    const least = Math.min(0, ...bars.map((bar) => bar.end));
    const left = width < 560 ? 44 : 58;
    const y = scale(least, most, TOP + HEIGHT, TOP);
    const room = (width - left - RIGHT) / bars.length;
    const wide = Math.min(120, room * 0.56);
    const x = (index) => left + room * index + (room - wide) / 2;
    this.replaceChildren(
      s(
        "svg",
        { width, height: TOP + HEIGHT + FOOT, viewBox: `0 0 ${width} ${TOP + HEIGHT + FOOT}`, "aria-hidden": "true" },
        ticks(least, most).map((calls) => [
          across("grid", left, width - RIGHT, y(calls)),
          label("tick", left - 8, y(calls) + 4, short(calls), "end"),
        ]),
        bars.map((bar, index) => [
          index < bars.length - 1 && across("join", x(index) + wide, x(index + 1), y(bar.end)),
          block(bar, x(index), wide, y),
          bar.part === "tail" && hatched(x(index), wide, y(bar.end), y(bar.start)),
          whisker(bar, x(index) + wide / 2, y),
          label("tick strong", x(index) + wide / 2, y(reach(bar)) - 7, number(bar.calls)),
          WORDS[bar.part].map((words, line) =>
            label("tick", x(index) + wide / 2, TOP + HEIGHT + 17 + line * 14, words),
          ),
        ]),
      ),
    );
  }
}

function block(bar, x, width, y) {
  const [upper, lower] = [y(Math.max(bar.start, bar.end)), y(Math.min(bar.start, bar.end))];
  return s("rect", { class: `step ${bar.part}`, x, width, y: upper, height: lower - upper });
}

/** Stripes, so that colour is not all that tells a part of yesterday from today. */
function hatched(x, wide, top, bottom) {
  let d = "";
  for (let y = top + 8; y < bottom; y += 8) d += `M${x},${y}h${wide}`;
  return path("stripes", d);
}

function whisker(bar, x, y) {
  const { allowed, start, calls } = bar;
  if (!allowed || allowed.high === null || (allowed.low === calls && allowed.high === calls)) return null;
  return upright("whisker", x, y(start + allowed.low), y(start + allowed.high));
}

customElements.define("bridge-chart", BridgeChart);
