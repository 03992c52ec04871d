"""Who else could decide when a load may start: sensors that poll, and oracles that know the present."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.gate_scenarios import LIMIT, Load
from benchmarks.gate_world import RESERVED, World


class Sensors:
    """Each load has a sensor of its own, which looks at the org and starts its load if there is room.

    :param every: seconds between two looks, at first.
    :param longest: seconds up to which that doubles from look to look.
    """

    def __init__(self, world: World, every: int, longest: int | None = None) -> None:
        self._world, self._every, self._longest = world, every, longest or every
        self._waiting: dict[int, tuple[Load, int, int]] = {}

    def arrive(self, load: Load) -> None:
        """Look at once."""
        self._waiting[load.number] = (load, self._world.second, self._every)

    def decide(self) -> Iterator[Load]:
        """Let every sensor look whose time it is."""
        second = self._world.second
        due_now = [each for each in self._waiting.values() if each[1] <= second]
        for load, _, pause in due_now:
            used = self._world.look()
            if used is not None and LIMIT - RESERVED - used >= load.need:
                del self._waiting[load.number]
                yield load
            else:
                self._waiting[load.number] = (load, second + pause, min(2 * pause, self._longest))

    def spending(self, load: Load) -> None:
        """Nobody asks."""

    def ended(self, load: Load) -> None:
        """Nobody keeps account of it."""

    def reading(self, used: int, source: str) -> None:
        """Nobody listens."""

    def would_open(self, room: int) -> Iterable[Load]:
        """Each by itself."""
        return [load for load, _, _ in self._waiting.values() if load.need <= room]


class Oracle:
    """Knows what is used and what every load has spent so far, and nothing of what is to come.

    :param beta: how much may pass a head that waits, as a share of its need; 0 is strictly first come, first served.
    """

    def __init__(self, world: World, beta: float) -> None:
        self._world, self._beta = world, beta
        self._queue: list[Load] = []
        self._running: dict[int, Load] = {}
        self._passed: dict[int, float] = {}

    def arrive(self, load: Load) -> None:
        """Join the queue."""
        self._queue.append(load)

    def decide(self) -> list[Load]:
        """Let in who has room; small ones may pass the first one that has none."""
        granted: list[Load] = []
        room = self._room(LIMIT - RESERVED - self._world.used)
        head: Load | None = None
        for load in self._queue:
            if load.need <= room and (
                head is None or self._passed.get(head.number, 0) + load.need <= self._beta * head.need
            ):
                if head is not None:
                    self._passed[head.number] = self._passed.get(head.number, 0) + load.need
                room -= load.need
                granted.append(load)
            elif head is None:
                head = load
                if not self._beta:
                    break
        if granted:
            taken = {load.number for load in granted}
            self._queue = [load for load in self._queue if load.number not in taken]
            self._running.update((load.number, load) for load in granted)
        return granted

    def spending(self, load: Load) -> None:
        """It knows."""

    def ended(self, load: Load) -> None:
        """What it has not spent is free again, at once; one that died gives it back after its lease at a gate."""
        del self._running[load.number]

    def reading(self, used: int, source: str) -> None:
        """It knows better."""

    def would_open(self, room: int) -> Iterable[Load]:
        """The first one."""
        return [load for load in self._queue[:1] if load.need <= self._room(room)]

    def _room(self, room: int) -> int:
        return room - sum(max(0, load.need - load.spent) for load in self._running.values())
