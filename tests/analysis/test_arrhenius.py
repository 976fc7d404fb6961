"""Activation energies with honest errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.analysis.arrhenius import fit_arrhenius, fit_vtf
from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.errors import AnalysisError

KELVIN = np.array([600.0, 700.0, 850.0, 1000.0, 1200.0])


def law(kelvin, energy=0.6, d0=2e-3):
    return d0 * np.exp(-energy / (BOLTZMANN_EV_PER_K * np.asarray(kelvin)))


def test_exact_data():
    fit = fit_arrhenius(KELVIN, law(KELVIN), 0.01 * law(KELVIN))
    assert fit.activation_energy_eV == pytest.approx(0.6, abs=1e-6)
    assert pytest.approx(2e-3, rel=1e-3) == fit.D0
    assert fit.n_dof == 3
    value, error = fit.predict(800.0)
    assert value == pytest.approx(law(800.0), rel=1e-3)
    assert 0.003 < error / value < 0.01
    assert np.all(fit.predict([300.0, 2000.0])[1] / fit.predict([300.0, 2000.0])[0] > error / value)


def test_intervals_hold_as_often_as_they_say():
    rng = np.random.default_rng(0)
    relative = np.array([0.25, 0.15, 0.1, 0.03, 0.02])  # cold runs are noisy
    held, energies, stated, band = 0, [], [], 0
    repeats = 1500
    for _ in range(repeats):
        values = law(KELVIN) * (1 + relative * rng.standard_normal(5))
        # counted hops: the error goes with the root of their number
        fit = fit_arrhenius(KELVIN, values, relative * np.sqrt(law(KELVIN) * np.maximum(values, 1e-30)))
        held += abs(fit.activation_energy_eV - 0.6) < fit.activation_energy_stderr_eV
        value, error = fit.predict(900.0)
        band += abs(value - law(900.0)) < error
        energies.append(fit.activation_energy_eV)
        stated.append(fit.activation_energy_stderr_eV)
    assert held / repeats == pytest.approx(0.683, abs=0.04)
    assert band / repeats == pytest.approx(0.683, abs=0.04)
    assert np.mean(stated) / np.std(energies) == pytest.approx(1, abs=0.1)
    assert np.mean(energies) == pytest.approx(0.6, abs=0.3 * np.std(energies))


@given(st.floats(0.1, 2.0), st.floats(1e-6, 1.0), st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_units_of_D_scale_D0_only(energy, d0, factor):
    values = law(KELVIN, energy, d0)
    one, other = (fit_arrhenius(KELVIN, f * values, 0.05 * f * values) for f in (1.0, factor))
    assert other.activation_energy_eV == pytest.approx(one.activation_energy_eV, abs=1e-8)
    assert pytest.approx(factor * one.D0, rel=1e-6) == other.D0
    assert other.covariance == pytest.approx(one.covariance, rel=1e-6)


def test_a_curved_law_is_seen_and_widens_the_error():
    bent = law(KELVIN) * np.exp(3e-6 * (KELVIN - 850) ** 2)
    fit = fit_arrhenius(KELVIN, bent, 0.02 * bent)
    straight = fit_arrhenius(KELVIN, law(KELVIN), 0.02 * law(KELVIN))
    assert fit.p_value < 0.01 < straight.p_value
    assert fit.activation_energy_stderr_eV > 1.5 * straight.activation_energy_stderr_eV


def test_what_does_not_stand_out_of_its_error_is_left_out():
    values, errors = law(KELVIN), 0.05 * law(KELVIN)
    errors[0] = values[0]
    fit = fit_arrhenius(KELVIN, values, errors)
    assert fit.used.tolist() == [False, True, True, True, True]
    assert fit.n_dof == 2
    two = fit_arrhenius(KELVIN[:2], values[1:3], errors[1:3])
    assert two.n_dof == 0
    assert two.p_value is None


@pytest.mark.parametrize(
    ("kelvin", "values", "errors", "words"),
    [
        ([600.0], [1.0], [0.1], "needs two temperatures.*there are 1"),
        ([600.0, 600.0], [1.0, 1.1], [0.1, 0.1], "there are 1"),
        ([600.0, 700.0], [1.0, 0.1], [0.1, 0.1], "there are 1"),
        ([600.0, -1.0], [1.0, 1.0], [0.1, 0.1], "must be positive"),
        ([600.0, 700.0], [1.0, 1.0], [0.1, 0.0], "must be positive"),
        ([600.0, 700.0], [1.0], [0.1, 0.1], "same length"),
    ],
)
def test_impossible_input(kelvin, values, errors, words):
    with pytest.raises(AnalysisError, match=words):
        fit_arrhenius(kelvin, values, errors)


def test_vtf():
    values = 3e-4 * np.exp(-900.0 / (KELVIN - 350.0))
    fit = fit_vtf(KELVIN, values, 1e-4 * values)
    assert pytest.approx(900.0, rel=1e-3) == fit.B_K
    assert pytest.approx(350.0, rel=1e-3) == fit.T0_K
    assert pytest.approx(3e-4, rel=1e-3) == fit.D0
    assert fit.apparent_activation_energy_eV(700.0) == pytest.approx(BOLTZMANN_EV_PER_K * 900 * 4, rel=1e-2)
    assert fit_arrhenius(KELVIN, values, 0.01 * values).p_value < 0.01
    with pytest.raises(AnalysisError, match="four temperatures; there are 3"):
        fit_vtf(KELVIN[:3], values[:3], values[:3] / 10)


def test_errors_of_vtf_hold():
    rng = np.random.default_rng(0)
    truth = 3e-4 * np.exp(-900.0 / (KELVIN - 350.0))
    fits = [fit_vtf(KELVIN, truth * (1 + 0.01 * rng.standard_normal(5)), 0.01 * truth) for _ in range(200)]
    found = np.array([fit.T0_K for fit in fits])
    stated = np.median([np.sqrt(fit.covariance[2, 2]) for fit in fits])
    assert stated / found.std() == pytest.approx(1, abs=0.25)
