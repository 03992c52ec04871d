"""What a command says: tables and sentences for people, JSON for programs, an exit code for scripts."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from typing import Any, cast

from airflow_provider_apiusage.reporting.words import clean
from airflow_provider_apiusage.salesforce.errors import ApiUsageError
from airflow_provider_apiusage.store.errors import StoreError
from airflow_provider_apiusage.usage.window import iso_utc

FINE, ERROR, USAGE, NO = 0, 1, 2, 3
"""Exit codes: done; it could not be done; it was asked wrongly; it was done, and the answer is no."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for a person.

    :param columns: their headings.
    :param rows: as many cells each.
    :param title: above it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """The outcome of a command.

    :param data: JSON-safe; its keys are documented and only grow.
    :param lines: the same for a person.
    :param code: one of the exit codes above.
    """

    data: Mapping[str, Any]
    lines: Sequence[str | Table] = field(default_factory=list)
    code: int = FINE


class UsageError(Exception):
    """A command was asked for what makes no sense; the message says what would."""


class NotKnownError(Exception):
    """What was asked for is not in the store; the message says how it gets there."""


def command(work: Callable[[Namespace], Told]) -> Callable[[Namespace], None]:
    """Make a command of a function: print what it tells, and end with its exit code.

    An error that was to be expected is one sentence on standard error, and nothing on standard output.
    """

    @wraps(work)
    def run(args: Namespace) -> None:
        from airflow.utils.cli import suppress_logs_and_warning

        told: list[Told] = []
        try:
            # Airflow writes logs to standard output, where they would spoil the JSON; --verbose lets them.
            suppress_logs_and_warning(lambda args: told.append(work(args)))(args)
        except (UsageError, ValueError) as wrong:
            _fail(str(wrong), USAGE)
        except (ApiUsageError, StoreError, NotKnownError) as failed:
            _fail(str(failed), ERROR)
        except OSError as failed:  # a report that cannot be written
            _fail(f"{type(failed).__name__}: {failed}", ERROR)
        _show(told[0], args.output)
        if told[0].code:
            raise SystemExit(told[0].code)

    return run


def _fail(sentence: str, code: int) -> None:
    sys.stderr.write(f"airflow apiusage: {clean(sentence, most=None)}\n")
    raise SystemExit(code)


def _show(told: Told, output: str) -> None:
    if output == "json":
        sys.stdout.write(json.dumps(told.data, indent=2) + "\n")
        return
    from airflow.cli import simple_table
    from rich.text import Text

    console, make_table = simple_table.AirflowConsole(), cast("Any", simple_table.SimpleTable)
    for line in told.lines:
        if isinstance(line, str):
            console.print(Text(line), soft_wrap=True)
        elif line.rows:
            table = make_table(title=line.title or None, show_header=True)
            for column in line.columns:
                table.add_column(column, overflow="fold")
            for row in line.rows:
                table.add_row(*(Text(clean(cell, most=None)) for cell in row))
            console.print(table)


def when(instant: datetime | None) -> str:
    """Return an instant for a person: ``2026-10-07 14:30:00 UTC``, or ``unknown``."""
    return "unknown" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(instant: datetime | None) -> str | None:
    """Return an instant for a program: ``2026-10-07T14:30:00Z``, or ``None``."""
    return None if instant is None else iso_utc(instant)


def counts(needs: Mapping[str, int] | None) -> str:
    """Return calls by limit name: ``5,000 DailyApiRequests, 3 DailyBulkApiBatches``; ``unknown`` for ``None``."""
    if needs is None:
        return "unknown"
    return ", ".join(f"{calls:,} {name}" for name, calls in needs.items()) or "nothing"
