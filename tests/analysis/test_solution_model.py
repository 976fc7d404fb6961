from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.solution_model import SolutionModel, fit_solution_model
from mlip_autopipe.errors import InvalidInputError


@settings(max_examples=15, deadline=None)
@given(omega=st.floats(0.01, 1.0))
def test_critical_temperature_of_the_regular_solution(omega):
    model = SolutionModel(("A", "B"), (omega,))
    known = omega / (2 * BOLTZMANN_EV_PER_K)
    assert model.critical_temperature_K() == pytest.approx(known, rel=1e-9)
    assert model.miscibility_gaps(1.001 * known) == []
    assert len(model.miscibility_gaps(0.999 * known)) == 1


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8, 0.99])
def test_gap_of_the_regular_solution_solves_its_equation(share):
    """ln[x / (1 - x)] = -Omega (1 - 2x) / kT on both sides, which mirror each other."""
    model = SolutionModel(("A", "B"), (0.2,), (0.05, -0.3))
    kelvin = share * model.critical_temperature_K()
    ((low, high),) = model.miscibility_gaps(kelvin)
    assert low + high == pytest.approx(1, abs=1e-10)
    for x in (low, high):
        assert np.log(x / (1 - x)) == pytest.approx(-0.2 * (1 - 2 * x) / (BOLTZMANN_EV_PER_K * kelvin), abs=1e-6)


interactions = st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(coefficients=interactions, kelvin=st.floats(400, 1500))
def test_gaps_are_common_tangents_with_the_curve_above(coefficients, kelvin):
    model = SolutionModel(("A", "B"), tuple(coefficients), (0.1, -0.05))
    x = np.linspace(0, 1, 2001)
    curve = model.free_energy_eV(x, kelvin)
    for low, high in model.miscibility_gaps(kelvin):
        values = model.free_energy_eV([low, high], kelvin)
        chord = (values[1] - values[0]) / (high - low)
        for place in (low, high):
            width = 1e-4 * place * (1 - place)
            slope = np.diff(model.free_energy_eV([place - width, place + width], kelvin))[0] / (2 * width)
            assert slope == pytest.approx(chord, abs=1e-5)
        assert (curve - values[0] - chord * (x - low)).min() > -1e-8


@settings(max_examples=20, deadline=None)
@given(coefficients=interactions, kelvin=st.floats(150, 1500))
def test_exchanging_the_elements_mirrors_the_gaps(coefficients, kelvin):
    mirrored = tuple(c * (-1) ** k for k, c in enumerate(coefficients))
    gaps = SolutionModel(("A", "B"), tuple(coefficients)).miscibility_gaps(kelvin)
    others = SolutionModel(("B", "A"), mirrored).miscibility_gaps(kelvin)
    np.testing.assert_allclose(
        np.array(gaps).reshape(-1, 2), 1 - np.array(others[::-1]).reshape(-1, 2)[:, ::-1], atol=1e-6
    )


def test_the_ideal_solution_never_separates():
    model = SolutionModel(("A", "B"))
    assert model.critical_temperature_K() == 0
    assert model.miscibility_gaps(10.0) == []
    expected = BOLTZMANN_EV_PER_K * 300 * (0.3 * np.log(0.3) + 0.7 * np.log(0.7))
    assert model.free_energy_eV(0.3, 300) == pytest.approx(expected)


def test_fit_finds_the_coefficients_and_the_ends():
    model = SolutionModel(("Ag", "Cu"), (0.14, -0.02), (0.01, 0.03))
    x = np.linspace(0, 1, 9)
    found = fit_solution_model(("Ag", "Cu"), x, model.energy_eV(x))
    np.testing.assert_allclose(found.interactions_eV, model.interactions_eV, atol=1e-12)
    np.testing.assert_allclose(found.ends_eV, model.ends_eV)
    assert SolutionModel.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="above 0 K"):
        SolutionModel(("A", "B"), (0.1,)).miscibility_gaps(0)
    with pytest.raises(InvalidInputError, match="fractions 0 and 1"):
        fit_solution_model(("A", "B"), [0.1, 0.5, 1.0], [0, 0, 0])
    with pytest.raises(InvalidInputError, match="two elements"):
        fit_solution_model(("A", "B", "C"), [0, 1], [0, 0])
