"use strict";
(() => {
  const { figures, palettes } = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const boxes = [...document.querySelectorAll("[data-chart]")].filter((box) => figures[box.dataset.chart]);
  const tables = [...document.querySelectorAll("details")];
  // Narrower than a sheet of A4 or Letter between its margins, in pixels: the page is laid out anew only after drawing.
  const PAPER = 660;
  let paper = false;

  const paint = (value, palette) => {
    if (Array.isArray(value)) return value.map((each) => paint(each, palette));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, paint(each, palette)]));
    }
    return typeof value === "string" && value[0] === "@" ? palette[value.slice(1)] ?? value : value;
  };

  const draw = (box) => {
    const palette = palettes[dark.matches && !paper ? "dark" : "light"];
    const { data, layout } = paint(figures[box.dataset.chart], palette);
    box.classList.add("drawn");
    layout.width = paper ? Math.min(PAPER, box.clientWidth) : box.clientWidth;
    layout.font.size = layout.width < 520 ? 11 : 13;
    Plotly.react(box, data, layout, { displayModeBar: false, showTips: false });
  };
  const redraw = () => boxes.forEach(draw);

  redraw();
  // Without scripts every table is open; beside a chart that is drawn it may be closed.
  for (const table of tables) {
    table.open = !table.classList.contains("folded") && !boxes.some((box) => box.parentElement === table.parentElement);
  }

  dark.addEventListener("change", redraw);
  const watch = new ResizeObserver((changes) => {
    for (const { target } of changes) if (!paper && target.clientWidth !== target.layout.width) draw(target);
  });
  boxes.forEach((box) => watch.observe(box));

  // Paper is light and has nothing to click on.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = tables.filter((table) => !table.open);
    for (const table of closed) table.open = true;
    paper = true;
    redraw();
  });
  addEventListener("afterprint", () => {
    for (const table of closed) table.open = false;
    paper = false;
    redraw();
  });
})();
