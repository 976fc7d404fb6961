"""Files that belong together, written all or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlip_autopipe.errors import EnvironmentProblemError


def require_writable(folder: Path) -> None:
    """Find out that files cannot be written into a folder before hours are spent on them; leaves no trace.

    Raises
    ------
    EnvironmentProblemError
        The folder, or the nearest one above it that exists, cannot be written.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise EnvironmentProblemError(f"{folder} cannot be written: {existing} is a file; choose another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise EnvironmentProblemError(f"{folder} cannot be written: no permission in {existing}; choose another folder")


def write_all(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files into a folder, which is made if it is not there; files of these names are replaced.

    Everything is written and synchronised to disk beside its final place before the first file gets its name.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    EnvironmentProblemError
        Something cannot be written (permission, disk space); then nothing has changed.
    """
    targets = {name: folder / name for name in files}
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
        try:
            for name, data in files.items():
                _write(staging / name, data)
            for target in targets.values():
                if target.is_dir():
                    raise IsADirectoryError(None, "it is a folder", str(target))
            for name, target in targets.items():
                os.replace(staging / name, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        _remove_empty(made)
        raise EnvironmentProblemError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}; nothing was written"
        ) from None
    except BaseException:
        _remove_empty(made)
        raise
    return list(targets.values())


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:  # the innermost first
        try:
            folder.rmdir()
        except OSError:
            return
