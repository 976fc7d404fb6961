"""Mean square displacements of the species and groups of atoms of a trajectory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.atom_groups import atom_groups, reference_weights
from mlip_autopipe.analysis.atom_store import DEFAULT_MEMORY_LIMIT_MB, AtomStore
from mlip_autopipe.analysis.displacement_run import DisplacementRun, frame_range, read_displacements
from mlip_autopipe.analysis.frames import BadFrameError, FrameBlock, open_frames
from mlip_autopipe.analysis.hops import count_hops
from mlip_autopipe.analysis.msd_kernels import IntArray, MSDAccumulator, MSDCurves
from mlip_autopipe.analysis.sites import neighbour_distances, square_distances_from_sites
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

MIN_FRAMES: Final = 32
"""With fewer, no lag has two doublings and still some windows."""
_BLOCK_BYTES: Final = 32e6
_SITE_FRAMES: Final = 16
_SITE_SAMPLES: Final = 24


@dataclass(frozen=True, eq=False)
class GroupMSD:
    """What the atoms of one group did.

    Attributes
    ----------
    name
        Chemical symbol, or the name given to the group.
    atoms
        Indices of its atoms.
    tracer
        Mean square displacements of the single atoms.
    collective
        Those of the sum of their displacements, over the number of atoms; none where the group is all of the reference.
    n_hops
        Hops of all its atoms.
    hop_distance_A
        What counts as a hop.
    neighbour_distance_A
        Median distance of its atoms to their nearest neighbour at the start.
    site_ratio
        Root mean square distance to the nearest site in the last third of the run, over `neighbour_distance_A`.
    """

    name: str
    atoms: IntArray
    tracer: MSDCurves
    collective: MSDCurves | None
    n_hops: int
    hop_distance_A: float
    neighbour_distance_A: float
    site_ratio: float


@dataclass(frozen=True, eq=False)
class MSDData:
    """Mean square displacements of a trajectory, and what is needed to judge them.

    Attributes
    ----------
    source
        The trajectory.
    species
        (n,) names of the atoms.
    groups
        By name: the species, then the groups that were asked for.
    n_frames, n_atoms
        What was analysed.
    time_step_fs
        Time between frames, where the file knows it.
    cell_A, pbc
        (3, 3) mean lattice vectors in rows and periodic directions.
    reference
        What displacements are relative to.
    drift_A
        (3,) how far the reference went from the first to the last frame.
    mass_amu
        Of all atoms; none where a name is no chemical symbol.
    stopped_by
        The frame at which reading ended before the end, if any.
    warnings
        Sentences about the file.
    """

    source: str
    species: tuple[str, ...]
    groups: dict[str, GroupMSD]
    n_frames: int
    n_atoms: int
    time_step_fs: float | None
    cell_A: FloatArray
    pbc: NDArray[np.bool_]
    reference: str
    drift_A: FloatArray
    mass_amu: float | None
    stopped_by: BadFrameError | None = None
    warnings: tuple[str, ...] = ()

    @property
    def volume_A3(self) -> float | None:
        """Mean volume of the cell; none without periodic boundaries on all sides."""
        return abs(float(np.linalg.det(self.cell_A))) if self.pbc.all() else None


def calculate_msd(
    trajectory_file: str | os.PathLike[str] | Iterable[FrameBlock],
    *,
    groups: Mapping[str, Sequence[int]] | None = None,
    reference: str | Sequence[str] = "all",
    start: int = 0,
    stop: int | None = None,
    hop_distance_A: float | None = None,
    type_names: Mapping[int, str] | None = None,
    memory_limit_MB: float = DEFAULT_MEMORY_LIMIT_MB,
    keep_sound: bool = False,
) -> MSDData:
    """Return the mean square displacements of a trajectory, by species and by group.

    Parameters
    ----------
    trajectory_file
        A file (HDF5 of this program, ASE .traj, extended XYZ, LAMMPS dump, VASP XDATCAR), or blocks of frames, e.g.
        `frames.ArrayFrames`.
    groups
        Further groups: indices of atoms by name.
    reference
        What displacements are relative to: ``"all"`` (centre of mass), ``"none"`` (the cell), or the species of a
        framework (its centre of mass).
    start, stop
        Frames to analyse; `start` leaves out the transient.
    hop_distance_A
        Distance that counts as a hop; otherwise half the distance to the nearest neighbour.
    type_names
        Names of the atom types of a LAMMPS dump without elements.
    memory_limit_MB
        Displacements beyond this size go to a scratch file.
    keep_sound
        A frame that cannot be used (cut off, other atoms, a jump of half a cell) ends the analysis instead of raising;
        it stands in `stopped_by`.

    Raises
    ------
    InvalidInputError
        The file is missing, of no known format, too short, unevenly spaced in time; or groups, reference or range do
        not fit it.
    BadFrameError
        A frame cannot be used, and `keep_sound` is not set.
    EnvironmentProblemError
        There is no room for the scratch file.
    """
    if isinstance(trajectory_file, (str, os.PathLike)):
        source = os.fspath(trajectory_file)
        blocks: Iterable[FrameBlock] = open_frames(source, type_names=type_names)
    else:
        source, blocks = "the trajectory", trajectory_file
    if start < 0 or (stop is not None and stop <= start):
        raise InvalidInputError(f"Frames {start} to {stop} are no range: give 0 <= start < stop.")
    iterator = frame_range(iter(blocks), start, stop)
    first = next(iterator, None)
    if first is None:
        raise InvalidInputError(f"{source} has no frame from number {start} on.")
    members = atom_groups(first.species, groups or {})
    weights, mass = reference_weights(first.species, reference, source)
    with AtomStore(len(first.species), memory_limit_MB) as store:
        run = read_displacements(source, first, iterator, start, weights, store, keep_sound)
        if store.n_frames < MIN_FRAMES:
            because = f" ({run.stopped_by})" if run.stopped_by else ""
            raise InvalidInputError(
                f"{source} has {store.n_frames} usable frames; a diffusion coefficient needs at least "
                f"{MIN_FRAMES}{because}."
            )
        return MSDData(
            source=source,
            species=first.species,
            groups=_measure(store, first, run, members, weights, hop_distance_A),
            n_frames=store.n_frames,
            n_atoms=store.n_atoms,
            time_step_fs=run.time_step_fs,
            cell_A=run.cell_A,
            pbc=first.pbc,
            reference=reference if isinstance(reference, str) else "-".join(reference),
            drift_A=run.drift_A,
            mass_amu=mass,
            stopped_by=run.stopped_by,
        )


def _measure(
    store: AtomStore,
    first: FrameBlock,
    run: DisplacementRun,
    members: Mapping[str, IntArray],
    weights: FloatArray | None,
    hop_distance_A: float | None,
) -> dict[str, GroupMSD]:
    neighbours, square = _crystal(store, first, run)
    typical = {name: float(np.median(neighbours[atoms])) for name, atoms in members.items()}
    distances = {name: hop_distance_A or _half(typical[name]) for name in members}
    tracers = {name: MSDAccumulator(store.n_frames) for name in members}
    sums = {name: np.zeros((3, store.n_frames)) for name in members}
    hops = dict.fromkeys(members, 0)
    size = max(1, int(_BLOCK_BYTES / (24 * store.n_frames)))
    for low in range(0, store.n_atoms, size):
        high = min(low + size, store.n_atoms)
        part = store.atoms(low, high)
        for name, atoms in members.items():
            inside = atoms[(atoms >= low) & (atoms < high)] - low
            if len(inside):
                chosen = part if len(inside) == high - low else part[inside]
                tracers[name].add(chosen)
                sums[name] += chosen.sum(axis=0)
                hops[name] += int(count_hops(chosen, distances[name]).sum())
    return {
        name: GroupMSD(
            name=name,
            atoms=atoms,
            tracer=tracers[name].curves(),
            collective=_collective(sums[name], atoms, weights),
            n_hops=hops[name],
            hop_distance_A=distances[name],
            neighbour_distance_A=typical[name],
            site_ratio=float(np.sqrt(square[atoms].mean()) / typical[name]) if 0 < typical[name] < np.inf else 0.0,
        )
        for name, atoms in members.items()
    }


def _collective(total_A: FloatArray, atoms: IntArray, weights: FloatArray | None) -> MSDCurves | None:
    if weights is not None:
        # atoms of one species weigh the same: their sum does not move when they are all of the reference
        inside = weights[atoms]
        if np.isclose(inside.sum(), 1.0) and np.allclose(inside, inside[0]):
            return None
    accumulator = MSDAccumulator(total_A.shape[1])
    accumulator.add(total_A[None] / np.sqrt(len(atoms)))
    return accumulator.curves()


def _crystal(store: AtomStore, first: FrameBlock, run: DisplacementRun) -> tuple[FloatArray, FloatArray]:
    """Distances to nearest neighbours (n,), mean square distances to sites at the end (n,)."""
    n = store.n_frames
    start = np.asarray(first.positions_A[0], dtype=float)
    # displacements live in the mean cell: bring the first frame there
    cell = run.cell_A
    if first.pbc.all():
        start = start @ np.linalg.inv(first.cells_A[0]) @ cell
    few = range(min(_SITE_FRAMES, n // 4))
    sites = start + np.mean([store.frame(k) for k in few], axis=0)
    neighbours = neighbour_distances(sites, cell, first.pbc)
    late = np.unique(np.linspace(2 * n // 3, n - 1, _SITE_SAMPLES).astype(int))
    square = np.zeros(store.n_atoms)
    for k in late:
        square += square_distances_from_sites((start + store.frame(int(k)))[None], sites, cell, first.pbc)[0]
    return neighbours, square / len(late)


def _half(distance_A: float) -> float:
    return 0.5 * distance_A if 0 < distance_A < np.inf else 1.0
