"""Where connections led, as far as this process has seen: for links, which must spend no call and read no store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """An org that a connection led to.

    :param org_id: its 15-character id; ``None`` if it is not known yet.
    :param instance_url: where it was reached; ``None`` likewise.
    """

    org_id: str | None = None
    instance_url: str | None = None


_seen: dict[str, Place] = {}


def remember(conn_id: str, *, org_id: str | None = None, instance_url: str | None = None) -> None:
    """Keep what has just been learnt of where a connection leads; what is ``None`` stays as it was."""
    before = _seen.get(conn_id, Place())
    _seen[conn_id] = Place(org_id or before.org_id, instance_url or before.instance_url)


def place_of(conn_id: str) -> Place:
    """Return where a connection led when this process used it last."""
    return _seen.get(conn_id, Place())
