"""What is kept of a run at constant pressure: small series, and the positions of some frames."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.displacements import mean_square_displacements
from mlip_autopipe.analysis.npt_run import NPTRun

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.dynamics.trajectory import Trajectory
    from mlip_autopipe.learning.crystal import RelaxedCrystal
    from mlip_autopipe.potentials.base import ForceField

FloatArray = NDArray[np.float64]

KEPT_FRAMES: Final = 128
"""Positions of at most so many frames are kept, of others what fits into a few numbers."""


@dataclass(frozen=True, eq=False)
class NPTSeries:
    """Frames of one run, equally spaced in time.

    Attributes
    ----------
    steps
        (n,) of the frames.
    cells_A, energies_eV, temperatures_K
        (n, 3, 3), (n,) potential energies of the whole cell, (n,) kinetic temperatures.
    stresses_GPa
        (n, 6) of the driving potential, virial only.
    square_displacements_A2
        (n,) mean square displacements from the sites of the crystal.
    kept
        (m,) indices of the frames whose positions are kept.
    positions_A
        (m, n_atoms, 3), unwrapped, single precision.
    """

    steps: NDArray[np.int64]
    cells_A: FloatArray
    energies_eV: FloatArray
    temperatures_K: FloatArray
    stresses_GPa: FloatArray
    square_displacements_A2: FloatArray
    kept: NDArray[np.int64]
    positions_A: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.steps)

    def npt_run(self, crystal: RelaxedCrystal, supercell: Any, temperature_K: float) -> NPTRun:
        """Return the frames as the analysis takes them.

        Parameters
        ----------
        crystal, supercell
            What was simulated.
        temperature_K
            Of the thermostat.
        """
        cell = crystal.repeated(supercell)
        return NPTRun(
            cells_A=self.cells_A,
            energies_eV=self.energies_eV,
            temperatures_K=self.temperatures_K,
            masses_amu=cell.get_masses(),
            target_temperature_K=temperature_K,
            stresses_GPa=self.stresses_GPa,
            repetitions=supercell,
            conventional=crystal.conventional,
            rotations=crystal.symmetry.rotations,
            reference_cell_A=cell.cell.array,
        )

    def sampled(self, start: int, n: int) -> NDArray[np.int64]:
        """Return at most n of the kept frames, as places in `kept`, evenly spaced from frame `start` on."""
        usable = np.flatnonzero(self.kept >= start)
        places = np.linspace(0, max(0, len(usable) - 1), min(n, len(usable))).round().astype(int)
        return np.asarray(usable[places])

    def atoms(self, place: int, like: Atoms) -> Atoms:
        """Return a kept frame with the species of `like`."""
        frame = like.copy()
        frame.set_cell(self.cells_A[self.kept[place]])
        frame.positions = self.positions_A[place]
        return frame

    def to_bytes(self) -> bytes:
        """Return the series as one blob."""
        buffer = io.BytesIO()
        np.savez(buffer, **{one.name: getattr(self, one.name) for one in fields(self)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, blob: bytes) -> NPTSeries:
        """Return the series of `to_bytes`."""
        with np.load(io.BytesIO(blob), allow_pickle=False) as arrays:
            return cls(**{one.name: arrays[one.name] for one in fields(cls)})


def series_of(
    trajectory: Trajectory, force_field: ForceField, like: Atoms, after_step: int, keep_steps: int
) -> NPTSeries:
    """Read what is kept from a trajectory; the stresses are computed again on its frames.

    Parameters
    ----------
    trajectory
        Of the run.
    force_field
        That moved the atoms.
    like
        The crystal at rest in the cell of the run.
    after_step
        Frames up to this step are left out.
    keep_steps
        Positions are kept of frames whose step is a multiple of this (see `keep_steps`).
    """
    from ase.units import GPa

    first = int(np.searchsorted(trajectory.steps, after_step, side="right"))
    steps, cells = trajectory.steps[first:], trajectory.cells[first:]
    sites = like.get_scaled_positions(wrap=False)
    kept = np.flatnonzero(steps % keep_steps == 0)
    positions = np.empty((len(kept), len(like), 3), dtype=np.float32)
    stresses, displacements = np.empty((len(steps), 6)), np.empty(len(steps))
    frame, place = like.copy(), 0
    for k in range(len(steps)):
        (where,) = trajectory.read(first + k, first + k + 1)
        frame.set_cell(cells[k])
        frame.positions = where
        stresses[k] = force_field.predict(frame).stress_eV_per_A3 / GPa
        displacements[k] = mean_square_displacements(where[None], cells[k : k + 1], sites)[0]
        if place < len(kept) and kept[place] == k:
            positions[place] = where
            place += 1
    return NPTSeries(
        steps=steps,
        cells_A=cells,
        energies_eV=trajectory.energies_eV[first:],
        temperatures_K=trajectory.temperatures_K[first:],
        stresses_GPa=stresses,
        square_displacements_A2=displacements,
        kept=kept,
        positions_A=positions,
    )


def joined(pieces: Sequence[NPTSeries], keep_steps: int) -> NPTSeries:
    """Return pieces of one run, in their order, as one series, and thin the positions that are kept.

    Parameters
    ----------
    pieces
        Without overlap.
    keep_steps
        As of `series_of`.
    """
    starts = np.cumsum([0, *(len(one) for one in pieces[:-1])])
    kept = np.concatenate([one.kept + start for one, start in zip(pieces, starts, strict=True)])
    arrays = {
        one.name: np.concatenate([getattr(piece, one.name) for piece in pieces])
        for one in fields(NPTSeries)
        if one.name != "kept"
    }
    chosen = arrays["steps"][kept] % keep_steps == 0
    arrays["positions_A"] = arrays["positions_A"][chosen]
    return NPTSeries(**arrays, kept=kept[chosen])


def keep_steps(n_steps: int, frame_interval: int) -> int:
    """Return after how many steps each positions are kept: of a run made twice as long half of them stay."""
    every = frame_interval
    while n_steps > every * KEPT_FRAMES:
        every *= 2
    return every
