"""What stands in the way of a start is found before anything is started, and said in the last line."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from configs.load import ConfigError
from models import engines
from supervision import app, preflight
from supervision.app import main
from supervision.preflight import Obstacle
from tests.support.processes import free_ports


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of a daemon of its own; what a start changes in its process is left alone."""
    monkeypatch.setattr(app.faulthandler, "enable", lambda: None)
    monkeypatch.setattr(app.logs, "setup", lambda *_, **__: None)
    control, stream = free_ports(2)
    return [
        f"runtime_dir={tmp_path}/run",
        f"state_dir={tmp_path}/state",
        f"endpoints.control=tcp://127.0.0.1:{control}",
        f"endpoints.stream=tcp://127.0.0.1:{stream}",
        "endpoints.gateway=off",
    ]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of another program."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def found(sets: list[str], *more: str, path: Path | None = None) -> list[Obstacle]:
    return list(preflight.obstacles(preflight.read(path, [*sets, *more])))


def start(capsys: pytest.CaptureFixture[str], sets: list[str], *more: str) -> tuple[int, list[str]]:
    """Exit code and lines of a start that must not get as far as its processes."""

    def no_processes(*_: object) -> list[preflight.Plan]:
        raise AssertionError("processes were about to be started")

    arguments = [argument for one in (*sets, *more) for argument in ("--set", one)]
    code = main(arguments, specs=no_processes)  # type: ignore[arg-type]
    return code, capsys.readouterr().err.splitlines()


def lose(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Have these packages look as if they were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in modules else find(name, *rest)
    )


def test_nothing_stands_in_the_way_of_the_defaults(sets: list[str], tmp_path: Path) -> None:
    assert found(sets) == []
    plan = preflight.read(None, sets)
    assert list(preflight.folder_obstacles(plan)) == []
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_a_taken_port_is_the_only_line_of_the_start(
    capsys: pytest.CaptureFixture[str], sets: list[str], taken: int
) -> None:
    code, lines = start(capsys, sets, f"endpoints.stream=tcp://127.0.0.1:{taken}")
    assert code == 70
    (line,) = lines
    address = f"tcp://127.0.0.1:{taken}"
    assert f"--set endpoints.stream={address}: endpoints.stream: {address} is taken by another program" in line
    assert f"ss -ltnp 'sport = :{taken}'" in line


def test_a_port_that_is_let_go_in_a_moment_is_waited_for(
    sets: list[str], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill of the daemon before."""
    tries = preflight._try_to_bind
    asked: list[str] = []

    def soon_free(address: str) -> OSError | None:
        asked.append(address)
        return tries(address) if len(asked) < 4 else None

    monkeypatch.setattr(preflight, "_try_to_bind", soon_free)
    assert found(sets, f"endpoints.control=tcp://127.0.0.1:{taken}") == []
    assert len(set(asked)) == 2


def test_an_engine_that_does_not_exist_is_refused_with_its_place_even_behind_one_that_works(
    sets: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("engines:\n  tts: [espeak, parrot]\n")
    (one,) = found(sets, path=path)
    assert one.exit_code == 78
    known = ", ".join(sorted(engines.KNOWN["tts"]))
    assert str(one) == (
        f"{path}, line 2: engines.tts: there is no tts engine 'parrot'; known are: {known}. Set engines.tts"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("entries: [", ":1: not valid YAML"),
        ("entries: []\n", "has no entries"),
        ("- a list\n", ":1: a FAQ file is a map"),
        pytest.param("entries: " + "[" * 3000, "not valid YAML: nested too deeply", id="deep"),
        (os.mkfifo, "is no regular file"),
    ],
)
def test_a_faq_that_is_missing_or_misshapen_is_refused(
    capsys: pytest.CaptureFixture[str],
    sets: list[str],
    tmp_path: Path,
    text: str | Callable[[Path], None] | None,
    words: str,
) -> None:
    faq = tmp_path / "faq.yaml"
    if callable(text):
        text(faq)
    elif text is not None:
        faq.write_text(text)
    code, lines = start(capsys, sets, f"llm.faq={faq}")
    assert code == 78
    (line,) = lines
    assert words in line
    assert line.startswith(f"musecast: --set llm.faq={faq}: llm.faq: {faq}")
    assert len(found(sets, f"llm.faq={faq}")) == 1, "recogniser and responder read the same file"


def test_a_missing_torch_is_one_clear_line_at_once(
    capsys: pytest.CaptureFixture[str], sets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, "torch")
    code, lines = start(capsys, sets, "engines.lipsync=[musetalk]")
    assert code == 78
    assert lines == [
        "musecast: --set engines.lipsync=[musetalk]: engines.lipsync: musetalk needs the package torch, which is "
        "missing. Get it with: pip install 'musecast[musetalk]'"
    ]


def test_an_engine_that_cannot_load_is_a_warning_where_another_stands_behind_it(
    sets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, "torch")
    (one,) = found(sets, "engines.lipsync=[musetalk, warp]")
    assert one.exit_code == 0
    assert "torch" in one.message


@pytest.mark.torch
def test_missing_weights_are_named_with_the_command_that_fetches_them(sets: list[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (one,) = found(sets, "engines.lipsync=[musetalk]", f"weights_dir={tmp_path}")
    assert one.exit_code == 78
    assert "unet-v15" in one.message
    assert "musecast weights pull" in one.hint


@pytest.mark.parametrize(
    ("module", "key"),
    [
        ("espeakng_loader", "engines.tts"),
        ("pocketsphinx", "engines.asr"),
        ("onnxruntime", "engines.asr"),
        ("faster_whisper", "engines.asr"),
        ("cv2", ""),
    ],
)
def test_each_package_of_a_chosen_engine_is_looked_for(
    sets: list[str], monkeypatch: pytest.MonkeyPatch, module: str, key: str
) -> None:
    lose(monkeypatch, module)
    (one,) = found(sets, "engines.tts=[espeak]")
    assert (one.exit_code, one.key) == (78, key)
    assert "install" in one.hint.lower()


def test_every_engine_tells_what_it_needs_without_being_imported() -> None:
    assert {name for names in engines.KNOWN.values() for name in names} >= engines.MODULES.keys()


def test_a_gpu_that_is_not_there_is_refused(sets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(ConfigError, match="cuda:1 is not there"):
        preflight.read(None, [*sets, "stages.lipsync.devices=cuda:1"])


def test_an_address_that_is_not_this_machines_is_a_matter_of_configuration(
    sets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ipv6(family: int, *_: object) -> socket.socket:
        raise OSError(97, os.strerror(97))

    monkeypatch.setattr(preflight.socket, "socket", no_ipv6)
    one, _ = found(sets, "endpoints.control=tcp://[::1]:28880")
    assert one.exit_code == 78
    assert "this machine has no IPv6. Write tcp://127.0.0.1:28880" in str(one)


def limit(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> list[tuple[int, int]]:
    """Stands for the kernel's limit; the changes asked for."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(preflight.resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(preflight.resource, "setrlimit", lambda _, wanted: asked.append(wanted))
    return asked


def test_a_limit_of_open_files_that_is_too_low_is_told_or_lifted(
    sets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = preflight.read(None, sets).config
    assert limit(monkeypatch, 64, 64) == []
    (one,) = found(sets)
    assert one.exit_code == 78
    assert "the limit of open files is 64; 256 are needed to start. Raise it" in str(one)
    limit(monkeypatch, 512, 512)
    (one,) = found(sets)
    assert (one.exit_code, "limits.sessions" in one.message) == (0, True)
    asked = limit(monkeypatch, 64, 4096)
    assert found(sets) == []
    preflight.lift_file_limit(config)
    assert asked == [(256 + 4 * (64 + 256), 4096)]
    asked = limit(monkeypatch, 20_000, 20_000)
    preflight.lift_file_limit(config)
    assert asked == []


def test_a_folder_below_a_file_is_named(sets: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    plan = preflight.read(None, [*sets, f"state_dir={tmp_path}/file/state"])
    (one,) = preflight.folder_obstacles(plan)
    assert (one.key, one.exit_code, one.where) == (
        "state_dir", 78, f"--set state_dir={tmp_path}/file/state",
    )  # fmt: skip


def test_a_runtime_dir_that_would_be_refused_is_told_by_the_check_in_the_same_words(
    capsys: pytest.CaptureFixture[str], sets: list[str], tmp_path: Path
) -> None:
    (tmp_path / "run").symlink_to(tmp_path)
    (one,) = preflight.folder_obstacles(preflight.read(None, sets))
    code, lines = start(capsys, sets)
    assert code == one.exit_code == 78
    assert one.message in lines[-1]


def test_ctrl_c_before_anything_was_started_is_no_traceback(
    capsys: pytest.CaptureFixture[str], sets: list[str]
) -> None:
    def interrupted(_: preflight.Plan) -> list[Obstacle]:
        raise KeyboardInterrupt

    arguments = [argument for one in sets for argument in ("--set", one)]
    assert main(arguments, look=interrupted) == 130
    assert capsys.readouterr().err == ""


def test_warnings_of_the_start_are_lines_of_the_log(
    capsys: pytest.CaptureFixture[str], sets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(monkeypatch, "torch")

    def refuse(*_: object) -> list[preflight.Plan]:
        raise ConfigError("that is far enough")

    arguments = [argument for one in (*sets, "engines.lipsync=[musetalk, warp]") for argument in ("--set", one)]
    with capture_logs() as lines:
        assert main(arguments, specs=refuse) == 78  # type: ignore[arg-type]
    (warning,) = [line for line in lines if line["event"] == "start.without"]
    assert (warning["log_level"], warning["key"]) == ("warning", "engines.lipsync")
    assert capsys.readouterr().err == "musecast: that is far enough\n"


def test_a_gateway_that_auto_cannot_have_is_done_without(sets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"http://127.0.0.1:{holder.getsockname()[1]}"
        monkeypatch.setattr(preflight.gateway, "DEFAULT", address)
        (one,) = found(sets, "endpoints.gateway=auto")
    assert (one.key, one.exit_code, one.message) == (
        "endpoints.gateway", 0, f"{address} is taken by another program",
    )  # fmt: skip
    plan = preflight.read(None, [*sets, "endpoints.gateway=auto"])
    assert preflight.without_gateway(plan.config).endpoints.gateway == "off"


def test_an_address_of_the_gateway_that_was_written_is_binding(
    sets: list[str], taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = start(capsys, sets, f"endpoints.gateway=http://127.0.0.1:{taken}")
    assert code == 70
    assert f"http://127.0.0.1:{taken} is taken by another program" in lines[-1]
    assert f"`ss -ltnp 'sport = :{taken}'`" in lines[-1]


@pytest.mark.parametrize(("written", "code"), [("auto", 0), ("tcp://127.0.0.1:0", 78)])
def test_a_gateway_needs_its_extra(
    sets: list[str], monkeypatch: pytest.MonkeyPatch, written: str, code: int
) -> None:
    monkeypatch.setattr(preflight, "GATEWAY_MODULES", ("fastapi", "no_such_module"))
    (one,) = found(sets, f"endpoints.gateway={written}")
    assert (one.exit_code, one.key) == (code, "endpoints.gateway")
    assert "no_such_module" in one.message
    assert "make install" in one.hint


def test_webrtc_that_was_asked_for_is_binding(sets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "WEBRTC_MODULE", "no_such_module")
    address = "endpoints.gateway=http://127.0.0.1:0"
    assert found(sets, address) == []
    (one,) = found(sets, address, "gateway.webrtc=true")
    assert (one.exit_code, one.key) == (78, "gateway.webrtc")
    assert "'.[webrtc]'" in one.hint


@pytest.mark.parametrize("text", [None, "short", "with a blank in the middle"])
def test_a_token_is_looked_at_before_the_start(sets: list[str], tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "token").write_text(text)
    address = "endpoints.gateway=http://127.0.0.1:0"
    (one,) = found(sets, address, f"gateway.token_file={tmp_path}/token")
    assert (one.exit_code, one.key) == (78, "gateway.token_file")
    (tmp_path / "token").write_text("0123456789abcdef\n")
    assert found(sets, address, f"gateway.token_file={tmp_path}/token") == []
