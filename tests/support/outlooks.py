"""Outlooks as a test wants them: straight lines, steps, or anything Hypothesis thinks of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import accumulate

from hypothesis import strategies as st

from airflow_provider_apiusage.quota.outlook import STEP, Outlook
from tests.support.quota import NOW

POINTS = 116
"""Quarter hours of an outlook: the hour before its instant, and 28 hours."""


def outlook(
    at: datetime = NOW,
    *,
    new: Callable[[float], float] = lambda _hours: 0.0,
    gone: Callable[[float], float] = lambda _hours: 0.0,
    margin: Callable[[float], float] = lambda _hours: 0.0,
    bucket: int = 0,
) -> Outlook:
    """Return an outlook whose curves are functions of the hours since its instant."""
    first = (int(at.timestamp()) - 3600) // STEP * STEP
    hours = [(first + n * STEP - at.timestamp()) / 3600 for n in range(POINTS)]
    return Outlook(
        at, first, [new(h) for h in hours], [margin(h) for h in hours], [gone(h) for h in hours], bucket
    )  # fmt: skip


@st.composite
def outlooks(draw: st.DrawFn, *, most: int = 30) -> Outlook:
    """Any outlook of a small org: calls come and leave in any order, and the margin is any."""
    steps = st.lists(st.integers(0, 3), min_size=POINTS, max_size=POINTS)
    new = [min(most, made) for made in accumulate(draw(steps))]
    gone = [min(most, made) for made in accumulate(draw(steps))]
    margin = [draw(st.integers(0, 5))] * POINTS
    first = int(NOW.timestamp()) // STEP * STEP
    return Outlook(NOW, first, new, margin, gone, draw(st.sampled_from([0, 900, 3600])))
