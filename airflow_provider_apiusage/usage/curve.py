"""The one curve: everything known about usage is a statement about one non-decreasing function.

Let ``C(t)`` be all counted calls ever made up to and including ``t``. A piece of evidence says that
``C(end) - C(start)`` lies between two numbers, and ``C`` never falls. Such statements are a system of
difference constraints, whose tightest consequences are shortest paths (Cormen et al., *Introduction to
Algorithms*, chapter "Single-source shortest paths", section on difference constraints): an edge ``start ->
end`` of weight ``high``, an edge ``end -> start`` of weight ``-low``, and an edge of weight 0 from each
instant to the one before it. All weights are whole numbers, so the results are exact, and every whole number
between the two bounds is reached by some curve. A negative cycle means that no curve satisfies all
statements; the statements on it are the pieces that disagree.

The time-sorted nodes get potentials once (Bellman-Ford, sweeping forwards and backwards in time, as Yen
improved it), which make every edge non-negative; each query is then two runs of Dijkstra's algorithm,
remembered per start.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_apiusage.usage.model import Interval

_REMEMBERED = 32
"""Runs of Dijkstra's algorithm kept per direction."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one piece of evidence says: ``low <= C(end) - C(start) <= high``.

    :param start: aware instant; calls made at exactly ``start`` are not among those counted.
    :param end: aware instant, not before ``start``; calls made at exactly ``end`` are counted.
    :param low: the fewest calls, at least 0.
    :param high: the most calls, at least ``low``; ``None`` if nothing limits them.
    :param source: the evidence in words a person recognises, such as ``"limits reading of
        2026-10-07T14:30:00Z"``.
    :raises ValueError: if an instant is naive, the span runs backwards or the numbers contradict themselves.
    """

    start: datetime
    end: datetime
    low: int
    high: int | None
    source: str

    def __post_init__(self) -> None:
        for instant in (self.start, self.end):
            require_aware(instant)
        if self.start > self.end:
            raise ValueError(f"A span cannot end before it starts: {self.start} > {self.end} ({self.source})")
        if self.low < 0 or (self.high is not None and self.high < self.low):
            raise ValueError(f"No count lies between {self.low} and {self.high} ({self.source})")


class CurveConflict(ValueError):
    """Bounds were asked of statements that no curve satisfies; ask :meth:`Curve.conflict` first.

    :param statements: the pieces that disagree.
    """

    def __init__(self, statements: Sequence[Statement]) -> None:
        self.statements = tuple(statements)
        super().__init__("These disagree: " + "; ".join(statement.source for statement in statements))


def require_aware(instant: datetime) -> None:
    """Refuse a naive instant.

    :raises ValueError: if ``instant`` has no UTC offset.
    """
    if instant.utcoffset() is None:
        raise ValueError(f"An instant needs a time zone: {instant!r}")


@dataclass(frozen=True, slots=True)
class _Edge:
    """``C(target) - C(origin) <= weight``, by ``statement`` or, without one, because ``C`` never falls."""

    origin: int
    target: int
    weight: int
    statement: Statement | None


class Curve:
    """All statements together.

    :param statements: any number, in any order; none at all is a curve about which nothing is known.

    Contradicting statements are accepted: :meth:`conflict` names them, and :meth:`bounds` refuses to answer.
    """

    def __init__(self, statements: Iterable[Statement] = ()) -> None:
        self.statements = tuple(statements)
        self.knots = tuple(sorted({t for s in self.statements for t in (s.start, s.end)}))
        position = {knot: index for index, knot in enumerate(self.knots)}
        edges = [_Edge(index, index - 1, 0, None) for index in range(1, len(self.knots))]
        for statement in self.statements:
            start, end = position[statement.start], position[statement.end]
            edges.append(_Edge(end, start, -statement.low, statement))
            if statement.high is not None:
                edges.append(_Edge(start, end, statement.high, statement))
        self._potential, self._conflict = _potentials(len(self.knots), edges)
        self._conflict_is_minimal = False
        self._out: list[list[tuple[int, int]]] = [[] for _ in self.knots]
        self._in: list[list[tuple[int, int]]] = [[] for _ in self.knots]
        if self._conflict is None:
            for edge in edges:
                reduced = edge.weight + self._potential[edge.origin] - self._potential[edge.target]
                self._out[edge.origin].append((edge.target, reduced))
                self._in[edge.target].append((edge.origin, reduced))
        self._from: dict[int, list[int | None]] = {}
        self._to: dict[int, list[int | None]] = {}

    def conflict(self) -> tuple[Statement, ...] | None:
        """Return statements that cannot all be true, or ``None`` if some curve satisfies all.

        :return: the pieces of one contradiction, in the order of time: leave any out, and the others agree.
        """
        if self._conflict is not None and not self._conflict_is_minimal:
            kept = list(self._conflict)
            for piece in self._conflict:
                others = [other for other in kept if other != piece]
                if Curve(others)._conflict is not None:
                    kept = others
            self._conflict, self._conflict_is_minimal = tuple(kept), True
        return self._conflict

    def bounds(self, start: datetime, end: datetime) -> Interval:
        """Return the tightest bounds of ``C(end) - C(start)`` that all statements and monotonicity imply.

        :param start: aware instant, not necessarily an edge of a statement.
        :param end: aware instant, not before ``start``.
        :return: calls in ``(start, end]``; ``high`` is ``None`` where nothing limits them.
        :raises ValueError: if an instant is naive or ``end`` comes before ``start``.
        :raises CurveConflict: if the statements contradict one another.
        """
        require_aware(start)
        require_aware(end)
        if start > end:
            raise ValueError(f"A span cannot end before it starts: {start} > {end}")
        pieces = self.conflict()
        if pieces is not None:
            raise CurveConflict(pieces)
        if start == end:
            return Interval(0, 0)
        # Between two knots the curve is only known to lie between its values there: the most calls are
        # counted from the knot at or before `start` to the one at or after `end`, the fewest from the inner
        # ones.
        high = self._distance_from(bisect_right(self.knots, start) - 1, bisect_left(self.knots, end))
        shortest = self._distance_to(bisect_left(self.knots, start), bisect_right(self.knots, end) - 1)
        return Interval(0 if shortest is None else max(0, -shortest), high)

    def _distance_from(self, origin: int, target: int) -> int | None:
        if origin < 0 or target >= len(self.knots):
            return None
        if origin not in self._from:
            _make_room(self._from)
            self._from[origin] = _dijkstra(origin, self._out)
        reduced = self._from[origin][target]
        return None if reduced is None else reduced - self._potential[origin] + self._potential[target]

    def _distance_to(self, target: int, origin: int) -> int | None:
        if origin < 0 or target >= len(self.knots):
            return None
        if target not in self._to:
            _make_room(self._to)
            self._to[target] = _dijkstra(target, self._in)
        reduced = self._to[target][origin]
        return None if reduced is None else reduced - self._potential[origin] + self._potential[target]


def _make_room(remembered: dict[int, list[int | None]]) -> None:
    """Drop the oldest run when there are many: callers ask about few starts, but many ends of each."""
    if len(remembered) >= _REMEMBERED:
        del remembered[next(iter(remembered))]


def _dijkstra(origin: int, neighbours: Sequence[Sequence[tuple[int, int]]]) -> list[int | None]:
    """Return the shortest distance from ``origin`` to every node; ``None`` where no edges lead."""
    distances: list[int | None] = [None] * len(neighbours)
    queue = [(0, origin)]
    while queue:
        distance, node = heapq.heappop(queue)
        if distances[node] is not None:
            continue
        distances[node] = distance
        for target, weight in neighbours[node]:
            if distances[target] is None:
                heapq.heappush(queue, (distance + weight, target))
    return distances


def _potentials(size: int, edges: Sequence[_Edge]) -> tuple[list[int], tuple[Statement, ...] | None]:
    """Return potentials that make every reduced edge non-negative, or the statements of a negative cycle.

    Every node starts at 0, as if a source led to each of them for free; the parents are looked at after every
    pass, since a cycle among them is a negative cycle, found long before the bound on the number of passes.
    """
    forwards = sorted((e for e in edges if e.origin < e.target), key=lambda e: e.origin)
    backwards = sorted((e for e in edges if e.origin >= e.target), key=lambda e: -e.origin)
    potential = [0] * size
    parents: list[_Edge | None] = [None] * size
    changed = True
    while changed:
        changed = False
        for edge in (*forwards, *backwards):
            candidate = potential[edge.origin] + edge.weight
            if candidate < potential[edge.target]:
                potential[edge.target] = candidate
                parents[edge.target] = edge
                changed = True
        cycle = _cycle(parents) if changed else None
        if cycle is not None:
            return potential, cycle
    return potential, None


def _cycle(parents: Sequence[_Edge | None]) -> tuple[Statement, ...] | None:
    """Return the statements of a cycle among ``parents``, in the order of time, or ``None``."""
    seen_in = [-1] * len(parents)
    for root in range(len(parents)):
        node = root
        while seen_in[node] < 0:
            seen_in[node] = root
            edge = parents[node]
            if edge is None:
                break
            node = edge.origin
        else:
            if seen_in[node] == root:
                return _statements_from(node, parents)
    return None


def _statements_from(node: int, parents: Sequence[_Edge | None]) -> tuple[Statement, ...]:
    """Collect the statements on the cycle of ``parents`` that runs through ``node``."""
    statements: dict[Statement, None] = {}
    edge = parents[node]
    while edge is not None:
        if edge.statement is not None:
            statements[edge.statement] = None
        edge = None if edge.origin == node else parents[edge.origin]
    return tuple(sorted(statements, key=lambda s: (s.start, s.end, s.source)))
