"""``musecast weights``: the files of MuseTalk, and the face models. Works without a daemon."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from clients.cli.common import CommandError, Common, command
from clients.cli.terminal import MB, err, out, print_json, table
from models.asr import whisper_pull
from models.asr.whisper_files import PREFIX
from models.errors import EngineError
from models.musetalk.layout import BY_NAME, COMPONENTS, Component

app = typer.Typer(help="The weights of MuseTalk: list, pull, verify, convert.", no_args_is_help=True)

T = TypeVar("T")

NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Networks; those that are needed without it.")
]
LANDMARKS = "landmarks"
"""The name under which ``pull`` knows the face models: they are no network of MuseTalk's."""


def _root(common: Common) -> Path:
    return Path(common.settings().weights_dir)


def _need_torch() -> None:
    missing = [name for name in ("torch", "diffusers", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(f"{', '.join(missing)} not installed; install the extra `musetalk`, see docs/models.md")


def _chosen(names: list[str] | None) -> list[Component]:
    if not names:
        return [component for component in COMPONENTS if component.needed]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise CommandError(f"there is no network {unknown[0]!r}; known are {', '.join((*BY_NAME, LANDMARKS))}")
    return [BY_NAME[name] for name in names]


@app.command("list")
@command
def list_weights(*, common: Common) -> None:
    """Which files belong where, and which are there. Looks at names and sizes only."""
    root = _root(common)
    rows: list[dict[str, Any]] = []
    for component in COMPONENTS:
        path = component.find(root)
        rows.append(
            {
                "name": component.name,
                "use": component.use,
                "needed": component.needed,
                "file": component.files[0] if path is None else path.relative_to(root).as_posix(),
                "bytes": None if path is None else path.stat().st_size,
                "from": component.downloads[-1].repo or component.downloads[-1].url,
            }
        )
    if common.json:
        print_json({"weights_dir": str(root), "components": rows})
        return
    out.print(f"weights_dir: {escape(str(root))}", soft_wrap=True)
    shown = table("network", ">MB", "file, use, origin")
    shown.columns[-1].overflow = "fold"
    for row in rows:
        size = "missing" if row["bytes"] is None else f"{row['bytes'] / MB:.1f}"
        use = row["use"] if row["needed"] else f"{row['use']}; optional"
        shown.add_row(row["name"], size, f"{escape(row['file'])}\n[dim]{use}\n{row['from']}[/]")
    out.print(shown)


@app.command("pull")
@command
def pull_weights(
    names: NamesArgument = None,
    wheel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With landmarks: a mediapipe wheel that is already here.")
    ] = None,
    *,
    common: Common,
) -> None:
    """Download what is missing (about 4.4 GB): resumed, checked; HF_ENDPOINT chooses a mirror.

    `whisper-base` (-tiny, -small, -large-v3-turbo, ...) is the model of the recogniser faster_whisper.
    `landmarks` are the models that find a face in a photo or a film (36 MB, by pip); `make install` has got them.
    """
    sizes = [name.removeprefix(PREFIX) for name in names or () if name.startswith(PREFIX)]
    rest = [name for name in names or () if name != LANDMARKS and not name.startswith(PREFIX)]
    if names and LANDMARKS in names:
        _pull_landmarks(common, wheel)
        if not rest and not sizes:
            return
    if importlib.util.find_spec("huggingface_hub") is None:
        raise CommandError("huggingface_hub is not installed; install the extra `musetalk`, see docs/models.md")
    from models.musetalk.pull import pull

    root, chosen = _root(common), _chosen(rest) if rest or not sizes else []
    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=err) as bar:
        tasks: dict[str, TaskID] = {}

        def step(file: str, done: int, total: int) -> None:
            task = tasks.get(file)
            if task is None:
                task = tasks[file] = bar.add_task(file, total=total or None)
            bar.update(task, completed=done, total=total or None)

        fetched = _run(lambda: pull(root, chosen, step))
        for size in sizes:
            fetched += _run(partial(whisper_pull.pull, root, size, step))
    if common.json:
        print_json({"weights_dir": str(root), "fetched": [str(one) for one in fetched]})
    else:
        following = "; next: musecast weights convert" if chosen else ""
        out.print(escape(f"{len(fetched)} files fetched into {root}{following}"), soft_wrap=True)


def _pull_landmarks(common: Common, wheel: Path | None) -> None:
    from models.landmarks.pull import pull

    root = str(_root(common))
    with err.status("fetching the face models"):
        folder = _run(lambda: pull(root, wheel))
    if common.json:
        print_json({"landmarks": None if folder is None else str(folder)})
    else:
        fact = "the face models are there" if folder is None else f"the face models are in {folder} now"
        out.print(escape(fact), soft_wrap=True)


@app.command("verify")
@command
def verify_weights(*, common: Common) -> None:
    """Read every file: checksums, names, shapes, numbers, configuration; say what is wrong with each."""
    _need_torch()
    from models.musetalk.weights import verify

    root = _root(common)
    with err.status("reading"):
        reports = _run(lambda: verify(root))
    if common.json:
        print_json([asdict(report) for report in reports])
    else:
        shown = table("network", "status", ">parameters", "dtype", "converted", "file")
        shown.columns[-1].overflow = "fold"
        for report in reports:
            status = report.status if report.needed or report.status != "missing" else "not used"
            shown.add_row(
                report.name, status, f"{report.parameters:,}", report.dtype,
                "yes" if report.converted else "no", escape(report.file),
            )  # fmt: skip
        out.print(shown)
        for report in reports:
            for line in report.problems:
                out.print(f"[red]{report.name}:[/] {escape(line)}", soft_wrap=True)
            for line in report.notes:
                out.print(f"{report.name}: {escape(line)}", soft_wrap=True)
    bad = [report.name for report in reports if report.status == "bad"]
    missing = [report.name for report in reports if report.status == "missing" and report.needed]
    if bad or missing:
        raise typer.Exit(1)


@app.command("convert")
@command
def convert_weights(
    force: Annotated[bool, typer.Option("--force", help="Convert again what is up to date.")] = False,
    *,
    common: Common,
) -> None:
    """Write safetensors and a manifest, once; the daemon reads nothing else."""
    _need_torch()
    from models.musetalk.weights import convert

    root = _root(common)
    with err.status("converting") as status:

        def step(name: str, index: int, total: int) -> None:
            status.update(f"{name} ({index + 1} of {total})")

        done = _run(lambda: convert(root, force=force, step=step))
    if common.json:
        print_json({"converted": done})
    else:
        out.print(f"converted: {', '.join(done)}" if done else f"nothing to convert: {escape(_nothing(root))}")


def _nothing(root: Path) -> str:
    if any(component.find(root) for component in COMPONENTS):
        return "everything that is there is up to date"
    return f"{root} holds no weights; run musecast weights pull"


def _run(action: Callable[[], T]) -> T:
    try:
        return action()
    except EngineError as error:
        raise CommandError(str(error)) from error
