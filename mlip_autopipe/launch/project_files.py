"""The configuration files of a project folder, written so that the stock tools work there unchanged.

``lpad``, ``rlaunch`` and ``qlaunch`` read ``my_launchpad.yaml`` and ``FW_config.yaml`` of the working folder. Plain
jobflow reads ``jobflow.yaml`` after ``export JOBFLOW_CONFIG_FILE=jobflow.yaml``.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.launch.location import LAUNCHPAD_FILE

FW_CONFIG_FILE = "FW_config.yaml"
JOBFLOW_FILE = "jobflow.yaml"
DEFAULT_PORT = 27117

PING_TIME_S = 60
RUN_EXPIRATION_S = 300

FW_CONFIG: dict[str, Any] = {
    "PING_TIME_SECS": PING_TIME_S,
    "RUN_EXPIRATION_SECS": RUN_EXPIRATION_S,
    "RAPIDFIRE_SLEEP_SECS": 5,
    "WFLOCK_EXPIRATION_SECS": 120,
    "SORT_FWS": "FIFO",
    "PRINT_FW_JSON": False,
}
"""FireWorks' own defaults (a sign of life every hour, lost after four) are for week-long jobs."""

LAUNCHPAD_TEMPLATE = f"""\
# Where FireWorks keeps its queue. `mlip-auto` and the stock tools (lpad, rlaunch, qlaunch) read this file.
#
# embedded: true means a small database server of this folder's own: data in .mlip_autopipe/db, started when it is
# needed, reachable from this machine only. If the port is taken, another one is chosen and written here.
#
# To use MongoDB instead, write `embedded: false` and your server:
#   host: db.example.org
#   port: 27017
#   name: my_project
#   username: me
#   password: secret
# or a connection string: `host: mongodb+srv://...` with `uri_mode: true`.
embedded: true
host: 127.0.0.1
port: {DEFAULT_PORT}
name: mlip_autopipe
uri_mode: false
logdir: null
strm_lvl: null
user_indices: []
wf_user_indices: []
"""


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content in one step: a reader sees the old text or the new one, never a part.

    Raises
    ------
    EnvironmentProblemError
        The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
            os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentProblemError(f"{path} cannot be written: {error.strerror or error}") from None


def write_launchpad_file(folder: Path, file: Path | None, *, host: str, port: int, name: str) -> Path:
    """Make ``my_launchpad.yaml`` name the embedded server; comments and other keys of the file stay.

    Parameters
    ----------
    folder
        The project folder; used when there is no file yet.
    file
        The existing file, or None.
    host, port, name
        The running server.

    Returns
    -------
    Path
        The file, rewritten only if something changed.
    """
    path = file or folder / LAUNCHPAD_FILE
    old = path.read_text(encoding="utf-8") if path.exists() else None
    text = set_yaml_keys(
        LAUNCHPAD_TEMPLATE if old is None else old,
        {"embedded": True, "host": host, "port": port, "name": name},
    )
    if text != old:
        write_atomically(path, text)
    return path


def merge_fw_config(folder: Path) -> Path:
    """Add our timing to the folder's ``FW_config.yaml``; what the user has set there stays as it is."""
    path = folder / FW_CONFIG_FILE
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    present = _mapping(path, old)
    missing = {key: value for key, value in FW_CONFIG.items() if key not in present}
    if missing:
        header = "" if old else "# FireWorks settings of this folder; change what you like, it is never overwritten.\n"
        write_atomically(path, set_yaml_keys(header + old, missing))
    return path


def write_jobflow_config(folder: Path, *, host: str, port: int, name: str) -> Path:
    """Write ``jobflow.yaml``, which points plain jobflow to the embedded server's JobStore.

    jobflow reads it only after ``export JOBFLOW_CONFIG_FILE=jobflow.yaml``; our own Firetask needs no such file.
    A file that does not name a store of the embedded server is the user's and stays untouched.
    """
    import yaml

    path = folder / JOBFLOW_FILE
    server = {"database": name, "host": host, "port": port}
    config = {
        "JOB_STORE": {
            "docs_store": {"type": "MongoStore", "collection_name": "outputs", **server},
            "additional_stores": {"data": {"type": "GridFSStore", "collection_name": "data", **server}},
        }
    }
    mark = "# Written by mlip-autopipe; for plain jobflow: export JOBFLOW_CONFIG_FILE=jobflow.yaml\n"
    old = path.read_text(encoding="utf-8") if path.exists() else None
    text = mark + yaml.safe_dump(config, sort_keys=False)
    if old is None or (old.startswith(mark) and old != text):
        write_atomically(path, text)
    return path


def set_yaml_keys(text: str, values: Mapping[str, Any]) -> str:
    r"""Set top-level scalar keys in a YAML text, leaving every other line, comments included, as it is.

    >>> set_yaml_keys("# mine\nport: 1  # old\n", {"port": 2, "name": "db"})
    '# mine\nport: 2  # old\nname: db\n'
    """
    import yaml

    for key, value in values.items():
        scalar = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
        quoted = r"""\"(?:[^"\\\n]|\\.)*\"|'(?:[^'\n]|'')*'"""
        plain = r"(?:[^#\n]|(?<![ \t])#)*?"
        pattern = re.compile(rf"^({re.escape(key)}[ \t]*:)[ \t]*(?:{quoted}|{plain})([ \t]+#[^\n]*)?$", re.MULTILINE)
        if pattern.search(text):
            text = pattern.sub(lambda found, new=scalar: f"{found[1]} {new}{found[2] or ''}", text, count=1)  # type: ignore[misc]
        else:
            text = f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{key}: {scalar}\n"
    return text


def _mapping(path: Path, text: str) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{path} is not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise InvalidInputError(f"{path} must hold `KEY: value` lines such as `PING_TIME_SECS: 60`")
    return data
