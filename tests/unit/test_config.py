"""Configuration: precedence, and errors that name the place."""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest
import yaml

from configs.checks import NOT_REENTRANT
from configs.gateway import address
from configs.load import (
    DEFAULT_FILE,
    ConfigError,
    load,
    read_resolved,
    resolve,
    write_resolved,
)
from configs.schema import Config, Range
from models.engines import KNOWN


def write(folder: Path, text: str) -> str:
    path = folder / "my.yaml"
    path.write_text(text)
    return str(path)


def refused(path: str | None, sets: list[str] | None = None, environ: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, sets or [], environ or {})
    assert caught.value.exit_code == 78
    return caught.value


def test_default_file_equals_the_schema_and_names_every_key() -> None:
    assert yaml.safe_load(DEFAULT_FILE.read_text()) == msgspec.to_builtins(Config())
    assert load(None, [], {}) == Config()


@pytest.mark.parametrize("profile", ["laptop", "gpu"])
def test_the_profiles_are_valid_and_name_engines_that_exist(profile: str) -> None:
    config = load(str(DEFAULT_FILE.with_name(f"{profile}.yaml")), [], {})
    for kind, names in msgspec.structs.asdict(config.engines).items():
        assert set(names) <= set(KNOWN[kind])
        assert len(names) > 1 or kind == "lipsync"
    assert config.ollama.model


def test_set_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, "timeline: {lead_ms: 400, idle_lead_ms: 320}\nlog: {level: debug}\n")
    environ = {"MUSECAST_TIMELINE__LEAD_MS": "500", "MUSECAST_LOG__LEVEL": "error"}
    config = load(path, ["timeline.lead_ms=600"], environ)
    assert (config.timeline.lead_ms, config.timeline.idle_lead_ms) == (600, 320)
    assert config.log.level == "error"
    assert config.timeline.max_segment_ms == Config().timeline.max_segment_ms


def test_values_are_yaml() -> None:
    sets = [
        "supervisor.backoff_s=[0, 0.1]",
        "engines.tts=[a, b]",
        "runtime_dir=/run/x",
        "endpoints.gateway=off",
    ]
    config = load(None, [*sets, "llm.faq="], {})
    assert config.supervisor.backoff_s == [0, 0.1]
    assert config.engines.tts == ["a", "b"]
    assert config.endpoints.gateway is False
    assert config.llm.faq == ""


def test_an_empty_file_and_an_empty_section_mean_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), [], {}) == Config()
    assert load(write(tmp_path, "stages:\n"), [], {}) == Config()


def test_unknown_key_names_file_line_and_nearest_key(tmp_path: Path) -> None:
    path = write(tmp_path, "log:\n  level: info\nsupervisor:\n  beat_s: 1\n  beats_mised: 3\n")
    error = refused(path)
    assert f"{path}, line 5" in str(error)
    assert "supervisor.beats_mised: unknown key" in str(error)
    assert "Did you mean supervisor.beats_missed?" in str(error)


def test_wrong_type_names_file_line_and_both_types(tmp_path: Path) -> None:
    path = write(tmp_path, "stages:\n  encode:\n    instances: two\n")
    error = refused(path)
    assert error.where == f"{path}, line 3"
    assert error.key == "stages.encode.instances"
    assert "int" in error.message
    assert "str" in error.message


def test_wrong_element_of_a_list_is_found() -> None:
    error = refused(None, ["supervisor.backoff_s=[1, x]"])
    assert (error.key, error.where) == ("supervisor.backoff_s", "--set supervisor.backoff_s=[1, x]")


def test_a_scalar_where_a_section_belongs(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "log: debug\n"))
    assert "expected a map" in str(error)
    assert "line 1" in error.where


def test_the_layer_that_wrote_the_bad_value_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "timeline: {max_segment_ms: 1280}\n")
    assert refused(path, ["timeline.max_segment_ms=1000"]).where == "--set timeline.max_segment_ms=1000"
    error = refused(path, environ={"MUSECAST_TIMELINE__MAX_SEGMENT_MS": "1000"})
    assert error.where == "environment variable MUSECAST_TIMELINE__MAX_SEGMENT_MS"
    assert "960 and 1280" in error.hint


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1\n", 2), ("log: {level: info}\nlog: {level: debug}\n", 2), ("- a\n- b\n", 1), ("\tx: 1\n", 1)],
)
def test_text_that_is_no_map_of_sections_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    assert f"line {line}" in refused(write(tmp_path, text)).where


@pytest.mark.parametrize(
    "value",
    ["2024-13-45", "0x_", "!!int x", "!!timestamp x", "[" * 3000, "&a [*a]", "[", "\0", r'"/a\0b"', r'"\ud800"'],
    ids=["date", "hexadecimal", "int", "time", "deep", "itself", "open", "zero", "escaped", "half"],
)
def test_a_value_that_cannot_be_is_refused_in_one_line_wherever_it_stands(tmp_path: Path, value: str) -> None:
    for error in (
        refused(write(tmp_path, f"llm:\n  faq: {value}\n")),
        refused(None, [f"llm.faq={value}"]),
        refused(None, environ={"MUSECAST_LLM__FAQ": value}),
    ):
        assert error.where
        assert "\n" not in error.message


def test_a_file_that_is_not_there() -> None:
    assert "cannot be read" in str(refused("/nonexistent/x.yaml"))


@pytest.mark.parametrize(
    "setting",
    [
        "stages.encode.instances=0",
        "stages.encode.credit=0",
        "stages.tts.nice=-5",
        "stages.llm.idle_exit_s=60",
        "stages.lipsync.devices=gpu0",
        "stages.prepare.instances=2",
        "video.crf=52",
        "video.preset=quick",
        "log.level=loud",
        "supervisor.backoff_s=[]",
        "supervisor.beats_missed=1",
        "engines.tts=[]",
        "endpoints.control=127.0.0.1:28880",
        "endpoints.control=tcp://127.0.0.1:70000",
        "endpoints.control=tcp://localhost:28880",
        "endpoints.control=ipc://control",
        "endpoints.control=ipc://@abstract",
        f"endpoints.control=ipc:///{'a' * 107}",
        "endpoints.stream=tcp://127.0.0.1:28880",
        "asr.vad_threshold=.nan",
        "endpoints.gateway=on",
        "endpoints.gateway=http://avatar.example.org:80",
        "endpoints.gateway=http://127.0.0.1:70000",
        "gateway.token=short",
        "gateway.allowed_hosts=['http://a']",
        "gateway.allowed_origins=['*']",
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(setting: str) -> None:
    error = refused(None, [setting])
    assert error.key == setting.partition("=")[0]
    assert error.where == f"--set {setting}"


def test_no_number_is_without_limits() -> None:
    def numbers(section: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, bool]]:
        for name, hint in get_type_hints(section, include_extras=True).items():
            limits = getattr(hint, "__metadata__", ())
            kind = hint.__origin__ if limits else hint
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield from numbers(kind, f"{prefix}{name}.")
            elif kind in (int, float):
                yield f"{prefix}{name}", any(isinstance(one, Range) for one in limits)

    limited = dict(numbers(Config))
    assert len(limited) > 80
    assert [key for key, known in limited.items() if not known] == []


def test_a_ceiling_that_leaves_the_picture_nothing_is_refused_with_the_least_that_does() -> None:
    error = refused(None, ["video.max_kbps=250", "video.audio_kbps=96"])
    assert "video.max_kbps" in str(error)
    assert "the least is 296" in str(error)
    assert "0 for no ceiling" in str(error)
    for kbps in (0, 296, 1_000_000):
        assert load(None, [f"video.max_kbps={kbps}"], {}).video.max_kbps == kbps


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["engines.lipsync=[musetalk,warp]", "stages.lipsync.concurrency=2"], "stages.lipsync.concurrency"),
        (["engines.lipsync=[warp,musetalk]", "stages.fallback.concurrency=3"], "stages.fallback.concurrency"),
        (["stages.asr.concurrency=2"], "stages.asr.concurrency"),
    ],
)
def test_threads_that_would_share_what_one_alone_may_use_are_refused(settings: list[str], key: str) -> None:
    error = refused(None, settings)
    assert error.key == key
    assert "Leave it at 1" in str(error)


def test_engines_that_may_be_shared_by_threads_keep_the_choice() -> None:
    config = load(None, ["engines.lipsync=[warp,musetalk]", "stages.lipsync.concurrency=2"], {})
    assert config.stages.lipsync.concurrency == 2


@pytest.mark.slow
def test_which_engines_are_not_reentrant_is_what_they_say() -> None:
    said = set()
    for name, place in KNOWN["lipsync"].items():
        module, _, attribute = place.partition(":")
        if name == "musetalk":
            pytest.importorskip("torch")
        if not getattr(importlib.import_module(module), attribute).reentrant:
            said.add(name)
    assert said == NOT_REENTRANT


def test_the_credit_of_lip_sync_may_be_left_to_its_engine() -> None:
    config = load(None, ["stages.lipsync.credit=0", "stages.fallback.credit=0"], {})
    assert (config.stages.lipsync.credit, config.stages.fallback.credit) == (0, 0)


@pytest.mark.parametrize(
    ("sets", "key"),
    [
        (["control=tcp://127.0.0.1:28881"], "stream"),
        (["control=tcp://127.0.0.1:5", "stream=tcp://127.0.0.1:05"], "stream"),
        (["control=tcp://[::1]:5", "gateway=http://[0::1]:5"], "gateway"),
        (["control=ipc:///run/x/a", "stream=ipc:///run/x/./a"], "stream"),
        (["stream=tcp://127.0.0.1:28888"], "gateway"),
        (["gateway=http://127.0.0.1:28880"], "gateway"),
    ],
)
def test_two_sockets_at_one_address_are_refused_however_it_is_written(sets: list[str], key: str) -> None:
    error = refused(None, [f"endpoints.{one}" for one in sets])
    assert error.key == f"endpoints.{key}"
    assert "share one address" in error.message


def test_one_port_of_two_addresses_is_no_fault() -> None:
    load(None, ["endpoints.control=tcp://127.0.0.1:5", "endpoints.stream=tcp://[::1]:5"], {})
    load(None, ["endpoints.control=tcp://127.0.0.2:28881", "endpoints.gateway=http://127.0.0.1:0"], {})


def test_the_loopback_may_be_that_of_ipv6() -> None:
    config = load(None, ["endpoints.control=tcp://[::1]:28880", "endpoints.stream=tcp://127.0.0.2:28881"], {})
    assert config.endpoints.control == "tcp://[::1]:28880"


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "*", "192.168.1.5", "eth0", "[::]", "[fd00::2]", "[::ffff:127.0.0.1]"]
)
def test_an_address_others_can_reach_is_refused_with_the_way_out(host: str) -> None:
    error = refused(None, [f"endpoints.stream=tcp://{host}:28881"])
    assert "can be reached from other machines" in error.message
    assert "set security.curve: true" in error.hint
    assert "bind tcp://127.0.0.1:28881" in error.hint


@pytest.mark.parametrize(("host", "fits"), [("0.0.0.0", True), ("[fd00::2]", True), ("*", False), ("eth0", False)])
def test_with_keys_it_may_be_any_address_in_numbers(host: str, fits: bool) -> None:
    sets = ["security.curve=true", f"endpoints.stream=tcp://{host}:28881"]
    if fits:
        assert load(None, sets, {}).security.curve
    else:
        assert "in numbers" in refused(None, sets).message


def test_keys_lie_below_the_state_folder_unless_they_are_named(tmp_path: Path) -> None:
    sets = [f"state_dir={tmp_path}", "security.clients_dir=~/clients"]
    found = resolve(load(None, sets, {}), {"HOME": str(tmp_path)}).security
    assert found.secret_key_file == f"{tmp_path}/keys/server.key_secret"
    assert os.path.isabs(found.clients_dir)
    assert not list(tmp_path.iterdir())


def test_environment_without_a_known_key_is_refused_but_fault_points_are_not_configuration() -> None:
    assert "Did you mean runtime_dir?" in str(refused(None, environ={"MUSECAST_RUNTIMEDIR": "/x"}))
    assert load(None, [], {"MUSECAST_FAULT": "tts:before_done:1", "PATH": "/bin"}) == Config()


def test_a_set_without_a_value_is_refused() -> None:
    assert "a.b=value" in str(refused(None, ["log.level"]))


def test_folders_follow_systemd_then_xdg_then_home(tmp_path: Path) -> None:
    config = resolve(
        Config(), {"RUNTIME_DIRECTORY": "/run/m:/run/n", "STATE_DIRECTORY": "/var/lib/m", "HOME": "/h"}
    )
    assert (config.runtime_dir, config.state_dir, config.weights_dir) == (
        "/run/m",
        "/var/lib/m",
        "/var/lib/m/weights",
    )
    config = resolve(Config(), {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/h/state"})
    assert (config.runtime_dir, config.state_dir) == ("/run/user/7/musecast", "/h/state/musecast")
    config = resolve(Config(), {"HOME": "/h"})
    assert config.runtime_dir == f"/tmp/musecast-{os.getuid()}"
    assert config.state_dir == "/h/.local/state/musecast"
    config = resolve(load(None, ["runtime_dir=/a/../b", "template_roots=[/x/./y]"], {}), {"HOME": "/h"})
    assert (config.runtime_dir, config.template_roots) == ("/b", ["/x/y"])


def test_a_runtime_dir_too_long_for_its_sockets_is_refused_at_start() -> None:
    with pytest.raises(ConfigError, match="shorter runtime_dir"):
        resolve(load(None, [f"runtime_dir=/tmp/{'x' * 90}"], {}), {})


def test_children_read_exactly_what_was_resolved_and_only_the_owner_may(tmp_path: Path) -> None:
    config = resolve(load(None, [f"runtime_dir={tmp_path}"], {}), {"HOME": "/h"})
    path = write_resolved(config)
    assert read_resolved(path) == config
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    Path(path).write_text('{"nonsense": 1}')
    with pytest.raises(ConfigError, match="nonsense"):
        read_resolved(path)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "[::]"])
def test_a_gateway_that_others_can_reach_needs_a_token(host: str) -> None:
    error = refused(None, [f"endpoints.gateway=http://{host}:28888"])
    assert error.key == "endpoints.gateway"
    assert "there is no token" in error.message
    load(None, [f"endpoints.gateway=http://{host}:28888", "gateway.token=0123456789abcdef"], {})


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("auto", "http://127.0.0.1:28888"),
        ("127.0.0.1:0", "http://127.0.0.1:0"),
        ("tcp://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_where_the_gateway_listens(written: str, url: str) -> None:
    found = address(load(None, [f"endpoints.gateway={written}"], {}).endpoints.gateway)
    assert found is not None
    assert found.url == url
    assert address(False) is address("off") is None
