"""Draw a day of the benchmark's world as the gate went through it: use, limit, grants, waits and the expiry curve.

``python -m benchmarks.gate_day --day 4 > docs/gate-day.svg`` makes the picture of the docs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt

from benchmarks.gate_real import RealGate
from benchmarks.gate_scenarios import LIMIT, SCENARIOS, Load, instant
from benchmarks.gate_world import RESERVED, World

DAY_SECONDS = 86_400
EVERY = 300
"""Seconds between two points of a curve."""
WIDTH, LEFT, RIGHT = 880, 80, 24
USE_TOP, USE_HEIGHT = 92, 240
EXPIRY_TOP, EXPIRY_HEIGHT = 392, 110
WAITS_TOP, ROW = 560, 6

STYLE = """
.card { fill: #ffffff; stroke: #d0d7de } text { fill: #1f2328; font-size: 13px }
.small { fill: #57606a; font-size: 12px } .red { fill: #b42318; font-size: 12px }
.grid { stroke: #d8dee4 } .use { stroke: #0b5cab; stroke-width: 2; fill: none } .under { fill: #ddeaf7 }
.limit, .kept { stroke: #b42318; stroke-width: 1.5 } .kept { stroke-dasharray: 5 4 }
.expiry { stroke: #6639ba; stroke-width: 2; fill: none } .wait { stroke: #9a6700; stroke-width: 3 }
.grant { fill: #1a7f37; stroke: #ffffff } .title { font-size: 16px; font-weight: 600 } .end { text-anchor: end }
.middle { text-anchor: middle }
@media (prefers-color-scheme: dark) {
.card { fill: #161b22; stroke: #444c56 } text { fill: #e6edf3 } .small { fill: #adb6c0 }
.grid { stroke: #30363d } .use { stroke: #6cb6ff } .under { fill: #1b2f47 }
.limit, .kept { stroke: #ff7b72 } .red { fill: #ff7b72 }
.expiry { stroke: #c297ff } .wait { stroke: #e3b341 } .grant { fill: #57d364; stroke: #161b22 }
}"""


@dataclass(frozen=True)
class Day:
    """The last day of a world that is over.

    :param name: of the scenario.
    :param world: whose clock stands at the end of the day.
    """

    name: str
    world: World

    @property
    def start(self) -> int:
        """The second at which the day begins."""
        return self.world.second - DAY_SECONDS

    @property
    def bucket(self) -> timedelta:
        """Within what calls leave together."""
        return self.world.org.bucket

    def used(self) -> list[tuple[int, float]]:
        """Return what was truly used."""
        ledger = self.world.org.ledger
        seconds = range(self.start, self.world.second + 1, EVERY)
        return [(second, ledger.rolling(instant(second), self.bucket)) for second in seconds]

    def expiry(self) -> list[tuple[int, float]]:
        """Return how many of the calls that were in the window as the day began have left it since."""
        begin = instant(self.start)
        curve: dict[int, float] = {0: 0.0}
        for each in self.world.org.ledger.expiry(begin, timedelta(days=1), self.bucket):
            passed = int((each.at - begin).total_seconds())
            curve[-(-passed // EVERY) * EVERY] = each.cumulative
        return [(self.start + passed, cumulative) for passed, cumulative in curve.items()]

    def granted(self) -> list[Load]:
        """Return the loads that were let in, the biggest first."""
        loads = [load for load in self.world.loads if load.granted_at is not None and load.granted_at >= self.start]
        return sorted(loads, key=lambda load: -load.need)

    def waits(self) -> list[tuple[int, int]]:
        """Return from when to when loads waited that day, if they waited for a minute or more; first come first."""
        end = self.world.second
        spans = [(load.arrives_at, end if load.granted_at is None else load.granted_at) for load in self.world.loads]
        return [(max(a, self.start), b) for a, b in spans if b - a >= 60 and b > self.start]


class _Picture:
    """The elements of a drawing of one day."""

    def __init__(self, day: Day) -> None:
        self._day, self._waits, self._used = day, day.waits(), day.used()
        self.height = WAITS_TOP + ROW * max(1, len(self._waits)) + 44
        self._floor = self.height - 34

    def elements(self) -> Iterator[str]:
        """Yield everything on the card."""
        yield _text(LEFT, 34, f"One day of the scenario '{self._day.name}', {instant(self._day.start):%A}", "title")
        yield from self._hours()
        yield from self._use()
        yield from self._expiry()
        yield _text(LEFT, WAITS_TOP - 14, f"{len(self._waits)} loads that waited, each from its coming to its grant")
        for row, (begin, end) in enumerate(self._waits):
            y = WAITS_TOP + ROW * row + ROW / 2
            yield _line(self._x(begin), y, max(self._x(end), self._x(begin) + 2), y, "wait")

    def _hours(self) -> Iterator[str]:
        for hour in range(0, 25, 3):
            x = self._x(self._day.start + 3600 * hour)
            yield _line(x, USE_TOP, x, USE_TOP + USE_HEIGHT, "grid")
            yield _line(x, EXPIRY_TOP, x, EXPIRY_TOP + EXPIRY_HEIGHT, "grid")
            yield _line(x, WAITS_TOP, x, self._floor, "grid")
            yield _text(x, self._floor + 18, f"{hour:02}:00", "small middle")

    def _use(self) -> Iterator[str]:
        top, height = USE_TOP, USE_HEIGHT
        granted = self._day.granted()
        yield _text(LEFT, top - 26, "Calls in the 24-hour window")
        yield f'<circle class="grant" cx="{LEFT + 200}" cy="{top - 30}" r="5"/>'
        yield _text(LEFT + 210, top - 26, f"{len(granted)} grants, by size", "small")
        yield from _scale(top, height, LIMIT, 25_000)
        curve = [(self._x(second), _y(used, top, height, LIMIT)) for second, used in self._used]
        floor = top + height
        yield f'<polygon class="under" points="{_points([(curve[0][0], floor), *curve, (curve[-1][0], floor)])}"/>'
        yield f'<polyline class="use" points="{_points(curve)}"/>'
        for at, css, words in ((LIMIT, "limit", "limit"), (LIMIT - RESERVED, "kept", "limit less the reserve")):
            y = _y(at, top, height, LIMIT)
            yield _line(LEFT, y, WIDTH - RIGHT, y, css)
            yield _text(WIDTH - RIGHT - 4, y - 5, words, "red end")
        levels = [used for _, used in self._used]
        for load in granted:
            assert load.granted_at is not None
            used = levels[(load.granted_at - self._day.start) // EVERY]
            x, y = self._x(load.granted_at), _y(used, top, height, LIMIT)
            yield f'<circle class="grant" cx="{x:.1f}" cy="{y:.1f}" r="{1.5 + sqrt(load.need) / 14:.1f}"/>'

    def _expiry(self) -> Iterator[str]:
        top, height, curve = EXPIRY_TOP, EXPIRY_HEIGHT, self._day.expiry()
        yield _text(LEFT, top - 14, "Expiry curve at midnight: calls in the window then that have left it since")
        yield from _scale(top, height, LIMIT, 50_000)
        points = [(self._x(second), _y(calls, top, height, LIMIT)) for second, calls in curve]
        yield f'<polyline class="expiry" points="{_points(points)}"/>'

    def _x(self, second: int) -> float:
        return LEFT + (second - self._day.start) / DAY_SECONDS * (WIDTH - LEFT - RIGHT)


def picture(day: Day) -> str:
    """Return the drawing of a day as SVG, on a card of its own that follows the reader's light or dark."""
    drawn = _Picture(day)
    words = "Use stays under the limit; loads are let in as calls of the day before leave the window."
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {drawn.height}" role="img" '
            'aria-labelledby="t d" font-family="system-ui, \'Segoe UI\', Helvetica, Arial, sans-serif">',
            f'<title id="t">One day at the gate</title><desc id="d">{words}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{drawn.height - 1}" rx="10"/>',
            *drawn.elements(),
            "</svg>\n",
        )
    )


def _y(calls: float, top: int, height: int, most: int) -> float:
    return top + height * (1 - calls / most)


def _scale(top: int, height: int, most: int, every: int) -> Iterator[str]:
    for calls in range(0, most + 1, every):
        y = _y(calls, top, height, most)
        yield _line(LEFT, y, WIDTH - RIGHT, y, "grid")
        yield _text(LEFT - 8, y + 4, f"{calls:,}", "small end")


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, css: str = "") -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{words}</text>'


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the world up to the end of the day and print the drawing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="busy", choices=list(SCENARIOS))
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--day", type=int, default=3, help="1 is the first one with loads, a Tuesday")
    options = parser.parse_args(arguments)
    world = World(SCENARIOS[options.scenario], f"{options.scenario} {options.seed}", options.day)
    world.run(RealGate(world))
    sys.stdout.write(picture(Day(options.scenario, world)))


if __name__ == "__main__":
    main()
