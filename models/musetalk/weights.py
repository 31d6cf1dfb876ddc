"""Verifying official weight files, converting them once, loading what was converted.

The daemon loads ``weights_dir/converted/*.safetensors`` and nothing else: no pickle is read while it runs.
``converted/manifest.json`` names every source and its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.api import EngineError
from models.musetalk.constants import UNET_REQUIRED, VAE_CONFIG
from models.musetalk.keys import differences, expected_shapes, normalise
from models.musetalk.layout import BY_NAME, COMPONENTS, Component
from models.musetalk.manifest import converted_entry, converted_path, read_manifest, write_manifest
from models.musetalk.pickles import State, check_container, load_checkpoint, load_state

Step = Callable[[str, int, int], None]


@dataclass
class Report:
    """What is known of one component."""

    name: str
    use: str
    needed: bool
    status: str
    """"ok", "missing" or "bad"."""
    file: str = ""
    bytes: int = 0
    tensors: int = 0
    parameters: int = 0
    dtype: str = ""
    converted: bool = False
    problems: list[str] = field(default_factory=list)


def read_config(component: Component, root: Path) -> dict[str, Any]:
    """The component's configuration, checked.

    Raises:
        EngineError: FAILED when it is missing, unreadable or another network's.
    """
    if not component.configs:
        return {}
    path = component.find_config(root)
    weights = component.find(root)
    if path is None and weights is not None and weights.suffix == ".pt":
        return _dims(weights)
    if path is None:
        raise EngineError(
            "FAILED", f"{root / component.configs[0]} is missing", "run `musecast weights pull` or copy it there"
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError("FAILED", f"{path} cannot be read: {error}", "run `musecast weights pull`") from error
    required: Mapping[str, Any] = {}
    if component.kind == "unet":
        required = UNET_REQUIRED
    elif component.kind == "vae":
        required = {key: VAE_CONFIG[key] for key in ("in_channels", "out_channels", "latent_channels")}
    wrong = [
        f"{key} is {config.get(key)}, not {value}" for key, value in required.items() if config.get(key) != value
    ]
    if wrong:
        stale = "use musetalk.json of the official layout (a stale config.json circulates)"
        raise EngineError(
            "FAILED", f"{path} is not MuseTalk's configuration: {'; '.join(wrong)}",
            stale if component.kind == "unet" else "delete it and run `musecast weights pull`",
        )  # fmt: skip
    return config


def _dims(path: Path) -> dict[str, Any]:
    loaded = load_checkpoint(path)
    dims = loaded.get("dims") if isinstance(loaded, Mapping) else None
    if not isinstance(dims, Mapping):
        raise EngineError("FAILED", f"{path} has no dims", "use whisper/tiny.pt as OpenAI publishes it")
    return dict(dims)


def read_official(component: Component, root: Path) -> tuple[dict[str, Any], State]:
    """Configuration and tensors of an official file, under today's names and complete.

    Raises:
        EngineError: NOT_FOUND when there is no file; FAILED with everything that is wrong with it.
    """
    path = component.find(root)
    if path is None:
        raise EngineError("NOT_FOUND", f"{root / component.files[0]} is missing", "run `musecast weights pull`")
    check_container(path)
    config = read_config(component, root)
    state = normalise(component.kind, load_state(path))
    wrong = differences(state, expected_shapes(component.kind, config))
    if wrong:
        raise EngineError("FAILED", f"{path}: {'; '.join(wrong)}", "this is not the network that its name says")
    return config, state


def verify(root: Path, step: Step | None = None) -> list[Report]:
    """Look at every component's official file and at what was converted from it."""
    manifest = read_manifest(root)
    reports = []
    for index, component in enumerate(COMPONENTS):
        if step is not None:
            step(component.name, index, len(COMPONENTS))
        report = Report(component.name, component.use, component.needed, "missing")
        path = component.find(root)
        if path is not None:
            report.file, report.bytes = path.relative_to(root).as_posix(), path.stat().st_size
            try:
                _, state = read_official(component, root)
            except EngineError as error:
                report.status, report.problems = "bad", [str(error)]
            else:
                _count(report, state)
        _look_at_converted(report, root, manifest)
        reports.append(report)
    return reports


def _count(report: Report, state: State) -> None:
    report.status, report.tensors = "ok", len(state)
    report.parameters = sum(value.numel() for value in state.values())
    report.dtype = ", ".join(sorted({str(value.dtype).removeprefix("torch.") for value in state.values()}))


def _look_at_converted(report: Report, root: Path, manifest: Mapping[str, Any]) -> None:
    entry = manifest.get(report.name)
    path = converted_path(root, report.name)
    if entry is None or not path.is_file():
        return
    if _sha256(path) != entry["sha256"]:
        report.problems.append(f"{path} differs from its manifest; run `musecast weights convert --force`")
        report.status = "bad"
        return
    report.converted = True
    if report.status == "missing":
        report.status, report.tensors = "ok", entry["tensors"]
        report.parameters, report.dtype = entry["parameters"], entry["dtype"]


def convert(root: Path, *, force: bool = False, step: Step | None = None) -> list[str]:
    """Convert every official file that is there and not converted yet; returns the names converted now.

    Raises:
        EngineError: FAILED, with what is wrong with a file; what was converted before it stays.
    """
    manifest = read_manifest(root)
    done = []
    for index, component in enumerate(COMPONENTS):
        if step is not None:
            step(component.name, index, len(COMPONENTS))
        source = component.find(root)
        if source is None:
            continue
        entry = manifest.get(component.name)
        digest = _sha256(source)
        current = entry is not None and entry["source_sha256"] == digest
        if current and converted_path(root, component.name).is_file() and not force:
            continue
        manifest[component.name] = _convert_one(component, root, source, digest)
        write_manifest(root, manifest)
        done.append(component.name)
    return done


def _convert_one(component: Component, root: Path, source: Path, digest: str) -> dict[str, Any]:
    config, state = read_official(component, root)
    broken = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise EngineError(
            "FAILED", f"{source}: {len(broken)} tensors hold NaN or infinity, first {broken[0]}",
            "delete it and run `musecast weights pull`",
        )  # fmt: skip
    report = Report(component.name, component.use, component.needed, "ok")
    _count(report, state)
    target = converted_path(root, component.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    # Clones: tensors of one checkpoint may share storage, which safetensors refuses.
    save_file({key: value.clone().contiguous() for key, value in state.items()}, part)
    os.replace(part, target)
    return {
        "file": target.name,
        "sha256": _sha256(target),
        "source": source.relative_to(root).as_posix(),
        "source_sha256": digest,
        "config": config,
        **{key: value for key, value in asdict(report).items() if key in ("tensors", "parameters", "dtype")},
    }


def load_converted(root: Path, name: str) -> tuple[dict[str, Any], State]:
    """Configuration and tensors of a converted component; its bytes, keys and shapes are checked again.

    Raises:
        EngineError: FAILED when it is not there, is damaged or does not fit its configuration.
    """
    entry = converted_entry(root, name)
    path = converted_path(root, name)
    again = "run `musecast weights convert --force`"
    try:
        whole = _sha256(path) == entry["sha256"]
        state = load_file(path) if whole else {}
    except (SafetensorError, OSError) as error:
        raise EngineError("FAILED", f"{path} cannot be read: {error}", again) from error
    if not whole:
        raise EngineError("FAILED", f"{path} differs from its manifest", again)
    config: dict[str, Any] = entry["config"]
    wrong = differences(state, expected_shapes(BY_NAME[name].kind, config))
    if wrong:
        raise EngineError("FAILED", f"{path}: {'; '.join(wrong)}", again)
    return config, state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
