"""A small HTTP server for protocol servers: real sockets, threads, and a say in every byte that goes out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STALL_S = 60.0
"""So long a server stalls for a client that stays."""


class ProtocolServer:
    """Base of the servers: what each request was, and how many connections are open.

    ``mode`` says how the next answers misbehave; see the subclasses.
    """

    def __init__(self) -> None:
        self.mode = ""
        self.requests: list[tuple[str, str, Any, dict[str, str]]] = []
        """``(method, path, body, headers)``"""
        self.closed_early = threading.Event()
        """A client has closed its connection in the middle of an answer."""
        self.stalled = threading.Event()
        """An answer stands still."""
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                self._serve("GET", None)

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                self._serve("POST", json.loads(self.rfile.read(size) or b"null"))

            def _serve(self, method: str, body: Any) -> None:
                outer.requests.append((method, self.path, body, dict(self.headers)))
                try:
                    outer.answer(self, method, self.path, body)
                except (BrokenPipeError, ConnectionResetError):
                    outer.closed_early.set()
                    self.close_connection = True

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that leaves is no error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def answer(self, request: Any, method: str, path: str, body: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    # --- for the subclasses ---

    @staticmethod
    def reply(request: Any, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def chunks(self, request: Any, content_type: str, parts: Iterator[bytes]) -> None:
        """A chunked answer; the modes ``half_close``, ``drop`` and ``stall`` strike after three parts."""
        request.send_response(200)
        request.send_header("Content-Type", content_type)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        mode = self.mode
        for sent, part in enumerate(parts):
            if mode == "stall_at_once" or (mode == "stall" and sent == 3):
                self._stall(request)
                return
            if mode == "half_close" and sent == 3:
                request.wfile.write(b"0\r\n\r\n")  # ends in good order, as if whole
                request.close_connection = True
                return
            if mode == "drop" and sent == 3:
                request.close_connection = True
                return
            request.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            request.wfile.flush()
        request.wfile.write(b"0\r\n\r\n")

    def _stall(self, request: Any) -> None:
        """Send nothing more until the client leaves."""
        self.stalled.set()
        request.connection.settimeout(STALL_S)
        try:
            left = request.connection.recv(1) == b""
        except TimeoutError:
            left = False
        except OSError:
            left = True
        if left:
            self.closed_early.set()
        request.close_connection = True
