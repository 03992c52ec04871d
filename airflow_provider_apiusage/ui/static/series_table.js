// The chart of the week and the day ahead as tables.

import { h } from "./dom.js";
import { byDay, byHour } from "./series_data.js";
import { table } from "./lists.js";
import { bounds, counted, monthDay, number, time, weekday } from "./words.js";

const KINDS = {
  grant: "granted",
  wait: "told to wait",
  refuse: "refused",
  extend: "topped up",
  decline: "not topped up",
};

const PAST = [
  { title: "UTC day" },
  { title: "Used, lowest", number: true },
  { title: "Used, highest", number: true },
  { title: "Readings drawn", number: true },
  { title: "Gate" },
];
const AHEAD = [
  { title: "By" },
  { title: "Expected in use", number: true },
  { title: "Nine cases in ten", number: true },
  { title: "Calls that are back", number: true },
];

export const decisionWords = (decisions) =>
  Object.entries(decisions).map(([kind, amount]) => `${number(amount)} ${KINDS[kind] ?? kind}`).join(", ");

export const seriesTables = (data) => {
  const ahead = byHour(data);
  const near = new Date(data.now).toISOString();
  return h(
    "details",
    null,
    h("summary", null, "The same as tables"),
    table(
      "The week behind, by UTC day",
      PAST,
      byDay(data).map((day) => [
        `${weekday(day.day)} ${monthDay(day.day)}`,
        number(day.low),
        number(day.high),
        counted(day.read, "reading"),
        decisionWords(day.decisions),
      ]),
    ),
    ahead.length > 0 &&
      table(
        "The day ahead, by hour",
        AHEAD,
        ahead.map((hour) => [
          time(new Date(hour.at).toISOString(), near),
          number(hour.expected && hour.expected[0]),
          hour.expected ? `${number(hour.expected[1])} to ${number(hour.expected[2])}` : "unknown",
          bounds(hour.back),
        ]),
      ),
  );
};
