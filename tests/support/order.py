"""The order of a run: what takes longest begins first, and a module's tests stay together in one worker.

Tests of a module share daemons, networks and templates; a long module that began last would be waited for by
workers that have nothing left to do. ``--dist loadfile --no-loadscope-reorder`` hands modules out in this order.
"""

from __future__ import annotations

import pytest

LONGEST = (
    "contract/test_musetalk.py",
    "processes/test_preparation_asks.py",
    "web/test_player.py",
    "contract/test_failures.py",
    "contract/test_gateway_schema.py",
    "contract/test_broker_death.py",
    "contract/test_fault_matrix.py",
    "contract/test_drain_instance.py",
    "engines/test_transcriber_whisper.py",
    "processes/test_template_cache.py",
    "engines/musetalk/test_end_to_end.py",
    "engines/test_face_on_mp4.py",
    "contract/test_soak.py",
    "contract/test_lifecycle.py",
    "web/test_page.py",
    "contract/test_network.py",
    "contract/test_cli.py",
    "contract/test_render.py",
    "contract/test_engine_servers.py",
    "contract/test_isolation.py",
    "engines/musetalk/test_engine.py",
    "engines/musetalk/test_gpu_job.py",
    "engines/musetalk/test_weights.py",
    "engines/musetalk/test_whole.py",
    "engines/test_synthesizer_hibari.py",
    "engines/test_prepare_cache.py",
)
"""Only a hint: a module that is not named here is put by what its tests need."""


def _rank(item: pytest.Item) -> tuple[int, int]:
    path = item.path.as_posix()
    named = next((at for at, name in enumerate(LONGEST) if path.endswith(f"tests/{name}")), len(LONGEST))
    needs = [item.get_closest_marker(name) is not None for name in ("process", "torch")]
    return named, -sum(needs)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks: dict[str, tuple[int, int]] = {}
    for item in items:
        module = item.path.as_posix()
        ranks[module] = min(_rank(item), ranks.get(module, (len(LONGEST), 0)))
    items.sort(key=lambda item: ranks[item.path.as_posix()])  # stable: modules stay whole and in their order
