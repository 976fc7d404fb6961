"""Shear viscosity of a fluid from the fluctuations of its pressure tensor (Green and Kubo).

``eta = V / kT`` times the time integral of the autocorrelation of the shear pressure. An isotropic fluid has five
independent shear components of equal variance: yz, xz, xy, (xx - yy) / 2 and (xx + yy - 2 zz) / sqrt(12) (Daivis and
Evans, 10.1063/1.466970). The integral is the zero-frequency limit of their spectrum, which STACIE fits
(https://molmod.github.io/stacie).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.constants import BOLTZMANN_J_PER_K
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

LEAST_RECORDS: Final = 500
MAX_Z_SCORE: Final = 5.0
"""Of STACIE's checks of a fit; some units where its model of the spectrum holds, up to thousands where it does not."""
_DEGREES: Final = [0, 2]
"""Of the polynomial in frequency that the logarithm of the spectrum is near 0; an even function."""
# V P^2 t / kT in A^3 GPa^2 fs / J, in mPa s
_UNIT: Final = 1e-30 * 1e18 * 1e-15 * 1e3


def shear_viscosity(
    pressures_GPa: Sequence[ArrayLike],
    interval_fs: float,
    volumes_A3: ArrayLike,
    temperature_K: float,
) -> ValueWithError:
    """Return the viscosity in mPa s from runs at constant volume.

    Parameters
    ----------
    pressures_GPa
        Of each run (n, 6) instantaneous pressure tensors in equilibrium, kinetic part included, in the order xx yy zz
        yz xz xy. Of longer runs the first records are left out, so that all have the length of the shortest.
    interval_fs
        Between two records: a small part of the decay of the autocorrelation, some 10 fs in liquid metals.
    volumes_A3
        (r,) of the runs.
    temperature_K
        Of the runs.

    Raises
    ------
    AnalysisError
        There are fewer than `LEAST_RECORDS` records, they are not finite, or the spectrum has no limit that can be
        told: it is lost in noise, or the checks of the fit find a decay that is too slow for the runs.
    """
    from stacie import ExpPolyModel, compute_spectrum, estimate_acint

    records = [np.asarray(one, dtype=float) for one in pressures_GPa]
    volumes = np.broadcast_to(np.asarray(volumes_A3, dtype=float), (len(records),))
    if not (temperature_K > 0 and interval_fs > 0 and (volumes > 0).all()):
        raise AnalysisError("Temperature, volumes and the time between records must be positive.")
    length = min((len(one) for one in records), default=0)
    if length < LEAST_RECORDS:
        raise AnalysisError(f"A viscosity needs {LEAST_RECORDS} pressure tensors or more of each run, not {length}.")
    if not all(np.isfinite(one).all() for one in records):
        raise AnalysisError("A pressure is not finite: leave that run out.")
    factors = [np.full(5, volume * _UNIT / (BOLTZMANN_J_PER_K * temperature_K)) for volume in volumes]
    spectrum = compute_spectrum(
        [shear_components(one[-length:]) for one in records], prefactors=factors, timestep=interval_fs
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = estimate_acint(spectrum, ExpPolyModel(_DEGREES))
    except (ValueError, RuntimeError) as error:
        raise AnalysisError(f"The pressures give no viscosity: {error}") from error
    if not (np.isfinite(found.acint) and np.isfinite(found.acint_std) and found.acint > 0):
        raise AnalysisError("The pressures give no viscosity: the limit of their spectrum is lost in its noise.")
    worst = max(float(found.props["cost_zscore"]), float(found.props["criterion_zscore"]))
    if worst > MAX_Z_SCORE:
        raise AnalysisError(
            f"The pressures give no viscosity: their spectrum has no simple limit (z-score {worst:.1f}, up to "
            f"{MAX_Z_SCORE:g} is accepted), as of a liquid that relaxes slowly; longer runs may have one."
        )
    return ValueWithError(float(found.acint), float(found.acint_std))


def shear_components(pressures_GPa: ArrayLike) -> FloatArray:
    """Return the five independent shear components (5, n) of pressure tensors (n, 6)."""
    xx, yy, zz, yz, xz, xy = np.asarray(pressures_GPa, dtype=float).T
    return np.array([yz, xz, xy, (xx - yy) / 2, (xx + yy - 2 * zz) / np.sqrt(12)])
