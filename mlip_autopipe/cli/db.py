"""``mlip-auto db``: the embedded server of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.launch.location import LaunchPadLocation, locate

if TYPE_CHECKING:
    from pymongo.database import Database


def start_server(launchpad: Path | None) -> None:
    """Start or find the server, and say how the stock tools reach it."""
    from mlip_autopipe.launch import embedded
    from mlip_autopipe.launch.launchpad import connect

    location = _embedded(launchpad)
    connect(location)  # initialises a fresh database, so that lpad works at once
    print(embedded.status(location.server_folder))
    print(f"lpad, rlaunch and qlaunch find it from {location.server_folder}")
    print("jobflow's own commands find its JobStore after: export JOBFLOW_CONFIG_FILE=jobflow.yaml")


def stop_server(launchpad: Path | None) -> None:
    """Stop the server of the folder; say so when none ran."""
    from mlip_autopipe.launch import embedded

    stopped = embedded.stop(_embedded(launchpad).server_folder)
    print("embedded server: stopped" if stopped else "embedded server: was not running")


def server_status(launchpad: Path | None) -> None:
    """Say in a line or two which server is used and whether it answers."""
    from mlip_autopipe.launch import embedded
    from mlip_autopipe.launch.database import database

    location = locate(launchpad, Path.cwd())
    if location.embedded:
        print(embedded.status(location.server_folder))
        return
    database(location, start=False)
    print(f"MongoDB at {location.address} answers; database {location.name}")


def open_database(launchpad: Path | None) -> Database[dict[str, Any]] | None:
    """Connect to the LaunchPad's database; None where nothing was ever stored.

    Looking must not leave traces: the embedded server is started only when it has data to show.
    """
    from mlip_autopipe.launch import embedded
    from mlip_autopipe.launch.database import database

    location = locate(launchpad, Path.cwd())
    if location.embedded and not embedded.has_data(location.server_folder):
        return None
    return database(location)


def _embedded(launchpad: Path | None) -> LaunchPadLocation:
    location = locate(launchpad, Path.cwd())
    if not location.embedded:
        raise InvalidInputError(
            f"{location.file} names the server at {location.address}, which is not this folder's to start or stop; "
            "write `embedded: true` there to use a server of this folder's own"
        )
    return location
