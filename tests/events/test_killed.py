"""A task that is killed at any point leaves whole files or none, and its next try loses and doubles nothing."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tests.events.conftest import START, World, told_by, truth_of

SCRIPT = Path(__file__).with_name("reading_process.py")
ROOT = Path(__file__).parents[2]
KILLS = 8


def test_reading_that_is_killed_again_and_again_ends_with_the_truth(world: Callable[..., World]) -> None:
    """Killed eight times, at any moment from its beginning: after each, every hour is whole or empty."""
    here = world(calls_per_day=20_000, event_log_hourly_first_share=1.0)
    here.pass_time(hours=26)
    token = here.server.connection("access_token")["extra"]["access_token"]
    command = [sys.executable, str(SCRIPT), here.server.url, token, str(here.folder)]
    since, until = START, START + timedelta(hours=23)
    truth = truth_of(here.org, since, until)
    moments = random.Random(7)
    progress = []

    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "reading\n"
            try:
                process.wait(moments.uniform(0, 0.5))
            except subprocess.TimeoutExpired:
                process.kill()
        told = told_by(here.usage(since, until))
        hours = {hour for hour, _ in told}
        assert told == {key: calls for key, calls in truth.items() if key[0] in hours}
        progress.append(len(hours))
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)

    assert len(set(progress)) > 1, progress  # it was killed in the midst of it, and went on where it was
    assert done.stdout.split()[-1] == "0"
    assert told_by(here.usage(since, until)) == truth
