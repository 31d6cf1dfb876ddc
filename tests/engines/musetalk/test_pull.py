from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.api import EngineError
from models.asr import whisper_files, whisper_pull
from models.musetalk.layout import BY_NAME, Component, Download
from models.musetalk.pull import fetch_url, pull

pytest.importorskip("huggingface_hub")

FILES = {
    "config.json": b'{"in_channels": 3}',
    "weights.bin": bytes(range(256)) * 4000,
    "diffusion_pytorch_model.bin": bytes(1000),
    "model.bin": bytes(5000),
    "tokenizer.json": b"{}",
    "vocabulary.txt": b"a",
}
OURS = ("config.json", "weights.bin")
COMMIT = "0" * 40


class Server(ThreadingHTTPServer):
    """Answers as the hub does: HEAD with commit, size and SHA-256, GET with ranges."""

    requests: list[tuple[str, str, str | None]]
    lie = ""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, body: bool) -> None:
        data = FILES.get(self.path.rsplit("/", 1)[-1])
        wanted = self.headers.get("Range")
        self.server.requests.append((self.command, self.path, wanted))
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        digest = self.server.lie or hashlib.sha256(data).hexdigest()
        first = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Linked-ETag", f'"{digest}"')
        self.send_header("Content-Length", str(len(data) - first))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if body:
            self.wfile.write(data[first:])


@contextmanager
def serving() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hub() -> Iterator[Server]:
    with serving() as server:
        yield server


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def component(folder: str = "net") -> Component:
    files = tuple(Download(f"{folder}/{name}", repo="someone/model", file=name) for name in OURS)
    return Component("net", "vae", (f"{folder}/weights.bin",), (f"{folder}/config.json",), files, "a test")


def test_files_of_the_hub_arrive_whole_and_only_once(hub: Server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    fetched = pull(tmp_path, [component()], lambda *step: seen.append(step), address(hub))
    assert fetched == ["net/config.json", "net/weights.bin"]
    for name in OURS:
        assert (tmp_path / "net" / name).read_bytes() == FILES[name]
    assert seen[-1] == ("net/weights.bin", len(FILES["weights.bin"]), len(FILES["weights.bin"]))
    assert pull(tmp_path, [component()], lambda *_: None, address(hub)) == []


def test_a_wrong_checksum_is_refused(hub: Server, tmp_path: Path) -> None:
    hub.lie = "ab" * 32
    with pytest.raises(EngineError, match="SHA-256"):
        pull(tmp_path, [component()], lambda *_: None, address(hub))
    assert not (tmp_path / "net" / "config.json").exists()


def test_without_a_network_the_message_names_the_file_and_the_place(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot fetch someone/model/config") as caught:
        pull(tmp_path, [component()], lambda *_: None, "http://127.0.0.1:9")
    assert "HF_ENDPOINT" in str(caught.value)


def test_a_plain_download_goes_on_where_it_stopped_and_is_checked(hub: Server, tmp_path: Path) -> None:
    data = FILES["weights.bin"]
    target = tmp_path / "weights.bin"
    (tmp_path / "weights.bin.part").write_bytes(data[:100_000])
    url, digest = f"{address(hub)}/weights.bin", hashlib.sha256(data).hexdigest()
    fetch_url(Download("weights.bin", url=url, sha256_prefix=digest[:10]), target, lambda *_: None)
    assert target.read_bytes() == data
    assert hub.requests[-1][2] == "bytes=100000-"
    with pytest.raises(EngineError, match="does not begin with 0000"):
        fetch_url(Download("weights.bin", url=url, sha256_prefix="0000"), target, lambda *_: None)
    with pytest.raises(EngineError, match="answers 404"):
        fetch_url(Download("x", url=f"{address(hub)}/none", sha256_prefix=""), tmp_path / "x", lambda *_: None)


def test_the_s3fd_file_is_part_of_what_is_pulled() -> None:
    (download,) = BY_NAME["s3fd"].downloads
    assert download.sha256_prefix in download.url


def test_a_whisper_model_arrives_whole_with_either_kind_of_vocabulary(hub: Server, tmp_path: Path) -> None:
    fetched = whisper_pull.pull(tmp_path, "base", lambda *_: None, address(hub))
    assert sorted(fetched) == [
        f"whisper-base/{name}" for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")
    ]
    assert whisper_files.check(str(tmp_path), "base") == tmp_path / "whisper-base"
    assert any("/Systran/faster-whisper-base/resolve/" in path for _, path, _ in hub.requests)
    assert whisper_pull.pull(tmp_path, "base", lambda *_: None, address(hub)) == []


def test_a_whisper_model_that_nobody_knows_is_named_with_those_that_are() -> None:
    with pytest.raises(EngineError, match="enormous") as caught:
        whisper_pull.pull(Path("/nowhere"), "enormous", lambda *_: None)
    assert "whisper-large-v3-turbo" in caught.value.hint
