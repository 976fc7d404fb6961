"""Where the LaunchPad is: the search for ``my_launchpad.yaml`` and what it says."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlip_autopipe.errors import InvalidInputError

LAUNCHPAD_FILE = "my_launchpad.yaml"
DEFAULT_NAME = "mlip_autopipe"
EMBEDDED_HOST = "127.0.0.1"

_LOOPBACK = {"127.0.0.1", "localhost", "embedded"}


@dataclass(frozen=True)
class LaunchPadLocation:
    """Where the LaunchPad's database is and how to log in.

    Attributes
    ----------
    folder
        The working folder (absolute); launches and logs go under its ``.mlip_autopipe``.
    file
        The ``my_launchpad.yaml`` that was found, or None when nothing is configured.
    embedded
        True if the database is the embedded server of `server_folder`; then `port` is only the wish of the
        file, and the port in use stands in the server's record.
    host, port, name
        As in FireWorks. With `uri_mode` `host` is the connection string and `port` is ignored.
    username, password, authsource, uri_mode, mongoclient_kwargs
        As in FireWorks.
    """

    folder: Path
    file: Path | None = None
    embedded: bool = True
    host: str = EMBEDDED_HOST
    port: int | None = None
    name: str = DEFAULT_NAME
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    authsource: str | None = None
    uri_mode: bool = False
    mongoclient_kwargs: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def server_folder(self) -> Path:
        """The folder that owns the embedded server's data: the configuration file's, else the working folder."""
        return self.file.parent if self.file is not None else self.folder

    @property
    def uri(self) -> str | None:
        """The connection string in URI mode (it may hold a password: never print it; print `address`)."""
        return self.host if self.uri_mode else None

    @property
    def address(self) -> str:
        """``host:port`` for messages, without user name and password."""
        if not self.uri_mode:
            return f"{self.host}:{self.port or 27017}"
        without_scheme = self.host.split("://", 1)[-1]
        hosts = without_scheme.split("/", 1)[0].rsplit("@", 1)[-1]
        return hosts if ":" in hosts or self.host.startswith("mongodb+srv") else f"{hosts}:27017"

    def at(self, host: str, port: int) -> LaunchPadLocation:
        """Return this location with the address of a running server."""
        return dataclasses.replace(self, host=host, port=port)


def locate(explicit: Path | None, folder: Path) -> LaunchPadLocation:
    """Find the LaunchPad.

    The first of these wins: the file given explicitly, ``my_launchpad.yaml`` in the working folder,
    ``~/.fireworks/my_launchpad.yaml``. With none of them the embedded server of the working folder is used.

    Parameters
    ----------
    explicit
        The file of ``--launchpad``, or None.
    folder
        The working folder.

    Returns
    -------
    LaunchPadLocation
        Nothing has been started or contacted yet.

    Raises
    ------
    InvalidInputError
        The file is missing or malformed.
    """
    folder = folder.resolve()
    if explicit is not None:
        if not explicit.is_file():
            raise InvalidInputError(f"LaunchPad file {explicit} does not exist; check the path after --launchpad")
        return read_location(explicit, folder)
    for candidate in (folder / LAUNCHPAD_FILE, Path.home() / ".fireworks" / LAUNCHPAD_FILE):
        if candidate.is_file():
            return read_location(candidate, folder)
    return LaunchPadLocation(folder=folder)


def read_location(file: Path, folder: Path) -> LaunchPadLocation:
    """Read one ``my_launchpad.yaml``.

    A file asks for the embedded server by ``embedded: true`` or ``host: embedded``.

    Raises
    ------
    InvalidInputError
        The file is no YAML mapping, or a value has the wrong type.
    """
    import yaml

    file = file.resolve()
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"LaunchPad file {file} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidInputError(f"{file} is not valid YAML{where}: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise InvalidInputError(f"{file} must hold `key: value` lines such as `host: localhost` and `port: 27017`")

    def value(key: str, kind: type | tuple[type, ...], wanted: str) -> Any:
        found = data.get(key)
        if found is not None and (not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool)):
            raise InvalidInputError(f"{file}: {key} is {found!r}; write {wanted}")
        return found

    host = value("host", str, "a host name, e.g. host: localhost")
    port = value("port", int, "a number, e.g. port: 27017")
    if port is not None and not 0 < port < 65536:
        raise InvalidInputError(f"{file}: port is {port}; write a number from 1 to 65535")
    uri_mode = bool(value("uri_mode", bool, "true or false"))
    stated = value("embedded", bool, "true or false")
    embedded = (host == "embedded") if stated is None else stated
    name = value("name", str, "the database's name, e.g. name: fireworks")
    if embedded:
        if uri_mode or (host or "embedded") not in _LOOPBACK:
            raise InvalidInputError(
                f"{file}: embedded: true serves this machine only, but host is {host!r}; "
                "write host: 127.0.0.1, or embedded: false to use that server"
            )
        return LaunchPadLocation(folder=folder, file=file, embedded=True, port=port, name=name or DEFAULT_NAME)
    if host == "embedded":
        raise InvalidInputError(f"{file}: host: embedded contradicts embedded: false; delete one of them")
    if uri_mode:
        if not host or "://" not in host:
            raise InvalidInputError(f"{file}: with uri_mode: true, host must be a string such as mongodb://server/db")
        if not name:
            raise InvalidInputError(f"{file}: with uri_mode: true, add name: with the database's name")
    return LaunchPadLocation(
        folder=folder,
        file=file,
        embedded=False,
        host=host or "localhost",
        port=None if uri_mode else port or 27017,
        name=name or "fireworks",
        username=value("username", str, "a string") or None,
        password=value("password", str, "a string (in quotes if it consists of digits)") or None,
        authsource=value("authsource", str, "a database's name") or None,
        uri_mode=uri_mode,
        mongoclient_kwargs=dict(value("mongoclient_kwargs", dict, "a mapping of pymongo options") or {}),
    )
