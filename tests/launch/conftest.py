"""Helpers of the queue's tests."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for launch_jobs, which workers import too


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers can import `launch_jobs`."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))


@pytest.fixture
def submit_flow() -> Callable[..., Any]:
    """Store a flow as run ``run-1`` and return its Workflow."""
    from mlip_autopipe.launch import runs
    from mlip_autopipe.launch.workflow import to_workflow

    def submit(launchpad: Any, flow: Any, run_id: str = "run-1") -> Any:
        workflow = to_workflow(flow, run_id=run_id, project_name="al", goal="elastic", formula="Al")
        runs.submit(launchpad, workflow)
        return workflow

    return submit


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """Wait until a condition holds, at most some seconds."""

    def wait(condition: Callable[[], Any], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    return wait
