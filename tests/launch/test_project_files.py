from __future__ import annotations

import yaml

from mlip_autopipe.launch import project_files
from mlip_autopipe.launch.project_files import (
    FW_CONFIG,
    merge_fw_config,
    set_yaml_keys,
    write_jobflow_config,
    write_launchpad_file,
)


def test_keys_are_set_without_touching_comments():
    text = "# mine\nhost: embedded\nport: 1  # the port\nname: 'a # b'\nother: [1, 2]\n"
    new = set_yaml_keys(text, {"host": "127.0.0.1", "port": 27, "name": "no", "embedded": True})
    assert "# mine" in new
    assert "# the port" in new
    expected = {"host": "127.0.0.1", "port": 27, "name": "no", "other": [1, 2], "embedded": True}
    assert yaml.safe_load(new) == expected
    assert set_yaml_keys(new, {"port": 27}) == new


def test_the_launchpad_file_has_what_stock_tools_need(tmp_path):
    from fireworks import LaunchPad

    path = write_launchpad_file(tmp_path, None, host="127.0.0.1", port=40000, name="db")
    stock = LaunchPad.from_file(str(path))
    assert (stock.host, stock.port, stock.name) == ("127.0.0.1", 40000, "db")
    stock.connection.close()


def test_the_users_fireworks_settings_stay(tmp_path):
    path = tmp_path / "FW_config.yaml"
    path.write_text("PING_TIME_SECS: 7  # mine\nQUEUE_UPDATE_INTERVAL: 1\n")
    merge_fw_config(tmp_path)
    merged = yaml.safe_load(path.read_text())
    assert merged == {**FW_CONFIG, "PING_TIME_SECS": 7, "QUEUE_UPDATE_INTERVAL": 1}
    assert "# mine" in path.read_text()
    before = path.stat().st_mtime_ns
    merge_fw_config(tmp_path)
    assert path.stat().st_mtime_ns == before


def test_jobflow_reads_the_file_and_a_users_own_stays(tmp_path):
    from jobflow.settings import JobflowSettings

    path = write_jobflow_config(tmp_path, host="127.0.0.1", port=40000, name="db")
    store = JobflowSettings(CONFIG_FILE=str(path)).JOB_STORE
    assert (store.docs_store.port, store.docs_store.collection_name) == (40000, "outputs")
    assert store.additional_stores["data"].database == "db"
    path.write_text("JOB_STORE: mine.yaml\n")
    write_jobflow_config(tmp_path, host="127.0.0.1", port=40001, name="db")
    assert path.read_text() == "JOB_STORE: mine.yaml\n"


def test_the_repositorys_file_is_the_template():
    from pathlib import Path

    tracked = Path(project_files.__file__).parents[2] / "my_launchpad.yaml"
    assert tracked.read_text() == project_files.LAUNCHPAD_TEMPLATE
