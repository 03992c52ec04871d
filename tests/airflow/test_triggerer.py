"""Gates in a triggerer that talks to its supervisor over Airflow's own socket, as it does since Airflow 3.0."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import timezone
from asgiref.sync import sync_to_async

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.sandbox import SandboxServer
from airflow_provider_apiusage.triggers import hub as hubs
from airflow_provider_apiusage.triggers.quota import ApiQuotaTrigger
from tests.airflow.test_hub import OF_AN_OLDER_VERSION
from tests.airflow.test_trigger import events_of, trigger

GATES = 12


class Supervisor:
    """The other end of a triggerer's socket: answers every message, and keeps what it was told to mask.

    ``to_create`` and ``to_cancel`` are sent with the next answer; ``events`` are those that triggers have fired.
    """

    def __init__(self) -> None:
        self.triggerers_end, self._end = socket.socketpair()
        self.told = ""
        self.to_create: list[dict[str, Any]] = []
        self.to_cancel: list[int] = []
        self.events: dict[int, Any] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        import msgspec
        from airflow.sdk.execution_time.comms import _RequestFrame, _ResponseFrame

        decoder = msgspec.msgpack.Decoder(_RequestFrame)
        with self._end.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                frame = decoder.decode(stream.read(*struct.unpack(">I", head)))
                assert frame.body is not None
                answer: dict[str, Any] | None = None
                if frame.body["type"] == "MaskSecret":
                    self.told += str(frame.body["value"])
                else:
                    create, self.to_create = self.to_create, []
                    cancel, self.to_cancel = self.to_cancel, []
                    self.events |= {each[0]: each[1] for each in frame.body.get("events") or []}
                    answer = {"type": "TriggerStateSync", "to_create": create, "to_cancel": cancel}
                self._end.sendall(_ResponseFrame(id=frame.id, body=answer).as_bytes())

    def close(self) -> None:
        self._end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._end.close()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """A supervisor of this test alone."""
    one = Supervisor()
    yield one
    one.close()


@pytest.fixture
async def comms(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The triggerer's end of its socket, as Airflow sets it up."""
    from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder
    from airflow.sdk.execution_time import task_runner

    reader, writer = await asyncio.open_connection(sock=supervisor.triggerers_end)
    decoder: Any = TriggerCommsDecoder(async_reader=reader, async_writer=writer, socket=supervisor.triggerers_end)
    if hasattr(decoder, "start_reader"):  # from Airflow 3.2 on
        await decoder.start_reader()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", decoder, raising=False)
    yield decoder
    writer.close()


def comms_message() -> Any:
    """What the triggerer tells its supervisor once a second."""
    from airflow.jobs.triggerer_job_runner import messages

    return messages.TriggerStateChanges()


async def test_a_thousand_gates_that_arrive_at_once_are_taken_together(
    connected: SandboxServer, supervisor: Supervisor, comms: Any
) -> None:
    """Within a second all of them wait behind a few turns and one reading; the triggerer itself goes on meanwhile."""
    connected.org.change({"limit": 25_000, "hard_limit": 90_000})
    hook = ApiUsageHook()
    org_id, used = connected.org.identity.org_id, connected.org.used
    hook.store.orgs()
    gates = asyncio.gather(*(events_of(trigger(connected, 10, f"gate_{n}", 60.0)) for n in range(1_000)))
    longest, last = 0.0, time.monotonic()

    async def until(condition: Callable[[], bool]) -> None:
        nonlocal longest, last
        while not await asyncio.to_thread(condition):
            await comms.asend(comms_message())
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    await until(lambda: len(hook.ledger.waiting(org_id, timezone.utcnow())) == 1_000)
    assert connected.org.used - used <= 2
    (hub,) = hubs._hubs.values()
    connected.org.clock.advance(timedelta(hours=20))
    # What a snapshot reads, the hub finds at its next look.
    await sync_to_async(lambda: hook.store.add_readings(hook.get_limits()), thread_sensitive=False)()
    assert [event["status"] for (event,) in await gates] == ["granted"] * 1_000
    assert len(hook.ledger.reservations(org_id, timezone.utcnow())) == 1_000
    assert hub._outages == 0
    assert longest < 5  # seconds, in which nothing else of the triggerer could have gone on


async def test_many_gates_leave_the_triggerer_s_own_messages_in_order(
    connected: SandboxServer, supervisor: Supervisor, comms: Any
) -> None:
    """Gates that log in in threads tell the supervisor their tokens to mask, and no answer goes to the wrong one."""
    ApiUsageHook().store.orgs()
    known = set(connected.org.sessions._sessions)

    gates = asyncio.gather(*(events_of(trigger(connected, 10, f"gate_{n}")) for n in range(GATES)))
    while not gates.done():  # what the triggerer does once a second
        await comms.asend(comms_message())
        await asyncio.sleep(0.01)
    await comms.asend(comms_message())

    assert [event["status"] for (event,) in await gates] == ["granted"] * GATES
    tokens = set(connected.org.sessions._sessions) - known
    assert tokens
    assert {token for token in tokens if token not in supervisor.told} == set()


def run_triggers(supervisor: Supervisor) -> tuple[Any, threading.Thread]:
    """Start Airflow's own runner of triggers as a triggerer does, in an event loop of its own that ends with it."""
    from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder, TriggerRunner
    from airflow.sdk.execution_time import task_runner

    class Runner(TriggerRunner):
        async def init_comms(self) -> None:
            reader, writer = await asyncio.open_connection(sock=supervisor.triggerers_end)
            decoder: Any = TriggerCommsDecoder(
                async_reader=reader, async_writer=writer, socket=supervisor.triggerers_end
            )
            if hasattr(decoder, "start_reader"):
                await decoder.start_reader()
            task_runner.SUPERVISOR_COMMS = self.comms_decoder = decoder

    runner = Runner()
    thread = threading.Thread(target=lambda: asyncio.run(runner.arun()), daemon=True)
    thread.start()
    return runner, thread


def workload(trigger_id: int, waiting: ApiQuotaTrigger) -> dict[str, Any]:
    """Return what Airflow's supervisor tells the runner of a trigger in its database."""
    from airflow.executors.workloads import RunTrigger
    from airflow.models.trigger import Trigger

    path, arguments = waiting.serialize()
    made = RunTrigger(id=trigger_id, ti=None, classpath=path, encrypted_kwargs=Trigger.encrypt_kwargs(arguments))
    return made.model_dump(mode="json")


def until(condition: Callable[[], bool]) -> None:
    """Look until something is so."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 60
        time.sleep(0.02)


def test_airflow_s_own_runner_cancels_stops_and_takes_up_gates(
    connected: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clear, mark and time-out take a trigger from the runner: no ghost. A triggerer that stops leaves the queue as it
    is, and the next one goes on with the waits, also of one that began under an older version."""
    from airflow.sdk.execution_time import task_runner

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", None, raising=False)
    connected.org.change({"limit": 25_000, "hard_limit": 90_000})
    hook = ApiUsageHook()
    org_id = connected.org.identity.org_id
    older = ApiQuotaTrigger("salesforce_default", None, {**OF_AN_OLDER_VERSION, "org_id": org_id}, 1.0)
    gates = {1: trigger(connected, 10, "cleared", 1.0), 2: trigger(connected, 10, "kept", 1.0), 3: older}

    def waiting() -> set[str]:
        return {each.holder.task_id for each in hook.ledger.waiting(org_id, timezone.utcnow())}

    first = Supervisor()
    first.to_create = [workload(number, each) for number, each in gates.items()]
    runner, thread = run_triggers(first)
    until(lambda: waiting() == {"cleared", "kept", "t"})
    first.to_cancel = [1]
    until(lambda: waiting() == {"kept", "t"})
    runner.stop = True
    thread.join(60)
    first.close()
    assert waiting() == {"kept", "t"}
    assert first.events == {}

    second = Supervisor()
    connected.org.clock.advance(timedelta(hours=20))
    second.to_create = [workload(number, gates[number]) for number in (2, 3)]
    runner, thread = run_triggers(second)
    until(lambda: set(second.events) == {2, 3})
    runner.stop = True
    thread.join(60)
    second.close()

    assert all("granted" in str(event) for event in second.events.values())
    assert {each.holder.task_id for each in hook.ledger.reservations(org_id, timezone.utcnow())} == {"kept", "t"}
