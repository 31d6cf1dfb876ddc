"""Requests over HTTP that a few bytes have gone wrong in."""

from __future__ import annotations

import random
import socket
from collections import Counter

from tests.support.limits import REPLY_S

AT_ONCE = 40
"""Connections that are answered side by side."""
SAY = b'{"session_id": "nobody", "text": "Hello"}'
REQUESTS = (
    b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"POST /api/say HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(SAY), SAY),
    b"POST /api/process_segment HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 121\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\nRIFF\r\n'
    b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
)


def mutated(source: random.Random, whole: bytes) -> bytes:
    """The same with one to six changes."""
    data = bytearray(whole)
    for _ in range(source.randint(1, 6)):
        at = source.randrange(len(data))
        match source.randrange(4):
            case 0:
                data[at] = source.randrange(256)
            case 1:
                del data[at : at + source.randint(1, 8)]
            case 2:
                data[at:at] = source.randbytes(source.randint(1, 8))
            case _:
                data[at:at] = data[at : at + 40]
        if not data:
            return b"\r\n\r\n"
    return bytes(data)


def throw_mutated(port: int, count: int, seed: int) -> Counter[bytes]:
    """Send so many; how often each status came, b"" where there was no answer."""
    source = random.Random(seed)
    answers: Counter[bytes] = Counter()
    for begin in range(0, count, AT_ONCE):
        connections = [_send(port, source) for _ in range(min(AT_ONCE, count - begin))]
        answers.update(_status(one) for one in connections)
    return answers


def _send(port: int, source: random.Random) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), REPLY_S)
    one.sendall(mutated(source, source.choice(REQUESTS)))
    one.shutdown(socket.SHUT_WR)  # what is not complete is not waited for
    return one


def _status(one: socket.socket) -> bytes:
    with one:
        try:
            answer = one.recv(65_536)
        except ConnectionResetError:
            return b""
    return answer.partition(b"\r\n")[0].removeprefix(b"HTTP/1.1 ")[:3]
