"""Real processes that start a step at the same moment: what one host's workers and triggerers are to a store."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from threading import Barrier
from types import TracebackType
from typing import Any, Self

PATIENCE = 120
"""Seconds after which a process that waits for the others gives up, so that a broken test ends."""

_line: Barrier


class Racers:
    """A number of processes (nothing of ours is inherited) that run one function each, released together."""

    def __init__(self, number: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.support.contenders"])
        self.number = number
        self._executor = ProcessPoolExecutor(number, context, _enter, (context.Barrier(number),))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._executor.shutdown()

    def race(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run ``function(*arguments[i])`` in process ``i``; every process begins when all are ready.

        :returns: the results in the order of the arguments; the first exception is raised here.
        """
        assert len(arguments) == self.number
        # A process that waits at the line takes no second task, so each gets exactly one.
        tasks = [self._executor.submit(_run, function, each) for each in arguments]
        return [task.result() for task in tasks]


def line_up() -> None:
    """Wait until all processes of the race are here; for functions that race in rounds."""
    _line.wait(PATIENCE)


def _enter(line: Barrier) -> None:
    global _line
    _line = line


def _run(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    line_up()
    try:
        return function(*arguments)
    except BaseException:
        _line.abort()
        raise
