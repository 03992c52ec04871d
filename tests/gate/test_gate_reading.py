"""When the gate reads the org, when it need not, and what it does if it cannot."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_apiusage import gate as gate_module
from airflow_provider_apiusage.gate import READING_TAKES, SOON, Gate
from airflow_provider_apiusage.gate_knowledge import Foreseen
from airflow_provider_apiusage.quota.model import Decision, OnUnknown
from airflow_provider_apiusage.quota.staleness import Staleness
from airflow_provider_apiusage.salesforce.errors import (
    AllowanceExhaustedError,
    ApiUsageError,
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    MalformedAnswerError,
    UnavailableError,
    Where,
)
from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import API_REQUESTS, ReadingSource
from tests.support.gates import POLL, World, granted, refused, waits
from tests.support.outlooks import outlook
from tests.support.quota import BATCHES, MAX_AGE, NOW, ORG, holder, minutes, reading, request

WHERE = Where("salesforce_default", "acme.my.salesforce.com")
TICK = timedelta(microseconds=1)


def test_where_nothing_is_known_the_org_is_read_once(gate: Gate, world: World, store: UsageStore) -> None:
    """One call, kept as a reading, answers the first request and the next ones."""
    assert granted(gate.turn(request("a", 30_000))).reservation.needs == {"DailyApiRequests": 30_000}
    granted(gate.turn(request("b", 30_000)))

    assert world.reads == [NOW]
    assert store.latest_reading(ORG) == reading(0)


def test_the_org_is_not_read_again_within_the_poll_interval(gate: Gate, world: World) -> None:
    """A gate that is asked every minute reads every five, and only then sees that calls came free."""
    world.used = 95_000
    asked = request("a", 30_000)
    waits(gate.turn(asked))
    world.used = 0

    for _ in range(4):
        world.pass_time(minutes=1)
        assert waits(gate.turn(asked)).until == world.now + POLL
    world.now = NOW + POLL - TICK
    waits(gate.turn(asked))
    assert world.reads == [NOW]
    world.now = NOW + POLL
    granted(gate.turn(asked))
    assert world.reads == [NOW, NOW + POLL]


@pytest.fixture
def foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An org of which it is known that nothing will come or leave."""
    steady = Foreseen({API_REQUESTS: outlook()}, Staleness(timedelta(0)))
    monkeypatch.setattr(gate_module, "foresee", lambda *_: steady)


@pytest.mark.usefixtures("foreseen")
def test_a_small_one_is_let_past_by_a_reading_of_its_own(gate: Gate, world: World) -> None:
    """The big one that waits needs no reading for half an hour; the small one that may pass it needs one now."""
    world.used = 85_000
    waits(gate.turn(request("big", 20_000)))
    world.pass_time(minutes=16)
    waits(gate.turn(request("big", 20_000)))
    assert world.reads == [NOW]

    granted(gate.turn(request("small", 1_000, world.now)))

    assert world.reads == [NOW, world.now]


@pytest.mark.usefixtures("foreseen")
def test_a_limit_that_was_never_read_behind_one_that_waits(gate: Gate, world: World) -> None:
    """It is read, and refused as one that the org does not report; the turn of the others goes on."""
    world.used = 85_000
    waits(gate.turn(request("big", 20_000)))
    world.pass_time(minutes=16)

    decisions = gate.turn_all(
        ORG, [request("big", 20_000), request("both", {API_REQUESTS: 1_000, BATCHES: 1}, world.now)]
    ).decisions

    assert "the org reports no limit of this name" in refused(decisions[holder("both")]).reason
    waits(decisions[holder("big")])


def test_two_processes_share_one_reading(gate: Gate, world: World, ledger: QuotaLedger, store: UsageStore) -> None:
    """What one gate has read the other need not read."""
    other_world = World()
    granted(gate.turn(request("a", 30_000)))

    granted(other_world.gate(ledger, store).turn(request("b", 30_000)))

    assert other_world.reads == []


def test_a_reading_that_is_on_its_way_is_waited_for(ledger: QuotaLedger, store: UsageStore) -> None:
    """While one process reads, another does not read as well, nor decide by what is missing: it comes back soon."""
    seen: list[Decision] = []

    class Slow(World):
        def read(self) -> list:  # type: ignore[type-arg]
            answer = super().read()
            seen.append(other.turn(request("b", 10, on_unknown=OnUnknown.FAIL)))
            return list(answer)

    slow, other_world = Slow(), World()
    other = other_world.gate(ledger, store)

    granted(slow.gate(ledger, store).turn(request("a", 10)))

    assert waits(seen[0]).until == NOW + SOON
    assert seen[0].reason.endswith("Another gate is asking the org, or could not read it a moment ago.")
    assert other_world.reads == []
    granted(other.turn(request("b", 10, on_unknown=OnUnknown.FAIL)))


def test_it_does_not_read_while_the_window_cannot_have_opened(gate: Gate, world: World, store: UsageStore) -> None:
    """The past tells when calls can leave: until then a reading could not change the answer, so none is made."""
    # All 95,000 calls were made in the last hour, so none can leave for 23 hours.
    store.add_readings([reading(0, NOW - minutes(60))])
    world.used = 95_000
    asked = request("a", 30_000)
    opens = waits(gate.turn(asked)).opens_at
    assert opens is not None
    assert opens > NOW + timedelta(hours=22)

    world.now = NOW + POLL
    assert waits(gate.turn(asked)).opens_at == opens
    world.now = NOW + MAX_AGE
    waits(gate.turn(asked))
    assert world.reads == [NOW]
    world.now = NOW + MAX_AGE + TICK
    waits(gate.turn(asked))
    assert world.reads == [NOW, NOW + MAX_AGE + TICK]


def test_it_reads_when_the_window_can_have_opened(gate: Gate, world: World, store: UsageStore) -> None:
    """From the instant named on, a reading can help, and it is made as soon as the poll interval allows."""
    store.add_readings([reading(0, NOW - timedelta(hours=20)), reading(95_000, NOW - timedelta(hours=19))])
    world.used = 95_000
    asked = request("a", 30_000, max_age=timedelta(hours=12))
    opens = waits(gate.turn(asked)).opens_at
    assert opens is not None
    assert NOW + timedelta(hours=3) < opens <= NOW + timedelta(hours=4)

    world.now = opens - TICK
    waits(gate.turn(asked))
    assert world.reads == [NOW]
    world.now, world.used = opens, 0
    granted(gate.turn(asked))
    assert world.reads == [NOW, opens]


def test_an_org_whose_clock_is_fast_opens_by_its_own_clock(
    world: World, ledger: QuotaLedger, store: UsageStore
) -> None:
    """The window is the org's: ten minutes fast there means ten minutes earlier here."""
    fast = minutes(10)
    gate = Gate(
        ledger,
        store,
        lambda: [reading(world.used, world.now + fast, received_at=world.now)] * bool(world.read()),
        POLL,
        world.clock,
    )
    store.add_readings(
        [
            reading(0, NOW + fast - timedelta(hours=20), received_at=NOW - timedelta(hours=20)),
            reading(95_000, NOW + fast - timedelta(hours=19), received_at=NOW - timedelta(hours=19)),
        ]
    )
    world.used = 95_000
    asked = request("a", 30_000, max_age=timedelta(hours=12))
    opens = waits(gate.turn(asked)).opens_at
    assert opens is not None

    world.now = opens - fast - TICK
    waits(gate.turn(asked))
    assert len(world.reads) == 1
    world.now = opens - fast
    waits(gate.turn(asked))
    assert len(world.reads) == 2


def test_it_does_not_read_while_only_reservations_stand_in_the_way(gate: Gate, world: World) -> None:
    """Nobody but their holders can change that, so the org is left alone until the figures are too old."""
    granted(gate.turn(request("a", 90_000)))
    asked = request("b", 30_000)

    for passed in (POLL, 2 * POLL, MAX_AGE):
        world.now = NOW + passed
        assert "reservations have to be given back" in waits(gate.turn(asked)).reason

    assert world.reads == [NOW]


@pytest.mark.parametrize("on_unknown", list(OnUnknown))
def test_that_nothing_is_left_is_known_although_the_org_does_not_tell_who_it_is(
    gate: Gate, world: World, store: UsageStore, on_unknown: OnUnknown
) -> None:
    """The refusal is a reading of the org that the request is about: a wait for room, and no doubt."""
    world.failure = AllowanceExhaustedError("The org answered 403.", WHERE)

    decision = waits(gate.turn(request("a", on_unknown=on_unknown)))

    assert "headroom 0 (remaining 0 " in decision.reason
    kept = store.latest_reading(ORG)
    assert kept is not None
    assert (kept.source, kept.remaining) == (ReadingSource.EXHAUSTED, 0)


@pytest.mark.parametrize("kind", [UnavailableError, ConcurrencyLimitError, MalformedAnswerError])
def test_a_failure_that_passes_is_waited_through(gate: Gate, world: World, kind: type[ApiUsageError]) -> None:
    """The gate stays shut, says why, and asks again after the poll interval."""
    world.failure = kind("The org answered 503.", WHERE)
    asked = request("a", 30_000)

    decision = waits(gate.turn(asked))

    assert decision.until == NOW + POLL
    assert decision.reason.startswith("Not known what is left.")
    assert "The org could not be read just now: The org answered 503." in decision.reason
    world.failure = None
    world.now = decision.until
    granted(gate.turn(asked))


@pytest.mark.parametrize("kind", [UnavailableError, ConcurrencyLimitError, MalformedAnswerError])
def test_who_must_not_wait_for_what_cannot_be_known_fails(gate: Gate, world: World, kind: type[ApiUsageError]) -> None:
    """With on_unknown='fail' a failure to read is the end, and its reason is told."""
    world.failure = kind("The org answered 503.", WHERE)

    decision = refused(gate.turn(request("a", 30_000, on_unknown=OnUnknown.FAIL)))

    assert "on_unknown='fail'" in decision.reason
    assert "The org answered 503." in decision.reason


def test_who_may_start_without_knowing_looks_first(gate: Gate, world: World) -> None:
    """With on_unknown='allow' the org is read, and only what cannot be known is allowed."""
    world.used = 95_000
    waits(gate.turn(request("a", 30_000, on_unknown=OnUnknown.ALLOW)))

    world.failure = UnavailableError("The org answered 503.", WHERE)
    world.pass_time(hours=1)
    grant = granted(gate.turn(request("a", 30_000, on_unknown=OnUnknown.ALLOW)))

    assert "on_unknown='allow'" in grant.reason
    assert len(world.reads) == 2


@pytest.mark.parametrize("kind", [AuthenticationError, ConfigurationError])
def test_a_failure_that_does_not_pass_is_raised(gate: Gate, world: World, kind: type[ApiUsageError]) -> None:
    """Wrong credentials are not waited for, whatever the user said about unknowns, and nothing is granted."""
    world.failure = kind("The org does not know the user.", WHERE)

    for on_unknown in OnUnknown:
        world.pass_time(minutes=10)
        with pytest.raises(kind, match="does not know the user"):
            gate.turn(request("a", on_unknown=on_unknown))

    assert gate.ledger.reservations(ORG, world.now) == ()


def test_known_figures_are_used_while_the_org_does_not_answer(gate: Gate, world: World) -> None:
    """A reading within max_age decides; that a newer one failed is only told to those who wait."""
    world.used = 50_000
    waits(gate.turn(request("large", 60_000)))
    gate.ledger.leave(holder("large"), NOW)
    world.failure = UnavailableError("The org answered 503.", WHERE)
    world.pass_time(minutes=10)

    granted(gate.turn(request("small", 10)))
    assert world.reads == [NOW]


def test_a_refusal_rests_on_fresh_figures(gate: Gate, world: World) -> None:
    """A limit that was raised since is seen: before it refuses, the gate reads."""
    world.limit = 20_000
    granted(gate.turn(request("small", 10)))
    world.pass_time(minutes=10)
    world.limit = 100_000

    granted(gate.turn(request("large", 30_000)))

    assert len(world.reads) == 2


def test_a_refusal_in_the_middle_of_the_poll_interval_needs_no_new_reading(gate: Gate, world: World) -> None:
    """Figures of a minute ago are fresh."""
    granted(gate.turn(request("small", 10)))
    world.pass_time(minutes=1)

    refused(gate.turn(request("large", 200_000)))
    assert world.reads == [NOW]


def test_a_header_of_a_running_load_opens_the_gate_without_a_reading(
    gate: Gate, world: World, store: UsageStore
) -> None:
    """Whoever learns how much is left tells everybody, and it costs nothing."""
    world.used = 95_000
    asked = request("a", 30_000)
    waits(gate.turn(asked))
    world.pass_time(minutes=2)
    store.add_readings([reading(10_000, world.now, source=ReadingSource.HEADER)])

    granted(gate.turn(asked))
    assert world.reads == [NOW]


def test_a_header_does_not_put_off_a_reading_that_is_due(gate: Gate, world: World, store: UsageStore) -> None:
    """Only a reading on purpose starts the poll interval anew."""
    world.used = 95_000
    asked = request("a", 30_000)
    waits(gate.turn(asked))
    world.pass_time(minutes=4)
    store.add_readings([reading(95_000, world.now, source=ReadingSource.HEADER)])
    world.pass_time(minutes=1)
    world.used = 0

    granted(gate.turn(asked))
    assert world.reads == [NOW, NOW + POLL]


def paced(world: World, ledger: QuotaLedger, store: UsageStore, poll: timedelta) -> Gate:
    """Return a gate with a poll interval of its own."""
    return Gate(ledger, store, world.read, poll, world.clock)


def test_a_gate_that_reads_rarely_keeps_no_other_from_reading(
    world: World, ledger: QuotaLedger, store: UsageStore
) -> None:
    """The claim is given back when the reading is there: a gate of an hour does not shut out one of a minute."""
    world.used, world.names = 95_000, (API_REQUESTS, BATCHES)
    waits(paced(world, ledger, store, minutes(60)).turn(request("rare", {BATCHES: 10_000})))
    eager, asked = paced(world, ledger, store, minutes(1)), request("often")
    waits(eager.turn(asked))

    world.used = 0
    world.pass_time(minutes=1)
    granted(eager.turn(asked))
    assert world.reads == [NOW, NOW + minutes(1)]


def test_a_reading_that_takes_long_is_made_once(ledger: QuotaLedger, store: UsageStore) -> None:
    """While the first reading is on its way for minutes, gates with a shorter poll interval make no second one."""
    seen: list[Decision] = []

    class Slow(World):
        def read(self) -> list:  # type: ignore[type-arg]
            self.now += READING_TAKES - TICK
            other_world.now = self.now
            seen.append(other.turn(request("b", 10)))
            return list(super().read())

    slow, other_world = Slow(), World()
    other = paced(other_world, ledger, store, minutes(1))

    granted(paced(slow, ledger, store, minutes(1)).turn(request("a", 10)))

    assert waits(seen[0]).until == other_world.now + TICK
    assert other_world.reads == []


def test_who_waits_for_a_reading_asks_ever_more_rarely(world: World, ledger: QuotaLedger, store: UsageStore) -> None:
    """A process that died while it read is waited for with few looks, and then another one reads."""
    with ledger.turn(ORG) as turn:
        assert turn.claim_poll(NOW, NOW + READING_TAKES)
    gate = world.gate(ledger, store)
    looks = 0
    while world.now < NOW + READING_TAKES:
        looks += 1
        world.now = waits(gate.turn(request("a"))).until

    assert world.now == NOW + READING_TAKES
    assert looks < 10
    granted(gate.turn(request("a")))


def test_after_a_reading_that_failed_nobody_tries_at_once(world: World, ledger: QuotaLedger, store: UsageStore) -> None:
    """An org that is down is asked once per poll interval for all gates together, and few look meanwhile."""
    world.failure = UnavailableError("The org answered 503.", WHERE)
    waits(world.gate(ledger, store).turn(request("first")))
    gate, looks = world.gate(ledger, store), 0
    while world.reads == [NOW]:
        looks += 1
        decision = waits(gate.turn(request("second", at=NOW + TICK)))
        world.now = decision.until

    assert world.reads == [NOW, NOW + POLL]
    assert looks < 10


def test_a_failed_reading_of_a_gate_that_reads_rarely_delays_others_by_minutes(
    world: World, ledger: QuotaLedger, store: UsageStore
) -> None:
    """Whatever the poll interval of who failed: after five minutes another one tries."""
    world.failure = UnavailableError("The org answered 503.", WHERE)
    waits(paced(world, ledger, store, minutes(60)).turn(request("rare", {BATCHES: 1})))
    eager, asked = paced(world, ledger, store, minutes(1)), request("often")
    world.failure = None
    world.now = NOW + READING_TAKES - TICK
    waits(eager.turn(asked))
    world.now = NOW + READING_TAKES

    granted(eager.turn(asked))


def test_wrong_credentials_of_one_gate_do_not_delay_another(
    world: World, ledger: QuotaLedger, store: UsageStore
) -> None:
    """Who cannot read gives the claim back: another connection to the org may be able to."""
    world.failure = AuthenticationError("The org does not know the user.", WHERE)
    with pytest.raises(AuthenticationError):
        world.gate(ledger, store).turn(request("a"))
    world.failure = None

    granted(world.gate(ledger, store).turn(request("b", 10)))


@pytest.mark.parametrize("on_unknown", list(OnUnknown))
def test_figures_older_than_max_age_are_read_anew_whatever_the_poll_interval(
    world: World, ledger: QuotaLedger, store: UsageStore, on_unknown: OnUnknown
) -> None:
    """With a poll interval longer than max_age a gate neither waits, fails nor lets through blind without looking."""
    gate = paced(world, ledger, store, 2 * MAX_AGE)
    granted(gate.turn(request("a", 10)))
    world.now = NOW + MAX_AGE + TICK
    world.used = 50_000

    granted(gate.turn(request("b", 40_000, on_unknown=on_unknown)))
    waits(gate.turn(request("c", 40_000, on_unknown=on_unknown)))
    assert world.reads == [NOW, NOW + MAX_AGE + TICK]
