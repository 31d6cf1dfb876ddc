"""The end of a run says what was not run, and why."""

from __future__ import annotations

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reasons: Counter[tuple[str, str]] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: "), report.nodeid.partition("::")[0]] += 1
    wanted = str(config.option.markexpr)
    left_out = [line for line in config.getini("markers") if f"not {line.partition(':')[0]}" in wanted]
    if not reasons and not left_out:
        return
    terminalreporter.section("not run")
    for (reason, where), count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count:5} skipped   {where}: {reason}")
    for line in left_out:
        name, _, meaning = line.partition(":")
        terminalreporter.write_line(f"      left out  {name}:{meaning}")
