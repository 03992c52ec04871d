"""What can be set about the sandbox org, at start and while it runs."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

LimitHeader = Literal["plain", "per_app", "api_bursts", "all", "reordered", "absent", "empty", "garbage"]
ReportShape = Literal["TABULAR", "SUMMARY", "MATRIX"]
ReportLocale = Literal["en_US", "en_GB", "de_DE", "es_ES", "fr_FR", "ja_JP", "nl_NL", "pt_BR", "sv_SE"]
ObjectAccess = Literal["granted", "denied", "no_object", "no_field"]
CountedStyle = Literal["1/0", "true/false", "TRUE/FALSE", "blank", "mixed"]
EventLogStyle = Literal["quoted", "spaced", "unquoted", "reordered", "extra", "missing"]


@dataclass(frozen=True, slots=True)
class OrgSettings:
    """Settings of the org; every one can be changed while it runs (control port, ``POST /config``).

    Allocation: ``limit`` (calls in 24 hours), ``hard_limit`` (``None``: the same as ``limit``, as in Salesforce
    sandboxes and Developer Edition), ``expiry_bucket_minutes`` (0: exact), ``staleness_seconds`` (the reported
    figure is refreshed only so often; enforcement is not), ``remaining_when_over`` (what ``/limits`` says beyond
    the limit), ``limits_when_exhausted`` (whether ``/limits`` still answers).

    What was sold: ``edition``, ``is_sandbox``, ``trial_expires_at`` (ISO 8601), ``licences`` (by key, how many; or an
    object of ``UserLicense`` fields), ``monthly_entitlement`` (``blank``: no amount used; ``renewed``: between one that
    has ended and one to come). ``*_access`` lets a query see the object, or says why not.

    Header: ``limit_header`` picks a documented form of ``Sforce-Limit-Info``; ``limit_header_text`` replaces it
    and may use ``{used}`` and ``{limit}``.

    Usage report: ``report_families`` (API families it counts; empty: all), ``report_columns`` (API names of its
    columns), ``report_row_cap`` (detail rows before it is truncated), ``report_polls`` (status reads before an
    asynchronous run ends), ``report_sync`` (whether it can be run at once), ``report_filters`` (what becomes of
    filters that a run asks for), ``report_date_range`` (whether it has a date range of its own),
    ``report_saved_filters`` (its own ``reportFilters`` and ``reportBooleanFilter``).

    Event log files: lags are from the end of the hour or day; ``*_first_share`` is the share of rows in the
    first file, the rest follows in later sequences (hourly; ``event_log_sequences`` with the first) or in a fuller file
    that replaces it (daily). ``event_log_repeat_share`` of the rows of earlier sequences comes again in a later one,
    ``event_log_repeat_within`` of a file's rows twice in it, ``event_log_stray_share`` of an hour's rows in the files
    of the next hour instead. ``event_log_malformed_every`` so many rows comes one that is no call; every
    ``event_log_nul_every``-th call has a NUL byte. ``event_log_vanish`` is how many downloads find the file gone.

    Queryable event log: ``event_log_object`` (``rows``: ``GROUP BY`` and ``COUNT(field)`` are refused), how late its
    rows are and for how many days they stay.

    Queries: ``query_page_size`` (records a page), ``aggregate_overflow`` (what becomes of more than 2,000 groups:
    the query is refused, or the next page, or the rest is left out without a word).
    """

    limit: int = 100_000
    hard_limit: int | None = None
    expiry_bucket_minutes: int = 0
    staleness_seconds: int = 0
    remaining_when_over: Literal["zero", "negative"] = "zero"
    limits_when_exhausted: Literal["refused", "answered"] = "refused"
    limits_access: Literal["granted", "no_storage", "denied"] = "granted"
    limits_app_children: bool = True
    limit_overrides: Mapping[str, Any] | None = None
    bulk_batch_limit: int = 15_000
    bulk_query_job_limit: int = 10_000
    bulk_query_storage_limit_megabytes: int = 976_562
    monthly_limit: int | None = None

    edition: str | None = "Developer Edition"
    is_sandbox: bool | None = True
    trial_expires_at: str | None = None
    licences: Mapping[str, Any] | None = None
    monthly_entitlement: Literal["present", "blank", "absent", "renewed"] = "present"
    organization_access: ObjectAccess = "granted"
    licence_access: ObjectAccess = "granted"
    entitlement_access: ObjectAccess = "granted"

    limit_header: LimitHeader = "plain"
    limit_header_text: str | None = None
    limit_header_on_errors: bool = True
    limit_header_on_bulk_1: bool = False
    limit_header_on_bulk_2: bool = True
    per_app_name: str = "A; B (x)=y"
    per_app_limit: int = 250

    calls_per_day: int = 0

    oldest_soap_login_refused: int = 65
    session_id_style: Literal["org_id", "opaque"] = "org_id"
    password_flow_enabled: bool = True

    report_id: str = "00OAA0000000001"
    report_shape: ReportShape = "SUMMARY"
    report_families: tuple[str, ...] = ("SOAP",)
    report_locale: ReportLocale = "en_US"
    report_access: Literal["granted", "denied"] = "granted"
    report_columns: tuple[str, str, str, str] = ("APIU_DAY", "APIU_USER", "APIU_CLIENT", "APIU_CALLS")
    report_count_type: Literal["int", "double"] = "int"
    report_row_cap: int = 2_000
    report_polls: int = 1
    report_sync: Literal["granted", "timeout", "limit"] = "granted"
    report_filters: Literal["honoured", "refused", "ignored"] = "honoured"
    report_date_range: bool = False
    report_saved_filters: Mapping[str, Any] | None = None
    report_export: Literal["csv", "login_page"] = "csv"

    event_log_access: bool = True
    event_log_hourly: bool = True
    event_log_hourly_lag_minutes: int = 120
    event_log_hourly_first_share: float = 0.95
    event_log_hourly_late_minutes: int = 60
    event_log_sequences: int = 2
    event_log_repeat_share: float = 0.0
    event_log_repeat_within: float = 0.0
    event_log_stray_share: float = 0.0
    event_log_stray_daily: bool = False
    event_log_daily_lag_hours: int = 6
    event_log_daily_first_share: float = 1.0
    event_log_daily_replaced_hours: int = 30
    event_log_daily_same_id: bool = False
    event_log_empty_files: bool = False
    event_log_retention_days: int = 1
    event_log_vanish: int = 0
    event_log_counted_style: CountedStyle = "1/0"
    event_log_style: EventLogStyle = "quoted"
    event_log_ids: Literal["15", "18", "mixed"] = "15"
    event_log_malformed_every: int = 0
    event_log_nul_every: int = 0
    event_log_length: Literal["true", "overstated", "understated"] = "true"
    event_log_gzip: bool = True
    event_log_ranges: bool = False
    event_log_object: Literal["grouped", "rows", "absent"] = "grouped"
    event_log_object_lag_minutes: int = 5
    event_log_object_days: int = 30

    bulk_polls: int = 0
    query_page_size: int = 2_000
    aggregate_overflow: Literal["refused", "paged", "cut"] = "refused"

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value = getattr(self, field.name)
            if not _fits(value, hints[field.name]):
                raise ValueError(f"{field.name} cannot be {value!r}")
        if self.limit < 0 or self.staleness_seconds < 0 or self.calls_per_day < 0:
            raise ValueError("limit, staleness_seconds and calls_per_day must not be negative")
        if not 0 <= self.expiry_bucket_minutes <= 24 * 60:
            raise ValueError("expiry_bucket_minutes must be between 0 and 1440")
        if self.hard_limit is not None and self.hard_limit < 0:
            raise ValueError("hard_limit must not be negative")
        if self.query_page_size < 1 or self.report_row_cap < 1:
            raise ValueError("query_page_size and report_row_cap must be positive")
        for name in ("hourly_first", "daily_first", "repeat", "stray"):
            if not 0 <= getattr(self, f"event_log_{name}_share") <= 1:
                raise ValueError(f"event_log_{name}_share must be between 0 and 1")
        if not 0 <= self.event_log_repeat_within <= 1 or not 1 <= self.event_log_sequences <= 9:
            raise ValueError("event_log_repeat_within must be between 0 and 1, event_log_sequences between 1 and 9")
        if min(self.event_log_vanish, self.event_log_malformed_every, self.event_log_nul_every) < 0:
            raise ValueError("event_log_vanish, event_log_malformed_every and event_log_nul_every must not be negative")

    @property
    def cap(self) -> int:
        """Calls in the window beyond which the org refuses."""
        return self.limit if self.hard_limit is None else self.hard_limit

    @property
    def bucket_seconds(self) -> int:
        """Seconds in a bucket of expiry; 1 is exact."""
        return self.expiry_bucket_minutes * 60 or 1

    def changed(self, changes: Mapping[str, Any]) -> OrgSettings:
        """Return these settings with ``changes`` applied; lists become tuples.

        :raises ValueError: if a name is unknown or a value does not fit.
        """
        known = {field.name for field in fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise ValueError(f"no such setting: {', '.join(unknown)}")
        tidy: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()
        }
        return replace(self, **tidy)

    def as_dict(self) -> dict[str, Any]:
        """Return every setting by name, ready for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            return False
        return arguments[-1] is Ellipsis or len(value) == len(arguments)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)
