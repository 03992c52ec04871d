"""Instants and severities as DAG authors write them."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_apiusage.usage.model import Severity


def instant(field: str, value: str | datetime | None) -> datetime | None:
    """Read an instant as aware UTC; one without a zone is taken as UTC.

    :param field: its name, for the message.
    :param value: ISO text, a ``datetime``, or blank for none.
    :raises ValueError: if the text is no instant; says which.
    """
    if not value:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{field}={value!r} is no ISO instant; write it like 2026-10-07T14:30:00+00:00.") from None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def severity(field: str, value: str | Severity | None) -> Severity | None:
    """Read a severity; blank is none.

    :param field: its name, for the message.
    :param value: ``info``, ``warning`` or ``error``.
    :raises ValueError: if it is none of these; says which.
    """
    if not value:
        return None
    try:
        return Severity(str(value).strip().lower())
    except ValueError:
        raise ValueError(f"{field}={value!r} is no severity; write one of {', '.join(Severity)}.") from None
