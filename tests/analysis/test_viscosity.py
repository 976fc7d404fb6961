"""Viscosity from pressure tensors whose correlations are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.spatial.transform import Rotation

from mlip_autopipe.analysis.viscosity import LEAST_RECORDS, shear_components, shear_viscosity
from mlip_autopipe.errors import AnalysisError

VOLUME_A3, KELVIN, INTERVAL_FS = 920.0, 1500.0, 9.0
KT_J = 1.380649e-23 * KELVIN


def memory(rng, shape, records):
    """Noise of variance 1 whose correlation falls by e in so many records."""
    keep = np.exp(-1 / records)
    burn = int(20 * records)
    steps = rng.normal(size=(*shape[:-1], burn + shape[-1])) * np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], steps)[..., burn:]


def tensors(rng, n, amplitude_GPa=1.0, fast=6.0, slow=None):
    """Pressure tensors of an isotropic fluid; the isotropic part wanders slowly and has a mean."""
    shear = (
        memory(rng, (5, n), fast)
        if slow is None
        else (np.sqrt(0.8) * memory(rng, (5, n), fast) + np.sqrt(0.2) * memory(rng, (5, n), slow))
    )
    shear *= amplitude_GPa
    isotropic = 3.0 + 2.0 * memory(rng, (n,), 50.0)
    yz, xz, xy, half, rest = shear
    thirds = rest / np.sqrt(3)
    return np.array([isotropic + half + thirds, isotropic - half + thirds, isotropic - 2 * thirds, yz, xz, xy]).T


def exact_mPa_s(amplitude_GPa=1.0, fast=6.0, slow=None):
    def integral(records):
        keep = np.exp(-1 / records)
        return 0.5 * (1 + keep) / (1 - keep)

    time_s = INTERVAL_FS * 1e-15 * (integral(fast) if slow is None else 0.8 * integral(fast) + 0.2 * integral(slow))
    return 1e3 * VOLUME_A3 * 1e-30 / KT_J * (amplitude_GPa * 1e9) ** 2 * time_s


def test_the_components_of_known_shears():
    pressures = [[1.0, -1.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, -2.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 0.5, 0.6, 0.7]]
    np.testing.assert_allclose(
        shear_components(pressures).T, [[0, 0, 0, 1, 0], [0, 0, 0, 0, np.sqrt(3)], [0.5, 0.6, 0.7, 0, 0]], atol=1e-12
    )


@given(st.integers(0, 2**32 - 1))
def test_axes_do_not_matter(seed):
    """All five together are half of the square of the traceless tensor, whatever the axes."""
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(3, 3))
    one += one.T
    turn = Rotation.random(random_state=seed).as_matrix()
    places = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
    squares = [float((shear_components(t[places][None]) ** 2).sum()) for t in (one, turn @ one @ turn.T)]
    traceless = one - np.trace(one) / 3 * np.eye(3)
    np.testing.assert_allclose(squares, 0.5 * np.sum(traceless**2))


@pytest.mark.parametrize("slow", [None, 40.0])
def test_known_correlations_give_the_viscosity_within_the_stated_error(slow):
    rng = np.random.default_rng(3)
    found = [
        shear_viscosity([tensors(rng, 3900, slow=slow) for _ in range(2)], INTERVAL_FS, VOLUME_A3, KELVIN)
        for _ in range(12)
    ]
    truth = exact_mPa_s(slow=slow)
    apart = np.array([(one.value - truth) / one.stderr for one in found])
    assert np.sqrt(np.mean(apart**2)) < 2.0
    assert abs(np.mean([one.value for one in found]) / truth - 1) < 0.1
    assert np.mean([one.stderr for one in found]) < 0.2 * truth


def test_a_decay_that_is_too_slow_for_the_runs_is_refused():
    """A fifth of the variance that takes a tenth of the run to decay holds nine tenths of the viscosity."""
    rng = np.random.default_rng(0)
    with pytest.raises(AnalysisError, match="no simple limit"):
        shear_viscosity([tensors(rng, 3900, slow=400.0) for _ in range(2)], INTERVAL_FS, VOLUME_A3, KELVIN)


def test_runs_may_differ_in_length_and_volume():
    rng = np.random.default_rng(0)
    long, short = tensors(rng, 6000), tensors(rng, 3000) / np.sqrt(2.0)
    long[:3000] *= 50.0  # not in equilibrium
    found = shear_viscosity([long, short], INTERVAL_FS, [VOLUME_A3, 2 * VOLUME_A3], KELVIN)
    assert found.value == pytest.approx(exact_mPa_s(), abs=4 * found.stderr)
    assert found.stderr < 0.2 * found.value


def test_what_tells_nothing_is_refused():
    rng = np.random.default_rng(0)
    good = tensors(rng, 1000)
    with pytest.raises(AnalysisError, match=f"needs {LEAST_RECORDS}"):
        shear_viscosity([good, good[:100]], INTERVAL_FS, VOLUME_A3, KELVIN)
    with pytest.raises(AnalysisError, match=f"needs {LEAST_RECORDS}"):
        shear_viscosity([], INTERVAL_FS, VOLUME_A3, KELVIN)
    with pytest.raises(AnalysisError, match="not finite"):
        shear_viscosity([np.where(np.arange(6) == 3, np.nan, good)], INTERVAL_FS, VOLUME_A3, KELVIN)
    with pytest.raises(AnalysisError, match="must be positive"):
        shear_viscosity([good], INTERVAL_FS, -1.0, KELVIN)
