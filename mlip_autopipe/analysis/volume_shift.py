"""By how much another force field (a posterior draw, the reference itself) would change the mean volume of a run.

Nothing is run again: energies and stresses of the other force field on frames of the run are enough, for small
differences. Two estimates: first-order from pressures, which needs few frames, and reweighting, which is exact in the
difference but needs many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.analysis.statistics import mean_with_error, student_quantile
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

# dB/dP; between 4 and 6 for most crystals.
_MODULUS_DERIVATIVE = 5.0
# Fewer effective frames than this, and a few large weights decide the average: its error is not known either.
MIN_EFFECTIVE_FRAMES = 30.0
# Mean, slope and curvature in the volume are taken out before fluctuations at constant volume are compared.
_VOLUME_TERMS = 3
_ONE_SIGMA = 0.8413447460685429


@dataclass(frozen=True)
class PressureShift:
    """First-order change of the mean volume, in the unit of the volume given.

    Attributes
    ----------
    value
        The change.
    stderr_statistics
        From the finite number of frames and the error of the bulk modulus.
    linearisation
        Size of the second-order term.
    effective_pressure_GPa
        The pressure that changes the volume by as much.
    complete
        False without energy differences: the change of the vibrations is then missing, see
        `volume_shift_from_pressure`.
    """

    value: float
    stderr_statistics: float
    linearisation: float
    effective_pressure_GPa: float
    complete: bool

    @property
    def stderr(self) -> float:
        """Both errors in quadrature."""
        return float(np.hypot(self.stderr_statistics, self.linearisation))


@dataclass(frozen=True)
class ReweightedShift:
    """Change of the mean volume by reweighting.

    Attributes
    ----------
    value, stderr
        The change and its statistical error.
    effective_frames
        Kish's effective number of frames after weighting.
    collapsed
        True when `effective_frames` is below `MIN_EFFECTIVE_FRAMES`: value and error then mean nothing.
    """

    value: float
    stderr: float
    effective_frames: float
    collapsed: bool


@dataclass(frozen=True)
class VolumeShift:
    """Both estimates, and the one to trust: that of the smaller error, never a collapsed one."""

    from_pressure: PressureShift
    reweighted: ReweightedShift
    trusted: Literal["pressure", "reweighting"]

    @property
    def value(self) -> float:
        """The trusted change of the mean volume."""
        return self.from_pressure.value if self.trusted == "pressure" else self.reweighted.value

    @property
    def stderr(self) -> float:
        """Its error."""
        return self.from_pressure.stderr if self.trusted == "pressure" else self.reweighted.stderr


def volume_shift(
    volumes_A3: ArrayLike,
    pressures_GPa: ArrayLike,
    pressure_differences_GPa: ArrayLike,
    energy_differences_eV: ArrayLike,
    bulk_modulus_GPa: ValueWithError,
    temperature_K: float,
    *,
    independent: bool = False,
) -> VolumeShift:
    """Estimate the change of the mean volume in both ways, from all that is known of n frames.

    Parameters
    ----------
    volumes_A3
        (n,) volumes of the whole cell, frames of one run after its transient.
    pressures_GPa
        (n,) virial pressures of the driving potential, minus a third of the trace of its stress.
    pressure_differences_GPa, energy_differences_eV
        (n,) other force field minus driving potential, whole cell; an offset of the energy does not matter.
    bulk_modulus_GPa
        Isothermal, with its error.
    temperature_K
        Of the thermostat.
    independent
        The frames lie many correlation times apart.

    Raises
    ------
    AnalysisError
        When the shapes disagree, there are too few frames, or numbers are not finite.
    """
    volumes = _series(volumes_A3, "volumes_A3")
    first_order = volume_shift_from_pressure(
        pressure_differences_GPa,
        float(volumes.mean()),
        bulk_modulus_GPa,
        energy_differences_eV=energy_differences_eV,
        pressures_GPa=pressures_GPa,
        volumes_A3=volumes,
        temperature_K=temperature_K,
        independent=independent,
    )
    reweighted = reweighted_volume_shift(volumes, energy_differences_eV, temperature_K, independent=independent)
    better = not reweighted.collapsed and reweighted.stderr < first_order.stderr
    return VolumeShift(first_order, reweighted, "reweighting" if better else "pressure")


def volume_shift_from_pressure(
    pressure_differences_GPa: ArrayLike,
    volume_A3: float,
    bulk_modulus_GPa: ValueWithError,
    *,
    energy_differences_eV: ArrayLike | None = None,
    pressures_GPa: ArrayLike | None = None,
    volumes_A3: ArrayLike | None = None,
    temperature_K: float | None = None,
    independent: bool = False,
) -> PressureShift:
    """Estimate the change of the mean volume to first order, dV = V dP / B.

    The pressure of the other force field counts in its own ensemble, while the frames are those of the driving one. To
    first order (with U, P energy and pressure of the driving one, averages at constant volume)

        dP = <P' - P> - cov(U' - U, P) / kT.

    The second term is what a change of the vibrations does: forces stiffer by the same factor at all volumes change
    <P' - P>, but not the volume. It takes the energies. Without them it is missing, and the result is right only for
    force fields that differ by a function of the volume.

    Parameters
    ----------
    pressure_differences_GPa
        (n,) other minus driving, on frames of the run.
    volume_A3
        Mean volume; the result has its unit.
    bulk_modulus_GPa
        Isothermal, with its error.
    energy_differences_eV, pressures_GPa, volumes_A3, temperature_K
        As of `volume_shift`; all or none.
    independent
        The frames lie many correlation times apart.

    Raises
    ------
    AnalysisError
        When the shapes disagree, there are too few frames, or numbers are not finite.
    """
    difference = _series(pressure_differences_GPa, "pressure_differences_GPa")
    modulus = bulk_modulus_GPa.value
    if not (volume_A3 > 0 and modulus > 0):
        raise AnalysisError(f"Volume ({volume_A3:g} A^3) and bulk modulus ({modulus:g} GPa) must be positive.")
    response: FloatArray | float = 0.0
    softening, few = 0.0, 1.0
    given = (energy_differences_eV, pressures_GPa, volumes_A3, temperature_K)
    complete = all(g is not None for g in given)
    if not complete and any(g is not None for g in given):
        raise AnalysisError(
            "Give energy_differences_eV, pressures_GPa, volumes_A3 and temperature_K together, or none of them."
        )
    if energy_differences_eV is not None and pressures_GPa is not None and volumes_A3 is not None and temperature_K:
        volumes = _series(volumes_A3, "volumes_A3", len(difference))
        energies = _at_constant_volume(_series(energy_differences_eV, "energy_differences_eV", len(volumes)), volumes)
        pressures = _at_constant_volume(_series(pressures_GPa, "pressures_GPa", len(volumes)), volumes)
        response = energies * pressures / (BOLTZMANN_EV_PER_K * temperature_K)
        # both factors lost degrees of freedom to the volume: in the mean of their product, and in its scatter
        few = len(volumes) / (len(volumes) - _VOLUME_TERMS)
        response *= few
        change = volumes - volumes.mean()
        softening = float(volumes.mean() * (change @ difference) / (change @ change)) / modulus
    average = mean_with_error(difference - response, independent=independent)
    pressure = float(average.mean)
    shift = volume_A3 * pressure / modulus
    relative = abs(shift) / volume_A3
    return PressureShift(
        value=shift,
        stderr_statistics=float(
            np.hypot(few * volume_A3 * average.stderr / modulus, shift * bulk_modulus_GPa.stderr / modulus)
        ),
        linearisation=abs(shift) * (abs(softening) + (_MODULUS_DERIVATIVE + 1) / 2 * relative),
        effective_pressure_GPa=pressure,
        complete=complete,
    )


def reweighted_volume_shift(
    volumes_A3: ArrayLike, energy_differences_eV: ArrayLike, temperature_K: float, *, independent: bool = False
) -> ReweightedShift:
    """Estimate the change of the mean volume by weighting each frame with exp(-(U' - U) / kT).

    Exact for any difference, but the weights of n frames collapse onto a few when the differences scatter by more than
    kT or so, which they do in large cells. Kish's number (sum w)^2 / sum w^2 tells.

    Parameters
    ----------
    volumes_A3, energy_differences_eV, temperature_K, independent
        As of `volume_shift`.

    Raises
    ------
    AnalysisError
        When the shapes disagree, there are too few frames, or numbers are not finite.
    """
    volumes = _series(volumes_A3, "volumes_A3")
    energies = _series(energy_differences_eV, "energy_differences_eV", len(volumes))
    exponents = -energies / (BOLTZMANN_EV_PER_K * temperature_K)
    weights = np.exp(exponents - exponents.max())
    weights /= weights.mean()
    mean = float(np.mean(weights * volumes))
    # Response of the difference of both means to each frame; much of their noise is common.
    influence = weights * (volumes - mean) - (volumes - volumes.mean())
    effective = len(volumes) / float(np.mean(weights**2))
    if not independent:
        effective *= float(mean_with_error(volumes).effective_samples) / len(volumes)
    return ReweightedShift(
        value=mean - float(volumes.mean()),
        stderr=float(mean_with_error(influence, independent=independent).stderr),
        effective_frames=effective,
        collapsed=effective < MIN_EFFECTIVE_FRAMES,
    )


def model_stderr(shifts: ArrayLike) -> float:
    """Return the model error of a property from its (k,) changes by k draws of the posterior.

    Root mean square of the changes, since the driving potential is the centre of the draws, as the half-width of the
    68.3 % interval of Student's t with k degrees of freedom.

    Raises
    ------
    AnalysisError
        When there is no draw, or a change is not finite.
    """
    array = np.asarray(shifts, dtype=float).ravel()
    if not len(array) or not np.isfinite(array).all():
        raise AnalysisError("A model error needs the finite change of the property by at least one posterior draw.")
    return float(np.sqrt(np.mean(array**2)) * student_quantile(len(array), _ONE_SIGMA))


def _at_constant_volume(series: FloatArray, volumes: FloatArray) -> FloatArray:
    """Remove from a series how it follows the volume, up to second order."""
    if len(volumes) < _VOLUME_TERMS + 3 or volumes.std() == 0:
        raise AnalysisError(
            f"The response needs {_VOLUME_TERMS + 3} frames or more, of different volumes: there are {len(volumes)}."
        )
    design = np.vander((volumes - volumes.mean()) / volumes.std(), _VOLUME_TERMS)
    orthogonal, _ = np.linalg.qr(design)
    return np.asarray(series - orthogonal @ (orthogonal.T @ series))


def _series(values: ArrayLike, name: str, length: int | None = None) -> FloatArray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or (length is not None and len(array) != length):
        expected = "one number per frame" if length is None else f"{length} numbers, one per frame"
        raise AnalysisError(f"{name} must hold {expected}; its shape is {array.shape}.")
    if not np.isfinite(array).all():
        raise AnalysisError(f"{name} holds a value that is not finite: leave that frame out.")
    return array
