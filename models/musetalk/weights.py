"""Verifying official weight files, converting them once, loading what was converted.

The daemon loads ``weights_dir/converted/*.safetensors`` and nothing else: no pickle is read while it runs.
``converted/manifest.json`` names every source, its SHA-256 and its configuration.
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
from models.musetalk import configurations
from models.musetalk.keys import differences, expected_shapes, normalise
from models.musetalk.layout import BY_NAME, COMPONENTS, Component, belongs_to, is_published
from models.musetalk.manifest import converted_entry, converted_path, read_manifest, write_manifest
from models.musetalk.pickles import State, as_dict, check_container, check_sums, load_checkpoint, load_state

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
    published: bool | None = None
    """Whether the file is the authors' own, by its SHA-256; None where that is not known."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is worth knowing and no fault."""


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
        return _dims(component, weights)
    if path is None:
        raise EngineError(
            "FAILED", f"{root / component.configs[0]} is missing", "run `musecast weights pull` or copy it there"
        )
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError("FAILED", f"{path} cannot be read: {error}", "run `musecast weights pull`") from error
    _check_config(component, path, config)
    return dict(config)


def _check_config(component: Component, path: Path, config: Any) -> None:
    wrong = configurations.problems(component.kind, config)
    if wrong:
        stale = "use musetalk.json of the official layout (a stale config.json circulates)"
        raise EngineError(
            "FAILED", f"{path} is not MuseTalk's configuration: {'; '.join(wrong)}",
            stale if component.kind == "unet" else "delete it and run `musecast weights pull`",
        )  # fmt: skip


def _dims(component: Component, path: Path) -> dict[str, Any]:
    check_container(path)
    dims = as_dict(as_dict(load_checkpoint(path)).get("dims"))
    if not dims:
        raise EngineError("FAILED", f"{path} has no dims", "use whisper/tiny.pt as OpenAI publishes it")
    _check_config(component, path, dims)
    return {key: dims[key] for key in configurations.OPENAI}


def read_official(component: Component, root: Path) -> tuple[dict[str, Any], State]:
    """Configuration and tensors of an official file, under today's names, complete, undamaged and finite.

    Raises:
        EngineError: NOT_FOUND when there is no file; FAILED with everything that is wrong with it.
    """
    path = component.find(root)
    if path is None:
        raise EngineError("NOT_FOUND", f"{root / component.files[0]} is missing", "run `musecast weights pull`")
    check_container(path)
    config = read_config(component, root)
    check_sums(path)
    state = normalise(component.kind, load_state(path))
    wrong = differences(state, expected_shapes(component.kind, config))
    if wrong:
        raise EngineError("FAILED", f"{path}: {'; '.join(wrong)}", "this is not the network that its name says")
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise EngineError(
            "FAILED", f"{path}: {len(broken)} tensors hold NaN or infinity, first {broken[0]}",
            "delete it and run `musecast weights pull`",
        )  # fmt: skip
    return config, state


class _Digests:
    """SHA-256 of the official files of one folder, each read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, str] = {}

    def of(self, path: Path) -> str:
        """Hex digest."""
        if path not in self._known:
            self._known[path] = _sha256(path)
        return self._known[path]

    def refuse_misplaced(self, component: Component, path: Path) -> None:
        """Raise where the file is another network's, of the same shapes: it would load, and look wrong.

        Raises:
            EngineError: FAILED, with whose file it is.
        """
        size = path.stat().st_size
        owner = belongs_to(component, size, self.of(path))
        if owner is not None:
            raise EngineError(
                "FAILED", f"{path} is the file of {owner.name} ({owner.use})",
                f"move it to {self._root / owner.files[0]} and run `musecast weights pull {component.name}`",
            )  # fmt: skip
        for other in COMPONENTS:
            twin = other.find(self._root) if other is not component and other.kind == component.kind else None
            if twin is not None and twin.stat().st_size == size and self.of(twin) == self.of(path):
                raise EngineError(
                    "FAILED", f"{path} and {twin} are the same file, and one of them is in the wrong place",
                    f"delete the wrong one and run `musecast weights pull {component.name}`",
                )  # fmt: skip


def verify(root: Path, step: Step | None = None) -> list[Report]:
    """Look at every component's official file and at what was converted from it."""
    manifest, digests = read_manifest(root), _Digests(root)
    reports = []
    for index, component in enumerate(COMPONENTS):
        if step is not None:
            step(component.name, index, len(COMPONENTS))
        report = Report(component.name, component.use, component.needed, "missing")
        path, config = component.find(root), None
        if path is not None:
            report.file, report.bytes = path.relative_to(root).as_posix(), path.stat().st_size
            try:
                config, state = read_official(component, root)
                digests.refuse_misplaced(component, path)
            except EngineError as error:
                report.status, report.problems = "bad", [str(error)]
            else:
                _count(report, state)
                report.published = is_published(component, report.bytes, digests.of(path))
                if report.published is False:
                    report.notes.append(
                        f"{path} is whole, but not the file that its authors publish: right for weights of your "
                        "own, else delete it and run `musecast weights pull`"
                    )
        source = None if config is None or path is None else (digests.of(path), config)
        _look_at_converted(report, component, root, manifest, source)
        reports.append(report)
    return reports


def _count(report: Report, state: State) -> None:
    report.status, report.tensors = "ok", len(state)
    report.parameters = sum(value.numel() for value in state.values())
    report.dtype = ", ".join(sorted({str(value.dtype).removeprefix("torch.") for value in state.values()}))


def _look_at_converted(
    report: Report,
    component: Component,
    root: Path,
    manifest: Mapping[str, Any],
    source: tuple[str, dict[str, Any]] | None,
) -> None:
    """``source`` is digest and configuration of the official file; None when it is not there or bad."""
    entry = manifest.get(report.name)
    path = converted_path(root, report.name)
    if entry is None or not path.is_file():
        return
    if _sha256(path) != entry["sha256"]:
        report.problems.append(f"{path} differs from its manifest; run `musecast weights convert`")
        report.status = "bad"
        return
    if wrong := configurations.problems(component.kind, entry["config"]):
        report.problems.append(f"{path} has a wrong configuration: {'; '.join(wrong)}; convert it again")
        report.status = "bad"
        return
    if source is not None and source != (entry["source_sha256"], entry["config"]):
        report.notes.append(f"{path} is of another file or configuration; run `musecast weights convert`")
        return
    report.converted = True
    if report.status == "missing":
        report.status, report.tensors = "ok", entry["tensors"]
        report.parameters, report.dtype = entry["parameters"], entry["dtype"]


def convert(root: Path, *, force: bool = False, step: Step | None = None) -> list[str]:
    """Convert every official file that is there and is not what was converted; returns the names converted now.

    Raises:
        EngineError: FAILED, with what is wrong with a file; what was converted before it stays.
    """
    manifest, digests = read_manifest(root), _Digests(root)
    done = []
    for index, component in enumerate(COMPONENTS):
        if step is not None:
            step(component.name, index, len(COMPONENTS))
        source = component.find(root)
        if source is None:
            continue
        check_container(source)
        config, digest = read_config(component, root), digests.of(source)
        if not force and _is_current(component, root, manifest.get(component.name), digest, config):
            continue
        manifest[component.name] = _convert_one(component, root, source, digests)
        write_manifest(root, manifest)
        done.append(component.name)
    return done


def _is_current(
    component: Component, root: Path, entry: Mapping[str, Any] | None, digest: str, config: dict[str, Any]
) -> bool:
    """Whether what was converted is this very file with this very configuration, and undamaged."""
    path = converted_path(root, component.name)
    return (
        entry is not None
        and (entry["source_sha256"], entry["config"]) == (digest, config)
        and path.is_file()
        and _sha256(path) == entry["sha256"]
    )


def _convert_one(component: Component, root: Path, source: Path, digests: _Digests) -> dict[str, Any]:
    config, state = read_official(component, root)
    digests.refuse_misplaced(component, source)
    return store(root, component, config, state, source.relative_to(root).as_posix(), digests.of(source))


def store(
    root: Path, component: Component, config: dict[str, Any], state: State, source: str, source_sha256: str
) -> dict[str, Any]:
    """Write tensors as the daemon loads them; returns their record for the manifest, see ``write_manifest``.

    Args:
        root: ``weights_dir``.
        component: whose they are.
        config: of the network.
        state: under today's names, on the CPU.
        source: path of the file that they came from, below ``root``.
        source_sha256: its digest.
    """
    report = Report(component.name, component.use, component.needed, "ok")
    _count(report, state)
    target = converted_path(root, component.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    try:
        # Clones: tensors of one checkpoint may share storage, which safetensors refuses.
        save_file({key: value.clone().contiguous() for key, value in state.items()}, part)
        os.replace(part, target)
    except (SafetensorError, OSError) as error:
        part.unlink(missing_ok=True)
        fact = f"{target} cannot be written: {error}"
        raise EngineError("FAILED", fact, "free space or set weights_dir") from error
    return {
        "file": target.name,
        "sha256": _sha256(target),
        "source": source,
        "source_sha256": source_sha256,
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
    again = "run `musecast weights convert`"
    try:
        whole = _sha256(path) == entry["sha256"]
        state = load_file(path) if whole else {}
    except (SafetensorError, OSError) as error:
        raise EngineError("FAILED", f"{path} cannot be read: {error}", again) from error
    if not whole:
        raise EngineError("FAILED", f"{path} differs from its manifest", again)
    config: dict[str, Any] = entry["config"]
    wrong = configurations.problems(BY_NAME[name].kind, config)
    wrong = wrong or differences(state, expected_shapes(BY_NAME[name].kind, config))
    if wrong:
        raise EngineError("FAILED", f"{path}: {'; '.join(wrong)}", again)
    return config, state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
