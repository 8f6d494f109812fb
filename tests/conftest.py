"""Settings of all tests: one torch thread, derandomised property tests, and the toy plugins on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile(
    "project",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("project")


TOY_PLUGINS = Path(__file__).parent / "toys" / "plugins"
if str(TOY_PLUGINS) not in sys.path:
    sys.path.append(str(TOY_PLUGINS))
