from __future__ import annotations

from pathlib import Path

import pytest

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.launch.location import locate


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_order_of_the_search(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    nothing = locate(None, folder)
    assert nothing.embedded
    assert nothing.file is None
    assert nothing.server_folder == folder

    write(tmp_path / "home/.fireworks/my_launchpad.yaml", "{host: from-home, name: a}")
    assert locate(None, folder).host == "from-home"
    write(folder / "my_launchpad.yaml", "{host: from-folder, name: b}")
    assert locate(None, folder).host == "from-folder"
    explicit = write(tmp_path / "other.yaml", "{host: explicit, port: 27018, name: c}")
    found = locate(explicit, folder)
    assert (found.host, found.port, found.name, found.embedded) == ("explicit", 27018, "c", False)
    assert found.folder == folder


@pytest.mark.parametrize("text", ["embedded: true", "host: embedded", "{embedded: true, host: 127.0.0.1, port: 27117}"])
def test_a_file_asks_for_the_embedded_server(tmp_path, text):
    found = locate(write(tmp_path / "sub/my_launchpad.yaml", text), tmp_path)
    assert found.embedded
    assert found.server_folder == tmp_path / "sub"


def test_login_and_uri_as_fireworks_allows(tmp_path):
    text = (
        "{host: db, port: 1, name: n, username: me, password: 'x', authsource: admin, mongoclient_kwargs: {tls: true}}"
    )
    found = locate(write(tmp_path / "a.yaml", text), tmp_path)
    assert (found.username, found.password, found.authsource) == ("me", "x", "admin")
    assert found.mongoclient_kwargs == {"tls": True}
    assert "'x'" not in repr(found)

    uri = locate(write(tmp_path / "b.yaml", "{host: 'mongodb://me:pw@h1,h2/db', uri_mode: true, name: n}"), tmp_path)
    assert uri.uri == "mongodb://me:pw@h1,h2/db"
    assert "pw" not in uri.address
    assert "h1" in uri.address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a list", "key: value"),
        ("host: [", "not valid YAML at line"),
        ("{host: h, port: many}", "port is 'many'"),
        ("{host: h, port: 99999}", "1 to 65535"),
        ("{host: 7}", "host is 7"),
        ("embedded: maybe", "true or false"),
        ("{embedded: true, host: db.example.org}", "this machine only"),
        ("{embedded: false, host: embedded}", "contradicts"),
        ("{uri_mode: true, host: nonsense, name: n}", "mongodb://"),
        ("{uri_mode: true, host: 'mongodb://h'}", "add name:"),
    ],
)
def test_malformed_files_are_named_in_one_sentence(tmp_path, text, says):
    file = write(tmp_path / "my_launchpad.yaml", text)
    with pytest.raises(InvalidInputError, match=says) as caught:
        locate(None, tmp_path)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_explicit_file_is_an_error(tmp_path):
    with pytest.raises(InvalidInputError, match="does not exist"):
        locate(tmp_path / "nowhere.yaml", tmp_path)
