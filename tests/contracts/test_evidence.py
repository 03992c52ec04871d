"""What the store hands to a reconciliation: which readings, and which observation of each day."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow_provider_apiusage.store.quota_ledger import QuotaLedger
from airflow_provider_apiusage.store.usage_store import UsageStore
from airflow_provider_apiusage.usage.model import (
    API_REQUESTS,
    Coverage,
    DailyCount,
    Evidence,
    Snapshot,
)
from airflow_provider_apiusage.usage.reconciliation import reconcile
from tests.support.quota import BATCHES, NOW, ORG, minutes, reading, request
from tests.usage.evidence import TODAY, YESTERDAY, counted

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


def observe(store: UsageStore, at: datetime, *counts: DailyCount) -> None:
    """Keep counts as a report showed them at an instant."""
    store.add(Snapshot(ORG, at, (), counts))


def evidence_of(store: UsageStore, at: datetime | None = None, org_id: str = ORG) -> Evidence:
    """Return the evidence, which is there."""
    found = store.evidence(org_id, at)
    assert found is not None
    return found


def test_the_worked_example_of_the_knowledge_article_comes_out_of_the_store(store: UsageStore) -> None:
    """25,000 in the window, 15,000 today: 10,000 of yesterday's 20,000 are still inside, and the sources agree."""
    store.add(Snapshot(ORG, NOW, (reading(25_000),), (counted(YESTERDAY, 20_000), counted(TODAY, 15_000))))

    outcome = reconcile(evidence_of(store))

    assert outcome.at == NOW
    assert (outcome.rolling, outcome.today, outcome.yesterday) == (25_000, 15_000, 20_000)
    assert outcome.window_tail.estimate == 10_000
    assert outcome.consistent is True


def test_readings_of_eight_days_and_an_hour_bear_on_an_instant(store: UsageStore) -> None:
    """Readings from 8 days and an hour before up to the instant itself, both included, oldest first; no later ones."""
    earliest = NOW - timedelta(days=8, hours=1)
    inside = [reading(1, earliest), reading(2, NOW - 24 * HOUR), reading(3, NOW)]
    store.add_readings([*reversed(inside), reading(4, earliest - TICK), reading(5, NOW + TICK)])

    assert evidence_of(store, NOW).readings == tuple(inside)


def test_how_far_back_readings_matter_can_be_said(store: UsageStore) -> None:
    """A forecast asks for weeks, a gate for hours."""
    store.add_readings([reading(1, NOW - 35 * 24 * HOUR), reading(2, NOW - 2 * HOUR), reading(3, NOW)])

    for span, used in ((timedelta(days=35), [1, 2, 3]), (HOUR, [3])):
        found = store.evidence(ORG, NOW, span=span)
        assert found is not None
        assert [each.used for each in found.readings] == used


def test_readings_of_other_limits_and_of_single_apps_are_no_evidence(store: UsageStore) -> None:
    """The evidence is about the org-wide allowance of API requests."""
    store.add_readings([reading(25_000), reading(9, name=BATCHES), reading(8, scope="Ant Migration Tool")])

    assert evidence_of(store).readings == (reading(25_000),)


def test_without_an_instant_the_latest_reading_sets_it(store: UsageStore) -> None:
    """Another limit read later, or a count read later, does not."""
    store.add_readings([reading(25_000), reading(9, NOW + HOUR, name=BATCHES)])
    observe(store, NOW + HOUR, counted(TODAY, 15_000, observed_at=NOW + HOUR))

    assert evidence_of(store).at == NOW


def test_where_nothing_was_read_there_is_no_evidence(store: UsageStore) -> None:
    """No reading and no count up to the instant: None, not an empty claim."""
    assert store.evidence(ORG) is None
    assert store.evidence(ORG, NOW) is None
    store.add_readings([reading(25_000)])
    assert store.evidence("00DBB0000000002") is None
    assert store.evidence(ORG, NOW - HOUR) is None


def test_counts_alone_are_evidence_of_an_instant_that_is_named(store: UsageStore) -> None:
    """Without any reading of the limits the days are still told."""
    observe(store, NOW, counted(TODAY, 15_000))

    assert store.evidence(ORG) is None
    assert evidence_of(store, NOW).daily_counts == (counted(TODAY, 15_000),)


def test_a_running_day_is_told_by_the_observation_nearest_to_the_instant(store: UsageStore) -> None:
    """Before or after the instant; of two that are equally near, the earlier one."""
    for calls, after in ((14_000, -10), (14_900, -5), (15_100, 5), (15_900, 30)):
        observe(store, NOW + minutes(after), counted(TODAY, calls, observed_at=NOW + minutes(after)))

    assert [each.calls for each in evidence_of(store, NOW).daily_counts] == [14_900]
    assert [each.calls for each in evidence_of(store, NOW + minutes(20)).daily_counts] == [15_900]


def test_a_finished_day_is_told_by_the_latest_observation_after_its_end(store: UsageStore) -> None:
    """Late corrections count, even those made after the instant; an observation of the running day does not."""
    midnight = NOW.replace(hour=0, minute=0)
    for calls, at in (
        (18_000, midnight - minutes(1)),
        (19_900, midnight),
        (20_000, NOW - HOUR),
        (20_001, NOW + 20 * HOUR),
    ):
        observe(store, at, counted(YESTERDAY, calls, observed_at=at))

    assert [each.calls for each in evidence_of(store, NOW).daily_counts] == [20_001]


def test_a_finished_day_that_nobody_looked_at_after_its_end_is_told_by_the_nearest(store: UsageStore) -> None:
    """An incomplete count is better than none; that it is incomplete shows in its instant."""
    for calls, at in ((9_000, NOW - 24 * HOUR), (18_000, NOW - 16 * HOUR)):
        observe(store, at, counted(YESTERDAY, calls, observed_at=at))

    assert [each.calls for each in evidence_of(store, NOW).daily_counts] == [18_000]


def test_each_day_is_told_by_one_observation_with_all_its_users(store: UsageStore) -> None:
    """Rows of two observations of one day are never added up."""
    earlier = NOW - 2 * HOUR
    observe(
        store,
        earlier,
        counted(YESTERDAY, 12_000, user="005AA0000000001", observed_at=earlier),
        counted(TODAY, 4_000, user="005AA0000000001", observed_at=earlier),
    )
    latest = (
        counted(YESTERDAY, 12_000, user="005AA0000000001", coverage=Coverage.SOAP),
        counted(YESTERDAY, 8_000, user=None, coverage=Coverage.SOAP),
        counted(TODAY, 15_000, user="005AA0000000002", coverage=Coverage.SOAP),
    )
    observe(store, NOW, *latest)

    assert evidence_of(store, NOW).daily_counts == latest


def test_two_sources_at_one_instant_are_not_mixed(store: UsageStore) -> None:
    """The report and an exported file that show the same second are two observations, of which one is taken."""
    observe(store, NOW, counted(TODAY, 15_000, source="report"))
    observe(store, NOW, counted(TODAY, 14_998, source="csv"))

    assert len(evidence_of(store, NOW).daily_counts) == 1


def test_two_snapshots_that_show_the_same_second_are_not_added_up(store: UsageStore) -> None:
    """Two tasks that read the report at once made two observations, of which one is taken."""
    observe(store, NOW, counted(TODAY, 15_000))
    observe(store, NOW, counted(TODAY, 15_000))
    observe(store, NOW, counted(YESTERDAY, 20_000))

    assert [each.calls for each in evidence_of(store, NOW).daily_counts] == [20_000, 15_000]


def test_a_day_on_which_nobody_called_has_no_row(store: UsageStore) -> None:
    """The observation that tells of it has rows of a day before it; an older observation does not stand in."""
    monday = YESTERDAY - timedelta(days=1)
    before = NOW - 16 * HOUR
    observe(store, before, counted(YESTERDAY, 3, observed_at=before))
    observe(store, NOW, counted(monday, 700), counted(TODAY, 15_000))

    assert [each.day for each in evidence_of(store, NOW).daily_counts] == [monday, TODAY]


def test_the_days_of_a_report_and_today_bear_on_an_instant(store: UsageStore) -> None:
    """Eight days before today are enough for seven of the report and the day that the window begins in."""
    days = [TODAY - timedelta(days=back) for back in range(10, -1, -1)]
    observe(store, NOW, *(counted(day, 100) for day in days))

    assert [each.day for each in evidence_of(store, NOW).daily_counts] == days[2:]


def test_the_latest_reconciliation_is_that_of_the_latest_instant(store: UsageStore) -> None:
    """One made later about an earlier instant does not take its place; of one instant the last made counts."""
    store.add(Snapshot(ORG, NOW, (reading(25_000),), (counted(YESTERDAY, 20_000), counted(TODAY, 15_000))))
    outcome = reconcile(evidence_of(store)).as_dict()
    assert store.latest_reconciliation(ORG) is None

    store.add_reconciliation({**outcome, "rolling": 1}, NOW)
    store.add_reconciliation(outcome, NOW)
    store.add_reconciliation({**outcome, "rolling": 2, "consistent": None}, NOW - HOUR)

    assert store.latest_reconciliation(ORG) == outcome
    assert store.latest_reconciliation("00DBB0000000002") is None


def test_every_org_of_which_anything_is_kept_is_listed_once(store: UsageStore, ledger: QuotaLedger) -> None:
    """A reading, a snapshot without readings, or a request is enough."""
    assert store.orgs() == ()
    store.add_readings([reading(1, org_id="00DBB0000000002"), reading(2, NOW + HOUR, org_id="00DBB0000000002")])
    observe(store, NOW, counted(TODAY, 1))
    with ledger.turn("00DCC0000000003") as turn:
        turn.join(request(1, org_id="00DCC0000000003"), NOW, NOW + HOUR)

    assert store.orgs() == (ORG, "00DBB0000000002", "00DCC0000000003")
    assert store.latest_reading(ORG, API_REQUESTS) is None
