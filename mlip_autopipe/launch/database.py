"""A raw pymongo connection to the LaunchPad's database, for everything that must answer at once."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import DatabaseUnreachableError, EnvironmentProblemError, InvalidInputError
from mlip_autopipe.launch import embedded
from mlip_autopipe.launch.location import LaunchPadLocation

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

Document = dict[str, Any]


def database(location: LaunchPadLocation, *, timeout_s: float = 5.0, start: bool = True) -> Database[Document]:
    """Connect to the LaunchPad's database.

    Parameters
    ----------
    location
        From `location.locate`.
    timeout_s
        Give up after this many seconds.
    start
        Start the embedded server if the location asks for it and it does not run.

    Returns
    -------
    pymongo.database.Database
        A connection that has answered once.

    Raises
    ------
    DatabaseUnreachableError
        The server does not answer within `timeout_s`; the message names host and port.
    EnvironmentProblemError
        The server refuses the user name or password, or the embedded server cannot be started.
    """
    location = running(location, start=start)
    client = _client(location, timeout_s)
    _check(client, location, timeout_s)
    return client[location.name]


def running(location: LaunchPadLocation, *, start: bool = True) -> LaunchPadLocation:
    """Return the location with the embedded server's present address, starting the server if allowed.

    Raises
    ------
    DatabaseUnreachableError
        The embedded server does not run and `start` is False.
    """
    if not location.embedded:
        return location
    record = embedded.find(location.server_folder)
    if record is not None and (location.port == record.port and location.file is not None):
        return location.at(record.host, record.port)
    if not start:
        if record is not None:
            return location.at(record.host, record.port)
        raise DatabaseUnreachableError(
            f"the embedded server of {location.server_folder} does not run; `mlip-auto run` starts it"
        )
    record = embedded.start(location)
    file = location.file or location.folder / "my_launchpad.yaml"
    return dataclasses.replace(location, file=file).at(record.host, record.port)


def client_options(location: LaunchPadLocation) -> dict[str, Any]:
    """Return pymongo's keyword arguments for this location."""
    if location.uri_mode:
        return {"host": location.host, **location.mongoclient_kwargs}
    options: dict[str, Any] = {"host": location.host, "port": location.port}
    if location.username:
        options |= {"username": location.username, "password": location.password}
        options["authSource"] = location.authsource or location.name
    return options | location.mongoclient_kwargs


def _client(location: LaunchPadLocation, timeout_s: float) -> MongoClient[Document]:
    from pymongo import MongoClient
    from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError

    milliseconds = int(timeout_s * 600)  # the rest is for imports, closing and the message
    limits = {"serverSelectionTimeoutMS": milliseconds, "connectTimeoutMS": milliseconds}
    try:
        return MongoClient(**(client_options(location) | limits))
    except (ConfigurationError, InvalidURI, TypeError, ValueError) as error:
        if "DNS" in str(error) or "resolution" in str(error):
            raise _unreachable(location, str(error)) from None
        raise InvalidInputError(f"{location.file}: pymongo does not accept the connection: {error}") from None
    except PyMongoError as error:
        raise _unreachable(location, str(error)) from None


def _check(client: MongoClient[Document], location: LaunchPadLocation, timeout_s: float) -> None:
    from pymongo.errors import OperationFailure, PyMongoError

    begun = time.monotonic()
    try:
        client.admin.command("ping")
        if location.username or location.uri_mode:
            client[location.name].command("dbStats")  # ping needs no login, this does
    except OperationFailure as error:
        client.close()
        if error.code in (13, 18):
            raise EnvironmentProblemError(
                f"the database server at {location.address} refused the user name or password in {location.file}"
            ) from None
        raise _unreachable(location, str(error)) from None
    except PyMongoError:
        client.close()
        raise _unreachable(location, f"no answer within {time.monotonic() - begun:.1f} s") from None


def _unreachable(location: LaunchPadLocation, detail: str) -> DatabaseUnreachableError:
    remedy = f"check {location.file}" if location.file else "see `mlip-auto doctor`"
    return DatabaseUnreachableError(
        f"the LaunchPad's database server at {location.address} cannot be reached ({detail}); is it running? {remedy}"
    )
