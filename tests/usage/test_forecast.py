"""What a forecast says of an org whose past is known, little known, and not known at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_apiusage.usage.forecast import forecast
from airflow_provider_apiusage.usage.forecast_model import Basis, Forecast
from airflow_provider_apiusage.usage.model import Completeness, Evidence, HourTotal, Interval, LimitReading
from tests.usage.evidence import AT, ORG, reading

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
BEGIN = datetime(2026, 9, 1, tzinfo=UTC)

Rate = Callable[[datetime], float]


def office(moment: datetime) -> float:
    """Calls a minute: 60 on weekdays from 8 to 18, 2 otherwise."""
    return 60 if moment.weekday() < 5 and 8 <= moment.hour < 18 else 2


def steady(moment: datetime) -> float:
    return 10


class Truth:
    """All calls of an org, minute by minute, from five weeks before :data:`AT` to a day after it."""

    def __init__(self, rate: Rate, bucket: int = 0) -> None:
        self.bucket = bucket
        self.start = AT - timedelta(days=37)
        self.sums = [0.0]
        for minute in range(39 * 1440):
            self.sums.append(self.sums[-1] + rate(self.start + minute * MINUTE))

    def made(self, start: datetime, end: datetime) -> float:
        places = [max(0, int((moment - self.start) / MINUTE)) for moment in (start, end)]
        return self.sums[places[1]] - self.sums[places[0]]

    def used(self, at: datetime) -> int:
        begin = at - timedelta(minutes=(at.minute % self.bucket if self.bucket else 0)) - DAY
        return round(self.made(begin, at))

    def left(self, at: datetime, later: datetime) -> float:
        """Return the calls used at one instant that have left the window by a later one."""
        marks = [timedelta(minutes=t.minute % self.bucket if self.bucket else 0) for t in (at, later)]
        return self.made(at - marks[0] - DAY, later - marks[1] - DAY)

    def readings(self, days: float = 35, at: datetime = AT) -> tuple[LimitReading, ...]:
        moments = [at - 15 * MINUTE * n for n in range(int(days * 96), -1, -1)]
        return tuple(reading(self.used(moment), moment) for moment in moments)

    def hours(self, days: float = 35, late: timedelta = timedelta(hours=6)) -> tuple[HourTotal, ...]:
        newest = (AT - late).replace(minute=0) - HOUR
        starts = [newest - HOUR * n for n in range(int(days * 24) - 1, -1, -1)]
        totals = []
        for start in starts:
            calls = round(self.made(start, start + HOUR))
            totals.append(HourTotal(start, Interval(calls, calls), Interval(0, calls), Completeness.SETTLED))
        return tuple(totals)


def evidence(readings: tuple[LimitReading, ...] = (), hours: tuple[HourTotal, ...] = (), at: datetime = AT) -> Evidence:
    return Evidence(ORG, at, readings, (), hours)


def codes(made: Forecast) -> set[str]:
    return {finding.code for finding in made.findings}


@pytest.mark.parametrize("bucket", [0, 15, 60])
@pytest.mark.parametrize("told", ["readings", "hours", "both"])
def test_regular_days_come_again(told: str, bucket: int) -> None:
    """From snapshots, hourly counts and both, what is used a day ahead is told within 6 %, and what leaves bounded."""
    truth = Truth(office, bucket)
    readings = truth.readings() if told != "hours" else ()
    hours = truth.hours() if told != "readings" else ()

    made = forecast(evidence(readings, hours))

    assert made.basis is Basis.SLOTS
    for point in made.points[::4]:
        assert point.used is not None
        assert point.used.expected == pytest.approx(truth.used(point.at), abs=0.06 * 37_000)
        assert point.used.low - 0.03 * 37_000 <= truth.used(point.at) <= point.used.high + 0.03 * 37_000
        assert point.expired.low - 2 <= truth.left(AT, point.at)
        assert point.expired.high is None or point.expired.high + 2 >= truth.left(AT, point.at)


def test_hourly_counts_put_the_time_of_day_right() -> None:
    """New calls are told within 5 % of a day from three days with event logs; snapshots alone misplace a third."""
    truth = Truth(office)

    def worst(told: Evidence) -> float:
        news = [(point.at, point.new) for point in forecast(told).points]
        return max(abs(new.expected - truth.made(AT, at)) for at, new in news if new is not None) / 37_000

    assert worst(evidence(truth.readings(2), truth.hours(3))) < 0.05
    assert worst(evidence(truth.readings(2))) > 0.3


def test_a_weekend_is_told_from_weekends() -> None:
    """On a Friday evening nearly nothing is expected of Saturday, and on Sunday evening a full Monday."""
    truth = Truth(office)
    friday, sunday = AT - timedelta(days=5) + 5 * HOUR, AT - timedelta(days=3) + 5 * HOUR

    ahead_of_saturday = forecast(evidence(truth.readings(30, friday), at=friday)).points[-1].new
    ahead_of_monday = forecast(evidence(truth.readings(30, sunday), at=sunday)).points[-1].new

    assert ahead_of_saturday is not None
    assert ahead_of_monday is not None
    assert ahead_of_saturday.expected < 6_000
    assert ahead_of_monday.expected > 30_000


def test_from_nothing_it_says_nothing() -> None:
    """Without evidence no number is forecast, nothing is bounded, and the finding says what to do."""
    made = forecast(evidence())

    assert made.basis is Basis.NOTHING
    assert codes(made) == {"forecast-nothing-known"}
    assert made.limit is None
    assert made.used == Interval(0)
    assert [(p.new, p.used) for p in made.points] == [(None, None)] * 97
    assert made.points[0].expired == Interval(0, 0)
    assert made.points[96].expired == Interval(0)


def test_one_reading_gives_a_rate() -> None:
    """A single reading is spread evenly over its day, which the basis and the findings say, and ranges are wide."""
    made = forecast(evidence((reading(24_000),)))

    last = made.points[-1]
    assert made.basis is Basis.RATE
    assert codes(made) == {"forecast-little-history", "forecast-mean-rate"}
    assert made.used == Interval(24_000, 24_000)
    assert last.new is not None
    assert last.used is not None
    assert last.new.expected == pytest.approx(24_000, rel=0.01)
    assert last.new.low < 12_000
    assert last.new.high > 40_000
    assert made.points[4].used is not None
    assert made.points[4].used.expected == pytest.approx(24_000, rel=0.01)


def test_more_history_makes_it_surer() -> None:
    """The range a day ahead shrinks from two days of snapshots to nine and to thirty-five."""
    truth = Truth(office)
    widths = []
    for days in (2, 9, 35):
        last = forecast(evidence(truth.readings(days))).points[-1].used
        assert last is not None
        widths.append(last.high - last.low)

    assert widths[0] > widths[1] > widths[2]


def test_little_history_is_said() -> None:
    """Up to eight days of snapshots the forecast says so; from then on it does not."""
    truth = Truth(steady)

    assert "forecast-little-history" in codes(forecast(evidence(truth.readings(7.9))))
    assert "forecast-little-history" not in codes(forecast(evidence(truth.readings(8))))


def test_old_evidence_is_made_up_for_and_said() -> None:
    """On a Monday, three hours after the last snapshot, what came and went since is forecast, too."""
    truth = Truth(office)
    monday = AT - 2 * DAY
    readings = tuple(r for r in truth.readings(30, monday) if r.observed_at <= monday - 3 * HOUR)

    made = forecast(evidence(readings, at=monday))

    assert "forecast-from-old-evidence" in codes(made)
    assert made.points[0].used is not None
    assert truth.used(monday) > readings[-1].used + 8_000
    assert made.points[0].used.expected == pytest.approx(truth.used(monday), rel=0.1)
    assert made.points[0].used.low < made.points[0].used.high


def test_the_last_two_hours_scale_what_comes_next() -> None:
    """A day half as busy again than its kind raises what is expected of the next hours, and less of those after."""

    def busier(moment: datetime) -> float:
        return office(moment) * (1.5 if moment >= AT - 2 * HOUR else 1)

    usual, raised = (forecast(evidence(t.readings(), t.hours())) for t in (Truth(office), Truth(busier)))

    def ratio(point: int, before: int = 0) -> float:
        totals = []
        for made in (raised, usual):
            end, start = made.points[point].new, made.points[before].new
            assert end is not None
            assert start is not None
            totals.append(end.expected - start.expected)
        return totals[0] / totals[1]

    assert ratio(2) == pytest.approx(1.4, abs=0.15)
    assert ratio(60, 48) < 1.15


def test_own_calls_are_not_expected_again() -> None:
    """A big load of one's own yesterday leaves the window, and is not forecast to come back."""
    when = AT - DAY + 3 * HOUR

    def with_load(moment: datetime) -> float:
        return 10 + (500 if when <= moment < when + HOUR else 0)

    truth = Truth(with_load)
    told = evidence(truth.readings(3), truth.hours(3))
    own = [(when + minutes * MINUTE, 500) for minutes in range(60)]

    named, unnamed = forecast(told, own=own).points[-1].new, forecast(told).points[-1].new

    assert named is not None
    assert unnamed is not None
    assert named.expected == pytest.approx(14_400, rel=0.1)
    assert unnamed.expected > 25_000


def test_an_expired_call_may_stay_counted_for_an_hour() -> None:
    """While no fall of the figure has shown otherwise, calls of 12:20 are surely gone at 13:30, but not at 12:30."""
    noon = AT.replace(hour=12, minute=0)
    first = noon - DAY + 20 * MINUTE
    moments = [noon - 5 * MINUTE * n for n in range(12 * 25, -1, -1)]
    readings = tuple(reading(100 if moment >= first else 0, moment) for moment in moments)

    made = forecast(evidence(readings, at=noon))

    assert made.points[2].expired == Interval(0, 100)
    assert made.points[6].expired == Interval(100, 100)


def test_the_limit_is_the_last_one_reported() -> None:
    """A raised limit holds from the reading that reports it; an argument overrules it."""
    readings = (reading(10, AT - HOUR, limit=100_000), reading(10, AT - MINUTE, limit=None))
    raised = (*readings, reading(10, AT, limit=120_000))

    assert forecast(evidence(readings)).limit == 100_000
    assert forecast(evidence(raised)).limit == 120_000
    assert forecast(evidence(raised), limit=5).limit == 5


def test_what_is_later_or_very_old_is_not_looked_at() -> None:
    """Readings after the forecast's instant, or of more than 35 days before it, change nothing."""
    truth = Truth(office)
    told = evidence(truth.readings(10))
    more = (reading(5, AT - timedelta(days=36)), *told.readings, reading(99_000, AT + MINUTE))

    assert forecast(replace(told, readings=more)) == forecast(told)


def test_contradicting_evidence_is_said() -> None:
    """Hours that hold more calls than the readings allow are named as such, and a forecast is made all the same."""
    readings = tuple(reading(100, AT - 15 * MINUTE * n) for n in range(96 * 3, -1, -1))
    newest = AT.replace(minute=0) - 8 * HOUR
    hours = tuple(
        HourTotal(newest - HOUR * n, Interval(5_000, 5_000), Interval(0, 0), Completeness.SETTLED)
        for n in range(9, -1, -1)
    )

    made = forecast(evidence(readings, hours))

    assert "forecast-evidence-disagrees" in codes(made)
    assert made.points[-1].used is not None


def test_a_naive_instant_is_refused() -> None:
    """An instant needs a zone."""
    with pytest.raises(ValueError, match="time zone"):
        forecast(evidence(at=AT.replace(tzinfo=None)))
