"""Read the configuration: ``--set`` over environment over file over defaults, every error with its place.

The supervisor is the only process that reads files and the environment; its children get the resolved result
as one JSON file (``write_resolved``, ``read_resolved``), so no two processes can see different settings.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
import zmq

from configs import keys
from configs.checks import findings
from configs.schema import Config, Security
from configs.wording import two_sentences

DEFAULT_FILE = Path(__file__).with_name("default.yaml")
"""The packaged file that is read when no other is named; the reference manual of every key."""
ENVIRONMENT_PREFIX = "MUSECAST_"
ENVIRONMENT_RESERVED = frozenset({"FAULT"})
"""``MUSECAST_<name>`` that are not configuration: fault points for kill tests (``broker/ipc/faults.py``)."""
RESOLVED_NAME = "config.json"
LONGEST_SOCKET_NAME = "w.lipsync.63.999999"
"""The longest file name the daemon puts into ``runtime_dir`` (broker/sockets.py)."""


class ConfigError(Exception):
    """The configuration cannot be used. The text names the place, the key, the fact and the next step."""

    exit_code = 78

    def __init__(self, message: str, *, key: str = "", where: str = "", hint: str = "") -> None:
        self.key = key
        self.where = where
        self.message = message
        self.hint = hint
        place = f"{where}: " if where else ""
        subject = f"{key}: " if key else ""
        super().__init__(two_sentences(f"{place}{subject}{message}", hint))


Layer = tuple[dict[str, Any], dict[str, str]]
"""Nested values, and for every dotted key path the place it was written at."""


def load(
    path: str | os.PathLike[str] | None, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Config:
    """Merge all layers and check the result. Folders stay as written; see ``resolve``.

    Raises:
        ConfigError: see ``load_with_places``.
    """
    return load_with_places(path, sets, environ)[0]


def load_with_places(
    path: str | os.PathLike[str] | None, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> tuple[Config, dict[str, str]]:
    """What ``load`` gives, and where each key was written (for ``place_of``).

    Args:
        path: a YAML file, or None for the packaged defaults.
        sets: ``a.b=c`` each, c is YAML.
        environ: ``MUSECAST_A__B=c`` each; None means the process environment.

    Raises:
        ConfigError: unreadable file, YAML syntax, unknown key, wrong type, value outside its range.
    """
    environ = os.environ if environ is None else environ
    layers = [_file_layer(Path(path) if path is not None else DEFAULT_FILE)]
    layers += [_environment_layer(name, value) for name, value in sorted(environ.items()) if _is_ours(name)]
    layers += [_set_layer(text) for text in sets]
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    for values, where in layers:
        _check_keys(values, Config, where)
        _overlay(merged, values)
        places.update(where)
    config = _convert(merged, places)
    for finding in findings(config):
        raise ConfigError(finding.message, key=finding.key, where=place_of(places, finding.key), hint=finding.hint)
    return config, places


def resolve(config: Config, environ: Mapping[str, str] | None = None) -> Config:
    """Make every folder absolute; the empty ones get the defaults that the schema names.

    Raises:
        ConfigError: ``runtime_dir`` is too long for the socket files in it.
    """
    environ = os.environ if environ is None else environ
    home = environ.get("HOME") or os.path.expanduser("~")
    runtime = (
        config.runtime_dir
        or environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        or _below(environ.get("XDG_RUNTIME_DIR", ""), "musecast")
        or f"/tmp/musecast-{os.getuid()}"
    )
    state = (
        config.state_dir
        or environ.get("STATE_DIRECTORY", "").split(":")[0]
        or _below(environ.get("XDG_STATE_HOME", ""), "musecast")
        or os.path.join(home, ".local", "state", "musecast")
    )
    runtime, state = _absolute(runtime), _absolute(state)
    longest = len(os.path.join(runtime, LONGEST_SOCKET_NAME).encode())
    if longest > zmq.IPC_PATH_MAX_LEN:
        room = zmq.IPC_PATH_MAX_LEN - len(LONGEST_SOCKET_NAME) - 1
        raise ConfigError(
            f"{runtime!r} has {len(runtime.encode())} bytes; socket files leave room for {room}",
            key="runtime_dir",
            hint="set a shorter runtime_dir",
        )
    return msgspec.structs.replace(
        config,
        runtime_dir=runtime,
        state_dir=state,
        weights_dir=_absolute(config.weights_dir) if config.weights_dir else os.path.join(state, "weights"),
        gateway=msgspec.structs.replace(
            config.gateway, token_file=_absolute(config.gateway.token_file) if config.gateway.token_file else ""
        ),
        security=_security(config.security, state),
        template_roots=[_absolute(root) for root in config.template_roots],
        llm=msgspec.structs.replace(config.llm, faq=_absolute(config.llm.faq) if config.llm.faq else ""),
    )


def _security(security: Security, state_dir: str) -> Security:
    secret, clients = security.secret_key_file, security.clients_dir
    return msgspec.structs.replace(
        security,
        secret_key_file=_absolute(secret) if secret else keys.default_secret_file(state_dir),
        clients_dir=_absolute(clients) if clients else keys.default_clients_dir(state_dir),
    )


def write_resolved(config: Config) -> str:
    """Write ``runtime_dir/config.json`` (mode 0600, replaced atomically) for the children; its path."""
    path = os.path.join(config.runtime_dir, RESOLVED_NAME)
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(config), indent=1))
    os.replace(f"{path}.new", path)
    return path


def read_resolved(path: str) -> Config:
    """What ``write_resolved`` wrote.

    Raises:
        ConfigError: not a file of this version's shape.
    """
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Config)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(str(error), where=path, hint="it is written by the supervisor at start") from error


# --- layers ----------------------------------------------------------------------------------------------


_UNREADABLE = (yaml.YAMLError, ValueError, AttributeError, RecursionError)
"""PyYAML meets a date or a number that cannot be with whatever the conversion raises."""


def _why_no_yaml(error: Exception) -> str:
    """What is wrong, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, yaml.reader.ReaderError):
        return f"it has the character U+{error.character:04X}"
    if isinstance(error, AttributeError):
        return "a value does not fit its tag"
    return str(getattr(error, "problem", None) or error)


def _file_layer(path: Path) -> Layer:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        why = f"{said[:1].lower()}{said[1:]}"
        raise ConfigError(
            f"cannot be read: {why}", where=str(path), hint="name another file with --config"
        ) from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        places: dict[str, str] = {}
        if node is not None:
            _walk(node, "", str(path), places)
        values = {} if node is None else loader.construct_document(node)
        _check_texts(values, places)
    except _UNREADABLE as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"not YAML: {_why_no_yaml(error)}", where=f"{path}{line}") from None
    if not isinstance(values, dict):
        raise ConfigError("the top level is not a map of sections", where=f"{path}, line 1")
    return values, places


def _walk(node: yaml.Node, prefix: str, path: str, places: dict[str, str]) -> None:
    """Note the line of every key below ``node``; a key written twice is an error."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        where = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            raise ConfigError("keys are plain words", key=prefix.rstrip("."), where=where)
        if key.value in seen:
            raise ConfigError(
                "written twice", key=f"{prefix}{key.value}", where=where, hint="remove one of the two"
            )
        seen.add(key.value)
        places[f"{prefix}{key.value}"] = where
        _walk(value, f"{prefix}{key.value}.", path, places)


def _is_ours(name: str) -> bool:
    return name.startswith(ENVIRONMENT_PREFIX) and name[len(ENVIRONMENT_PREFIX) :] not in ENVIRONMENT_RESERVED


def _environment_layer(name: str, text: str) -> Layer:
    keys = name[len(ENVIRONMENT_PREFIX) :].lower().split("__")
    return _single(keys, text, f"environment variable {name}")


def _set_layer(text: str) -> Layer:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError("needs the form a.b=value", where=f"--set {text}")
    return _single(key.strip().split("."), value, f"--set {text}")


def _single(keys: list[str], text: str, where: str) -> Layer:
    whole = ".".join(keys)
    places = {whole: where}
    try:
        value: Any = yaml.safe_load(text) if text.strip() else ""
        _check_texts(value, places, whole)
    except _UNREADABLE as error:
        raise ConfigError(f"the value is not YAML: {_why_no_yaml(error)}", key=whole, where=where) from None
    for key in reversed(keys):
        value = {key: value}
    return value, places


def _overlay(base: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            inner = base.setdefault(key, {})
            if isinstance(inner, dict):
                _overlay(inner, value)
                continue
        base[key] = value


# --- checks ----------------------------------------------------------------------------------------------


def _check_keys(
    values: dict[str, Any], section: type[msgspec.Struct], places: dict[str, str], prefix: str = ""
) -> None:
    """Unknown keys, with the nearest known one; an empty section (``stages:`` alone) counts as {}."""
    fields = {field.name: field.type for field in msgspec.structs.fields(section)}
    for key, value in list(values.items()):
        path = f"{prefix}{key}"
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known here: {', '.join(fields)}"
            raise ConfigError("unknown key", key=path, where=_place_in(places, path), hint=hint)
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            if value is None or value == "":
                values[key] = {}
            elif isinstance(value, dict):
                _check_keys(value, inner, places, f"{path}.")
            else:
                raise ConfigError(
                    f"expected a map of keys, got {value!r}",
                    key=path,
                    where=_place_in(places, path),
                    hint=f"known here: {', '.join(f.name for f in msgspec.structs.fields(inner))}",
                )


def _check_texts(value: Any, places: dict[str, str], key: str = "") -> None:
    """No text may have what neither a path nor a message can have: a zero byte, half a character."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_texts(inner, places, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            _check_texts(inner, places, key)
    elif isinstance(value, str) and (found := _NO_TEXT.search(value)):
        fact = f"it has the character U+{ord(found[0]):04X}, which no text can have"
        raise ConfigError(fact, key=key, where=place_of(places, key), hint="leave it out")


_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_AT = re.compile(r" - at `\$\.?(?P<key>[^`]*)`$")


def _convert(values: dict[str, Any], places: dict[str, str]) -> Config:
    defaults = msgspec.to_builtins(Config())
    _overlay(defaults, values)
    try:
        return msgspec.convert(defaults, Config)
    except msgspec.ValidationError as error:
        text = str(error)
        match = _AT.search(text)
        key = re.sub(r"\[[^]]*\]", "", match["key"]) if match else ""
        message = _AT.sub("", text).replace("`", "")
        raise ConfigError(
            message[:1].lower() + message[1:],
            key=key,
            where=place_of(places, key),
            hint="values are YAML: quote text that looks like a number, true or false",
        ) from None


def place_of(places: Mapping[str, str], key: str) -> str:
    """Where a key, or else the nearest section around it, was written; "" for a default."""
    while key:
        if key in places:
            return places[key]
        key = key.rpartition(".")[0]
    return ""


def _place_in(places: Mapping[str, str], key: str) -> str:
    """Where a key of one layer was written, also one that stands for the keys below it."""
    below = (where for name, where in places.items() if name.startswith(f"{key}."))
    return place_of(places, key) or next(below, "")


def _below(folder: str, name: str) -> str:
    return os.path.join(folder, name) if folder else ""


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
