"""Gates in a triggerer that talks to its supervisor over Airflow's own socket, as it does since Airflow 3.0."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_apiusage.hooks.api_usage import ApiUsageHook
from airflow_provider_apiusage.sandbox import SandboxServer
from tests.airflow.test_trigger import events_of, trigger

GATES = 12


class Supervisor:
    """The other end of a triggerer's socket: answers every message, and keeps what it was told to mask."""

    def __init__(self) -> None:
        self.triggerers_end, self._end = socket.socketpair()
        self.told = ""
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
                    answer = {"type": "TriggerStateSync", "to_create": [], "to_cancel": []}
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


async def test_many_gates_leave_the_triggerer_s_own_messages_in_order(
    connected: SandboxServer, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gates that log in in threads tell the supervisor their tokens to mask, and no answer goes to the wrong one."""
    from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder, messages
    from airflow.sdk.execution_time import task_runner

    reader, writer = await asyncio.open_connection(sock=supervisor.triggerers_end)
    comms: Any = TriggerCommsDecoder(async_reader=reader, async_writer=writer, socket=supervisor.triggerers_end)
    if hasattr(comms, "start_reader"):  # from Airflow 3.2 on
        await comms.start_reader()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    ApiUsageHook().store.orgs()
    known = set(connected.org.sessions._sessions)

    gates = asyncio.gather(*(events_of(trigger(connected, 10, f"gate_{n}")) for n in range(GATES)))
    while not gates.done():  # what the triggerer does once a second
        await comms.asend(messages.TriggerStateChanges())
        await asyncio.sleep(0.01)
    await comms.asend(messages.TriggerStateChanges())

    assert [event["status"] for (event,) in await gates] == ["granted"] * GATES
    tokens = set(connected.org.sessions._sessions) - known
    assert tokens
    assert {token for token in tokens if token not in supervisor.told} == set()
    writer.close()
