"""The JSON's rows as text."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def show(result: dict[str, Any]) -> None:
    """Print everything, part by part."""
    held = result["held"]
    print(f"{held['machine']}; torch {held['torch']}, {held['dtype']}, commit {held['commit'] or 'unknown'}")
    clocks = {name: f"{value} -> {held['after'].get(name)}" for name, value in held["before"].items()}
    print(f"profile {held['profile']}; before -> after: {clocks or 'no readings of a GPU'}")
    printers = {
        "host": _plain, "closeness": _closeness, "gpu_path": _gpu_path, "ratio": _ratio, "cold": _cold,
        "loops": _loops, "first_unit": _plain, "streams": _streams, "copies": _copies,
    }  # fmt: skip
    for part, printer in printers.items():
        rows = [row for row in result["rows"] if row["part"] == part]
        if rows:
            print(f"\n{part}")
            printer(rows)
    print()
    for name, told in result["parts"].items():
        print(f"{name}: {told}")


MARK = " (clock moved)"
COMMON = {"part", "machine", "clocks", "commit"}


def _plain(rows: list[Row]) -> None:
    for row in rows:
        print("  " + ", ".join(f"{key} {value}" for key, value in row.items() if key not in COMMON))


def _line(label: str, width: int, cells: list[tuple[Any, str]]) -> None:
    print(f"  {label:<{width}}" + "".join(f"{format(v, f) if v is not None else '':>11}" for v, f in cells))


def _closeness(rows: list[Row]) -> None:
    for row in rows:
        if "skipped" in row:
            print(f"  {row['variant']:<32} {row['skipped']}")
            continue
        print(
            f"  {row['variant']:<32} max {row['max_levels']}, 99.9 % {row['p99_9_levels']:.1f}, "
            f"within 2 levels {row['within_2_levels']:.4f}, {row['psnr_db']} dB ({row['frames']} frames)"
        )


def _gpu_path(rows: list[Row]) -> None:
    heads = ("batch", "p50 ms", "p95 ms", "p99 ms", "max ms", "n", "ms/frame", "frames/s", "TFLOP/s", "of matmul")
    print(f"  {'variant':<38}" + "".join(f"{head:>11}" for head in heads))
    for row in sorted(rows, key=lambda r: (r["section"], r["batch"], r["variant"])):
        label = f"{row['section']:<5} {row['variant']}"
        if "n" not in row:
            print(f"  {label:<38}{row['batch']:>11} {row.get('error') or row['skipped']}")
            continue
        label += MARK * ("clock_moved" in row)
        share = row.get("of_matmul")
        _line(label, 38, [
            (row["batch"], "d"), *((row[f"{name}_ms"], ".2f") for name in ("p50", "p95", "p99", "max")),
            (row["n"], "d"), (row["ms_per_frame"], ".3f"), (row["frames_per_s"], ".1f"),
            (row.get("tflops"), ".1f"), (share, ".0%"),
        ])  # fmt: skip


def _ratio(rows: list[Row]) -> None:
    for row in rows:
        where = row.get("picture") or f"batch {row['batch']}"
        print(
            f"  {row['what']}, {where}: {row['median']} (rounds {row['per_round']}, spread {row['spread']})"
            + MARK * ("clock_moved" in row)
        )


def _cold(rows: list[Row]) -> None:
    for row in rows:
        print(f"  ms since the process was started: {row['ms_since_start']}")
        print(f"  first request {row['first_request_ms']} ms")
        for use in row["batches"]:
            print(
                f"  batch {use['batch']:>3}: first run {use['first_run_ms']} ms, "
                f"first use {use['first_use_ms']} ms, then p50 {use['then']['p50_ms']} ms"
            )


def _loops(rows: list[Row]) -> None:
    for row in rows:
        ms = row["between_frames"]
        print(
            f"  {row['number']:<10} {row['system']:<11} {row['picture']:<9} {row['frames_per_s']:>8} frames/s "
            f"(rounds {row['frames_per_s_spread']}), between frames p50 {ms['p50_ms']} p95 {ms['p95_ms']} "
            f"p99 {ms['p99_ms']} max {ms['max_ms']} ms, n {ms['n']}, fill {row['batch_fill']}, "
            f"CPU ms/frame {row['cpu_ms_per_frame']}" + MARK * ("clock_moved" in row)
        )


def _streams(rows: list[Row]) -> None:
    for row in rows:
        if "skipped" in row:
            print(f"  {row['streams']:>4} streams: {row['skipped']}")
            continue
        late, gap = row["lateness"], row["gap"]
        print(
            f"  {row['streams']:>4} streams {'pass' if row['passes'] else 'FAIL'} ({row['passing']} pass): "
            f"least {row['fps_least']} frames/s, fresh {row['fresh_least']}, "
            f"worst p99 gap {row['gap_p99_worst_ms']} max {gap['max_ms']} ms; lateness p50 {late['p50_ms']} "
            f"p95 {late['p95_ms']} p99 {late['p99_ms']} max {late['max_ms']} ms, n {late['n']}; "
            f"fill {row['batch_fill']}, CPU ms/frame {row['cpu_ms_per_frame']}"
        )


def _copies(rows: list[Row]) -> None:
    for row in rows:
        if "frames_per_s" not in row:
            print(f"  U{row['k']}: {row.get('error') or row.get('skipped')}")
            continue
        print(
            f"  U{row['k']}: {row['frames_per_s']} frames/s together, least {row['frames_per_s_least']}; "
            f"CPU ms/frame {row['cpu_ms_per_frame']}, VRAM {row['vram_peak_mb']} MB"
        )
