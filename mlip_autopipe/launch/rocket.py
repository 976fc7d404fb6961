"""The worker process: pulls the jobs of a run one after the other until the run has nothing left.

``python -m mlip_autopipe.launch.rocket --launchpad FILE --folder DIR [--run-id ID]``

SIGTERM (also SIGINT and SIGHUP, and the death of the process given by ``--parent``) stops it at once; the job it was
running is READY again for the next worker.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.launch.embedded import STATE_FOLDER

if TYPE_CHECKING:
    from mlip_autopipe.launch.launchpad import AutoPipeLaunchPad
    from mlip_autopipe.launch.location import LaunchPadLocation

POLL_S = 0.3
DATABASE_PATIENCE_S = 300.0
STOP_PATIENCE_S = 15.0
STOPPED_EXIT_CODE = 143

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
SINGLE_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS",)
"""OpenBLAS's threads wait by spinning, which costs far more beside busy neighbours than small matrices can gain."""

PATIENT_THREADS = ("OMP_WAIT_POLICY", "passive")
"""So do OpenMP's: beside a busy process a force call of pypolymlp took 4.7 ms on two threads, 1.0 ms if they sleep."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m mlip_autopipe.launch.rocket", description=__doc__)
    parser.add_argument("--launchpad", type=Path, help="my_launchpad.yaml (default: searched as usual)")
    parser.add_argument("--folder", type=Path, default=Path(), help="the project folder")
    parser.add_argument("--run-id", help="run the jobs of this run only (default: any job)")
    parser.add_argument("--cores", type=int, default=1, help="cores that each job may use")
    parser.add_argument("--home", type=Path, help="folder of this worker's launches (default: a new one)")
    parser.add_argument("--parent", type=int, help="stop when this process ends")
    options = parser.parse_args(arguments)
    for variable in THREAD_VARIABLES:  # before anything imports numpy
        os.environ[variable] = str(options.cores)
    for variable in SINGLE_THREAD_VARIABLES:
        os.environ[variable] = "1"
    os.environ.setdefault(*PATIENT_THREADS)

    from mlip_autopipe.errors import AutoPipeError
    from mlip_autopipe.launch.location import locate

    folder = options.folder.resolve()
    try:
        location = locate(options.launchpad.resolve() if options.launchpad else None, folder)
        home = (options.home or new_home(folder)).resolve()
        home.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)  # FireWorks reads FW_config.yaml of the working folder when it is imported
        return Worker(location, home, run_id=options.run_id, parent=options.parent).run()
    except AutoPipeError as error:
        print(f"rocket: {error}", file=sys.stderr, flush=True)
        return error.exit_code


def new_home(folder: Path) -> Path:
    """Return a folder name for one worker's launches that nobody else uses."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return folder / STATE_FOLDER / "launches" / f"rocket-{stamp}-{os.getpid()}-{os.urandom(2).hex()}"


class Worker:
    """One rocket after the other, each in a folder of its own.

    Parameters
    ----------
    location
        The LaunchPad.
    home
        Launch folders are made in here; whoever started this worker recognises its launches by that.
    run_id
        Pull only this run's jobs; None pulls any.
    parent
        Stop when this process has ended.
    """

    def __init__(self, location: LaunchPadLocation, home: Path, *, run_id: str | None, parent: int | None) -> None:
        self.location = location
        self.home = home
        self.run_id = run_id
        self._stopper = _Stopper(self, parent)
        self._count = 0

    def run(self) -> int:
        """Run until nothing is left to run or to wait for; survive a database that is away for minutes.

        When the queue's time limit is near (see `wall_time`), no further job is begun.
        """
        from mlip_autopipe.jobs.wall_time import seconds_left

        self._stopper.install()
        with self._stopper.uninterrupted():
            launchpad = self._connect()
        last_contact = time.monotonic()
        idle = 0
        # twice: between a job's end and its child's READY there is a moment without either
        while idle < 2 and seconds_left() != 0:
            try:
                if self._run_next(launchpad):
                    idle = 0
                else:
                    idle = 0 if self._is_work_left(launchpad) else idle + 1
                    time.sleep(POLL_S)
                last_contact = time.monotonic()
            except Exception as error:
                from mlip_autopipe.launch.retry import is_transient

                if not is_transient(error) or time.monotonic() - last_contact > DATABASE_PATIENCE_S:
                    raise
                traceback.print_exc()
                time.sleep(2.0)
                self._reset_interrupted(launchpad)
        return 0

    def requeue(self) -> list[int]:
        """Make the Firework that this worker holds READY again, over a connection of its own."""
        from mlip_autopipe.launch.launchpad import connect
        from mlip_autopipe.launch.maintenance import requeue_launches_under
        from mlip_autopipe.reference.claims import excuse
        from mlip_autopipe.reference.documents import LEDGER

        launchpad = connect(self.location, timeout_s=10.0)
        excuse(launchpad.db[LEDGER], os.getpid())
        return requeue_launches_under(launchpad, self.home, reason="its worker was stopped", lost=False)

    def _connect(self) -> AutoPipeLaunchPad:
        from mlip_autopipe.launch.launchpad import connect

        launchpad = connect(self.location, timeout_s=30.0, log_level="INFO")
        self._stopper.guard(launchpad)
        return launchpad

    def _fworker(self) -> Any:
        from fireworks.core.fworker import FWorker

        return FWorker(name="mlip-autopipe", query={"spec.run_id": self.run_id} if self.run_id else {})

    def _run_next(self, launchpad: AutoPipeLaunchPad) -> bool:
        from fireworks.core.rocket import Rocket

        fworker = self._fworker()
        if not launchpad.run_exists(fworker):
            return False
        self._count += 1
        folder = self.home / f"{self._count:04d}"
        folder.mkdir()
        with _redirected_to(folder / "job.log"):
            os.chdir(folder)
            try:
                ran = bool(Rocket(launchpad, fworker, None).run())
            finally:
                os.chdir(self.home)
        if not ran:  # another worker was faster
            (folder / "job.log").unlink()
            with contextlib.suppress(OSError):
                folder.rmdir()
        return ran

    def _is_work_left(self, launchpad: AutoPipeLaunchPad) -> bool:
        query: dict[str, Any] = {"state": {"$in": ["READY", "RESERVED", "RUNNING"]}}
        locked: dict[str, Any] = {"locked": {"$exists": True}}
        if self.run_id:
            query["spec.run_id"] = self.run_id
            locked["metadata.run_id"] = self.run_id
        if launchpad.fireworks.find_one(query, {"_id": 1}) is not None:
            return True
        return launchpad.workflows.find_one(locked, {"_id": 1}) is not None

    def _reset_interrupted(self, launchpad: AutoPipeLaunchPad) -> None:
        """After a lost connection: what we had pulled runs again, since its end could not be stored."""
        from mlip_autopipe.launch.maintenance import requeue_launches_under
        from mlip_autopipe.launch.retry import is_transient

        try:
            requeue_launches_under(launchpad, self.home, reason="the database was away", lost=False)
        except Exception as error:
            if not is_transient(error):
                raise


class _Stopper:
    """Ends the process on a signal, whatever the main thread is doing, without leaving a job behind.

    The signal only wakes a thread. That thread waits until no change of the queue is half done (`uninterrupted`),
    ends the job's child processes, gives the job back, and leaves.
    """

    def __init__(self, worker: Worker, parent: int | None) -> None:
        self._worker = worker
        self._parent = parent
        self._queue_change = threading.RLock()
        self._stopping = False
        self._depth = 0

    def install(self) -> None:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._wait, args=(read_end,), daemon=True, name="stopper").start()

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Hold off the end of the process; once it is decided, wait for it instead of starting something."""
        self._queue_change.acquire()
        if self._stopping and self._depth == 0 and threading.current_thread() is threading.main_thread():
            self._queue_change.release()
            threading.Event().wait()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._queue_change.release()

    def guard(self, launchpad: AutoPipeLaunchPad) -> None:
        """Make pulling and completing a job uninterruptible."""
        for name in ("checkout_fw", "complete_launch"):
            setattr(launchpad, name, self._guarded(getattr(launchpad, name)))

    def _guarded(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.uninterrupted():
                return method(*args, **kwargs)

        return call

    def _wait(self, read_end: int) -> None:
        import select

        while True:
            ready, _, _ = select.select([read_end], [], [], 1.0)
            if ready or (self._parent is not None and os.getppid() != self._parent):
                break
        self._stopping = True
        self._queue_change.acquire(timeout=STOP_PATIENCE_S)
        try:
            _end_children()
            self._worker.requeue()
        except Exception:  # noqa: BLE001 - whatever happens, this process ends now
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(STOPPED_EXIT_CODE)


def _end_children() -> None:
    import psutil

    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    _, alive = psutil.wait_procs(children, timeout=2.0)
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


@contextlib.contextmanager
def _redirected_to(path: Path) -> Iterator[None]:
    """Send stdout and stderr, those of child processes and of loggers included, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, source in zip((1, 2), saved, strict=True):
            os.dup2(source, target)
            os.close(source)


if __name__ == "__main__":
    # -m runs this file as __main__; the classes that matter are those of the imported module.
    from mlip_autopipe.launch.rocket import main as imported_main

    sys.exit(imported_main())
