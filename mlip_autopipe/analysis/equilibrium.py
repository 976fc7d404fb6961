"""From a run at constant pressure to lattice constants, volume, density and bulk modulus, with statistical errors.

The mean volume of a short run is off by what the slow relaxation of the volume happened to do. The mean pressure of
the same frames shows by how much: see `analysis.control`. So give the stresses of the frames wherever they are known;
the errors are then ten to thirty times smaller (docs/equilibrate.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K, G_PER_CM3_PER_AMU_PER_A3, GPA_PER_EV_PER_A3
from mlip_autopipe.analysis.control import controlled_series
from mlip_autopipe.analysis.lattice import (
    PARAMETER_NAMES,
    check_symmetry,
    free_parameters,
    strain_basis,
    strained_parameters,
    symmetric_strains,
)
from mlip_autopipe.analysis.npt_run import NPTRun
from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.analysis.statistics import equilibration_start, mean_with_error
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

# Strain fluctuations below this fraction of the largest one are rounding, not motion.
_HELD = 1e-6
# dB/dP; between 4 and 6 for most crystals. The pressure is a convex function of the volume: -V^2/B d2P/dV2 = B' + 1. It
# matters little: the correction that rests on it is 1e-4 of the volume for 32 atoms and 3 ps, and falls with both.
_MODULUS_DERIVATIVE = 5.0
# Relative changes of volume, lengths and angles with the volume.
_VOLUME_SHARES = np.array([1, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0])


@dataclass(frozen=True, eq=False)
class EquilibriumState:
    """Averages of one run; errors are statistical.

    Attributes
    ----------
    lattice_parameters
        All six of the wanted cell, by the names a_A ... gamma_deg: means of the symmetric part of the cell.
    free_parameters
        Names of those that the symmetry leaves free; the others follow from them.
    volume_A3_per_atom, density_g_per_cm3, energy_eV_per_atom, temperature_K
        Means; the energy is the potential one.
    pressure_GPa
        Mean pressure; None without stresses.
    bulk_modulus_GPa
        Isothermal; from the slope of the pressure in the volume where stresses are known, else as the next.
    bulk_modulus_fluctuation_GPa
        Isothermal, kT <V> / var V.
    n_frames, n_discarded
        Frames used, and frames left out at the start.
    effective_samples
        Independent samples of the quantity whose mean is the volume: corrected by the pressure where possible.
    effective_volume_samples
        Independent samples of the bare volume.
    shape_sampled
        Whether the barostat moved everything that the symmetry leaves free.
    volume_series_A3
        (n_frames,) per atom: the corrected volume, whose mean is `volume_A3_per_atom`.
    warnings
        Sentences for the user.
    """

    lattice_parameters: dict[str, ValueWithError]
    free_parameters: tuple[str, ...]
    volume_A3_per_atom: ValueWithError
    density_g_per_cm3: ValueWithError
    energy_eV_per_atom: ValueWithError
    temperature_K: ValueWithError
    pressure_GPa: ValueWithError | None
    bulk_modulus_GPa: ValueWithError
    bulk_modulus_fluctuation_GPa: ValueWithError
    n_frames: int
    n_discarded: int
    effective_samples: float
    effective_volume_samples: float
    shape_sampled: bool
    volume_series_A3: FloatArray
    warnings: list[str] = field(default_factory=list)


def equilibrium_state(run: NPTRun, n_discarded: int | None = None) -> EquilibriumState:
    """Average a run after its transient.

    Parameters
    ----------
    run
        The frames.
    n_discarded
        Frames to leave out at the start; None: `statistics.equilibration_start` of volume and energy decides.

    Raises
    ------
    AnalysisError
        When too few frames are left, the cell never changes, or symmetry and cell do not belong together.
    """
    volumes = run.volumes_A3
    if n_discarded is None:
        n_discarded = int(equilibration_start(np.stack([volumes, run.energies_eV])).max())
    used = slice(n_discarded, None)
    volumes = volumes[used]
    if len(volumes) < 8 or volumes.std() < 1e-9 * volumes.mean():
        raise AnalysisError(
            f"{len(volumes)} frames after the transient, volume {volumes.mean() if len(volumes) else 0:.3f} A^3: an "
            "average needs at least 8 frames of a cell that changes (a run at constant pressure)."
        )
    basis, wanted, reference = _geometry(run)
    strains = symmetric_strains(run.cells_A[used], reference, basis)
    modes = _moving_modes(strains)
    observables = np.concatenate([volumes[None], strained_parameters(wanted, basis, strains)])
    fluctuation = _bulk_modulus_from_fluctuations(volumes, run.target_temperature_K)
    pressure, modulus, second_order = None, fluctuation, np.zeros(7)
    series = observables
    if run.stresses_GPa is not None:
        excess = np.einsum("kij,nij->kn", basis, run.stress_excess_GPa[used])
        series = controlled_series(observables, modes.T @ strains, modes.T @ excess).series
        correction = float(series[0].mean() / volumes.mean()) - 1
        # Newton's step on a convex pressure is too short by (B' + 1) times its square. Counts as an error, too.
        second_order = (_MODULUS_DERIVATIVE + 1) * correction**2 * _VOLUME_SHARES
        series = series * (1 + second_order)[:, None]
        pressures = run.pressures_GPa[used]
        pressure, modulus = _single(pressures), _bulk_modulus_from_slope(volumes, pressures, correction)
    # a parameter fixed by symmetry or barostat keeps its value to the last bit
    held = np.ptp(observables, axis=1) < 1e-9
    series[held] = observables[held]
    averages = mean_with_error(series)
    errors = np.hypot(averages.stderr, np.where(held, 0.0, second_order * averages.mean))
    volume, *parameters = (ValueWithError(float(m), float(e)) for m, e in zip(averages.mean, errors, strict=True))
    mass = float(run.masses_amu.sum()) * G_PER_CM3_PER_AMU_PER_A3
    return EquilibriumState(
        lattice_parameters=dict(zip(PARAMETER_NAMES, parameters, strict=True)),
        free_parameters=free_parameters(wanted, basis),
        volume_A3_per_atom=ValueWithError(volume.value / run.n_atoms, volume.stderr / run.n_atoms),
        density_g_per_cm3=ValueWithError(mass / volume.value, mass / volume.value * volume.stderr / volume.value),
        energy_eV_per_atom=_single(run.energies_eV[used] / run.n_atoms),
        temperature_K=_single(run.temperatures_K[used]),
        pressure_GPa=pressure,
        bulk_modulus_GPa=modulus,
        bulk_modulus_fluctuation_GPa=fluctuation,
        n_frames=len(volumes),
        n_discarded=n_discarded,
        effective_samples=float(averages.effective_samples[0]),
        effective_volume_samples=float(mean_with_error(volumes).effective_samples),
        shape_sampled=modes.shape[1] == len(basis),
        volume_series_A3=series[0] / run.n_atoms,
        warnings=_held_warnings(run, used, basis, modes),
    )


def _geometry(run: NPTRun) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Basis of the symmetric strains, unstrained cell whose parameters are wanted, unstrained cell of the run."""
    reference = np.asarray(run.cells_A[0] if run.reference_cell_A is None else run.reference_cell_A, dtype=float)
    repetitions = np.asarray(run.repetitions, dtype=float)
    repetitions = np.diag(repetitions) if repetitions.ndim == 1 else repetitions
    parent = np.linalg.solve(repetitions, reference)
    if run.rotations is not None:
        check_symmetry(parent, run.rotations)
    wanted = parent if run.conventional is None else np.asarray(run.conventional, dtype=float) @ parent
    return strain_basis(run.rotations), wanted, reference


def _moving_modes(strains: FloatArray) -> FloatArray:
    """Orthonormal columns (k, m): the combinations of strains that the barostat moves."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(strains)))
    return np.asarray(vectors[:, values > _HELD**2 * values[-1]])


def _bulk_modulus_from_slope(volumes: FloatArray, pressures: FloatArray, correction: float) -> ValueWithError:
    """B = -V dP/dV by regression: at each volume the pressure is a canonical average plus fast noise.

    The relative `correction` of the volume takes it from the volumes visited to the mean one.
    """
    change = volumes - volumes.mean()
    square = float(change @ change) / len(change)
    slope = float(change @ pressures) / len(change) / square
    noise = (pressures - pressures.mean() - slope * change) * change / square
    scale = float(volumes.mean()) * (1 - _MODULUS_DERIVATIVE * correction)
    return ValueWithError(-slope * scale, float(mean_with_error(noise).stderr) * scale)


def _bulk_modulus_from_fluctuations(volumes: FloatArray, temperature_K: float) -> ValueWithError:
    """B = kT <V> / var V.

    A finite run misses the variance of its own mean, 1 / effective samples of the whole, and the inverse of a noisy
    variance is too large by its squared relative error; both are corrected, to first order.
    """
    samples = max(float(mean_with_error(volumes).effective_samples), 2.0)
    variance = mean_with_error((volumes - volumes.mean()) ** 2)
    relative = float(variance.stderr / variance.mean)
    corrected = float(variance.mean) / (1 - 1 / samples)
    modulus = BOLTZMANN_EV_PER_K * temperature_K * float(volumes.mean()) / corrected * GPA_PER_EV_PER_A3
    modulus /= 1 + relative**2
    return ValueWithError(modulus, modulus * relative)


def _held_warnings(run: NPTRun, used: slice, basis: FloatArray, modes: FloatArray) -> list[str]:
    if modes.shape[1] == len(basis):
        return []
    text = (
        f"the barostat moved {modes.shape[1]} of the {len(basis)} strains that the symmetry leaves free; the shape of "
        "the cell is that of the start, not that of the temperature"
    )
    if run.stresses_GPa is not None:
        held = np.linalg.svd(modes.T)[2][modes.shape[1] :]
        excess = mean_with_error(held @ np.einsum("kij,nij->kn", basis, run.stress_excess_GPa[used]))
        worst = int(np.argmax(np.abs(excess.mean)))
        text += f" (mean stress that this leaves: {excess.mean[worst]:.3f} +- {excess.stderr[worst]:.3f} GPa)"
    return [text]


def _single(series: FloatArray) -> ValueWithError:
    average = mean_with_error(series)
    return ValueWithError(float(average.mean), float(average.stderr))
