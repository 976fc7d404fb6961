"""How far the potential may be off in a mean volume: what its posterior samples and the reference say of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.analysis.volume_shift import volume_shift, volume_shift_from_pressure
from mlip_autopipe.learning.exploration import sample_frames

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.learning.crystal import RelaxedCrystal
    from mlip_autopipe.learning.npt_series import NPTSeries
    from mlip_autopipe.potentials.base import ForceField, Potential
    from mlip_autopipe.schemas.otf import OTFSettings

MODEL_FRAMES: Final = 30
LEAST_FRAMES_FOR_VIBRATIONS: Final = 12
"""With fewer, how the vibrations of two force fields differ is lost in noise, and better left out."""
_STREAM = 4


@dataclass(frozen=True, eq=False)
class FrameStates:
    """Energies and pressures of some frames.

    Attributes
    ----------
    volumes_A3, energies_eV, pressures_GPa
        (n,) of the whole cells; pressures are the virial part.
    """

    volumes_A3: NDArray[np.float64]
    energies_eV: NDArray[np.float64]
    pressures_GPa: NDArray[np.float64]


def states_of(force_field: ForceField, frames: Sequence[Atoms]) -> FrameStates:
    """Return what a force field says of frames."""
    found = [force_field.predict(one) for one in frames]
    stresses = np.array([one.stress_eV_per_A3 for one in found])
    return frame_states(frames, [one.energy_eV for one in found], stresses)


def frame_states(
    frames: Sequence[Atoms], energies_eV: Sequence[float], stresses_eV_per_A3: NDArray[np.float64]
) -> FrameStates:
    """Return energies (n,) and stresses (n, 6) of frames as states."""
    from ase.units import GPa

    return FrameStates(
        volumes_A3=np.array([one.get_volume() for one in frames]),
        energies_eV=np.asarray(energies_eV, dtype=float),
        pressures_GPa=-np.asarray(stresses_eV_per_A3)[:, :3].mean(axis=1) / GPa,
    )


def model_shifts(
    potential: Potential,
    series: NPTSeries,
    n_discarded: int,
    like: Atoms,
    bulk_modulus_GPa: ValueWithError,
    temperature_K: float,
    *,
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return by how much each posterior sample would change the mean volume per atom, (draws,) in A^3.

    The same seed gives the same samples at all temperatures, so that what they have in common cancels in differences.

    Parameters
    ----------
    potential
        That made the run.
    series, n_discarded
        The run, and the frames at its start that are no equilibrium yet.
    like
        The crystal at rest in the cell of the run.
    bulk_modulus_GPa
        At the temperature.
    temperature_K
        Of the thermostat.
    draws, seed
        Number and choice of the samples.

    Raises
    ------
    AnalysisError
        There are too few frames.
    """
    frames = [series.atoms(place, like) for place in series.sampled(n_discarded, MODEL_FRAMES)]
    base = states_of(potential, frames)
    shifts = []
    for sample in potential.draw(draws, seed=seed):
        other = states_of(sample, frames)
        shift = volume_shift(
            base.volumes_A3,
            base.pressures_GPa,
            other.pressures_GPa - base.pressures_GPa,
            other.energies_eV - base.energies_eV,
            bulk_modulus_GPa,
            temperature_K,
            independent=True,
        )
        shifts.append(shift.value / len(like))
    return np.array(shifts)


def check_frames(
    potential: Potential,
    crystal: RelaxedCrystal,
    otf: OTFSettings,
    series: NPTSeries,
    n_discarded: int,
    like: Atoms,
    temperature_K: float,
    n: int,
) -> list[Atoms]:
    """Return frames for the reference: of the run itself, or of one in the cell of learning if those are too large.

    Parameters
    ----------
    potential, crystal, otf
        The potential, its crystal, and how it was learned.
    series, n_discarded, like
        As of `model_shifts`.
    temperature_K
        Of the run.
    n
        Number of frames; fewer are returned when a guard stops the run in the small cell.
    """
    if len(like) <= otf.label_max_atoms:
        return [series.atoms(place, like) for place in series.sampled(n_discarded, n)]
    volume = float(np.abs(np.linalg.det(series.cells_A[n_discarded:])).mean()) / len(like)
    entropy = (otf.seed, _STREAM, round(temperature_K))
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    return sample_frames(potential, otf, crystal.repeated(otf.supercell, volume), temperature_K, n, seed) if n else []


def check_shift(
    potential: FrameStates,
    reference: FrameStates,
    n_atoms: int,
    volume_A3_per_atom: float,
    bulk_modulus_GPa: ValueWithError,
    temperature_K: float,
) -> ValueWithError:
    """Return by how much the reference would change the mean volume per atom in A^3, with its statistical error.

    Parameters
    ----------
    potential, reference
        Of the same frames, two at least.
    n_atoms
        Of a frame.
    volume_A3_per_atom, bulk_modulus_GPa
        Means of the potential's run.
    temperature_K
        Of the thermostat.

    Raises
    ------
    AnalysisError
        There are too few frames.
    """
    pressures = reference.pressures_GPa - potential.pressures_GPa
    if len(pressures) < LEAST_FRAMES_FOR_VIBRATIONS:
        shift = volume_shift_from_pressure(pressures, volume_A3_per_atom, bulk_modulus_GPa, independent=True)
        return ValueWithError(shift.value, shift.stderr)
    full = volume_shift(
        potential.volumes_A3,
        potential.pressures_GPa,
        pressures,
        reference.energies_eV - potential.energies_eV,
        bulk_modulus_GPa,
        temperature_K,
        independent=True,
    )
    return ValueWithError(full.value / n_atoms, full.stderr / n_atoms)
