"""An Airflow connection of type ``salesforce`` as one metered session, one org, and the store beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.providers.salesforce.hooks.salesforce import SalesforceHook
from airflow.sdk.log import mask_secret

from airflow_provider_apiusage.hooks.free_readings import interval_from, keep_place, listener_for, session_heard_by
from airflow_provider_apiusage.hooks.once import once
from airflow_provider_apiusage.hooks.store import configured_store, engine_of, get_connection, no_connection
from airflow_provider_apiusage.salesforce.credentials import Credentials, credentials_from
from airflow_provider_apiusage.salesforce.errors import Where
from airflow_provider_apiusage.salesforce.header_readings import HeaderReadings
from airflow_provider_apiusage.salesforce.login import Login, log_in
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.places import remember
from airflow_provider_apiusage.salesforce.session import CLIENT_NAME, MeteredSession
from airflow_provider_apiusage.usage.model import Finding, Severity

if TYPE_CHECKING:
    from requests import Session
    from simple_salesforce.api import Salesforce


class MeteredSalesforceHook(SalesforceHook):
    """The official Salesforce hook over a metered session.

    ``conn`` is the same simple-salesforce client as the official hook's, so loads can run through it; every response
    it gets is metered, and what it says about the allowance is kept in the store for no call
    (``docs/free-readings.md``); :meth:`close`, or using the hook in a ``with`` block, keeps the last of it.

    :param salesforce_conn_id: the Airflow connection; ``docs/connections.md`` lists which fields choose which login.
    :param store_conn_id: where readings and reservations are kept; default ``[apiusage] store_conn_id``, else a
        SQLite file under ``AIRFLOW_HOME``.
    :param session_id: an access token to use instead of the connection's credentials.
    :param session: a session whose proxies, TLS settings and headers are taken over.
    :param timeout: connect and read time-outs in seconds.
    :param retries: repeats of an idempotent request after 5xx, 420 or a broken connection.
    :param client_name: the name under which our calls show in the org's event logs.
    :param keep_readings: whether answers to any call are kept as readings: once a minute and when it matters, as often
        as a ``timedelta`` says, or never (``False``).
    """

    def __init__(
        self,
        salesforce_conn_id: str = SalesforceHook.default_conn_name,
        store_conn_id: str | None = None,
        session_id: str | None = None,
        session: Session | None = None,
        *,
        timeout: tuple[float, float] = (10.0, 60.0),
        retries: int = 3,
        client_name: str = CLIENT_NAME,
        keep_readings: bool | timedelta = True,
    ) -> None:
        super().__init__(salesforce_conn_id=salesforce_conn_id, session_id=session_id, session=session)
        self.store_conn_id = store_conn_id
        self._timeout = timeout
        self._retries = retries
        self._client_name = client_name
        self._keep_every = interval_from(keep_readings)
        self._connections: dict[str, Any] = {}
        self._org_seen: str | None = None
        self._place_kept = False

    def close(self) -> None:
        """Keep the last reading (waits for it 5 seconds at most) and close the connections to the org."""
        if "_session" in self.__dict__:
            self._session.close()

    def __enter__(self) -> Self:
        """Return the hook, to be closed at the end of the block."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Close the hook."""
        self.close()

    @property
    def api_calls(self) -> int:
        """API calls this hook has spent so far, retries and failures included."""
        return self._session.calls if "_session" in self.__dict__ else 0

    async def prepare(self) -> None:
        """Look both connections up without blocking; a trigger does this before it uses the hook in a thread.

        :raises ConfigurationError: if there is none of that name.
        """
        from airflow.providers.common.compat.connection import get_async_connection

        wanted = {self.conn_id: "the org", configured_store(self.store_conn_id): "the store"}
        for conn_id, what in wanted.items():
            if conn_id is not None:
                try:
                    self._connections[conn_id] = await get_async_connection(conn_id)
                except AirflowNotFoundException:
                    raise no_connection(conn_id, what) from None

    @once
    def conn(self) -> Salesforce:
        """The simple-salesforce client over the metered session. Logging in costs no call of the allowance."""
        from simple_salesforce.api import Salesforce

        return Salesforce(
            session_id=self._login.token,
            instance_url=self._login.instance_url,
            version=self._credentials.version,
            session=self._session,
            domain=self._credentials.domain,
        )

    def get_conn(self) -> Salesforce:
        """Return :attr:`conn`."""
        return self.conn

    def metered_session(self, org_id: str | None = None) -> Session:
        """Return a session for code that logs in by itself, such as ``SalesforceHook(session=...)``; spends no call.

        It has the proxies of the connection, and our time-outs and retries; its answers are kept as readings.

        :param org_id: the org's 15-character id. Needed only where access tokens do not begin with it; without it
            the readings of such an org cannot be kept.
        """
        if org_id is not None and self._readings is not None:
            self._readings.org_is(org_id[:15])
        return self._session

    def get_org_id(self) -> str:
        """Return the org's 15-character id; free where the token tells it, one call otherwise."""
        org_id = self._org.org_id()
        if self._readings is not None:
            self._readings.org_is(org_id)
        self._org_seen = org_id
        remember(self.conn_id, org_id=org_id)
        if "_engine" in self.__dict__:
            self._keep_place(self._engine)
        return org_id

    @once
    def _engine(self) -> Any:
        engine = engine_of(self._store_connection())
        self._keep_place(engine)
        return engine

    def _keep_place(self, engine: Any) -> None:
        """Let the store know once which org this connection leads to, as soon as both are there."""
        org_id = self._org_seen
        if org_id is not None and not self._place_kept:
            self._place_kept = True
            keep_place(engine, org_id, self.conn_id)

    @once
    def _readings(self) -> HeaderReadings | None:
        if self._keep_every is None:
            return None
        return listener_for(self._store_connection, self._keep_every, self.conn_id)

    def _store_connection(self) -> Any | None:
        store_conn_id = configured_store(self.store_conn_id)
        return self._connection(store_conn_id, "the store") if store_conn_id else None

    def _connection(self, conn_id: str, what: str) -> Any:
        if conn_id not in self._connections:
            self._connections[conn_id] = get_connection(conn_id, what)
        return self._connections[conn_id]

    @once
    def _credentials(self) -> Credentials:
        connection = self._connection(self.conn_id, "the org")
        return credentials_from(
            login=connection.login,
            password=connection.password,
            extras=connection.extra_dejson,
            where=Where(self.conn_id),
            session_id=self.session_id,
        )

    @once
    def _session(self) -> MeteredSession:
        where = Where(self.conn_id, self._credentials.instance_url or "org not known yet")
        session = session_heard_by(
            self._readings, where, timeout=self._timeout, retries=self._retries, client_name=self._client_name
        )
        if self.session is not None:
            session.adopt(self.session)
        if self._credentials.proxies:
            session.proxies = dict(self._credentials.proxies)
        return session

    @once
    def _login(self) -> Login:
        login = log_in(self._credentials, self._session, self._session.where)
        mask_secret(login.token)
        remember(self.conn_id, instance_url=login.instance_url)
        if self._readings is not None:
            self._readings.host_is(urlsplit(login.instance_url).netloc)
        self._session.authorize(login.token, self._log_in_again if self._credentials.renewable else None)
        return login

    def _log_in_again(self) -> str:
        self.log.info("The org no longer accepts the token of connection %s; logging in again.", self.conn_id)
        login = log_in(self._credentials, self._session, self._session.where, renew=True)
        mask_secret(login.token)
        if "conn" in self.__dict__:
            self.conn.session_id = login.token
            self.conn.headers["Authorization"] = f"Bearer {login.token}"
        return login.token

    @once
    def _org(self) -> OrgClient:
        login = self._login
        where = Where(self.conn_id, login.instance_url)
        self._session.where = where
        return OrgClient(
            self._session,
            instance_url=login.instance_url,
            token=login.token,
            version=self._credentials.version,
            where=where,
        )

    def _tell(self, findings: tuple[Finding, ...]) -> None:
        levels = {Severity.INFO: self.log.info, Severity.WARNING: self.log.warning, Severity.ERROR: self.log.error}
        for finding in findings:
            levels[finding.severity]("%s: %s", finding.code, finding.message)
