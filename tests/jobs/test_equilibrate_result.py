"""Thermal expansion and its errors by source, from runs whose truth is known."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.jobs.equilibrate_check import VolumeCheck
from mlip_autopipe.jobs.equilibrate_result import RunResult, expansion_estimate
from mlip_autopipe.schemas.npt import NPTProgress

NO_SHIFT = ValueWithError(0.0, 0.0)
V0, SLOPE, BEND = 11.6, 6e-4, 2e-7


@dataclass
class State:
    volume_A3_per_atom: ValueWithError
    lattice_parameters: dict = field(default_factory=dict)
    free_parameters: tuple = ("a_A",)


def volume(kelvin):
    return V0 + SLOPE * kelvin + BEND * kelvin**2


def result(kelvin, *, stderr=1e-4, shifts=(0.0, 0.0), check=NO_SHIFT, hexagonal=False):
    value = volume(kelvin)
    a = value ** (1 / 3)
    lengths = {"a_A": ValueWithError(a, a * stderr / value / 3)}
    if hexagonal:  # c takes all of the expansion
        lengths = {"a_A": ValueWithError(3.0, 1e-4), "c_A": ValueWithError(value / 2, stderr / 2)}
    return RunResult(
        progress=NPTProgress(
            run_id="r", temperature_K=kelvin, wanted_steps=1, state="finished", model_shifts_A3_per_atom=list(shifts)
        ),
        check=VolumeCheck(check),
        state=State(ValueWithError(value, stderr), lengths, tuple(lengths)),
        static=np.array([3.0 if hexagonal else V0 ** (1 / 3), 0, V0 / 2, 90, 90, 90]),
        n_atoms=100,
        static_volume_A3=V0,
        gates=[],
    )


def test_value_and_curvature_of_a_known_expansion():
    found = expansion_estimate([result(t) for t in (200.0, 300.0, 400.0)], 300.0)
    truth = (SLOPE + 2 * BEND * 300) / volume(300)
    assert found.volumetric_per_K.value == pytest.approx(truth, rel=1e-6)
    assert found.linear_per_K.value == pytest.approx(truth / 3, rel=1e-6)
    assert found.linear_per_K.stderr == pytest.approx(found.volumetric_per_K.stderr / 3)
    assert found.degree == 2
    assert found.curvature_determined


def test_what_a_sample_shifts_everywhere_alike_is_no_error_of_the_expansion():
    common = [result(t, shifts=(0.02, -0.01)) for t in (200.0, 300.0, 400.0)]
    growing = [result(t, shifts=(1e-4 * (t - 300), 0.0)) for t in (200.0, 300.0, 400.0)]
    small = expansion_estimate(common, 300.0).volumetric_per_K.stderr_parts.model
    large = expansion_estimate(growing, 300.0).volumetric_per_K.stderr_parts.model
    assert small < 0.02 * large
    assert large == pytest.approx(1e-4 / volume(300) / np.sqrt(2), rel=0.5)


def test_the_check_counts_its_common_shift_once_and_its_noise_at_each_temperature():
    noisy = [result(t, check=ValueWithError(0.02, 1e-3)) for t in (200.0, 300.0, 400.0)]
    found = expansion_estimate(noisy, 300.0).volumetric_per_K.stderr_parts.check
    assert found == pytest.approx(np.hypot(1e-3, 1e-3) / 200 / volume(300), rel=0.05)
    noisy[0] = result(200.0, check=None)
    assert expansion_estimate(noisy, 300.0).volumetric_per_K.stderr_parts.check is None


def test_the_bound_of_the_cell_s_size_is_three_thermal_parts_over_n():
    found = expansion_estimate([result(t) for t in (200.0, 300.0, 400.0)], 300.0)
    value, parts = found.volumetric_per_K.value, found.volumetric_per_K.stderr_parts
    assert parts.finite_size == pytest.approx(3 / 100 * value, rel=0.05)


def test_runs_far_away_do_not_bend_the_fit():
    near = [result(t) for t in (200.0, 300.0, 400.0)]
    far = result(1200.0)
    object.__setattr__(far.state, "volume_A3_per_atom", ValueWithError(14.0, 1e-4))
    assert expansion_estimate([*near, far], 300.0) == expansion_estimate(near, 300.0)


def test_two_temperatures_do_not_show_the_curvature():
    found = expansion_estimate([result(300.0), result(400.0)], 300.0)
    assert (found.degree, found.curvature_determined) == (1, False)
    assert found.volumetric_per_K.stderr_parts.curvature is None


def test_one_side_is_not_enough():
    assert expansion_estimate([result(300.0)], 300.0) is None
    assert expansion_estimate([result(300.0), result(400.0)], 500.0) is None


def test_axes_expand_on_their_own():
    found = expansion_estimate([result(t, hexagonal=True) for t in (200.0, 300.0, 400.0)], 300.0)
    assert found.axes_per_K["a_A"].value == pytest.approx(0, abs=1e-12)
    assert found.axes_per_K["c_A"].value == pytest.approx(found.volumetric_per_K.value)


def test_a_part_that_was_not_measured_stays_unknown():
    one = result(300.0, shifts=(0.03, 0.03), check=None)
    parts = one.length_parts("a_A")
    assert parts["check"] is None
    assert parts["model"] == pytest.approx(one.volume_parts()["model"] * volume(300) ** (1 / 3) / (3 * volume(300)))
    checked = result(300.0, check=ValueWithError(-0.03, 0.04))
    assert checked.volume_parts()["check"] == pytest.approx(0.05)
