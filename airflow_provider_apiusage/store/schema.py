"""The tables, on SQLite and PostgreSQL alike. The migrations make them; a test holds the two against each other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeDecorator, TypeEngine

LIVE = "state IN ('waiting', 'granted')"
METERED = "spent IS NOT NULL"
OPEN = "resolved_at IS NULL"


class Instant(TypeDecorator[datetime]):
    """An aware UTC ``datetime`` with microseconds; on SQLite ISO text of one width, so text order is time order."""

    impl = String(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use the database's own type where it has a right one."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(String(32))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse a naive instant; write the others as UTC.

        :raises ValueError: if the instant has no zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"An instant must be aware of its zone: {value!r}.")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read it back as UTC."""
        if value is None:
            return None
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)


Serial = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only where the type is exactly INTEGER."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

org = Table(
    "apiusage_org",
    metadata,
    Column("org_id", String(18), primary_key=True),
    Column("poll_claimed_until", Instant),
    Column("logs_listed_at", Instant),
    Column("logs_listed_since", Instant),
)

org_connection = Table(
    "apiusage_org_connection",
    metadata,
    Column("org_id", String(18), nullable=False),
    Column("conn_id", String(250), nullable=False),
    Column("instance_url", Text),
    Column("seen_at", Instant, nullable=False),
    PrimaryKeyConstraint("org_id", "conn_id"),
)

snapshot = Table(
    "apiusage_snapshot",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("org_id", String(18), nullable=False),
    Column("observed_at", Instant, nullable=False),
    Column("taken_by", String(1000)),
    Column("api_calls", Integer, nullable=False),
    Column("findings", JSON, nullable=False),
    UniqueConstraint("org_id", "taken_by"),
    Index(None, "org_id", "observed_at"),
)

reading = Table(
    "apiusage_reading",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("snapshot_id", Serial, ForeignKey("apiusage_snapshot.id", ondelete="CASCADE"), index=True),
    Column("org_id", String(18), nullable=False),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("source", String(20), nullable=False),
    Column("observed_at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("limit", BigInteger),
    Column("remaining", BigInteger),
    Column("used", BigInteger),
    # A Date header has whole seconds, so the org's instant alone does not tell two readings apart.
    UniqueConstraint("org_id", "name", "scope", "observed_at", "received_at", "source", name="uq_apiusage_reading"),
    Index(None, "org_id", "source", "received_at"),
)

daily_count = Table(
    "apiusage_daily_count",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("snapshot_id", Serial, ForeignKey("apiusage_snapshot.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("org_id", String(18), nullable=False),
    Column("day", Date, nullable=False),
    Column("user", Text),
    Column("calls", BigInteger, nullable=False),
    Column("coverage", String(10), nullable=False),
    Column("source", String(20), nullable=False),
    Column("observed_at", Instant, nullable=False),
    Index("ix_apiusage_daily_count_observation", "org_id", "day", "observed_at", "source", "snapshot_id"),
)

event_file = Table(
    "apiusage_event_file",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("org_id", String(18), nullable=False),
    Column("file_id", String(18), nullable=False),
    Column("interval", String(10), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("starts_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("length", BigInteger),
    Column("seen_at", Instant, nullable=False),
    Column("retry_at", Instant),
    Column("read_at", Instant),
    Column("rows", BigInteger),
    Column("repeated", BigInteger),
    Column("unread", BigInteger),
    Column("scheme", String(16)),
    Column("findings", JSON),
    UniqueConstraint("org_id", "file_id", "created_at"),
    Index(None, "org_id", "starts_at"),
)

caller = Table(
    "apiusage_caller",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("org_id", String(18), nullable=False),
    # Any part of a caller may be unknown, and a unique key holds no unknowns: this is a digest of all of them.
    Column("digest", String(64), nullable=False),
    Column("user", Text),
    Column("app", Text),
    Column("client", Text),
    Column("family", Text),
    Column("resource", Text),
    Column("counted", Boolean),
    Column("user_name", Text),
    Column("app_name", Text),
    UniqueConstraint("org_id", "digest"),
)

event_part = Table(
    "apiusage_event_part",
    metadata,
    Column("event_file_id", Serial, ForeignKey("apiusage_event_file.id", ondelete="CASCADE"), nullable=False),
    Column("org_id", String(18), nullable=False),
    Column("starts_at", Instant, nullable=False),
    Column("caller_id", Serial, ForeignKey("apiusage_caller.id"), nullable=False, index=True),
    Column("told_apart", BigInteger, nullable=False),
    Column("nameless", BigInteger, nullable=False),
    Column("fingerprints", LargeBinary, nullable=False),
    PrimaryKeyConstraint("event_file_id", "starts_at", "caller_id"),
    Index(None, "org_id", "starts_at"),
)

hourly_count = Table(
    "apiusage_hourly_count",
    metadata,
    Column("org_id", String(18), nullable=False),
    Column("starts_at", Instant, nullable=False),
    Column("caller_id", Serial, ForeignKey("apiusage_caller.id"), nullable=False, index=True),
    Column("calls", BigInteger, nullable=False),
    PrimaryKeyConstraint("org_id", "starts_at", "caller_id"),
)

reconciliation = Table(
    "apiusage_reconciliation",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("org_id", String(18), nullable=False),
    Column("at", Instant, nullable=False),
    Column("consistent", Boolean),
    Column("body", JSON, nullable=False),
    Index(None, "org_id", "at"),
)

lease = Table(
    "apiusage_lease",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("reservation_id", String(36), nullable=False, unique=True),
    Column("org_id", String(18), nullable=False),
    Column("dag_id", String(250), nullable=False),
    Column("run_id", String(250), nullable=False),
    Column("task_id", String(250), nullable=False),
    Column("map_index", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("needs", JSON, nullable=False),
    Column("reserve_calls", JSON, nullable=False),
    Column("reserve_share", Float, nullable=False),
    Column("lease_seconds", Float, nullable=False),
    Column("max_age_seconds", Float, nullable=False),
    Column("on_unknown", String(10), nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("granted_at", Instant),
    Column("held_until", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("held", JSON(none_as_null=True)),  # what is held now, where that is not what was asked for
    Column("spent", JSON(none_as_null=True)),
    Column("draws", JSON(none_as_null=True)),
    Column("estimate", JSON(none_as_null=True)),
    Index(
        "uq_apiusage_lease_live_holder",
        "org_id", "dag_id", "run_id", "task_id", "map_index",
        unique=True,
        sqlite_where=text(LIVE),
        postgresql_where=text(LIVE),
    ),
    Index(None, "org_id", "state"),
    Index(None, "org_id", "ended_at"),
    Index(None, "dag_id", "requested_at"),
    Index(
        "ix_apiusage_lease_metered",
        "org_id", "dag_id", "task_id", "ended_at",
        sqlite_where=text(METERED),
        postgresql_where=text(METERED),
    ),
)  # fmt: skip

decision = Table(
    "apiusage_decision",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("org_id", String(18), nullable=False),
    Column("reservation_id", String(36), nullable=False),
    Column("decided_at", Instant, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("figures", JSON, nullable=False),
    Index(None, "org_id", "decided_at"),
    Index(None, "reservation_id", "id"),
)

alert = Table(
    "apiusage_alert",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("org_id", String(18), nullable=False),
    Column("scope", String(600), nullable=False),
    Column("rule", String(250), nullable=False),
    Column("limit_name", Text, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("resolved_at", Instant),
    Column("due_at", Instant),
    Column("claimed_until", Instant),
    Column("finished_at", Instant),
    Column("opened", JSON, nullable=False),
    Column("resolved", JSON(none_as_null=True)),
    Column("told", JSON, nullable=False),
    # One alert of a rule is open at a time, whoever evaluates it.
    Index(
        "uq_apiusage_alert_open",
        "org_id", "scope", "rule",
        unique=True,
        sqlite_where=text(OPEN),
        postgresql_where=text(OPEN),
    ),
    Index(None, "org_id", "scope", "finished_at"),
    Index(None, "org_id", "resolved_at"),
)  # fmt: skip

alert_watch = Table(
    "apiusage_alert_watch",
    metadata,
    Column("org_id", String(18), nullable=False),
    Column("scope", String(600), nullable=False),
    Column("evidence_at", Instant, nullable=False),
    PrimaryKeyConstraint("org_id", "scope"),
)
