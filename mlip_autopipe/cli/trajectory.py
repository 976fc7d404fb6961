"""``mlip-auto trajectory``: the frames of production runs as files, and files for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError


def export_trajectories(run_name: str, out: Path | None, launchpad: Path | None) -> None:
    """Write one HDF5 trajectory per production run of goal `diffusion`, each whole or not at all."""
    from mlip_autopipe.cli.db import open_database
    from mlip_autopipe.cli.files import require_writable
    from mlip_autopipe.jobs.run_trajectories import (
        export_trajectory,
        file_name,
        has_frames,
        production_of_run,
        require_diffusion,
    )
    from mlip_autopipe.launch.jobstore import jobstore_for
    from mlip_autopipe.launch.location import locate
    from mlip_autopipe.launch.runs import find_run

    db = open_database(launchpad)
    if db is None:
        raise InvalidInputError(f"no run {run_name!r}: no runs yet; `mlip-auto run input.yaml` starts one")
    run = find_run(db, run_name)
    require_diffusion(run.run_id, run.goal)
    folder = Path(f"{run.run_id}-trajectories") if out is None else out
    require_writable(folder)
    store = jobstore_for(locate(launchpad, Path.cwd()))
    store.connect()
    try:
        production = production_of_run(store, run.run_id)
        runs = production.runs()
        if not any(has_frames(one) for one in runs):
            raise InvalidInputError(
                f"the production runs of {run.run_id} have stored no frames yet; "
                f"`mlip-auto status {run.run_id}` shows where it stands"
            )
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for one in runs:
            path = folder / file_name(one)
            if not has_frames(one):
                print(f"{path.name}: no frames yet")
                continue
            with _writing(path):
                written = export_trajectory(production, one, path)
            print(
                f"wrote {path}: {written.n_frames} frames of {written.n_atoms} atoms, {written.length_ps:.4g} ps "
                f"({one.state})"
            )
    finally:
        store.close()


def convert_trajectory(file: Path, out: Path, *, every: int, unwrapped: bool) -> None:
    """Write the frames of an HDF5 trajectory in ASE's formats; of a damaged one those that are sound, and say so."""
    from mlip_autopipe.cli.files import require_writable
    from mlip_autopipe.dynamics.trajectory import Trajectory
    from mlip_autopipe.dynamics.trajectory_export import require_known_suffix

    require_known_suffix(out)
    with Trajectory(file) as trajectory:
        if out.exists() and out.samefile(file):
            raise InvalidInputError(f"{out} is the trajectory itself: choose another name.")
        require_writable(out.parent)
        n_sound = trajectory.n_sound
        if n_sound == 0:
            next(iter(trajectory), None)  # says what is wrong with the first
            raise InvalidInputError(f"{file} holds no frames yet.")
        with _writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            count = trajectory.export(out, stop=n_sound, step=every, unwrapped=unwrapped)
        print(f"wrote {out}: {count} frames of {len(trajectory.numbers)} atoms")
        if n_sound < len(trajectory):
            trajectory.frame(n_sound)  # says what is wrong with it


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentProblemError(f"{path} cannot be written: {error.strerror or error}") from None
