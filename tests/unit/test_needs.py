"""A test that starts a process, imports torch or computes for long must say so, or fails."""

from __future__ import annotations

import pytest

pytest_plugins = ("pytester",)

RUN = ("-p", "tests.support.needs", "-p", "no:xdist", "-p", "no:cacheprovider")


@pytest.mark.parametrize(
    ("marker", "does"),
    [
        ("process", "sys.audit('subprocess.Popen', 'true', ['true'], None, None)"),
        ("torch", "sys.audit('import', 'torch', None, None, None, None)"),
        ("slow", "monkeypatch.setattr('tests.support.needs.SLOW_S', 0.0); sum(range(10_000))"),
    ],
)
def test_a_test_that_does_more_than_it_is_marked_for_fails(
    pytester: pytest.Pytester, marker: str, does: str
) -> None:
    pytester.makepyfile(f"""
        import pytest, sys
        def test_plain(monkeypatch):
            {does}
        @pytest.mark.{marker}
        def test_marked(monkeypatch):
            {does}
    """)
    result = pytester.runpytest_inprocess(*RUN)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(f"*test_plain*mark it with @pytest.mark.{marker}*")


def test_what_starts_processes_by_its_own_words_is_marked_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import subprocess
        def test_it():
            def inner():
                return subprocess.DEVNULL
            assert inner
    """)
    pytester.runpytest_inprocess(*RUN, "-m", "process").assert_outcomes(passed=1)
    pytester.runpytest_inprocess(*RUN, "--quick").assert_outcomes(deselected=1)
