"""The embedded database server of a project folder: start, find, stop, status.

SecantusDB speaks MongoDB's wire protocol. It runs as a process of its own, detached from the terminal, and serves the
loopback interface only. Its data and log are under ``.mlip_autopipe/db`` of the folder; ``.mlip_autopipe/server.json``
says which process it is. The record is believed only if that very process is alive: a reboot, a killed server and a
recycled process id are recognised.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlip_autopipe.errors import EnvironmentProblemError
from mlip_autopipe.launch.location import EMBEDDED_HOST, LaunchPadLocation
from mlip_autopipe.launch.project_files import (
    DEFAULT_PORT,
    merge_fw_config,
    write_atomically,
    write_jobflow_config,
    write_launchpad_file,
)

STATE_FOLDER = ".mlip_autopipe"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
# Outgoing connections get ports from 32768 on (Linux), or from 49152 on (IANA, macOS).
_PORTS: Final = range(20_000, 32_768)

_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class ServerRecord:
    """Which process serves a folder.

    Attributes
    ----------
    pid, process_started, boot_id, hostname
        Identify the process: `process_started` is its start time (seconds since the epoch), `boot_id` the
        machine's boot.
    host, port
        The address, always on the loopback interface.
    data_path
        Folder of the data files.
    """

    pid: int
    process_started: float
    boot_id: str
    hostname: str
    host: str
    port: int
    data_path: str


def start(location: LaunchPadLocation) -> ServerRecord:
    """Return the running server of the location's folder, starting it if there is none.

    Any number of processes may call this at once: one of them starts the server, the others find it. Afterwards
    ``my_launchpad.yaml``, ``FW_config.yaml`` and ``jobflow.yaml`` of the folder name the server.

    Raises
    ------
    EnvironmentProblemError
        SecantusDB is not installed, the folder cannot be written, or the server does not come up; the message
        holds the end of its log.
    """
    folder = location.server_folder
    with _lock(folder):
        record = find(folder)
        _refuse_a_server_elsewhere(folder)
        if record is None:
            record = _launch(folder, location.port)
        write_launchpad_file(folder, location.file, host=record.host, port=record.port, name=location.name)
        merge_fw_config(folder)
        write_jobflow_config(folder, host=record.host, port=record.port, name=location.name)
    return record


def find(folder: Path) -> ServerRecord | None:
    """Return the record of the folder's server if that server is alive, else None; starts nothing."""
    record = _read_record(folder)
    return record if record is not None and _is_alive(record) else None


def stop(folder: Path, *, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Stop the folder's server gracefully (kill it only after `timeout_s`).

    Returns
    -------
    bool
        False if none was running.
    """
    if _read_record(folder) is None:
        return False
    _refuse_a_server_elsewhere(folder)
    with _lock(folder):
        record = find(folder)
        if record is not None:
            _end(record, timeout_s)
        _record_path(folder).unlink(missing_ok=True)
    return record is not None


def status(folder: Path) -> str:
    """Say in one line whether the folder's server runs."""
    record = _read_record(folder)
    if record is None:
        return "embedded server: not running"
    if _is_alive(record):
        return f"embedded server: running at {record.host}:{record.port} (process {record.pid})"
    return f"embedded server: not running (process {record.pid} has ended; the next command starts it again)"


def has_data(folder: Path) -> bool:
    """Say whether the folder's server ever ran."""
    return _db_folder(folder).exists()


def _launch(folder: Path, wished_port: int | None) -> ServerRecord:
    import importlib.util

    if importlib.util.find_spec("secantus") is None:
        raise EnvironmentProblemError(
            "the embedded database server is not installed: pip install 'mlip-autopipe[embedded]', "
            "or name a MongoDB server in my_launchpad.yaml"
        )
    data = _db_folder(folder) / "data"
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblemError(f"{data} cannot be created: {error.strerror or error}") from None
    config = _db_folder(folder) / "server.toml"
    if not config.exists():
        # An explicit (empty) file keeps the server from reading one of the user's by accident.
        write_atomically(config, "# settings of the embedded server, see its --config option\n")
    wished = wished_port or DEFAULT_PORT
    for port in (wished, *(_free_port() for _ in range(4))):
        if not _is_free(port):
            continue
        record = _try_launch(folder, data, config, port)
        if record is not None:
            return record
        if _is_free(port):
            break  # it was not the port
    raise EnvironmentProblemError(
        f"the embedded database server of {folder} did not start; its log {_log_path(folder)} ends with: "
        f"{_log_tail(folder)}"
    )


def _try_launch(folder: Path, data: Path, config: Path, port: int) -> ServerRecord | None:
    command = [sys.executable, "-m", "secantus", "--config", str(config), "--host", EMBEDDED_HOST]
    command += ["--port", str(port), "--storage-path", str(data), "--sync-on-commit"]
    command += ["--cache-size", "256M", "--log-level", "WARNING"]
    with _log_path(folder).open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=_db_folder(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal must not reach it
        )
    _children.append(process)
    if not _answers(process, port):
        if process.poll() is None:
            process.kill()
        process.wait()
        return None
    record = ServerRecord(
        pid=process.pid,
        process_started=_process_start_time(process.pid),
        boot_id=_boot_id(),
        hostname=socket.gethostname(),
        host=EMBEDDED_HOST,
        port=port,
        data_path=str(data),
    )
    write_atomically(_record_path(folder), json.dumps(dataclasses.asdict(record), indent=2) + "\n")
    return record


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the process serves the port; False if it ends or takes too long."""
    import pymongo
    from pymongo.errors import PyMongoError

    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.03)
        if not _listens(process.pid, port):  # somebody else may have taken the port in the meantime
            continue
        client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
            EMBEDDED_HOST, port, serverSelectionTimeoutMS=1000, directConnection=True
        )
        try:
            client.admin.command("ping")
        except PyMongoError:
            continue
        finally:
            client.close()
        return process.poll() is None
    return False


def _listens(pid: int, port: int) -> bool:
    """Whether the process itself, and nobody else, serves the port."""
    import psutil

    try:
        connections = psutil.Process(pid).net_connections(kind="tcp4")
    except psutil.Error:
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections)


def _end(record: ServerRecord, timeout_s: float) -> None:
    for signal_number, patience in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        try:
            os.kill(record.pid, signal_number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not _is_alive(record):
                return
            time.sleep(0.02)


def _is_alive(record: ServerRecord) -> bool:
    import psutil

    if record.boot_id != _boot_id():
        return False
    for child in _children:
        child.poll()  # reap it if it has ended
    try:
        process = psutil.Process(record.pid)
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and abs(process.create_time() - record.process_started) < 5.0
            and record.data_path in process.cmdline()
        )
    except psutil.AccessDenied:
        return False  # another user's process: not our server
    except psutil.NoSuchProcess:
        return False


def _process_start_time(pid: int) -> float:
    import psutil

    return float(psutil.Process(pid).create_time())


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        import psutil

        return f"{socket.gethostname()}-{round(psutil.boot_time(), -1):.0f}"


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((EMBEDDED_HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    """Return a free port that no outgoing connection gets: a folder's server keeps it while it is down, too."""
    tried = random.sample(_PORTS, 1000)
    found = next((port for port in tried if _is_free(port)), None)
    if found is None:
        ports = f"{_PORTS.start} to {_PORTS.stop - 1}"
        raise EnvironmentProblemError(f"no port from {ports} is free for the embedded server: end other programs")
    return found


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    path = folder / STATE_FOLDER / "server.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    except OSError as error:
        raise EnvironmentProblemError(
            f"{path.parent} cannot be written ({error.strerror or error}); the embedded server needs a writable folder"
        ) from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _read_record(folder: Path) -> ServerRecord | None:
    try:
        return ServerRecord(**json.loads(_record_path(folder).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return _record_of_a_running_server(folder)


def _record_of_a_running_server(folder: Path) -> ServerRecord | None:
    """Find the server of a folder whose record was lost or damaged, by the data that it holds open."""
    import psutil

    data = str(_db_folder(folder) / "data")
    if not Path(data).exists():
        return None
    for process in psutil.process_iter(["cmdline", "create_time"]):
        command = process.info["cmdline"] or []
        if "secantus" in command and data in command:
            return ServerRecord(
                pid=process.pid,
                process_started=process.info["create_time"],
                boot_id=_boot_id(),
                hostname=socket.gethostname(),
                host=EMBEDDED_HOST,
                port=int(command[command.index("--port") + 1]),
                data_path=data,
            )
    return None


def _refuse_a_server_elsewhere(folder: Path) -> None:
    """On a shared file system the server may run on another machine: two on the same data would destroy it."""
    record = _read_record(folder)
    if record is not None and record.hostname != socket.gethostname() and record.boot_id != _boot_id():
        raise EnvironmentProblemError(
            f"the database server of {folder} was started on {record.hostname}; run `mlip-auto db stop` there, or "
            f"remove {_record_path(folder)} if that machine is gone"
        )


def _record_path(folder: Path) -> Path:
    return folder / STATE_FOLDER / "server.json"


def _db_folder(folder: Path) -> Path:
    return folder / STATE_FOLDER / "db"


def _log_path(folder: Path) -> Path:
    return _db_folder(folder) / "server.log"


def _log_tail(folder: Path) -> str:
    try:
        lines = _log_path(folder).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "(nothing)"
