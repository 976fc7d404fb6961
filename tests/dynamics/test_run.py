from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from mlip_autopipe.dynamics.checkpoint import CheckpointError, read_checkpoint
from mlip_autopipe.dynamics.guards import GuardSettings
from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.trajectory import Trajectory
from mlip_autopipe.dynamics.watch import UncertaintyWatch
from mlip_autopipe.errors import InvalidInputError
from tests.dynamics.toys import ToyLJ, argon, copper

ENSEMBLES = ["nve", "nvt_langevin", "nvt_nose_hoover", "npt", "npt_anisotropic"]


def hot_copper() -> Atoms:
    """Eight atoms; hot enough that EMT's neighbour list is renewed within a few dozen steps."""
    from ase.build import bulk

    return bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 1, 1))


def settings(ensemble: str, **more) -> MDSettings:
    values = {"temperature_K": 900.0, "time_step_fs": 3.0, "anchor_interval": 20, "seed": 7} | more
    return MDSettings(ensemble=ensemble, **values)


def assert_same_bits(left, right) -> None:
    assert left.same_point(right)
    assert np.array_equal(left.forces, right.forces)
    assert left.rng.bit_generator.state == right.rng.bit_generator.state
    assert left.thermostat.keys() == right.thermostat.keys()
    for key in left.thermostat:
        assert np.array_equal(left.thermostat[key], right.thermostat[key])
    assert left.heat == right.heat


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_continuation_is_bit_equal(ensemble: str, tmp_path: Path) -> None:
    whole = run_md(settings(ensemble), hot_copper(), EMT(), 130)
    assert whole.status == "finished"
    path = tmp_path / "md.ckpt"
    # Stops on an anchor, off the anchors, twice within one anchor interval, at once.
    for stop in (20, 53, 57, 57, 101, 130):
        part = run_md(settings(ensemble), hot_copper(), EMT(), stop, checkpoint_path=path)
        assert part.step == stop
        assert part.replay in ("none", "exact")
    assert_same_bits(part.state, whole.state)


def test_emt_needs_the_anchors() -> None:
    """The reason for anchors: a calculator with a skin sums in an order that depends on its history."""
    one = run_md(settings("nve", temperature_K=2500.0, anchor_interval=10_000), copper(), EMT(), 60)
    other = run_md(settings("nve", temperature_K=2500.0, anchor_interval=15), copper(), EMT(), 60)
    assert np.allclose(one.state.positions, other.state.positions, atol=1e-6)
    assert not np.array_equal(one.state.positions, other.state.positions)


SCRIPT = """
import sys
from ase.calculators.emt import EMT
from tests.dynamics.test_run import hot_copper, settings
from mlip_autopipe.dynamics.run import run_md
run_md(settings(sys.argv[1], anchor_interval=5), hot_copper(), EMT(), 10**6, checkpoint_path="md.ckpt",
       trajectory_path="md.h5", frame_interval=2, checkpoint_interval_s=0.0)
"""


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_kill_minus_nine(ensemble: str, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    env = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    checkpoint = tmp_path / "md.ckpt"
    for _ in range(2):
        before = read_checkpoint(checkpoint).stop.step if checkpoint.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SCRIPT), ensemble], cwd=tmp_path, env=env)
        try:
            deadline = time.monotonic() + 60
            while not (checkpoint.exists() and read_checkpoint(checkpoint).stop.step >= before + 40):
                assert process.poll() is None, "the run died by itself"
                assert time.monotonic() < deadline, "no checkpoint appeared"
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    last = read_checkpoint(checkpoint).stop.step
    target = last + 33
    files = {"checkpoint_path": checkpoint, "trajectory_path": tmp_path / "md.h5"}
    run = settings(ensemble, anchor_interval=5)
    resumed = run_md(run, hot_copper(), EMT(), target, frame_interval=2, **files)
    assert resumed.first_step == last
    whole = run_md(run, hot_copper(), EMT(), target, frame_interval=2, trajectory_path=tmp_path / "whole.h5")
    assert_same_bits(resumed.state, whole.state)
    with Trajectory(tmp_path / "md.h5") as left, Trajectory(tmp_path / "whole.h5") as right:
        assert left.steps.tolist() == right.steps.tolist() == list(range(0, target + 1, 2))
        for name in ("positions", "images", "frames"):
            assert np.array_equal(left.file[name][: left.n_frames], right.file[name][: right.n_frames])


def test_wall_time(tmp_path: Path) -> None:
    path, run = tmp_path / "md.ckpt", settings("nvt_langevin", anchor_interval=50)
    limit, calls, outcome = 0.4, 0, None
    while outcome is None or outcome.status != "finished":
        start = time.perf_counter()
        outcome = run_md(run, hot_copper(), EMT(), 500, checkpoint_path=path, wall_time_limit_s=limit)
        assert time.perf_counter() - start < limit + 0.5
        calls += 1
        assert calls < 50
    assert calls > 1
    assert_same_bits(outcome.state, run_md(run, hot_copper(), EMT(), 500).state)


def test_wall_time_needs_a_checkpoint() -> None:
    with pytest.raises(InvalidInputError, match="checkpoint_path"):
        run_md(settings("nve"), hot_copper(), EMT(), 5, wall_time_limit_s=10)


def test_trigger_and_going_on(tmp_path: Path) -> None:
    path, run = tmp_path / "md.ckpt", settings("nvt_langevin")
    start = hot_copper()

    def displaced(atoms: Atoms) -> np.ndarray:
        away = np.linalg.norm(atoms.positions - start.positions, axis=1)
        atoms.positions[:] = 0.0  # what the potential does with its copy is its own affair
        return away

    seen = run_md(run, start, EMT(), 100, checkpoint_path=path, watch=UncertaintyWatch(displaced, 0.25, every=3))
    assert seen.status == "triggered"
    event = seen.event
    assert 0 < event.step == seen.step < 100
    assert event.step % 3 == 0
    assert event.value_eV_per_A == event.force_std.max() == event.force_std[event.atom] > 0.25
    assert np.array_equal(event.atoms.positions, seen.state.positions)
    assert read_checkpoint(path).stop.step == seen.step
    # The same potential: as if nothing had been asked.
    more = run_md(run, start, EMT(), 100, checkpoint_path=path, watch=UncertaintyWatch(displaced, 9.0, every=3))
    assert more.status == "finished"
    assert_same_bits(more.state, run_md(run, start, EMT(), 100).state)


def test_another_potential_goes_on_from_the_frame(tmp_path: Path) -> None:
    path, run = tmp_path / "md.ckpt", MDSettings(ensemble="nvt_langevin", temperature_K=30, seed=1, anchor_interval=20)
    first = run_md(run, argon(2), ToyLJ(cutoff=5.0), 33, checkpoint_path=path, potential_sha256="a" * 64)
    second = run_md(run, argon(2), ToyLJ(cutoff=5.2), 33, checkpoint_path=path, potential_sha256="b" * 64)
    assert second.replay == "none"
    assert second.state.same_point(first.state)
    assert not np.array_equal(second.state.forces, first.state.forces)
    # Even when nobody says that the potential changed, the state stays.
    run_md(run, argon(2), ToyLJ(cutoff=5.2), 47, checkpoint_path=path, potential_sha256="b" * 64)
    silent = run_md(run, argon(2), ToyLJ(cutoff=5.4), 47, checkpoint_path=path, potential_sha256="b" * 64)
    assert silent.replay == "diverged"
    assert silent.step == 47


def test_interval_between_checks_does_not_matter() -> None:
    run = settings("nvt_langevin")

    def slow(atoms: Atoms) -> np.ndarray:
        time.sleep(0.002)
        return np.zeros(len(atoms))

    states = [
        run_md(run, hot_copper(), EMT(), 60, watch=watch).state
        for watch in (None, UncertaintyWatch(slow, 1.0), UncertaintyWatch(slow, 1.0, every=1))
    ]
    assert_same_bits(states[0], states[1])
    assert_same_bits(states[0], states[2])


@pytest.mark.parametrize(
    ("limits", "run", "kind"),
    [
        ({"min_distance_ratio": 0.92}, {"ensemble": "nve", "temperature_K": 2000.0}, "minimum_distance"),
        ({"max_temperature_K": 950.0}, {"ensemble": "nvt_langevin", "temperature_K": 900.0}, "temperature"),
        ({"volume_ratio": (0.99, 1.01)}, {"ensemble": "npt", "pressure_GPa": 100.0}, "volume"),
        ({"volume_per_atom_A3": (1.0, 11.0)}, {"ensemble": "nve"}, "volume"),
    ],
)
def test_guards_stop(limits: dict, run: dict, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "md.ckpt"
    options = {"checkpoint_path": path, "guards": GuardSettings(**limits), "checkpoint_interval_s": 0.0}
    outcome = run_md(settings(**({"ensemble": "nve"} | run)), copper(), EMT(), 200, **options)
    assert outcome.status == "guard"
    assert outcome.event.kind == kind
    assert outcome.event.step == outcome.step
    assert str(outcome.step) in outcome.event.message
    if outcome.step:
        before = read_checkpoint(path).stop.step
        assert before == 20 * ((outcome.step - 1) // 20)
        again = run_md(settings(**({"ensemble": "nve"} | run)), copper(), EMT(), 200, **options)
        assert (again.first_step, again.step) == (before, outcome.step)
    else:
        assert not path.exists()


def test_distance_guard_agrees_with_brute_force() -> None:
    outcome = run_md(
        settings("nve", temperature_K=2500.0), copper(), EMT(), 300, guards=GuardSettings(min_distance_ratio=0.8)
    )
    assert outcome.status == "guard"
    i, j = outcome.event.indices
    distances = outcome.atoms.get_all_distances(mic=True)
    np.fill_diagonal(distances, 9.0)
    assert outcome.event.value == pytest.approx(distances[i, j]) == pytest.approx(distances.min())
    before = run_md(settings("nve", temperature_K=2500.0), copper(), EMT(), outcome.step - 1).atoms
    distances = before.get_all_distances(mic=True)
    np.fill_diagonal(distances, 9.0)
    assert distances.min() >= outcome.event.limit


def test_nan_stops(tmp_path: Path) -> None:
    class Broken(ToyLJ):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            if self.n_calculations > 7:
                self.results["forces"][3, 1] = np.nan

    outcome = run_md(
        settings("nve", temperature_K=30), argon(2), Broken(cutoff=5.0), 50, checkpoint_path=tmp_path / "c"
    )
    assert outcome.status == "guard"
    assert outcome.event.kind == "not_finite"
    assert outcome.step == 7
    assert np.isfinite(read_checkpoint(tmp_path / "c").stop.positions).all()


def test_other_run_or_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "md.ckpt"
    run_md(settings("nve"), hot_copper(), EMT(), 3, checkpoint_path=path)
    with pytest.raises(CheckpointError, match=r"time_step_fs \(was 3.0, now 2.0\)"):
        run_md(settings("nve", time_step_fs=2.0), hot_copper(), EMT(), 5, checkpoint_path=path)
    with pytest.raises(CheckpointError, match="other atoms"):
        run_md(settings("nve"), copper(), EMT(), 5, checkpoint_path=path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="readable"):
        run_md(settings("nve"), hot_copper(), EMT(), 5, checkpoint_path=path)


def test_bad_input() -> None:
    with pytest.raises(InvalidInputError, match="at least one atom"):
        run_md(settings("nve"), Atoms(), EMT(), 5)
    with pytest.raises(ValueError, match="temperature_K"):
        MDSettings(ensemble="npt")
    with pytest.raises(InvalidInputError, match="no velocities"):
        run_md(MDSettings(ensemble="nve"), hot_copper(), EMT(), 5)
