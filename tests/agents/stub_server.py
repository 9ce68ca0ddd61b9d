"""A small HTTP server on this machine that answers as a test tells it to, faults included."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HANG = "hang"
"""An answer that never comes (until the server is closed)."""
DROP = "drop"
"""A connection that is closed without an answer."""


@dataclass(frozen=True)
class Asked:
    """One request. number: how many came before it."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]
    number: int


@dataclass(frozen=True)
class Answer:
    """body: bytes as they are, anything else as JSON."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Stub:
    """asked: every request in order. most: how many were in hand at once at most."""

    def __init__(self, answer: Callable[[Asked], Answer | str]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.most = self.now = 0
        self.lock = threading.Lock()
        self.closed = threading.Event()
        self.url = ""

    @property
    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


@contextmanager
def stub_server(answer: Callable[[Asked], Answer | str], *, certificate: Path | None = None) -> Iterator[Stub]:
    """A server whose every answer is what the function returns. certificate: with its key; https instead of http."""
    stub = Stub(answer)
    connections: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # head and body in one packet: two would wait for each other

        def setup(self) -> None:
            super().setup()
            connections.append(self.connection)

        def handle_any(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with stub.lock:
                asked = Asked(self.command, self.path, json.loads(data) if data else None, dict(self.headers), len(stub.asked))
                stub.asked.append(asked)
                stub.now += 1
                stub.most = max(stub.most, stub.now)
            try:
                self.respond(stub.answer(asked))
            finally:
                with stub.lock:
                    stub.now -= 1

        def respond(self, answer: Answer | str) -> None:
            if isinstance(answer, str):
                if answer == HANG:
                    stub.closed.wait()
                self.close_connection = True
                return
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(data)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = handle_any  # noqa: N815  http.server's names

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

        def handle(self) -> None:
            with suppress(OSError, ValueError):  # the client went away, as it may
                super().handle()

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # closing waits for them: one that still computes when Python ends would abort it
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    stub.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        stub.closed.set()
        server.shutdown()
        for connection in connections:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
        thread.join()
