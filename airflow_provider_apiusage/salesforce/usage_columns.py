"""What both readers of the 7-day report share: which columns matter, and rows into daily counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from airflow_provider_apiusage.usage.model import Coverage, DailyCount, Finding, Severity
from airflow_provider_apiusage.usage.window import utc_day

OLDEST_DAY = timedelta(days=8)
"""How long before the report was read a day can lie: seven days, and one for an org not in UTC."""

_LABELS = {
    "date": """date day datum tag fecha día dia data giorno jour dag dato dátum дата tarih päivä
        日付 日 日期 날짜""",
    "user": """user username benutzer benutzername usuario usuário utilisateur utente gebruiker användare
        bruger bruker käyttäjä kullanıcı пользователь użytkownik ユーザー ユーザ ユーザー名 ユーザ名
        用户 用户名 使用者 사용자""",
    "count": """calls call requests request count aufrufe aufruf anfragen anforderungen llamadas solicitudes
        appels requêtes demandes chamadas solicitações chiamate richieste aanroepen anrop kald kall вызовы
        запросы çağrılar コール数 コール 呼び出し数 呼び出し 要求数 调用 调用次数 请求数 呼叫
        호출 호출수 요청""",
}
_HINTS = {role: frozenset(words.split()) for role, words in _LABELS.items()}
"""Words in labels, in the languages of common exports; a hint only, used where types leave a choice."""


class Kind(StrEnum):
    """What a column holds."""

    DATE = "date"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a report: its API name (the label, in a CSV), its label and what it holds."""

    name: str
    label: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.label!r} ({self.kind.value})" if self.label == self.name else f"{self.label!r} ({self.name})"


@dataclass(frozen=True, slots=True)
class DailyUsage:
    """Daily counts of one report, and what was odd about it.

    :param counts: one per day and user, ordered; empty if the report was refused.
    :param findings: an ``error`` among them says why a report was refused or what is missing from it.
    """

    counts: tuple[DailyCount, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Positions of the columns that matter; ``user`` is ``None`` if the report does not tell."""

    date: int
    count: int
    user: int | None


def refused(code: str, message: str, **figures: object) -> DailyUsage:
    """Return no counts and the one error that says why."""
    return DailyUsage((), (Finding(code, Severity.ERROR, message, figures),))


def choose(
    columns: Sequence[Column], date_column: str | None, user_column: str | None, count_column: str | None
) -> Choice | Finding:
    """Find the columns of day, user and calls: those named, else the only one of its kind, else by label.

    :param columns: in the order of the cells.
    :param date_column: name or label given by the user, as are ``user_column`` and ``count_column``.
    :return: an error finding if a column named is not there, none fits, or several fit equally well.
    """
    chosen: dict[str, int | None] = {}
    for role, named, kind in (
        ("date", date_column, Kind.DATE),
        ("count", count_column, Kind.NUMBER),
        ("user", user_column, None),
    ):
        if named:
            wanted = named.strip().casefold()
            fitting = [i for i, c in enumerate(columns) if wanted in (c.name.casefold(), c.label.casefold())]
            if not fitting:
                return _finding("column-not-found", f"There is no column {named!r}", role, columns)
        else:
            # Names of users may look like numbers or days, so only the label tells them.
            fitting = [
                i for i, c in enumerate(columns) if (role == "user" or c.kind is kind) and i not in chosen.values()
            ]
            hinted = [i for i in fitting if _hinted(role, columns[i].label)]
            if role == "user":
                exact = [i for i in hinted if columns[i].label.casefold() in _HINTS[role]]
                fitting = (exact or hinted)[:1]
            elif len(fitting) > 1:
                fitting = hinted
            if len(fitting) > 1:
                return _finding("columns-ambiguous", f"Several columns may be the {role}", role, columns)
            if not fitting and role != "user":
                return _finding("columns-unknown", f"No column is recognised as the {role}", role, columns)
        chosen[role] = fitting[0] if fitting else None
    day, calls = chosen["date"], chosen["count"]
    assert day is not None
    assert calls is not None
    return Choice(day, calls, chosen["user"])


def kind_by_label(label: str) -> Kind:
    """Return what a column most likely holds, for one without any cell to tell it."""
    return Kind.DATE if _hinted("date", label) else Kind.NUMBER if _hinted("count", label) else Kind.TEXT


def _hinted(role: str, label: str) -> bool:
    return not _HINTS[role].isdisjoint(re.findall(r"\w+", label.casefold()))


def _finding(code: str, what: str, role: str, columns: Sequence[Column]) -> Finding:
    seen = ", ".join(str(column) for column in columns) or "none"
    return Finding(
        code,
        Severity.ERROR,
        f"{what}. Columns seen: {seen}. Name the right one as `{role}_column`.",
        {"columns": [column.label for column in columns]},
    )


@dataclass(slots=True)
class Collector:
    """Adds up rows by day and user, and remembers what did not fit."""

    calls: dict[tuple[date, str | None], int] = field(default_factory=dict)
    without_day: list[str] = field(default_factory=list)
    without_calls: list[str] = field(default_factory=list)

    def add(self, where: str, day: date | None, user: str | None, calls: int | None) -> None:
        """Add one row; several rows of one user and day are several clients of that user.

        :param where: names the row in a finding.
        :param day: ``None`` if the row has no readable day.
        :param calls: ``None`` or negative if the row has no readable count.
        """
        if day is None:
            self.without_day.append(where)
        elif calls is None or calls < 0:
            self.without_calls.append(where)
        else:
            self.calls[day, user] = self.calls.get((day, user), 0) + calls

    def usage(
        self,
        findings: Sequence[Finding],
        *,
        org_id: str,
        observed_at: datetime,
        coverage: Coverage,
        source: str,
    ) -> DailyUsage:
        """Return the counts, ordered by day and user, with findings about rows left out and odd days."""
        found = list(findings)
        for code, what, rows in (
            ("row-without-day", "day", self.without_day),
            ("row-without-calls", "number of calls", self.without_calls),
        ):
            if rows:
                some = "; ".join(rows[:3]) + ("; ..." if len(rows) > 3 else "")
                found.append(
                    Finding(
                        code,
                        Severity.WARNING,
                        f"{len(rows):,} rows have no readable {what} and are left out: {some}. The days "
                        "they belong to may be counted too low.",
                        {"rows": len(rows)},
                    )
                )
        today = utc_day(observed_at)
        odd = sorted({d for d, _ in self.calls if not today - OLDEST_DAY <= d <= today + timedelta(days=1)})
        if odd:
            found.append(
                Finding(
                    "days-outside-report",
                    Severity.WARNING,
                    f"The report has {', '.join(map(str, odd[:3]))}{', ...' if len(odd) > 3 else ''}, but "
                    f"one of the last 7 days read on {today} has none of that: an old file, or days in "
                    "another format.",
                    {"days": [day.isoformat() for day in odd]},
                )
            )
        counts = tuple(
            DailyCount(org_id, day, user, calls, coverage, source, observed_at)
            for (day, user), calls in sorted(self.calls.items(), key=lambda i: (i[0][0], i[0][1] or ""))
        )
        return DailyUsage(counts, tuple(found))
