"""Files that belong together are written all or none."""

import errno
import os
from pathlib import Path

import pytest

from mlip_autopipe.cli.files import require_writable, write_all
from mlip_autopipe.errors import EnvironmentProblemError

FILES = {"a": b"new a", "b": b"new b"}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_new_and_existing_folders(tmp_path):
    folder = tmp_path / "x" / "y"
    require_writable(folder)
    assert not folder.parent.exists(), "looking leaves no trace"
    assert write_all(folder, FILES) == [folder / "a", folder / "b"]
    assert content(folder) == FILES
    (folder / "other").write_bytes(b"mine")
    write_all(folder, {"a": b"newer"})
    assert content(folder) == {"a": b"newer", "b": b"new b", "other": b"mine"}


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_everything_as_it_was(tmp_path, monkeypatch, name):
    old = tmp_path / "old"
    write_all(old, {"a": b"old a"})

    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, name, full)
    for folder in (old, tmp_path / "deep" / "new"):
        with pytest.raises(EnvironmentProblemError, match="No space left on device; nothing was written"):
            write_all(folder, FILES)
    assert content(old) == {"a": b"old a"}
    assert not (tmp_path / "deep").exists()


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(EnvironmentProblemError, match="it is a folder; nothing was written"):
        write_all(tmp_path, FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EnvironmentProblemError, match="is a file; choose another folder"):
            require_writable(folder)
        with pytest.raises(EnvironmentProblemError, match="cannot be written"):
            write_all(folder, FILES)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(EnvironmentProblemError, match="no permission"):
        require_writable(tmp_path / "x")
    tmp_path.chmod(0o755)
