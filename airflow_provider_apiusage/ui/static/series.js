// The week behind and the day ahead.

import { h } from "./dom.js";
import { findings, nothing } from "./states.js";
import { prepared } from "./series_data.js";
import { seriesTables } from "./series_table.js";
import { link } from "./address.js";
import { prose } from "./words.js";
import "./series_chart.js";

const MORE = "With tables, and what the forecast is made from";

/**
 * @param whole whether tables and remarks belong to it; the overview has the chart alone
 */
export const series = (body, place, { whole = true } = {}) => {
  if (body.state === "none") return whole ? nothing("There is nothing to draw yet", body.todo) : null;
  const drawn = Object.assign(h("series-chart"), { data: body });
  return h(
    "section",
    { class: "card", "aria-labelledby": "series-title", "data-key": "series" },
    h("h2", { id: "series-title" }, "The week behind and the day ahead"),
    h("figure", null, drawn, h("figcaption", null, body.caption)),
    whole
      ? [
          body.basis && h("p", { class: "note" }, body.basis),
          seriesTables(prepared(body)),
          body.findings.length > 0 && [h("h3", null, "For a better forecast"), findings(body.findings, prose)],
        ]
      : h("p", null, h("a", { href: link(place, { view: "series" }), "data-go": true }, MORE)),
  );
};
