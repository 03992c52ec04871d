"""Which org and which store a command is about."""

from __future__ import annotations

import re
from argparse import Namespace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_apiusage.cli.told import NotKnownError, UsageError
from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.hooks.store import configured_store, default_path, get_connection, open_engine
from airflow_provider_apiusage.salesforce.errors import ConfigurationError, Where
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.store.org_connections import OrgConnections

if TYPE_CHECKING:
    from sqlalchemy import Engine

_ORG_ID = re.compile(r"00D[A-Za-z0-9]{12}(?:[A-Za-z0-9]{3})?")


class StoredOrg(ApiUsageHook):
    """The hook of an org whose id is known already: what it tells from the store needs no connection and no login.

    :param org_id: the 15-character id.
    :param engine: of the store.
    """

    def __init__(self, org_id: str, engine: Engine, conn_id: str) -> None:
        super().__init__(conn_id, keep_readings=False)
        self._known_id = org_id
        self._known_engine = engine

    def get_org_id(self) -> str:
        """Return the id that was given."""
        return self._known_id

    @cached_property
    def _engine(self) -> Engine:
        return self._known_engine

    @cached_property
    def _session(self) -> MeteredSession:
        return MeteredSession(Where(self.conn_id, self._known_id))


class Subject:
    """What the arguments of a command name.

    :param args: with ``conn_id``, ``org`` and ``store_conn_id``.
    :raises UsageError: if ``--org`` is no org's id.
    """

    def __init__(self, args: Namespace) -> None:
        self.conn_id: str = getattr(args, "conn_id", "salesforce_default")
        self.store_conn_id: str | None = args.store_conn_id or None
        self._given = org_id_from(args.org)

    @cached_property
    def engine(self) -> Engine:
        """The store. The default one is not made by looking at it.

        :raises NotKnownError: if it does not exist yet.
        :raises StoreError: if it cannot be used.
        """
        path = default_path()
        if configured_store(self.store_conn_id) is None and not path.exists():
            raise NotKnownError(
                f"There is no store at {path} yet: nothing was read. Run 'airflow apiusage snapshot', or say where it "
                "is with --store-conn-id or [apiusage] store_conn_id."
            )
        return open_engine(self.store_conn_id)

    @cached_property
    def org_id(self) -> str:
        """The org: the one named, or the one that the connection led to last, or the one it leads to now.

        Only the last takes a login, which spends no call where it tells the org's id.
        """
        if self._given:
            return self._given
        connection = get_connection(self.conn_id, "the org")
        host = _host(connection.extra_dejson.get("instance_url"))
        for seen in OrgConnections(self.engine).all():
            known = _host(seen.instance_url)
            if seen.conn_id == self.conn_id and (not host or not known or host == known):
                return seen.org_id
        with self.hook() as hook:
            return hook.get_org_id()

    def hook(self, **options: Any) -> ApiUsageHook:
        """Return a hook that can ask the org."""
        return ApiUsageHook(self.conn_id, self.store_conn_id, **options)

    def stored(self) -> ApiUsageHook:
        """Return a hook that knows the org by the store alone."""
        return StoredOrg(self.org_id, self.engine, self.conn_id)

    def refresh(self, daily_report: str | None = None) -> int:
        """Take a snapshot and keep it.

        :returns: API calls spent.
        :raises ConfigurationError: if the connection leads to another org than the one named.
        """
        with self.hook() as hook:
            self.check(hook.get_org_id())
            hook.store.add(hook.take_snapshot(daily_report=daily_report))
            self.__dict__["org_id"] = hook.get_org_id()
            return hook.api_calls

    def check(self, org_id: str) -> None:
        """Compare where the connection leads with the org that was named.

        :raises ConfigurationError: if they differ.
        """
        if self._given and org_id != self._given:
            raise ConfigurationError(
                f"The connection leads to org {org_id}, not to {self._given}.",
                Where(self.conn_id, org_id),
                "Give the connection of that org with --conn-id, or leave --org out.",
            )


def org_id_from(text: str | None) -> str | None:
    """Read an org's id in either length; blank is none.

    :raises UsageError: if it is none.
    """
    if not text:
        return None
    if not _ORG_ID.fullmatch(text):
        raise UsageError(f"--org {text!r} is no org's id: those begin with 00D and have 15 or 18 characters.")
    return text[:15]


def _host(url: str | None) -> str:
    return urlsplit(url if url and "://" in url else f"//{url or ''}").netloc.lower()
