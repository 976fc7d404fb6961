"""Nernst-Einstein."""

import pytest

from mlip_autopipe.analysis.conductivity import nernst_einstein_conductivity
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.errors import AnalysisError


def test_a_number_in_SI_units():
    # 16 ions of charge 1 in 1000 A^3 with 1e-5 cm^2/s at 300 K
    n, q, d, kT = 16 / 1e-27, 1.602176634e-19, 1e-9, 1.380649e-23 * 300
    found = nernst_einstein_conductivity(ValueWithError(1e-5, 1e-6), 16, 1000.0, 1.0, 300.0)
    assert found.value == pytest.approx(n * q**2 * d / kT / 100, rel=1e-6)
    assert found.stderr == pytest.approx(found.value / 10)


def test_charges_enter_squared():
    one = ValueWithError(1e-5, 1e-6)
    single, double = (nernst_einstein_conductivity(one, 4, 100.0, z, 500.0).value for z in (1.0, -2.0))
    assert double == pytest.approx(4 * single)


@pytest.mark.parametrize(("n", "volume", "kelvin"), [(0, 1.0, 1.0), (1, 0.0, 1.0), (1, 1.0, 0.0)])
def test_impossible_input(n, volume, kelvin):
    with pytest.raises(AnalysisError, match="above zero"):
        nernst_einstein_conductivity(ValueWithError(1e-5, 1e-6), n, volume, 1.0, kelvin)
