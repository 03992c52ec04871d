// The chart of the week and the day ahead: a picture, and a slider that tells what is known at an instant.

import { DrawnElement } from "./drawn_element.js";
import { h } from "./dom.js";
import { picture, measures } from "./series_drawing.js";
import { beginning, knownAt, prepared } from "./series_data.js";
import { decisionWords } from "./series_table.js";
import { DAY, bounds, clock, moment, number } from "./words.js";

const STEP = DAY / 96;
const WIDE = 640;

const LEGEND = [
  ["used", "used"],
  ["limit", "limit"],
  ["expected", "expected"],
  ["band", "nine cases in ten"],
  ["expiry", "if nobody called any more (expiry curve)"],
];

let made = 0;

class SeriesChart extends DrawnElement {
  #zoom = null;
  #at = null;
  #parts = null;
  #drawn = null;
  #id = `chart${++made}`;

  draw(body, width) {
    const data = this.#drawn?.body === body ? this.#drawn.data : prepared(body);
    this.#zoom ??= width < WIDE ? "days" : "week";
    const since = this.#zoom === "days" ? data.now - DAY : beginning(data);
    const at = measures(data, width, since, data.until);
    this.#drawn = { body, data, at };
    this.#parts ??= this.#build();
    const { plot, slider, legend, zooms } = this.#parts;
    const drawing = picture(data, at, this.#id);
    plot.replaceChildren(drawing);
    this.#parts.cursor = drawing.querySelector(".cursor");
    const { used, forecast, expiry } = data;
    const there = { used: used.at, limit: at.limits, expected: forecast.at, band: forecast.at, expiry: expiry.at };
    for (const [name, item] of legend) item.hidden = !there[name].length;
    for (const button of zooms) button.setAttribute("aria-pressed", String(button.dataset.zoom === this.#zoom));
    slider.min = Math.ceil(since / STEP) * STEP;
    slider.max = Math.floor(data.until / STEP) * STEP;
    // The middle of the thumb stands where the instant is.
    slider.style.marginLeft = `${at.left - 8}px`;
    slider.style.width = `${width - at.left - at.right + 16}px`;
    this.#look(this.#at ?? data.now, { told: this.#at !== null });
  }

  #build() {
    const zooms = [["week", "Week"], ["days", "24 hours"]].map(([zoom, words]) =>
      h("button", { type: "button", "data-zoom": zoom }, words),
    );
    const legend = new Map(LEGEND.map(([name, words]) => [name, h("li", { class: name }, words)]));
    const plot = h("div", { class: "plot" });
    const slider = h("input", { type: "range", step: STEP, "aria-label": "Look at an instant of the chart" });
    const readout = h("p", { class: "readout", "aria-hidden": "true" });
    this.replaceChildren(
      h(
        "div",
        { class: "chart-top" },
        h("ul", { class: "legend" }, [...legend.values()]),
        h("fieldset", { class: "choice" }, h("legend", { class: "unseen" }, "How much of the past"), zooms),
      ),
      plot,
      slider,
      readout,
    );
    this.addEventListener("click", (event) => {
      const { zoom } = event.target.closest("[data-zoom]")?.dataset ?? {};
      if (!zoom) return;
      this.#zoom = zoom;
      this.redraw();
    });
    slider.addEventListener("input", () => this.#look(Number(slider.value)));
    plot.addEventListener("pointermove", (event) => this.#point(event));
    plot.addEventListener("pointerdown", (event) => this.#point(event));
    return { zooms, legend, plot, slider, readout, cursor: null };
  }

  #point(event) {
    const { at } = this.#drawn;
    const x = event.clientX - this.#parts.plot.getBoundingClientRect().left;
    const instant = at.x.back(Math.min(at.width - at.right, Math.max(at.left, x)));
    this.#look(Math.round(instant / STEP) * STEP);
  }

  /** Tell what is known at an instant; one that nobody chose moves on with the time. */
  #look(instant, { told = true } = {}) {
    const { data, at } = this.#drawn;
    const { slider, readout, cursor } = this.#parts;
    const within = Math.min(at.until, Math.max(at.since, instant));
    if (told) this.#at = instant;
    slider.value = Math.round(within / STEP) * STEP;
    const words = told ? said(data, within) : said(data, data.now);
    slider.setAttribute("aria-valuetext", `${words.when}: ${words.facts.join("; ")}`);
    const facts = words.facts.flatMap((fact) => [" ", h("span", null, fact)]);
    readout.replaceChildren(h("strong", null, words.when), ...facts);
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, at.x(within));
    cursor.classList.toggle("shown", told);
  }
}

function said(data, instant) {
  const known = knownAt(data, instant);
  const facts = [];
  if (known.past) {
    const read = known.readAt === null ? "use unknown" : `used ${number(known.used)}, read at ${clock(known.readAt)}`;
    facts.push(read);
  }
  if (known.expected) {
    const [expected, low, high] = known.expected;
    facts.push(`expected ${number(expected)}`, `nine in ten ${number(low)} to ${number(high)}`);
  }
  if (known.back) facts.push(`back by then ${bounds(known.back)}`);
  if (known.limit !== null) facts.push(`limit ${number(known.limit)}`);
  const sums = {};
  for (const { kind, decisions } of known.decisions) sums[kind] = (sums[kind] ?? 0) + decisions;
  if (known.decisions.length) facts.push(`gate: ${decisionWords(sums)}`);
  return { when: moment(instant), facts };
}

customElements.define("series-chart", SeriesChart);
