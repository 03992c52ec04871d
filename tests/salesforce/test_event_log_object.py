"""The queryable object read from the sandbox org: call for call what the org counted, for calls counted exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    MalformedAnswerError,
    UnavailableError,
    Where,
)
from airflow_provider_apiusage.salesforce.event_log_object import ObjectUsage, read_hourly_from_object
from airflow_provider_apiusage.salesforce.org import OrgClient
from airflow_provider_apiusage.salesforce.session import MeteredSession
from airflow_provider_apiusage.sandbox import Fault, OrgSettings, SandboxOrg, SandboxServer
from airflow_provider_apiusage.sandbox.ledger import Caller as Source
from airflow_provider_apiusage.sandbox.ledger import UsageLedger
from airflow_provider_apiusage.usage.hourly import HOUR, Caller, hour_of, resource_class, short_id

NOW = datetime(2026, 10, 7, 14, 30, tzinfo=UTC)
UNTIL = datetime(2026, 10, 7, 13, tzinfo=UTC)
Truth = Counter[tuple[datetime, Caller]]
Client = Callable[..., OrgClient]

SOURCES = (
    Source("005SB0000000001", "0H4SB0000000001", "elt", "REST", "/v67.0/sobjects/Account/001AA0000000001", "GET"),
    Source("005SB0000000001", "0H4SB0000000001", "elt", "REST", "/v67.0/sobjects/Account/001AA0000000002", "GET"),
    Source("005SB0000000001", "0H4SB0000000001", "elt", "REST", "/v67.0/sobjects/Account/001AA0000000001", "PATCH"),
    Source("005SB0000000002", "", "", "SOAP", "query", "", "Case"),
    Source("005SB0000000002", "", "", "SOAP", "login", counted=False),
    Source("005SB0000000003", "8888Z000000pihz", 'O\'Hara, "desk"', "Bulk", "/v62.0/job/batch", "POST"),
    Source("005SB0000000003", "", "hidden", "REST", "/v62.0/query", logged=False),
)


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """An org that stands still, without traffic of its own."""
    with SandboxServer(SandboxOrg(start=NOW)) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(running.ca_file))
        yield running


@pytest.fixture
def client(server: SandboxServer) -> Client:
    """Empties the org, and makes metered clients of it with settings changed."""
    clean(server)

    def make(*, version: str = "62.0", clock: datetime = NOW, **changes: Any) -> OrgClient:
        server.org.change(changes)
        where = Where("sf_test", "sandbox org")
        session = MeteredSession(where, clock=lambda: clock, sleep=lambda seconds: None)
        token = server.connection("access_token")["extra"]["access_token"]
        return OrgClient(session, instance_url=server.url, token=token, version=version, where=where)

    return make


def clean(server: SandboxServer) -> None:
    server.org.ledger = UsageLedger()
    server.org.settings = OrgSettings(limit=10_000_000)
    server.org.faults.clear()


def truth(server: SandboxServer, start: datetime, end: datetime = UNTIL) -> Truth:
    """What the org counted in ``[start, end)``, by hour and caller."""
    counted: Truth = Counter()
    for period in server.org.ledger.hourly():
        source = period.caller
        if start <= period.start < end and source.logged:
            caller = Caller(
                short_id(source.user),
                short_id(source.app),
                source.client or None,
                source.family,
                resource_class(source.resource),
                source.counted,
            )
            counted[period.start, caller] += period.count
    return counted


def told(usage: ObjectUsage) -> Truth:
    """What was read, in the same form; no caller comes twice in an hour."""
    counts = Counter({(count.starts_at, count.caller): count.calls for count in usage.counts})
    assert len(counts) == len(usage.counts)
    assert [count.starts_at for count in usage.counts] == sorted(count.starts_at for count in usage.counts)
    return counts


def codes(usage: ObjectUsage) -> list[str]:
    return [finding.code for finding in usage.findings]


def pages(rows: int, size: int) -> int:
    return max(1, -(-rows // size))


def cheapest(server: SandboxServer, start: datetime, size: int) -> tuple[str, int, bool]:
    """The way that costs least by the documented rule, its calls, and whether the org is asked to group."""
    seconds = sorted(
        calls.second
        for calls in server.org.ledger.between(int(start.timestamp()), int(UNTIL.timestamp()))
        if calls.caller.logged
        for _ in range(calls.number)
    )
    hours = (UNTIL - start) // HOUR
    if hours == 1:
        return "grouped", 1, True
    if len(seconds) <= size:
        return "rows", 1, False
    reached = hour_of(datetime.fromtimestamp(seconds[size - 1], UTC))
    left, hours_left = pages(len(seconds) - size, size), (UNTIL - reached) // HOUR
    return ("rows", 1 + left, False) if left <= hours_left else ("grouped", 1 + hours_left, True)


calls_of_others = st.lists(
    st.tuples(st.integers(0, 6 * 3_600 - 1), st.integers(0, len(SOURCES) - 1), st.integers(1, 4)), max_size=25
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    traffic=calls_of_others,
    hours=st.integers(1, 6),
    size=st.integers(1, 9),
    groups=st.booleans(),
    prefer=st.sampled_from(["grouped", "rows", None]),
)
def test_every_call_is_told_once_for_the_calls_that_are_documented(
    server: SandboxServer,
    client: Client,
    traffic: list[tuple[int, int, int]],
    hours: int,
    size: int,
    groups: bool,
    prefer: Literal["grouped", "rows"] | None,
) -> None:
    """Whatever the traffic, the size of pages, the preference, and whether the org groups."""
    clean(server)
    org = client(query_page_size=size, event_log_object="grouped" if groups else "rows")
    for second, source, number in traffic:
        server.org.add_calls(number, UNTIL - timedelta(seconds=second + 1), SOURCES[source])
    start = UNTIL - HOUR * hours

    usage = read_hourly_from_object(org, start, UNTIL, prefer=prefer)

    expected = truth(server, start)
    assert told(usage) == expected
    assert (usage.read_from, usage.read_until) == (start, UNTIL)
    by_rows = pages(sum(expected.values()), size)
    way, cost, asked_to_group = cheapest(server, start, size)
    if prefer == "rows":
        assert (usage.method, org.session.calls) == ("rows", by_rows)
    elif groups:
        assert (usage.method, org.session.calls) == (("grouped", hours) if prefer else (way, cost))
    else:
        refused = bool(prefer) or asked_to_group
        assert (usage.method, org.session.calls) == ("rows", by_rows + refused)
        assert codes(usage) == ["event-log-object-ungrouped"] * refused


def fill(server: SandboxServer, groups: int, number: int, at: Callable[[int], timedelta]) -> None:
    """Calls of many callers, ``number`` each, in the last hour that can be read."""
    for index in range(groups):
        caller = SOURCES[0]._replace(resource=f"/v67.0/sobjects/Account/{index:015d}", client=f"c{index % 7}")
        server.org.add_calls(number, UNTIL - HOUR + at(index), caller)


def spread(index: int) -> timedelta:
    return timedelta(seconds=index * 1.7)


@pytest.mark.parametrize("overflow", ["refused", "paged", "cut"])
@pytest.mark.parametrize(
    ("groups", "number", "calls"),
    [
        pytest.param(1_999, 1, 1, id="just fits"),
        pytest.param(2_000, 1, 2, id="may be cut, and is one page of rows"),
        pytest.param(2_050, 1, 3, id="two pages of rows"),
        pytest.param(2_050, 4, 4, id="five pages of rows, or one and two halves"),
    ],
)
def test_an_hour_of_too_many_groups_is_read_the_cheaper_way(
    server: SandboxServer, client: Client, overflow: str, groups: int, number: int, calls: int
) -> None:
    """Whether the org refuses, gives a page without a next, or leaves groups out without a word."""
    org = client(aggregate_overflow=overflow)
    fill(server, groups, number, spread)

    usage = read_hourly_from_object(org, UNTIL - HOUR, UNTIL)

    assert told(usage) == truth(server, UNTIL - HOUR)
    assert (usage.method, org.session.calls) == ("grouped", calls)


@pytest.mark.parametrize(
    ("at", "size", "calls"),
    [
        pytest.param(lambda index: timedelta(seconds=index % 900), 1_000, 1 + 1 + 6, id="in the first quarter"),
        pytest.param(lambda index: timedelta(seconds=3_599), 1_000, 1 + 1 + 3 + 8, id="in one second, not worth it"),
        pytest.param(lambda index: timedelta(seconds=3_599), 200, 1 + 1 + 12 + 40, id="in one second, cannot be cut"),
    ],
)
def test_halving_goes_on_while_it_is_worth_it(
    server: SandboxServer, client: Client, at: Callable[[int], timedelta], size: int, calls: int
) -> None:
    """Down to a second, and for no more calls than the pages of rows that are left; never twice the pages or more."""
    org = client(query_page_size=size)
    fill(server, 2_050, 4, at)

    usage = read_hourly_from_object(org, UNTIL - HOUR, UNTIL)

    assert told(usage) == truth(server, UNTIL - HOUR)
    assert org.session.calls == calls < 2 * pages(8_200, size)


def test_a_crowded_hour_that_the_first_page_reached_is_not_told_twice(server: SandboxServer, client: Client) -> None:
    """Its rows are read anew, by themselves."""
    org = client()
    server.org.add_calls(3_000, UNTIL - timedelta(minutes=3), SOURCES[0])
    fill(server, 2_050, 2, lambda index: spread(index) - HOUR)

    usage = read_hourly_from_object(org, UNTIL - HOUR * 2, UNTIL)

    assert told(usage) == truth(server, UNTIL - HOUR * 2)
    # A page of rows; the hour that is refused, and its three pages; the other hour.
    assert (usage.method, org.session.calls) == ("grouped", 1 + 1 + 3 + 1)


def test_groups_that_would_go_on_are_too_many(server: SandboxServer, client: Client) -> None:
    """However few came: an answer that says it is not done is not counted."""
    org = client()
    server.org.add_calls(4, UNTIL - HOUR, SOURCES[0])
    page = {
        "totalSize": 9,
        "done": False,
        "records": [{"calls": 1}],
        "nextRecordsUrl": "/services/data/v62.0/query/x-1",
    }
    server.org.faults.order(Fault("status", status=200, body=page, count=1))

    usage = read_hourly_from_object(org, UNTIL - HOUR, UNTIL)

    assert (told(usage), org.session.calls) == (truth(server, UNTIL - HOUR), 2)


def test_a_crowded_hour_among_others_changes_nothing_for_them(server: SandboxServer, client: Client) -> None:
    """The hours around it are grouped; what the first page of rows told of an hour is not added to its groups."""
    org = client(query_page_size=500)
    server.org.add_calls(3_000, UNTIL - HOUR * 2 + timedelta(minutes=3), SOURCES[0])
    fill(server, 2_050, 1, spread)
    server.org.add_calls(700, UNTIL - HOUR * 3 + timedelta(minutes=3), SOURCES[3])

    usage = read_hourly_from_object(org, UNTIL - HOUR * 3, UNTIL)

    assert told(usage) == truth(server, UNTIL - HOUR * 3)
    # A page of rows; three hours, of which the last is refused; the first of its five pages; two halves.
    assert (usage.method, org.session.calls) == ("grouped", 1 + 3 + 1 + 2)


@pytest.mark.parametrize("change", [{"event_log_object": "absent"}, {"version": "60.0"}])
@pytest.mark.parametrize("hours", [1, 5])
def test_an_object_that_cannot_be_seen_is_a_finding(client: Client, change: dict[str, Any], hours: int) -> None:
    """It names permission, version and connection, costs one call, and says that nothing is known."""
    org = client(**change)
    start = UNTIL - HOUR * hours

    usage = read_hourly_from_object(org, start, UNTIL)

    assert (codes(usage), usage.counts, usage.method) == (["event-log-object-denied"], (), None)
    assert (usage.read_from, usage.read_until, org.session.calls) == (start, start, 1)
    for named in ("'View Event Log Object Data'", "61.0", org.version, "sf_test", "INVALID_TYPE"):
        assert named in usage.findings[0].message


def test_a_refusal_by_status_is_a_finding_and_a_used_up_allowance_is_not(server: SandboxServer, client: Client) -> None:
    """403 for the user is about this object; 403 for the allowance ends the reading."""
    org = client()
    body = [{"errorCode": "INSUFFICIENT_ACCESS", "message": "insufficient access rights"}]
    server.org.faults.order(Fault("status", status=403, body=body, count=1))

    assert codes(read_hourly_from_object(org, UNTIL - HOUR, UNTIL)) == ["event-log-object-denied"]

    server.org.faults.order(Fault("exhausted", count=1))
    with pytest.raises(AllowanceExhaustedError):
        read_hourly_from_object(org, UNTIL - HOUR, UNTIL)


def test_hours_that_may_still_grow_are_not_told(server: SandboxServer, client: Client) -> None:
    """Nothing of the last hour before the org's now is read, and asking for it alone costs nothing."""
    org = client()
    for minutes in (20, 80, 100, 200):
        server.org.add_calls(minutes, NOW - timedelta(minutes=minutes), SOURCES[0])

    usage = read_hourly_from_object(org, UNTIL - HOUR * 3, hour_of(NOW) + HOUR)
    assert (usage.read_until, told(usage)) == (UNTIL, truth(server, UNTIL - HOUR * 3))
    assert sum(told(usage).values()) == 300

    spent = org.session.calls
    usage = read_hourly_from_object(org, UNTIL, hour_of(NOW) + HOUR)
    assert (usage.counts, usage.read_from, usage.read_until, usage.method) == ((), UNTIL, UNTIL, None)
    assert org.session.calls == spent


def test_the_clock_of_the_org_counts(server: SandboxServer, client: Client) -> None:
    """Where ours is ahead and the org has not been asked before, its first answer sets the end."""
    org = client(clock=NOW + timedelta(hours=5))
    server.org.add_calls(7, NOW, SOURCES[0])
    server.org.add_calls(5, UNTIL - timedelta(minutes=1), SOURCES[0])

    usage = read_hourly_from_object(org, UNTIL - HOUR, UNTIL + HOUR * 3)

    assert (usage.read_until, sum(told(usage).values())) == (UNTIL, 5)


def test_a_reading_that_takes_hours_tells_what_was_settled_when_it_began(sandbox: SandboxServer) -> None:
    """What had not settled at the first answer may have grown since an early page was read."""
    where = Where("sf_test", "sandbox org")
    session = MeteredSession(
        where,
        clock=lambda: NOW + timedelta(hours=5),
        listener=lambda exchange: sandbox.org.clock.advance(timedelta(hours=1)),
    )
    token = sandbox.connection("access_token")["extra"]["access_token"]
    org = OrgClient(session, instance_url=sandbox.url, token=token, version="62.0", where=where)

    usage = read_hourly_from_object(org, UNTIL - HOUR * 2, UNTIL + HOUR * 3, prefer="grouped")

    assert (usage.read_until, told(usage)) == (UNTIL, truth(sandbox, UNTIL - HOUR * 2))


def test_hours_older_than_the_org_keeps_stay_unknown(server: SandboxServer, client: Client) -> None:
    """Without rows and more than a day old: not 0 calls, but a finding; the first page spares the silent hours."""
    org = client(event_log_object_days=2, query_page_size=20)
    start = hour_of(NOW) - timedelta(days=4)
    for hours in range(90):
        server.org.add_calls(50, start + HOUR * hours, SOURCES[hours % 3])
    kept = hour_of(NOW) - timedelta(days=2) + HOUR

    usage = read_hourly_from_object(org, start, UNTIL)

    assert told(usage) == truth(server, kept)
    assert (usage.read_from, usage.read_until, codes(usage)) == (kept, UNTIL, ["event-log-object-silent"])
    assert org.session.calls == 1 + (UNTIL - kept) // HOUR


def test_silence_of_the_last_day_is_no_calls(client: Client) -> None:
    """An hour without rows is known to have none while rows of its age are surely kept; an older one is not."""
    usage = read_hourly_from_object(client(), UNTIL - HOUR * 5, UNTIL)
    assert (usage.read_from, usage.counts, codes(usage)) == (UNTIL - HOUR * 5, (), [])

    usage = read_hourly_from_object(client(), UNTIL - HOUR * 50, UNTIL)
    assert (usage.read_from, codes(usage)) == (hour_of(NOW) - HOUR * 24, ["event-log-object-silent"])

    usage = read_hourly_from_object(client(), UNTIL - HOUR * 50, UNTIL - HOUR * 40)
    assert usage.read_from == usage.read_until == UNTIL - HOUR * 40


VANISHED = [
    (400, [{"errorCode": "INVALID_QUERY_LOCATOR", "message": "invalid query locator"}]),
    (404, [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]),
]


@pytest.mark.parametrize(
    ("lost", "calls"),
    [
        pytest.param(5, 2 + 8, id="second page, in the first of three hours of 12 rows: all again"),
        pytest.param(20, 5 + 5, id="fifth page, in the second hour: that and the third again"),
        pytest.param(35, 8 + 3, id="eighth page, in the third hour: that again"),
    ],
)
@pytest.mark.parametrize(("status", "body"), VANISHED)
def test_a_vanished_locator_is_replaced_from_the_hour_that_was_reached(
    server: SandboxServer, client: Client, status: int, body: Any, lost: int, calls: int
) -> None:
    """The hours before it are kept, its rows are not doubled; a locator that vanishes again at once is an error."""
    org = client(query_page_size=5)
    for hours in range(1, 4):
        server.org.add_calls(12, UNTIL - HOUR * hours, SOURCES[hours])
    server.org.faults.order(Fault("status", status=status, body=body, path=f"-{lost}", count=1))

    usage = read_hourly_from_object(org, UNTIL - HOUR * 3, UNTIL, prefer="rows")

    assert told(usage) == truth(server, UNTIL - HOUR * 3)
    assert org.session.calls == calls

    spent = org.session.calls
    server.org.faults.order(Fault("status", status=status, body=body, path="/query/01g"))
    with pytest.raises(UnavailableError, match="reading on"):
        read_hourly_from_object(org, UNTIL - HOUR * 3, UNTIL, prefer="rows")
    assert org.session.calls == spent + 4


def row(minute: int, **changes: Any) -> dict[str, Any]:
    at = UNTIL - HOUR * 2 + timedelta(minutes=minute)
    return {"Timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.000+0000", "UserIdentifier": "005SB0000000001", **changes}


def test_rows_out_of_order_are_not_taken_for_whole_hours(server: SandboxServer, client: Client) -> None:
    """If an org does not keep to the order, a restart begins at the start."""
    org = client()
    server.org.add_calls(3, UNTIL - HOUR * 2, SOURCES[0])
    server.org.add_calls(4, UNTIL - HOUR, SOURCES[0])
    page = {
        "totalSize": 9,
        "done": False,
        "records": [row(61), row(0)],
        "nextRecordsUrl": "/services/data/v62.0/query/x-2",
    }
    server.org.faults.order(Fault("status", status=200, body=page, count=1))

    usage = read_hourly_from_object(org, UNTIL - HOUR * 2, UNTIL, prefer="rows")

    assert told(usage) == truth(server, UNTIL - HOUR * 2)


def test_counts_are_in_order_of_time_if_rows_are_not(server: SandboxServer, client: Client) -> None:
    """The order of the answer is not relied on."""
    org = client()
    server.org.faults.order(Fault("status", status=200, body={"done": True, "records": [row(61), row(0)]}, count=1))

    usage = read_hourly_from_object(org, UNTIL - HOUR * 2, UNTIL, prefer="rows")

    assert [count.starts_at for count in usage.counts] == [UNTIL - HOUR * 2, UNTIL - HOUR]


def test_a_token_that_does_not_tell_the_org_costs_one_query(server: SandboxServer, client: Client) -> None:
    """Asked once, however many counts there are."""
    org = client(session_id_style="opaque")
    server.org.add_calls(4, UNTIL - HOUR, SOURCES[0])
    server.org.add_calls(4, UNTIL - HOUR, SOURCES[3])

    usage = read_hourly_from_object(org, UNTIL - HOUR, UNTIL)

    assert {count.org_id for count in usage.counts} == {server.org.identity.org_id}
    assert org.session.calls == 2


@pytest.mark.parametrize(
    "page",
    [
        {"done": True},
        {"done": True, "records": [row(1, Timestamp=None)]},
        {"done": True, "records": [row(1, Timestamp="yesterday")]},
        {"done": True, "records": [row(1, Timestamp="2026-10-07T12:00:00")]},
        {"done": True, "records": ["row"]},
        {"done": True, "records": [row(1, ApiResource=5)]},
        {"done": False, "records": [row(1)]},
        {"done": False, "records": [], "nextRecordsUrl": "/services/data/v62.0/query/x-2"},
        {"done": False, "records": [row(1)], "nextRecordsUrl": "/services/data/v62.0/query/x-2"},
        [],
    ],
)
def test_answers_that_are_no_pages_end_the_reading(server: SandboxServer, client: Client, page: Any) -> None:
    """Rows without a time, pages without an end: an error that names the connection, not a loop or a low count."""
    org = client()
    server.org.faults.order(Fault("status", status=200, body=page))

    with pytest.raises(MalformedAnswerError, match="sf_test"):
        read_hourly_from_object(org, UNTIL - HOUR * 2, UNTIL, prefer="rows")


@pytest.mark.parametrize("calls", [None, "many", -1])
def test_groups_without_a_count_are_read_by_rows(server: SandboxServer, client: Client, calls: Any) -> None:
    """Like a refusal to group: one call more, and a finding."""
    org = client()
    server.org.add_calls(4, UNTIL - HOUR, SOURCES[0])
    page = {"totalSize": 1, "done": True, "records": [{"UserIdentifier": "005SB0000000001", "calls": calls}]}
    server.org.faults.order(Fault("status", status=200, body=page, count=1))

    usage = read_hourly_from_object(org, UNTIL - HOUR, UNTIL)

    assert (told(usage), org.session.calls) == (truth(server, UNTIL - HOUR), 2)
    assert codes(usage) == ["event-log-object-ungrouped"]


def test_a_query_that_takes_too_long_is_cut_into_hours(server: SandboxServer, client: Client) -> None:
    """``QUERY_TIMEOUT`` on the rows of a long period leads to the grouped hours; any other refusal is raised."""
    org = client()
    server.org.add_calls(4, UNTIL - HOUR * 2, SOURCES[0])
    body = [{"errorCode": "QUERY_TIMEOUT", "message": "Your query request was running for too long."}]
    server.org.faults.order(Fault("status", status=400, body=body, count=1))

    usage = read_hourly_from_object(org, UNTIL - HOUR * 3, UNTIL)
    assert (usage.method, org.session.calls, told(usage)) == ("grouped", 4, truth(server, UNTIL - HOUR * 3))

    body = [{"errorCode": "INVALID_FIELD", "message": "No such column 'Timestamp'"}]
    server.org.faults.order(Fault("status", status=400, body=body, count=1))
    with pytest.raises(MalformedAnswerError, match="No such column"):
        read_hourly_from_object(org, UNTIL - HOUR * 3, UNTIL)


def test_periods_are_whole_hours(client: Client) -> None:
    """Half hours and naive instants are refused before a call is spent."""
    org = client()
    half = timedelta(minutes=30)
    for start, end in ((UNTIL - half, UNTIL), (UNTIL - HOUR, UNTIL - half), (UNTIL.replace(tzinfo=None), UNTIL)):
        with pytest.raises(ValueError, match=r"hour|aware"):
            read_hourly_from_object(org, start, end)
    assert org.session.calls == 0
