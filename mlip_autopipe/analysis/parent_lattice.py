"""Tell structures that still sit on their parent lattice from those that became another one or fell apart.

A cluster expansion speaks of decorations of one lattice. Structures that left it during relaxation must not be fitted
(doi:10.1103/PhysRevB.96.014107).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.analysis.cell_mapping import map_onto, reduced_cell
from mlip_autopipe.analysis.common_neighbours import surroundings
from mlip_autopipe.analysis.sites import neighbour_distances

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.analysis.symmetry import FloatArray

BAIN: Final = np.log(2) / 6 * np.array([1.0, 1.0, -2.0])
"""Logarithmic strains along the cube axes that make bcc of fcc at the same volume (Bain, Trans. AIME 70, 25 (1924));
their negatives make fcc of bcc."""

_LATTICES: Final = {"fcc": (225, 1), "bcc": (229, 1), "hcp": (194, 2)}
# space group and atoms of the primitive cell
_IDEAL: Final = 1e-3


@dataclass(frozen=True)
class ParentThresholds:
    """What a structure may do and still be the one that it was.

    Displacement, anisotropic and volumetric strain are the levels at which icet warns when it maps relaxed structures
    onto their lattice (``map_structure_to_reference`` of version 4, doi:10.1002/adts.201900015).

    Attributes
    ----------
    displacement
        Largest, in nearest-neighbour distances of the ideal lattice.
    anisotropic_strain
        Difference between the largest and the smallest principal logarithmic strain. The Bain path is half way at 0.17.
    free_strain
        The same for structures without a parent, whose axial ratios are free; no source.
    volumetric_strain
        Relative change of volume in either direction.
    isolation
        An atom without a neighbour within this many nearest-neighbour distances is isolated: in fcc the second shell is
        at 1.41, so it has lost both shells.
    volume_growth
        Relative; beyond it the crystal has fallen apart. No source, but far above what a wrong guess of the size of
        metals explains.
    """

    displacement: float = 0.3
    anisotropic_strain: float = 0.1
    free_strain: float = 0.25
    volumetric_strain: float = 0.25
    isolation: float = 1.5
    volume_growth: float = 0.4


@dataclass(frozen=True)
class ParentVerdict:
    """What became of a structure.

    Attributes
    ----------
    intact
        Whether it is still the structure that it was; with a parent, whether it may enter a cluster expansion of it.
    dissociated
        Whether it fell apart.
    parent
        Lattice that the ideal structure decorates: fcc, bcc, hcp or None.
    became
        Other lattice that it turned into; None: none of these.
    reason
        One sentence.
    largest_displacement, rms_displacement
        From the sites, without strain and translation, in nearest-neighbour distances; infinite: not mapped.
    anisotropic_strain
        As in `ParentThresholds`; infinite: not mapped.
    volumetric_strain
        Relative change of volume.
    bain_path
        Of fcc and bcc parents: how far it went along the nearest Bain path to the other; 0 is the parent, 1 the other.
    """

    intact: bool
    dissociated: bool
    parent: str | None
    became: str | None
    reason: str
    largest_displacement: float
    rms_displacement: float
    anisotropic_strain: float
    volumetric_strain: float
    bain_path: float | None


def judge_relaxation(ideal: Atoms, relaxed: Atoms, thresholds: ParentThresholds | None = None) -> ParentVerdict:
    """Tell whether a relaxed structure is still the decoration that it was.

    The answer does not depend on orientation, origin, order of equal atoms or choice of the cell vectors.

    Parameters
    ----------
    ideal
        Cell before relaxation. Its parent is found by leaving the elements out of account; a structure without one is
        compared with itself.
    relaxed
        The same atoms after it.
    thresholds
        Those of `ParentThresholds` when None.

    Raises
    ------
    InvalidInputError
        The cells hold different atoms.
    """
    limits = thresholds or ParentThresholds()
    parent, axes = parent_of(ideal)
    mapping = map_onto(ideal, relaxed)
    growth = float(relaxed.get_volume() / ideal.get_volume()) - 1
    displacement = rms = anisotropy = float("inf")
    along: float | None = None
    if mapping is not None:
        strain = mapping.logarithmic_strain
        displacement, rms = mapping.largest_displacement, mapping.rms_displacement
        anisotropy = float(np.ptp(np.linalg.eigvalsh(strain)))
        along = bain_path(strain, axes, parent) if parent in ("fcc", "bcc") else None
    apart = _signs_of_dissociation(ideal, relaxed, growth, limits)
    became = None if parent is None or apart else _other_lattice(relaxed, parent, along)
    faults = []
    if became is not None:
        faults.append(f"it turned from {parent} into {became}")
    if mapping is None:
        faults.append("its cell cannot be mapped onto the ideal one")
    elif displacement > limits.displacement:
        faults.append(f"an atom is {displacement:.2f} nearest-neighbour distances away from its site")
    strained = anisotropy > (limits.free_strain if parent is None else limits.anisotropic_strain)
    if mapping is not None and strained:
        faults.append(f"its shape changed by {100 * anisotropy:.0f} %")
    if abs(growth) > limits.volumetric_strain:
        faults.append(f"its volume changed by {100 * growth:+.0f} %")
    if apart:
        reason = f"It fell apart: {' and '.join(apart)}."
    elif faults:
        left = "left" if became or not displacement <= limits.displacement else "is strained too far from"
        reason = f"It {left} its {'structure' if parent is None else f'{parent} lattice'}: {', '.join(faults)}."
    else:
        reason = (
            f"Every atom sits within {displacement:.2f} nearest-neighbour distances of its site, in a cell whose shape "
            f"changed by {100 * anisotropy:.1f} % and whose volume changed by {100 * growth:+.1f} %."
        )
    return ParentVerdict(
        intact=not (apart or faults),
        dissociated=bool(apart),
        parent=parent,
        became=became,
        reason=reason,
        largest_displacement=displacement,
        rms_displacement=rms,
        anisotropic_strain=anisotropy,
        volumetric_strain=growth,
        bain_path=along,
    )


def parent_of(ideal: Atoms) -> tuple[str | None, FloatArray]:
    """Find the lattice that an unrelaxed structure decorates, without regard to elements.

    Returns
    -------
    parent
        fcc, bcc, hcp or None.
    axes
        (3, 3) unit vectors, in rows, along those of its conventional cell.
    """
    import spglib

    length = (ideal.get_volume() / len(ideal)) ** (1 / 3)
    bare = (ideal.cell.array, ideal.get_scaled_positions(), np.ones(len(ideal), dtype=int))
    try:
        found = spglib.get_symmetry_dataset(bare, symprec=_IDEAL * length)
    except spglib.SpglibError:
        found = None
    if found is None:
        return None, np.eye(3)
    axes = found.std_lattice @ found.std_rotation_matrix
    kind = (int(found.number), len(np.unique(found.mapping_to_primitive)))
    parent = next((name for name, symmetry in _LATTICES.items() if symmetry == kind), None)
    return parent, np.asarray(axes / np.linalg.norm(axes, axis=1, keepdims=True))


def bain_path(logarithmic_strain: FloatArray, axes: FloatArray, parent: str | None) -> float:
    """Return how far a crystal went from fcc to bcc or back: 0 unstrained, 1 the ideal other lattice.

    Parameters
    ----------
    logarithmic_strain
        (3, 3) Hencky strain.
    axes
        (3, 3) unit vectors of the parent's cube in rows.
    parent
        fcc or bcc.

    Returns
    -------
    float
        The largest of the three projections of the strain on the Bain strains along the cube axes.
    """
    along = np.einsum("ij,jk,ik->i", axes, logarithmic_strain, axes)
    target = BAIN if parent == "fcc" else -BAIN
    return float(max(along @ np.roll(target, shift) for shift in range(3)) / (target @ target))


def _signs_of_dissociation(ideal: Atoms, relaxed: Atoms, growth: float, limits: ParentThresholds) -> list[str]:
    isolated = int((_distances(relaxed) > limits.isolation * _distances(ideal).max()).sum())
    apart = []
    if isolated:
        apart.append(
            f"{isolated} of {len(relaxed)} atoms have no neighbour within {limits.isolation:g} times the distance of "
            "nearest neighbours"
        )
    if growth > limits.volume_growth:
        apart.append(f"the volume grew by {100 * growth:.0f} %")
    return apart


def _other_lattice(relaxed: Atoms, parent: str, along: float | None) -> str | None:
    """Return the lattice that most atoms have the surroundings of, or the nearer end of the Bain path."""
    kind, count = Counter(surroundings(relaxed)).most_common(1)[0]
    if kind in _LATTICES and kind != parent and 2 * count > len(relaxed):
        return kind
    if along is not None and along > 0.5:
        return "bcc" if parent == "fcc" else "fcc"
    return None


def _distances(atoms: Atoms) -> FloatArray:
    """Return the (n,) distances to the nearest neighbours in A."""
    # images beyond the next are not looked at, which only a reduced cell allows
    cell, fractional = reduced_cell(atoms)
    return neighbour_distances(fractional @ cell, cell, np.array([True, True, True]))
