"""Rockets on this machine: start them, watch them, replace the ones that die, stop them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from mlip_autopipe.errors import EnvironmentProblemError
from mlip_autopipe.launch import embedded
from mlip_autopipe.launch.database import running
from mlip_autopipe.launch.embedded import STATE_FOLDER
from mlip_autopipe.launch.location import LaunchPadLocation
from mlip_autopipe.launch.rocket import STOPPED_EXIT_CODE

MAX_EARLY_DEATHS = 5
STOP_TIMEOUT_S = 20.0


@dataclass
class _Rocket:
    process: subprocess.Popen[bytes]
    home: Path


class RocketPool:
    """Workers for one run on this machine.

    Parameters
    ----------
    location
        The LaunchPad.
    n
        Number of rockets.
    run_id
        They pull this run's jobs only; None pulls any.
    cores_per_rocket
        Cores that each job may use (``OMP_NUM_THREADS``).

    Examples
    --------
    >>> with RocketPool(location, 2, "al-elastic-1a2b") as pool:  # doctest: +SKIP
    ...     while pool.poll():
    ...         time.sleep(0.5)
    """

    def __init__(self, location: LaunchPadLocation, n: int, run_id: str | None, *, cores_per_rocket: int = 1) -> None:
        self.location = location
        self.n = n
        self.run_id = run_id
        self.cores_per_rocket = cores_per_rocket
        self.events: list[str] = []
        self._rockets: list[_Rocket] = []
        self._early_deaths = 0

    def __enter__(self) -> RocketPool:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        """Process ids of the living rockets."""
        return [rocket.process.pid for rocket in self._rockets if rocket.process.poll() is None]

    def start(self) -> None:
        """Start the rockets (and the embedded server, if the location asks for it)."""
        self.location = running(self.location)
        while len(self._rockets) < self.n:
            self._rockets.append(self._launch())

    def poll(self) -> bool:
        """Replace rockets that died and rerun what they were running.

        A rocket that finds nothing more to do leaves by itself.

        Returns
        -------
        bool
            False when every rocket has left because nothing is left to run or to wait for.

        Raises
        ------
        EnvironmentProblemError
            Rockets die as soon as they start; the message holds the end of their log.
        """
        if self.location.embedded and embedded.find(self.location.server_folder) is None:
            embedded.start(self.location)
            self.events.append("the embedded database server had died and was started again")
        for rocket in [rocket for rocket in self._rockets if rocket.process.poll() is not None]:
            self._rockets.remove(rocket)
            if rocket.process.returncode == 0:
                self._early_deaths = 0
                continue
            self._recover(rocket)
            self._rockets.append(self._launch())
        return bool(self._rockets)

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop all rockets at once; their jobs are READY for the next run."""
        alive = [rocket for rocket in self._rockets if rocket.process.poll() is None]
        for rocket in alive:
            rocket.process.terminate()
        deadline = time.monotonic() + timeout_s
        for rocket in alive:
            try:
                rocket.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                rocket.process.kill()
                rocket.process.wait()
        unclean = [rocket for rocket in self._rockets if rocket.process.returncode not in (0, STOPPED_EXIT_CODE)]
        if unclean:
            from mlip_autopipe.launch.launchpad import connect
            from mlip_autopipe.launch.maintenance import requeue_launches_under
            from mlip_autopipe.reference.claims import excuse
            from mlip_autopipe.reference.documents import LEDGER

            launchpad = connect(self.location)
            for rocket in unclean:
                excuse(launchpad.db[LEDGER], rocket.process.pid)
                requeue_launches_under(launchpad, rocket.home, reason="its worker was stopped", lost=False)
        self._rockets = []

    def _launch(self) -> _Rocket:
        folder = self.location.folder
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        launches = folder / STATE_FOLDER / "launches"
        launches.mkdir(parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix=f"rocket-{stamp}-", dir=launches))
        command = [sys.executable, "-m", "mlip_autopipe.launch.rocket", "--folder", str(folder)]
        command += ["--home", str(home), "--cores", str(self.cores_per_rocket), "--parent", str(os.getpid())]
        if self.location.file is not None:
            command += ["--launchpad", str(self.location.file)]
        if self.run_id is not None:
            command += ["--run-id", self.run_id]
        with (home / "rocket.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the command line only, which stops the rockets in order
            )
        return _Rocket(process, home.resolve())

    def _recover(self, rocket: _Rocket) -> None:
        from mlip_autopipe.launch.launchpad import connect
        from mlip_autopipe.launch.maintenance import repair, requeue_launches_under

        code = rocket.process.returncode
        cause = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == STOPPED_EXIT_CODE:
            cause = "was stopped from outside"
        launchpad = connect(self.location)
        lost = requeue_launches_under(
            launchpad,
            rocket.home,
            reason=f"its worker (process {rocket.process.pid}) {cause}",
            lost=code != STOPPED_EXIT_CODE,
        )
        jobs = f"; job {', '.join(map(str, lost))} starts again" if lost else ""
        self.events.append(f"rocket {rocket.process.pid} {cause}{jobs}")
        self.events += repair(launchpad, run_id=self.run_id, claim_expiration_s=5.0)
        launchpad.connection.close()
        early = not any(path.is_dir() for path in rocket.home.iterdir())  # it never got as far as a job
        self._early_deaths = self._early_deaths + 1 if early else 0
        if self._early_deaths >= MAX_EARLY_DEATHS:
            raise EnvironmentProblemError(
                f"rockets die as soon as they start; the log {rocket.home / 'rocket.log'} ends with: {_tail(rocket)}"
            )


def _tail(rocket: _Rocket) -> str:
    lines = (rocket.home / "rocket.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "(nothing)"
