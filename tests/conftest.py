"""Fixtures of all rooms: databases in memory, a real server, clean folders; and a guard around the user's files."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before anything imports fireworks or jobflow, which read the user's files at import: a home without any.
_HOME = tempfile.TemporaryDirectory(prefix="mlip-autopipe-home-")
os.environ.setdefault("MPLCONFIGDIR", str(Path("~/.config/matplotlib").expanduser()))
os.environ.setdefault("XDG_CACHE_HOME", str(Path("~/.cache").expanduser()))
os.environ["HOME"] = _HOME.name
for _name in [name for name in os.environ if name.startswith(("JOBFLOW_", "FW_", "MLIP_AUTOPIPE_"))]:
    del os.environ[_name]


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of this folder."""
    config.addinivalue_line("markers", "slurm: starts a SLURM of its own on this machine")


@pytest.fixture(autouse=True)
def _guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees or leaves settings of the user; retries are quick."""
    monkeypatch.setenv("MLIP_AUTOPIPE_RETRY_DELAY_S", "0.05")
    monkeypatch.setenv("MLIP_AUTOPIPE_RETRY_GROWTH", "1")
    yield
    left = [name for name in (".fireworks", ".jobflow.yaml") if (Path(_HOME.name) / name).exists()]
    assert not left, f"a test wrote {left} into the home folder"


@pytest.fixture
def clean_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def memory_jobstore() -> Iterator[Any]:
    """A connected JobStore in memory, with the additional store ``data``."""
    from jobflow import JobStore
    from maggma.stores import MemoryStore

    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    yield store
    store.close()


@pytest.fixture
def mongomock_launchpad(memory_jobstore: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A LaunchPad in memory (one process only); its jobs write to `memory_jobstore`."""
    import mongomock
    import mongomock.gridfs
    from fireworks.core import launchpad as fireworks_launchpad

    from mlip_autopipe.launch import firetask
    from mlip_autopipe.launch.launchpad import AutoPipeLaunchPad

    mongomock.gridfs.enable_gridfs_integration()
    monkeypatch.setattr(fireworks_launchpad, "MongoClient", mongomock.MongoClient)
    monkeypatch.setattr(firetask, "jobstore_for", lambda launchpad: memory_jobstore)
    launchpad = AutoPipeLaunchPad(name=f"test_{uuid.uuid4().hex}", strm_lvl="CRITICAL")
    launchpad.initialise()
    return launchpad


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running embedded server, shared by the tests of a session: its record (host, port, pid)."""
    pytest.importorskip("secantus", reason="needs the extra [embedded]")
    from mlip_autopipe.launch import embedded
    from mlip_autopipe.launch.location import LaunchPadLocation

    folder = tmp_path_factory.mktemp("live-server")
    yield embedded.start(LaunchPadLocation(folder=folder, port=embedded._free_port()))
    embedded.stop(folder, timeout_s=0.1)  # its data are thrown away


@pytest.fixture
def live_location(live_server: Any, clean_dir: Path) -> Any:
    """A working folder whose ``my_launchpad.yaml`` names a database of its own on the live server."""
    import yaml

    from mlip_autopipe.launch.location import locate
    from mlip_autopipe.launch.project_files import merge_fw_config

    config = {"host": live_server.host, "port": live_server.port, "name": f"test_{uuid.uuid4().hex[:12]}"}
    (clean_dir / "my_launchpad.yaml").write_text(yaml.safe_dump(config))
    merge_fw_config(clean_dir)
    return locate(None, clean_dir)


@pytest.fixture
def live_launchpad(live_location: Any) -> Iterator[Any]:
    """A connected LaunchPad on the live server; `location` says where, for rockets of other processes."""
    from mlip_autopipe.launch.launchpad import connect

    launchpad = connect(live_location)
    yield launchpad
    launchpad.connection.drop_database(launchpad.name)
    launchpad.connection.close()
