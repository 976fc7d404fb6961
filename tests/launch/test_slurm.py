"""`qlaunch` puts a run into a real SLURM, started for this test on this machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from jobflow import Flow
from launch_jobs import add

from mlip_autopipe.launch import embedded, runs
from mlip_autopipe.launch.jobstore import jobstore_for

BINARIES = ("slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "munged")
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
MISSING = [name for name in BINARIES if shutil.which(name, path=SEARCH) is None]

pytestmark = [
    pytest.mark.live,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(MISSING), reason=f"SLURM is not installed here: {', '.join(MISSING)} not found"),
]

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={base}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd.log
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=1 RealMemory=100 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm():
    """A SLURM of one node with an authentication service of its own; yields the environment to reach it."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:  # short: sockets' paths are limited
        base = Path(name)
        base.chmod(0o755)  # munge insists
        host = socket.gethostname().split(".")[0]
        (base / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host,
                base=base,
                user=getpass.getuser(),
                controller_port=embedded._free_port(),
                node_port=embedded._free_port(),
            )
        )
        for folder in ("state", "spool"):
            (base / folder).mkdir()
        (base / "munge.key").write_bytes(os.urandom(128))
        (base / "munge.key").chmod(0o600)
        environment = {**os.environ, "SLURM_CONF": str(base / "slurm.conf"), "PATH": SEARCH, "USER": getpass.getuser()}
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        options = [f"--{option}={base / file}" for option, file in files.items()]
        daemons = []
        try:
            for command in (
                ["munged", "--foreground", "--force", *options],
                ["slurmctld", "-D", "-c"],
                ["slurmd", "-D", "-N", host],
            ):
                with (base / f"{command[0]}.out").open("wb") as log:
                    daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
                if command[0] == "munged":
                    wait_until((base / "munge.socket").exists, base)
            wait_until(lambda: output_of(["sinfo", "-h", "-o", "%T"], environment) == "idle", base)
            yield environment
            wait_until(lambda: not output_of(["squeue", "-h"], environment), base)  # their last words
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in daemons:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    daemon.wait(10)
                daemon.kill()
                daemon.wait()


def wait_until(condition, base, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in base.glob("*.out"))
            pytest.fail(f"SLURM does not come up:\n{logs}")
        time.sleep(0.05)


def output_of(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture
def folder(live_launchpad, slurm, clean_dir, monkeypatch):
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    return clean_dir


def adapter(folder, mode):
    rlaunch = Path(sys.executable).parent / "rlaunch"
    config = {
        "_fw_name": "CommonAdapter",
        "_fw_q_type": "SLURM",
        "rocket_launch": f"{rlaunch} -c {folder} {mode}",
        "ntasks": 1,
        "walltime": "00:05:00",
        "queue": "debug",
        "pre_rocket": f"export PYTHONPATH={os.environ['PYTHONPATH']}",
    }
    (folder / "my_qadapter.yaml").write_text(yaml.safe_dump(config))


def qlaunch(*arguments):
    command = [str(Path(sys.executable).parent / "qlaunch"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def logs(folder):
    return "\n".join(path.read_text() for path in folder.rglob("*.error"))


def test_a_run_goes_through_the_queue(folder, live_launchpad, submit_flow, wait_for):
    first = add(1, 2)
    last = add(first.output, 3)
    submit_flow(live_launchpad, Flow([first, last]))
    adapter(folder, "rapidfire")
    assert "Error" not in qlaunch("singleshot")
    wait_for(lambda: runs.find_run(live_launchpad.db, "run-1").state == "done", 40)
    store = jobstore_for(live_launchpad)
    store.connect()
    assert store.get_output(last.uuid) == 6, logs(folder)
    store.close()
    assert not logs(folder).strip()


def test_one_queue_job_per_job_in_reservation_mode(folder, live_launchpad, submit_flow, wait_for):
    submit_flow(live_launchpad, add(1, 2))
    adapter(folder, "singleshot")
    assert "reserved FW" in qlaunch("-r", "singleshot")
    wait_for(lambda: runs.find_run(live_launchpad.db, "run-1").state == "done", 40)
    (launch,) = live_launchpad.launches.find()
    states = [entry["state"] for entry in launch["state_history"]]
    assert states == ["RESERVED", "RUNNING", "COMPLETED"]
    assert launch["state_history"][0]["reservation_id"]
