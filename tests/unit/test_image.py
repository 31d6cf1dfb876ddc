"""Dockerfile, compose.yaml and .env.example, judged without an engine; tests/container builds and runs them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.container import VARIABLES
from configs.load import load
from supervision.gpus import place_stages
from tests.support.limits import COMMAND_S

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose.yaml"
DOCKERFILE = ROOT / "Dockerfile"
SCRIPTS = Path(sysconfig.get_path("scripts"))
GPU = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
STOP_S = 10
"""Within this every session has ended in order."""


class Reset(yaml.SafeLoader):
    """Knows the tag by which one compose file takes back what another says."""


Reset.add_constructor("!reset", lambda loader, node: "reset")


def stages() -> dict[str, list[str]]:
    """Name of each build stage to its instructions, each on one line."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.M)).splitlines()
    found: dict[str, list[str]] = {}
    for line in filter(None, lines):
        if line.startswith("FROM "):
            found[line.split(" AS ")[1]] = []
        if found:
            found[list(found)[-1]].append(line)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "--config", ROOT / ".hadolint.yaml", DOCKERFILE],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE],
    ],
    ids=["dockerfile", "compose"],
)
def test_linter_and_schema_find_nothing(command: list[Any]) -> None:
    command = [SCRIPTS / command[0], *command[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_targets_end_as_nobody_in_particular() -> None:
    for target in ("cpu", "cuda"):
        users = [line for line in stages()[target] if line.startswith("USER ")]
        assert users == ["USER 10001:10001"]
        assert stages()[target][-1] == users[0]
        assert stages()[target][0] == f"FROM runtime AS {target}"


def test_the_image_checks_its_health_and_holds_no_compiler() -> None:
    runtime = stages()["runtime"]
    assert runtime[0] == "FROM base AS runtime"
    assert any(re.match(r"HEALTHCHECK .*127\.0\.0\.1:28888/health", line) for line in runtime)
    assert {"EXPOSE 28888", "STOPSIGNAL SIGTERM"} <= set(runtime)
    kept = " ".join([*stages()["base"], *runtime, *stages()["cpu"], *stages()["cuda"]])
    assert not re.search(r"\b(gcc|g\+\+|clang|build-essential|python3-dev|pip)\b", kept)
    assert "musetalk]" not in " ".join(stages()["build"]), "the CPU target would hold torch"


def test_compose_has_the_names_of_existing_deployments(services: dict[str, Any]) -> None:
    musecast = services["musecast"]
    assert musecast["ports"] == ["${PUBLISH:-127.0.0.1}:28888:28888"]
    assert {*VARIABLES, "CUDA_VISIBLE_DEVICES"} <= set(musecast["environment"])
    assert musecast["volumes"] == ["${WEIGHTS:-./models}:/models", "./template_cache:/var/lib/musecast"]
    assert musecast["read_only"] is True
    assert musecast["user"] == "10001:10001"
    assert int(musecast["stop_grace_period"].removesuffix("s")) > STOP_S
    for service in services.values():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
        assert service["deploy"]["resources"]["reservations"]["devices"] == [GPU]
    assert musecast["environment"]["MUSECAST_OLLAMA__HOST"] == "http://ollama:11434"


def test_without_a_gpu_nothing_is_reserved(services: dict[str, Any]) -> None:
    over = yaml.load((ROOT / "compose.cpu.yaml").read_text(), Reset)["services"]
    assert {name: service["deploy"] for name, service in over.items()} == dict.fromkeys(services, "reset")
    assert over["musecast"]["build"]["target"] == "cpu"


def test_the_example_names_every_variable_that_compose_reads() -> None:
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE.read_text()))
    assert example.pop("WEIGHTS") != defaults.pop("WEIGHTS"), "in a checkout that is source code"
    assert {name: example.get(name) for name in defaults} == defaults
    assert set(example) - set(defaults) == {"MUSECAST_GATEWAY__TOKEN", "MUSECAST_GATEWAY__ALLOWED_HOSTS"}
    assert example["MUSECAST_GATEWAY__TOKEN"] == "", "a token that everybody knows"


def test_the_image_with_torch_speaks_on_every_gpu_that_it_is_given() -> None:
    variables = next(line for line in stages()["cuda"] if line.startswith("ENV "))
    lipsync = load(None, environ=dict(one.split("=", 1) for one in shlex.split(variables)[1:]))
    assert lipsync.engines.lipsync == ["musetalk", "warp"]
    assert place_stages(lipsync, ["0", "MIG-8f"]).stages.lipsync.instances == 2
