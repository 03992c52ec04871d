"""A mail server on loopback that keeps what it is sent."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast


class _Session(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as it takes to be sent mail without TLS and without a login."""

    def handle(self) -> None:
        self._say("220 mail.example.com")
        while line := self.rfile.readline():
            word = line[:4].upper().strip()
            if word == b"DATA":
                self._say("354 Go on")
                self._keep()
            self._say("221 Bye" if word == b"QUIT" else "250 OK")
            if word == b"QUIT":
                return

    def _keep(self) -> None:
        body = b""
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            body += line.removeprefix(b".") if line.startswith(b"..") else line
        cast("_Server", self.server).mails.append(cast(EmailMessage, message_from_bytes(body, policy=policy.default)))

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        super().__init__(("127.0.0.1", 0), _Session)


@contextmanager
def mail_server() -> Iterator[tuple[int, list[EmailMessage]]]:
    """Start it; yield its port and the mails that have come."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1], server.mails
        finally:
            server.shutdown()
            thread.join()
