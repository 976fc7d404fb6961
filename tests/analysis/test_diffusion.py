"""Coefficients with units, errors and checks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.diffusion_walks import brownian, fractional, hopping, rigid_groups
from mlip_autopipe.analysis.diffusion import calculate_msd, fit_diffusion_coefficient, run_length_needed_ps
from mlip_autopipe.analysis.frames import ArrayFrames
from mlip_autopipe.dynamics.trajectory import TrajectoryWriter
from mlip_autopipe.errors import InvalidInputError

CELL = np.eye(3) * 30.0


def frames(walk, species=None, sites=None):
    """Positions (walkers, 3, frames) as a trajectory."""
    n = walk.shape[0]
    start = np.random.default_rng(9).random((n, 3)) * 30 if sites is None else sites
    return ArrayFrames(walk.transpose(2, 0, 1) + start, species or ["Li"] * n, CELL)


def fitted(walk, species=None, dt=10.0, phase=None, sites=None, **options):
    return fit_diffusion_coefficient(calculate_msd(frames(walk, species, sites), **options), 800.0, dt, phase=phase)


def failed(group):
    return [gate.name for gate in group.gates if not gate.passed]


def test_units_by_hand():
    # steps of 0.1 A per frame of 10 fs and direction: D = 0.005 A^2 / 10 fs = 0.0005 * 0.1 cm^2/s
    walk, truth = brownian(np.random.default_rng(0), 200, 1000)
    result = fitted(walk, reference="none")
    group = result.groups["Li"]
    assert truth / 10 * 0.1 == pytest.approx(5e-5)
    assert abs(group.D_cm2_s - 5e-5) < 4 * group.D_stderr_cm2_s < 4e-6
    assert group.D_stderr_cm2_s == max(group.D_stderr_atoms_cm2_s, group.D_stderr_time_cm2_s)
    assert result.length_ps == pytest.approx(9.99)
    assert group.plateau_ps[0] <= 0.02
    assert np.trace(group.D_tensor_cm2_s) / 3 == pytest.approx(group.D_cm2_s)
    assert result.volume_A3 == pytest.approx(27000)
    assert result.state == "done"


def test_the_tensor_of_a_layered_crystal():
    walk, _ = brownian(np.random.default_rng(1), 200, 1000)
    walk = walk * np.array([2.0, 1.0, 0.0])[:, None]
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    group = fitted(np.einsum("ab,nbt->nat", turn, walk), reference="none").groups["Li"]
    truth = turn @ np.diag([4.0, 1.0, 0.0]) @ turn.T * 5e-5
    assert np.all(np.abs(group.D_tensor_cm2_s - truth) < 5 * group.D_tensor_stderr_cm2_s + 1e-8)
    assert np.linalg.eigvalsh(group.D_tensor_cm2_s) == pytest.approx([0, 5e-5, 2e-4], abs=1e-5)


def test_haven_ratio_of_independent_and_of_correlated_walkers():
    rng = np.random.default_rng(3)
    alone, _ = brownian(rng, 64, 4000)
    one = fitted(alone, reference="none").groups["Li"]
    assert abs(one.haven_ratio.value - 1) < 4 * one.haven_ratio.stderr < 1
    together, _ = rigid_groups(rng, 64, 4000, 4)
    four = fitted(together, reference="none").groups["Li"]
    assert abs(four.haven_ratio.value - 0.25) < 4 * four.haven_ratio.stderr
    assert four.D_collective_cm2_s.value == pytest.approx(4 * four.D_cm2_s, rel=0.5)


def test_one_species_alone():
    walk, _ = brownian(np.random.default_rng(4), 50, 500)
    group = fitted(walk).groups["Li"]
    # the centre of mass of free walkers, which is taken out, carries 1/N of the motion
    assert abs(group.D_cm2_s - 5e-5 * 49 / 50) < 4 * group.D_stderr_cm2_s
    assert group.D_collective_cm2_s is None
    assert group.haven_ratio is None


def test_a_framework_that_stands_still_is_no_failure():
    rng = np.random.default_rng(5)
    mobile, truth = hopping(rng, 40, 3000)
    still, _ = hopping(rng, 40, 3000, hops_per_frame=0.0)
    result = fitted(np.concatenate([mobile, still]), ["Li"] * 40 + ["O"] * 40, reference=["O"])
    lithium, oxygen = result.groups["Li"], result.groups["O"]
    assert result.state == "done"
    assert not failed(lithium)
    assert "enough_evidence" in failed(oxygen)
    assert abs(lithium.D_cm2_s - truth * 0.01) < 4 * lithium.D_stderr_cm2_s
    assert abs(oxygen.D_cm2_s) < 4 * oxygen.D_stderr_cm2_s
    assert any(warning.startswith("O: enough_evidence failed") for warning in result.warnings)


def test_nothing_that_moves_is_not_enough_evidence():
    still, _ = hopping(np.random.default_rng(6), 40, 2000, hops_per_frame=0.0)
    assert fitted(still).state == "not_enough_evidence"
    assert fitted(np.zeros((4, 3, 100))).state == "not_enough_evidence"


def test_sub_diffusive_motion_fails():
    result = fitted(6 * fractional(np.random.default_rng(12), 64, 1000, 0.3), reference="none")
    group = result.groups["Li"]
    assert failed(group) == ["diffusive"]
    assert result.state == "failed"
    assert "sub-diffusive" in " ".join(result.warnings)
    assert abs(group.exponent.value - 0.6) < 4 * group.exponent.stderr
    assert [name for name, gate in result.all_gates if not gate.passed] == ["Li"]


def test_a_run_that_changes_has_drifted():
    walk, _ = brownian(np.random.default_rng(7), 60, 3000)
    steps = np.diff(walk, axis=2, prepend=0.0) * np.linspace(0.75, 1.25, 3000)
    result = fitted(np.cumsum(steps, axis=2), reference="none")
    assert "not_drifted" in failed(result.groups["Li"])
    assert result.state == "failed"


def test_atoms_that_fly_together():
    walk, _ = brownian(np.random.default_rng(8), 60, 1000)
    flying = walk + 0.2 * np.arange(1000)
    result = fitted(flying)
    assert not next(gate for gate in result.gates if gate.name == "at_rest").passed
    # but the coefficient does not see it
    assert result.groups["Li"].D_cm2_s == pytest.approx(fitted(walk).groups["Li"].D_cm2_s, rel=1e-3)


def test_melted_where_a_solid_was_asked_for():
    rng = np.random.default_rng(10)
    places = np.stack(np.meshgrid(*[np.arange(5) * 6.0] * 3), axis=-1).reshape(-1, 3)
    jumps, _ = hopping(rng, 125, 800, hops_per_frame=0.002, amplitude_A=0.3)
    solid = jumps * np.array(6.0 / 2.5) * 0.999  # hops of one lattice constant
    melt, _ = brownian(rng, 125, 800, step_A=0.3)
    for walk, phase, passed in ((solid, "solid", True), (melt, "solid", False), (melt, "liquid", True)):
        result = fitted(walk, phase=phase, sites=places, reference="none")
        gate = next(gate for gate in result.gates if gate.name in ("still_solid", "is_liquid"))
        assert gate.passed is passed
    assert any("it has melted" in warning for warning in fitted(melt, phase="solid", sites=places).warnings)


@given(st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_invariances(seed):
    rng = np.random.default_rng(seed)
    walk, _ = hopping(rng, 24, 400, hops_per_frame=0.05)
    base = fitted(walk).groups["Li"]
    order = rng.permutation(24)
    for other in (
        fitted(walk + rng.normal(0, 3, (1, 3, 1))),
        fitted(walk + 0.01 * np.arange(400)),
        fitted(walk[order]),
    ):
        assert other.groups["Li"].D_cm2_s == pytest.approx(base.D_cm2_s, rel=1e-4)
        assert other.groups["Li"].D_stderr_cm2_s == pytest.approx(base.D_stderr_cm2_s, rel=1e-3)
    slower = fitted(walk, dt=20.0).groups["Li"]
    assert slower.D_cm2_s == pytest.approx(base.D_cm2_s / 2)
    assert slower.D_stderr_cm2_s == pytest.approx(base.D_stderr_cm2_s / 2)
    assert slower.plateau_ps == pytest.approx(tuple(2 * x for x in base.plateau_ps))


def test_run_lengths():
    walk, _ = brownian(np.random.default_rng(11), 20, 400)
    result = fitted(walk)
    group = result.groups["Li"]
    relative = group.D_stderr_cm2_s / group.D_cm2_s
    assert run_length_needed_ps(result, relative / 3) == pytest.approx(9 * result.length_ps)
    assert run_length_needed_ps(fitted(np.zeros((9, 3, 100))), 0.1) is None
    with pytest.raises(InvalidInputError, match="must be positive"):
        run_length_needed_ps(result, 0.0)


@pytest.mark.parametrize("kelvin", [0.0, -5.0, float("nan")])
def test_impossible_temperatures(kelvin):
    data = calculate_msd(frames(brownian(np.random.default_rng(0), 5, 64)[0]))
    with pytest.raises(InvalidInputError, match="must be positive"):
        fit_diffusion_coefficient(data, kelvin, 1.0)


def test_time_steps(tmp_path):
    data = calculate_msd(frames(brownian(np.random.default_rng(0), 5, 64)[0]))
    with pytest.raises(InvalidInputError, match="does not say how much time"):
        fit_diffusion_coefficient(data, 300.0)
    with pytest.raises(InvalidInputError, match="must be positive"):
        fit_diffusion_coefficient(data, 300.0, 0.0)
    with TrajectoryWriter(tmp_path / "t.h5", np.array([3, 3]), np.ones(3, dtype=bool)) as writer:
        for k in range(64):
            writer.append_arrays(np.random.default_rng(k).normal(size=(2, 3)), CELL, k, 20.0 * k)
    known = calculate_msd(tmp_path / "t.h5")
    assert fit_diffusion_coefficient(known, 300.0).time_step_fs == 20.0
    assert fit_diffusion_coefficient(known, 300.0, 20.001).time_step_fs == 20.001
    with pytest.raises(InvalidInputError, match=r"has 20 fs between its frames, not 2 fs"):
        fit_diffusion_coefficient(known, 300.0, 2.0)
