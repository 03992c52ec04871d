"""The JSON of every route of the page. It only grows: what stands here is not renamed, retyped or taken away.

The application is mounted at ``<Airflow's base URL>/apiusage/``. All paths below are relative to that, and so are all
links in answers: resolve them against the page's own URL (``new URL(href, document.baseURI)``). Those that lead into
Airflow belong into the whole window: ``target="_top"`` where the page stands alone. In Airflow's frame its sandbox
forbids that (Airflow 3.3: ``allow-scripts allow-same-origin allow-forms allow-downloads``); the parent document is of
the same origin, so a link made and clicked in it does the same. Only ``GET`` and ``HEAD`` are
answered; every other method gets 405.

====================================== ============================================= ===========================
path                                   parameters (query; defaults)                  answer
====================================== ============================================= ===========================
``./``                                 for the page itself; the server ignores them  ``static/index.html``
``static/{file}``                                                                    a file of the page
``api/health``                                                                       :class:`Health`
``api/orgs``                                                                         :class:`Orgs`
``api/task``                           ``dag_id``, ``run_id=``, ``task_id=``,        :class:`TaskView`
                                       ``map_index=``
``api/orgs/{org_id}/summary``                                                        :class:`Summary`
``api/orgs/{org_id}/bridge``                                                         :class:`Bridge`
``api/orgs/{org_id}/series``                                                         :class:`Series`
``api/orgs/{org_id}/spenders``         ``by=user`` (``app``, ``client``,             :class:`Spenders`
                                       ``family``, ``resource``), ``day=`` (a UTC
                                       day ``2026-10-07``; blank: the last 24
                                       hours), ``sort=calls`` (``name``),
                                       ``order=desc`` (``asc``), ``offset=0``,
                                       ``limit=25`` (1..200)
``api/orgs/{org_id}/gate``             ``offset=0``, ``limit=50`` (1..200): of those :class:`Gate`
                                       who wait; ``held_offset=0``,
                                       ``held_limit=50``: of reservations
``api/orgs/{org_id}/decisions``        ``before=`` (``next`` of the page before),    :class:`Decisions`
                                       ``limit=50`` (1..200)
``api/orgs/{org_id}/reconciliations``  ``before=``, ``limit=7`` (1..50)              :class:`Reconciliations`
====================================== ============================================= ===========================

Parameters of the page itself, which links of operators and Airflow's tabs use: ``?org=<org id>&view=<summary | bridge |
series | spenders | gate | findings>&dag_id=&run_id=&task_id=&map_index=``. Airflow leaves ``{MAP_INDEX}`` as it stands
where a task is not mapped: treat a ``map_index`` that is not a whole number as not given.

Status codes of ``api/...``: 200; 304 (the ``ETag`` that was sent with ``If-None-Match`` still holds); 400 (a parameter
makes no sense); 401 (nobody is logged in); 403 (who is logged in may not see plugins' pages); 404 (there is no such
org, or not for this caller; the two are not told apart); 405; 503 (the store cannot be used). All of these but 304 have
:class:`Failure` as their body. Other failures are 500 with the same body.

Conventions: an instant is ISO 8601 in UTC (``2026-10-07T14:30:00Z``); a day is ``2026-10-07``; ``None`` (``null``) is
unknown, never 0; a share is 0..1 and may exceed 1 where a soft limit is passed; ``Bounds`` with ``high: null`` have no
known upper end. ``words`` and ``sentence`` are English and end in a full stop. Nothing is HTML: put every text into the
page as text. Names of users, apps and clients are the org's own words.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Part of an answer: every field is always there."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class State(StrEnum):
    """How much a figure or a view is to be relied on."""

    CURRENT = "current"
    """Read lately."""
    STALE = "stale"
    """Known, but old: show it with its time."""
    NONE = "none"
    """Nothing is known yet; ``todo`` says what to add."""


class Failure(Answer):
    """Body of every answer that is not 2xx or 304.

    :param error: ``not-logged-in``, ``forbidden``, ``not-found``, ``bad-parameter``, ``method-not-allowed``,
        ``store-unavailable``, ``access-unknown`` (Airflow cannot be asked who is there) or ``failed``.
    :param message: a plain sentence.
    :param fix: what to do about it; ``None`` if there is nothing to say.
    """

    error: str
    message: str
    fix: str | None = None


class Bounds(Answer):
    """From ``low`` to ``high``, both included; equal if the number is known exactly."""

    low: int
    high: int | None


class Run(Answer):
    """A piece of a text.

    :param text: the words.
    :param kind: ``plain``, ``strong``, ``code``, or ``name`` (the org's own words).
    """

    text: str
    kind: str


Prose = list[Run]
"""A sentence or more, in pieces; put together they are the text."""


class Todo(Answer):
    """What to add so that something missing will be there.

    :param words: a sentence or two.
    :param task: the operator, sensor or permission to add, such as ``ApiUsageSnapshotOperator``.
    :param example: lines of a DAG to copy; ``None`` if no task helps.
    :param docs: name of the page in the documentation, such as ``usage.md``.
    """

    words: str
    task: str
    example: str | None
    docs: str


class Finding(Answer):
    """One explained mismatch or gap.

    :param code: kebab-case, stable.
    :param severity: ``error``, ``warning`` or ``info``.
    """

    code: str
    severity: str
    words: Prose


class Page(Answer):
    """Which part of a list this is.

    :param offset: of its first item.
    :param limit: items on a page at most.
    :param total: items in all.
    """

    offset: int
    limit: int
    total: int


# --- who is there -----------------------------------------------------------------------------------------------------


class Health(Answer):
    """Whether there is anything to show to this caller.

    :param version: of the package.
    :param user: the caller's name.
    :param orgs: how many orgs the caller may see.
    :param state: ``none`` if the caller sees no org or nothing was read yet, ``stale`` if nothing was read for an hour.
    :param sentence: the state in words.
    :param todo: what to do about it; ``None`` if nothing.
    """

    version: str
    user: str
    orgs: int
    state: State
    sentence: str
    todo: Todo | None


class Org(Answer):
    """One org as the list of orgs shows it.

    :param org_id: the 15-character id.
    :param connections: ids of Airflow connections to it that the caller may read, sorted.
    :param state: of its newest reading.
    :param observed_at: the org's instant of that; ``None`` if there is none.
    :param used: ``DailyApiRequests`` in the last 24 hours.
    :param limit: likewise.
    :param share: used of limit.
    :param waiting: how many loads wait at its gate.
    :param overview_url: System Overview in the org's Setup (absolute, another host); ``None`` if unknown.
    """

    org_id: str
    connections: list[str]
    state: State
    observed_at: datetime | None
    used: int | None
    limit: int | None
    share: float | None
    waiting: int
    overview_url: str | None


class Orgs(Answer):
    """The orgs that the caller may see, fullest first.

    :param todo: what to do if there is none; else ``None``.
    """

    orgs: list[Org]
    todo: Todo | None


class Holder(Answer):
    """A task instance.

    :param map_index: ``None`` unless the task is mapped.
    :param label: ``dag/run/task[3]``.
    :param href: its page in Airflow, relative to the page.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None
    label: str
    href: str


# --- summary ----------------------------------------------------------------------------------------------------------


class Figure(Answer):
    """One figure with its origin.

    :param calls: ``None`` if unknown.
    :param at: the instant that it speaks of.
    :param source: a few words, such as ``limits, read by a snapshot``.
    :param note: a sentence if there is something to know about it, else ``None``.
    """

    calls: int | None
    at: datetime | None
    source: str
    note: str | None = None


class Term(Answer):
    """One line of the sum that makes the headroom.

    :param label: a few words.
    :param calls: with its sign; they add up to the headroom.
    """

    label: str
    calls: int


class LimitLine(Answer):
    """One limit.

    :param name: Salesforce's own.
    :param main: whether it is ``DailyApiRequests``; that one comes first.
    :param guarded: whether a gate has asked for it lately (then reserve, outstanding and headroom are of interest).
    :param share: used of limit.
    :param reserve: what gates keep back, as the latest of them said.
    :param outstanding: granted and perhaps not in ``used`` yet.
    :param headroom: what a gate would grant now: ``remaining - reserve - outstanding`` and what is known beside.
    :param terms: the sum that makes ``headroom``; empty if that is unknown.
    """

    name: str
    main: bool
    guarded: bool
    state: State
    used: Figure
    limit: Figure
    remaining: Figure
    share: float | None
    reserve: Figure
    outstanding: Figure
    headroom: Figure
    terms: list[Term]


class FreeAt(Answer):
    """When a number of calls can be had, with the reserve kept and what is granted taken as spent.

    :param calls: how many.
    :param earliest_at: not before, whatever others do; ``None`` if not within 24 hours or not known.
    :param expected_at: as forecast; likewise.
    :param likely_at: with 90 % confidence; likewise.
    """

    calls: int
    earliest_at: datetime | None
    expected_at: datetime | None
    likely_at: datetime | None


class Summary(Answer):
    """Where the org stands.

    :param at: now, by the org's clock.
    :param state: of the newest reading of ``DailyApiRequests``: stale after 15 minutes, when gates read anew.
    :param observed_at: the org's instant of it.
    :param sentence: the answer first: ``12,300 calls can be granted now; 30,000 at 14:20 UTC at the earliest.``
    :param more: further sentences: how much is used, when it runs out, how old the figures are.
    :param grantable: calls of ``DailyApiRequests`` that a gate would grant now; ``None`` if unknown.
    :param next: the number of calls that the sentence names beside, and when it can be had; ``None`` if no more can be.
    :param runs_out_expected_at: when the allowance is used up at this pace; ``None`` if not within 24 hours or unknown.
    :param runs_out_earliest_at: the earliest that is plausible (5 %).
    :param limits: every limit that the org told last, and those that gates ask for: ``DailyApiRequests`` first, then
        what gates ask for, then by share used.
    :param todo: what to add where nothing, or nothing new, was read; ``None`` otherwise.
    """

    org: Org
    at: datetime
    state: State
    observed_at: datetime | None
    sentence: str
    more: list[str]
    grantable: int | None
    next: FreeAt | None
    runs_out_expected_at: datetime | None
    runs_out_earliest_at: datetime | None
    limits: list[LimitLine]
    todo: Todo | None


# --- bridge -----------------------------------------------------------------------------------------------------------


class Step(Answer):
    """A step of the bridge, to be drawn as a waterfall.

    :param part: ``tail`` (of yesterday, still in the window), ``today``, ``rest`` (not in the daily counts), and the
        sum, ``rolling``.
    :param label: a few words.
    :param calls: ``None`` if unknown.
    :param allowed: what all the evidence allows; ``None`` if it says nothing.
    :param source: where the figure comes from.
    """

    part: str
    label: str
    calls: int | None
    allowed: Bounds | None
    source: str


class Day(Answer):
    """One UTC day.

    :param day: which.
    :param label: ``Wednesday 2026-10-07``.
    :param running: whether it is not over at the instant of the bridge.
    :param calls: bounds, by all the evidence.
    :param reported: what the daily report says; ``None`` if it says nothing.
    :param logged: what event logs show; ``None`` if they show nothing.
    :param estimate: the likeliest number; ``None`` if there is none.
    :param agree: whether the sources leave room for one another.
    """

    day: date
    label: str
    running: bool
    calls: Bounds
    reported: int | None
    logged: Bounds | None
    estimate: int | None
    agree: bool


class Bridge(Answer):
    """From yesterday and today to the last 24 hours.

    :param state: ``none`` if nothing was read; ``stale`` if the newest reading is older than an hour.
    :param at: the org's instant that all of it is about: that of the newest reading.
    :param starts_at: the start of its 24 hours.
    :param status: ``agree``, ``contradict`` or ``undecided``; ``None`` without any evidence.
    :param verdict: that in a sentence.
    :param title: a heading.
    :param lines: the figures and the sum, as Salesforce words them; to be shown in a fixed-width face.
    :param steps: the waterfall; the last is the sum.
    :param caption: what it shows, in words.
    :param coverage: ``soap``, ``all``, or ``None`` without a daily source.
    :param blind: what the daily source does not see, in a sentence.
    :param unlogged: calls of the window that no event log shows, sign kept; ``None`` if unknown.
    :param missing: which pieces are unknown, and what gives them.
    :param days: the week, oldest first.
    :param findings: of this reconciliation, most severe first.
    :param todo: what to add where nothing was read.
    """

    state: State
    at: datetime | None
    starts_at: datetime | None
    status: str | None
    verdict: str
    title: str
    lines: list[str]
    steps: list[Step]
    caption: str
    coverage: str | None
    blind: str
    unlogged: Bounds | None
    missing: list[Prose]
    days: list[Day]
    findings: list[Finding]
    todo: Todo | None


# --- series -----------------------------------------------------------------------------------------------------------


class Line(Answer):
    """A line: as many instants as numbers; a ``None`` breaks it."""

    at: list[datetime]
    calls: list[int | None]


class Band(Answer):
    """A line with a range: as many of each."""

    at: list[datetime]
    low: list[int]
    expected: list[int]
    high: list[int]


class Edges(Answer):
    """Bounds over time: as many of each; ``None`` in ``high`` is no known upper end."""

    at: list[datetime]
    low: list[int]
    high: list[int | None]


class Mark(Answer):
    """Decisions of a gate of one kind within one hour.

    :param at: the latest of them.
    :param kind: ``grant``, ``wait``, ``refuse``, ``extend`` or ``decline``.
    :param decisions: how many.
    :param used: calls in use about then, so that the mark can be drawn on the line; ``None`` if unknown.
    """

    at: datetime
    kind: str
    decisions: int
    used: int | None


class Series(Answer):
    """The week behind and the day ahead of ``DailyApiRequests``. At most some 700 points a line.

    :param state: as for :class:`Bridge`.
    :param at: the org's instant of the newest reading: where the past ends.
    :param since: where the past begins.
    :param until: where the future ends.
    :param used: rolling use, as read.
    :param snapshots: those of the readings that snapshots made (for small dots on the line).
    :param limit: the limit as it was over time, to the end of the future.
    :param decisions: marks.
    :param expiry: calls of the present window that have left it by then.
    :param forecast: calls in use; the range holds in nine cases of ten. Empty if nothing is known.
    :param basis: what the forecast is made from, in a sentence.
    :param caption: the whole in words, for those who do not see the chart.
    :param findings: what is missing for a better forecast.
    :param todo: what to add where nothing was read.
    """

    state: State
    at: datetime | None
    since: datetime | None
    until: datetime | None
    used: Line
    snapshots: Line
    limit: Line
    decisions: list[Mark]
    expiry: Edges
    forecast: Band
    basis: str
    caption: str
    findings: list[Finding]
    todo: Todo | None


# --- spenders ---------------------------------------------------------------------------------------------------------


class Spender(Answer):
    """Calls of one user, app, client, API family or kind of resource.

    :param key: as the source tells it; an id for users and apps.
    :param name: the latest name; ``None`` if none is known.
    :param calls: bounds: hours at the edge of the window count in part.
    :param share: of all calls that the source shows.
    :param half_back_at: the end of the hour by which half of them have left the window; ``None`` for a day.
    :param all_back_at: likewise all of them.
    """

    key: str
    name: str | None
    calls: Bounds
    share: float
    half_back_at: datetime | None
    all_back_at: datetime | None


class Spenders(Answer):
    """Who spent the calls of the last 24 hours, or of a UTC day.

    :param by: the dimension.
    :param day: ``None`` for the last 24 hours.
    :param start: first instant.
    :param end: the instant after it; ``None`` if nothing was read yet.
    :param source: ``event-logs``, ``daily-report`` (by user only), or ``None`` if neither tells anything.
    :param state: ``none`` if no source tells anything of this time.
    :param sentence: what is known of it, and how complete that is.
    :param total: calls that the shares are of.
    :param spenders: this page of them.
    :param unattributed: calls that leave the dimension blank; in ``total``.
    :param unknown: calls that may count or not; not in ``total``.
    :param uncounted: calls that do not count against the allowance; not in ``total``.
    :param hours: hours that the time touches.
    :param hours_without_data: how many of them no log tells of.
    :param first_day: earliest day of which any source tells; ``None`` if none.
    :param last_day: latest such day.
    :param todo: what to add where nothing is known.
    """

    by: str
    day: date | None
    start: datetime | None
    end: datetime | None
    source: str | None
    state: State
    sentence: str
    total: Bounds
    spenders: list[Spender]
    page: Page
    unattributed: Bounds
    unknown: Bounds
    uncounted: Bounds
    hours: int
    hours_without_data: int | None
    first_day: date | None
    last_day: date | None
    todo: Todo | None


# --- gate -------------------------------------------------------------------------------------------------------------


class Waiting(Answer):
    """One load that waits.

    :param place: in the queue, from 1.
    :param holder: ``None`` if the caller may not see its DAG.
    :param needs: by limit name.
    :param priority: steps of head start.
    :param since: when it joined the queue.
    :param opens: when its need, and all before it in the queue, can be had; ``None`` if it asks for another limit.
    :param reason: why it waits, as the gate said last; ``None`` if it has not yet.
    :param decided_at: when the gate said that first.
    """

    place: int
    holder: Holder | None
    needs: dict[str, int]
    priority: int
    since: datetime
    opens: FreeAt | None
    reason: str | None
    decided_at: datetime | None


class Held(Answer):
    """One reservation.

    :param holder: ``None`` if the caller may not see its DAG.
    :param held: by limit name.
    :param spent: by limit name; ``None`` if nobody meters it.
    :param granted_at: when.
    :param held_until: when it lapses unless it is renewed.
    """

    reservation_id: str
    holder: Holder | None
    held: dict[str, int]
    spent: dict[str, int] | None
    granted_at: datetime
    held_until: datetime


class Gate(Answer):
    """The gate of an org, now.

    :param state: ``none`` if no load has ever asked.
    :param sentence: who waits and what is held, in words.
    :param waiting: this page of the queue, in its order.
    :param waiting_page: of it.
    :param waiting_calls: calls of ``DailyApiRequests`` that all who wait ask for; ``None`` if too many wait.
    :param held: this page of the reservations, oldest first.
    :param held_page: of it.
    :param held_calls: calls of ``DailyApiRequests`` held; ``None`` likewise.
    :param hidden: how many on these pages belong to DAGs that the caller may not see.
    :param todo: what to add where no load asks.
    """

    state: State
    sentence: str
    waiting: list[Waiting]
    waiting_page: Page
    waiting_calls: int | None
    held: list[Held]
    held_page: Page
    held_calls: int | None
    hidden: int
    todo: Todo | None


class Decision(Answer):
    """One decision.

    :param kind: ``grant``, ``wait``, ``refuse``, or of a top-up ``extend`` or ``decline``.
    :param holder: ``None`` if the caller may not see its DAG.
    :param calls: by limit name, what was asked for.
    :param reason: with the arithmetic.
    :param figures: by limit: ``name``, ``need``, ``limit``, ``remaining``, ``reserve``, ``outstanding``, ``headroom``,
        ``observed_at``, ``expired``, ``expected``, ``margin``, ``peak``; any may be ``None`` or missing.
    """

    at: datetime
    kind: str
    holder: Holder | None
    calls: dict[str, int]
    reason: str
    figures: list[dict[str, Any]]


class Decisions(Answer):
    """The last decisions, newest first.

    :param next: what to give as ``before`` for the next page; ``None`` at the end.
    """

    decisions: list[Decision]
    next: str | None


class Reconciled(Answer):
    """One reconciliation that a task has kept.

    :param at: the org's instant that it is about.
    :param status: ``agree``, ``contradict`` or ``undecided``.
    :param verdict: that in a sentence.
    :param rolling: calls of the 24 hours before; ``None`` if unknown, as are the others.
    :param findings: most severe first.
    """

    at: datetime
    status: str
    verdict: str
    rolling: int | None
    limit: int | None
    today: int | None
    yesterday: int | None
    findings: list[Finding]


class Reconciliations(Answer):
    """The last reconciliations, newest first.

    :param next: what to give as ``before`` for the next page; ``None`` at the end.
    :param todo: what to add where there is none.
    """

    reconciliations: list[Reconciled]
    next: str | None
    todo: Todo | None


# --- a DAG's tab ------------------------------------------------------------------------------------------------------


class Lease(Answer):
    """What a task instance asked of a gate.

    :param org_id: of which org.
    :param holder: who.
    :param state: ``waiting``, ``granted``, ``released``, ``lapsed``, ``refused`` or ``withdrawn``.
    :param needs: what was asked for, by limit name.
    :param spent: by limit name; ``None`` if nobody meters it.
    :param requested_at: when.
    :param granted_at: when, if ever.
    :param held_until: when it lapses or lapsed; for one that waits, unless it asks again.
    :param ended_at: when, if it has.
    :param reason: the last decision's; ``None`` if there is none.
    """

    org_id: str
    holder: Holder
    state: str
    needs: dict[str, int]
    spent: dict[str, int] | None
    requested_at: datetime
    granted_at: datetime | None
    held_until: datetime
    ended_at: datetime | None
    reason: str | None


class TaskView(Answer):
    """What a DAG, a run, a task or a task instance has to do with orgs: what Airflow's tabs show first.

    Status 404 if the caller may not read the DAG, as if there were none.

    :param orgs: ids of the orgs that it has asked, and that the caller may see.
    :param leases: the latest 50, newest first.
    :param sentence: that in words; for a DAG that has nothing to do with us it says so, and nothing is wrong.
    """

    orgs: list[str]
    leases: list[Lease]
    sentence: str
