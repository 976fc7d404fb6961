from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pymongo
import pytest
import yaml

from mlip_autopipe.errors import DatabaseUnreachableError, EnvironmentProblemError
from mlip_autopipe.launch import embedded
from mlip_autopipe.launch.database import database
from mlip_autopipe.launch.location import LaunchPadLocation, locate

pytestmark = pytest.mark.live

START = """
import sys
from pathlib import Path
from mlip_autopipe.launch import embedded
from mlip_autopipe.launch.location import locate
print(embedded.start(locate(None, Path(sys.argv[1]))).pid)
"""


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("secantus")
    folder = tmp_path / "a folder with spaces" / ("long-" * 20) / "project"
    folder.mkdir(parents=True)
    (folder / "my_launchpad.yaml").write_text(f"embedded: true\nport: {embedded._free_port()}\n")
    yield folder
    embedded.stop(folder, timeout_s=0.1)


def test_from_an_empty_folder_to_a_stopped_server(tmp_path):
    pytest.importorskip("secantus")
    location = locate(None, tmp_path)
    assert embedded.status(tmp_path).endswith("not running")
    try:
        db = database(location)
        db["things"].insert_one({"_id": 1})
        record = embedded.find(tmp_path)
        written = yaml.safe_load((tmp_path / "my_launchpad.yaml").read_text())
        assert (written["embedded"], written["port"]) == (True, record.port)
        assert f"127.0.0.1:{record.port}" in embedded.status(tmp_path)
        listening = [c.laddr.ip for c in psutil.Process(record.pid).net_connections() if c.status == "LISTEN"]
        assert listening == ["127.0.0.1"]
        assert os.getsid(record.pid) != os.getsid(0), "Ctrl-C in the terminal would kill it"
        db.client.close()
    finally:
        assert embedded.stop(tmp_path)
    assert embedded.find(tmp_path) is None
    assert not embedded.stop(tmp_path)
    with pytest.raises(DatabaseUnreachableError, match="mlip-auto run"):
        database(locate(None, tmp_path), start=False)
    try:
        again = database(locate(None, tmp_path))
        assert again["things"].find_one() == {"_id": 1}
        again.client.close()
    finally:
        embedded.stop(tmp_path, timeout_s=0.1)


def test_a_killed_server_is_noticed_and_nothing_acknowledged_is_lost(folder):
    location = locate(None, folder)
    first = embedded.start(location)
    assert first.port < 32_768, "what outgoing connections get would be taken while the server is down"
    client = pymongo.MongoClient(first.host, first.port)
    for number in range(20):
        client["db"]["things"].insert_one({"_id": number})
    os.kill(first.pid, signal.SIGKILL)
    client.close()
    deadline = time.monotonic() + 5
    while embedded.find(folder) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "has ended" in embedded.status(folder)
    second = embedded.start(location)
    assert second.pid != first.pid
    assert second.port == first.port
    client = pymongo.MongoClient(second.host, second.port)
    assert client["db"]["things"].count_documents({}) == 20
    client.close()


def test_the_record_of_a_reused_process_id_or_another_boot_is_stale(folder):
    record = embedded.start(locate(None, folder))
    path = folder / ".mlip_autopipe/server.json"
    good = json.loads(path.read_text())
    for lie in ({"pid": os.getpid()}, {"boot_id": "another"}, {"process_started": 1.0}, {"data_path": "/elsewhere"}):
        path.write_text(json.dumps(good | lie))
        assert embedded.find(folder) is None, lie
    path.write_text(json.dumps(good))
    assert embedded.find(folder) == record


def test_a_taken_port_gives_way_to_a_free_one_which_stock_tools_see(folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        file = folder / "my_launchpad.yaml"
        file.write_text(f"# my notes\nembedded: true\nport: {taken}  # wish\n")
        record = embedded.start(locate(None, folder))
        assert record.port != taken
        assert yaml.safe_load(file.read_text())["port"] == record.port
        assert "# my notes" in file.read_text()
        assert locate(None, folder).port == record.port


def test_two_starters_get_one_server(folder):
    command = [sys.executable, "-c", START, str(folder)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    pids = {starter.communicate(timeout=60)[0].strip() for starter in starters}
    assert len(pids) == 1
    assert pids == {str(embedded.find(folder).pid)}


def test_without_the_extra_the_message_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblemError, match=r"pip install 'mlip-autopipe\[embedded\]'"):
        embedded.start(locate(None, tmp_path))


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / ".mlip_autopipe").write_text("a file where a folder should be")
    with pytest.raises(EnvironmentProblemError, match="cannot be written"):
        embedded.start(locate(None, tmp_path))


@pytest.mark.parametrize("silent", [False, True], ids=["nobody listens", "somebody never answers"])
def test_an_unreachable_server_is_named_within_five_seconds(tmp_path, silent):
    from mlip_autopipe.launch.launchpad import connect

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        if silent:
            other.listen()
        location = LaunchPadLocation(folder=tmp_path, embedded=False, host="127.0.0.1", port=port)
        begun = time.monotonic()
        with pytest.raises(DatabaseUnreachableError, match=f"127.0.0.1:{port}"):
            connect(location)
        assert time.monotonic() - begun < 5.0


def test_two_folders_that_wish_for_one_port_at_once_get_a_server_each(tmp_path):
    """A ping on the port does not tell who answers: the one who came too late must not take the other's server."""
    port = embedded._free_port()
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
        (folder / "my_launchpad.yaml").write_text(f"embedded: true\nport: {port}\n")
    try:
        starters = [subprocess.Popen([sys.executable, "-c", START, str(folder)]) for folder in folders]
        assert [starter.wait(90) for starter in starters] == [0, 0, 0]
        records = [embedded.find(folder) for folder in folders]
        assert len({record.port for record in records}) == 3
        assert len({record.pid for record in records}) == 3
        for folder, record in zip(folders, records, strict=True):
            assert yaml.safe_load((folder / "my_launchpad.yaml").read_text())["port"] == record.port
            assert embedded._listens(record.pid, record.port)
    finally:
        for folder in folders:
            embedded.stop(folder, timeout_s=0.1)


@pytest.mark.parametrize("damage", ["{broken", None])
def test_a_server_whose_record_was_lost_is_found_again(folder, damage):
    record = embedded.start(locate(None, folder))
    path = folder / ".mlip_autopipe" / "server.json"
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    found = embedded.find(folder)
    assert (found.pid, found.port) == (record.pid, record.port)
    assert embedded.start(locate(None, folder)).pid == record.pid
    assert embedded.stop(folder)
    assert not psutil.pid_exists(record.pid) or psutil.Process(record.pid).status() == psutil.STATUS_ZOMBIE


def test_a_server_on_another_machine_is_neither_doubled_nor_stopped(folder):
    location = locate(None, folder)
    embedded.start(location)
    path = folder / ".mlip_autopipe" / "server.json"
    mine = path.read_text()
    path.write_text(json.dumps({**json.loads(mine), "hostname": "node-7", "boot_id": "another"}))
    for act in (lambda: embedded.start(location), lambda: embedded.stop(folder)):
        with pytest.raises(EnvironmentProblemError, match="started on node-7"):
            act()
    path.write_text(mine)
    assert embedded.stop(folder)
