"""The JobStore that lives in the LaunchPad's own database."""

from __future__ import annotations

from typing import Any

from jobflow import JobStore
from maggma.stores import GridFSStore, MongoStore

from mlip_autopipe.launch.database import client_options, running
from mlip_autopipe.launch.location import LaunchPadLocation

OUTPUTS = "outputs"
"""Collection of the jobs' documents."""
DATA = "data"
"""GridFS collection, and name of the additional store, of everything large."""


def jobstore_for(launchpad: Any) -> JobStore:
    """Return the JobStore beside a LaunchPad: documents in ``outputs``, large data in GridFS ``data``.

    Parameters
    ----------
    launchpad
        A FireWorks LaunchPad (ours or the stock one) or a `LaunchPadLocation`.

    Returns
    -------
    jobflow.JobStore
        Not connected yet.
    """
    connection = _connection(launchpad)
    return JobStore(
        MongoStore(collection_name=OUTPUTS, **connection),
        additional_stores={DATA: GridFSStore(collection_name=DATA, **connection)},
    )


def _connection(launchpad: Any) -> dict[str, Any]:
    if isinstance(launchpad, LaunchPadLocation):
        location = running(launchpad)
        options, name, uri = client_options(location), location.name, location.uri
    else:
        name, uri = launchpad.name, launchpad.host if launchpad.uri_mode else None
        options = {"host": launchpad.host, "port": launchpad.port, **launchpad.mongoclient_kwargs}
        if launchpad.username:
            options |= {"username": launchpad.username, "password": launchpad.password}
            options["authSource"] = launchpad.authsource
    host, port = options.pop("host"), options.pop("port", None)
    if uri is not None:
        return {"database": name, "uri": uri, "mongoclient_kwargs": options}
    login = {
        "username": options.pop("username", ""),
        "password": options.pop("password", ""),
        "auth_source": options.pop("authSource", None),
    }
    return {"database": name, "host": host, "port": port, **login, "mongoclient_kwargs": options}
