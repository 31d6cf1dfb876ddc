"""What a running daemon takes of a changed configuration."""

from __future__ import annotations

from structlog.testing import capture_logs

from configs.load import ConfigError
from configs.schema import Config, Limits, Security, Supervisor
from supervision.reload import TAKEN, Reloader, changed_keys, reloaded


def test_keys_of_the_supervisor_are_taken_and_the_rest_is_named() -> None:
    old = Config()
    new = Config(supervisor=Supervisor(intensity=9, beat_s=2.0), limits=Limits(sessions=7))
    now, taken, waiting = reloaded(old, new)
    assert now.supervisor.intensity == 9
    assert now.supervisor.beat_s == old.supervisor.beat_s, "processes were started with it"
    assert (taken, waiting) == (["supervisor.intensity"], ["limits.sessions", "supervisor.beat_s"])
    assert changed_keys(old, old) == []


def test_who_may_connect_is_not_changed_by_a_reload_and_that_is_said() -> None:
    """The sockets are bound; keys that come and go in ``clients_dir`` need no reload."""
    new = Config(security=Security(curve=True, clients_dir="/elsewhere"))
    now, taken, waiting = reloaded(Config(), new)
    assert now.security == Config().security
    assert (taken, waiting) == ([], ["security.curve", "security.clients_dir"])


def test_every_key_that_is_taken_exists() -> None:
    assert {key.partition(".")[2] for key in TAKEN} <= set(Supervisor.__struct_fields__)


def test_a_configuration_that_cannot_be_used_changes_nothing() -> None:
    def reread() -> Config:
        raise ConfigError("limits.sessions: -1 is less than 1", where="a.yaml, line 3")

    running = Config(supervisor=Supervisor(intensity=3))
    with capture_logs() as lines:
        assert Reloader(running, reread).settings() == running.supervisor
    (line,) = lines
    assert line["event"] == "config.refused"
    assert "a.yaml, line 3" in line["reason"]


def test_each_reload_compares_with_what_was_taken_before() -> None:
    first = Config(supervisor=Supervisor(intensity=3))
    reloader = Reloader(Config(), lambda: first)
    with capture_logs():
        assert reloader.settings().intensity == 3
    with capture_logs() as lines:
        assert reloader.settings().intensity == 3
    assert lines[0]["taken"] == []
    assert lines[0]["needs_restart"] == []
