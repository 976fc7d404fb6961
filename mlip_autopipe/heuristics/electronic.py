"""Rules for the electrons: k-points, smearing, spin."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from mlip_autopipe.schemas.config import Goal
from mlip_autopipe.schemas.system import Reason

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from mlip_autopipe.reference.base import ElectronicStructure

K_SPACING_PER_A: dict[bool, dict[Goal, float]] = {
    True: {"elastic": 0.17},
    False: {"elastic": 0.35},
}
"""Largest spacing of k-points in 1/A (with the 2 pi), by is_metal and goal.

0.35 gives silicon (primitive, a = 5.43 A) 6x6x6, which reproduces its published PBE constants within 0.2 GPa;
0.17 gives aluminium (primitive fcc) 16x16x16.
"""

DEFAULT_K_SPACING_PER_A: dict[bool, float] = {True: 0.22, False: 0.40}
"""Spacing for goals that compare energies and forces, not derivatives of the stress."""

SMEARING_EV: dict[bool, float] = {True: 0.1, False: 0.0}
"""Width of the occupation function in eV, by is_metal."""

_ROUNDING = 1e-6
GAMMA_SOURCE = "Monkhorst and Pack, doi:10.1103/PhysRevB.13.5188; Gamma-centred to keep the crystal's symmetry"
SMEARING_SOURCE = "Fermi surfaces need smeared occupations: Mermin, doi:10.1103/PhysRev.137.A1441"


def k_point_spacing(goal: Goal, *, is_metal: bool) -> float:
    """Return the largest allowed spacing of k-points in 1/A (2 pi included)."""
    return K_SPACING_PER_A[is_metal].get(goal, DEFAULT_K_SPACING_PER_A[is_metal])


def kpoint_mesh(structure: Structure, spacing_per_A: float) -> tuple[int, int, int]:
    """Return the Gamma-centred mesh max(1, ceil(|b_i| / spacing)), b_i with the factor 2 pi.

    Parameters
    ----------
    structure
        The cell that is computed.
    spacing_per_A
        Largest distance of neighbouring k-points along each reciprocal vector, 1/A.
    """
    lengths = [float(b) for b in structure.lattice.reciprocal_lattice.abc]
    # symmetry-equivalent axes must not get different counts because of the last bit
    n1, n2, n3 = (max(1, ceil(length / spacing_per_A - _ROUNDING)) for length in lengths)
    return n1, n2, n3


def choose_electronic(
    structure: Structure, goal: Goal, *, is_metal: bool, is_magnetic: bool, magnetic_reason: Reason
) -> ElectronicStructure:
    """Choose k-points, smearing and spin for a structure.

    Parameters
    ----------
    structure
        Primitive start structure; magnetic ones carry ``magmom`` (Bohr magnetons).
    goal
        Elastic constants need denser meshes than energies.
    is_metal, is_magnetic
        As classified, or as set by the user.
    magnetic_reason
        Why the material is (not) magnetic.
    """
    from mlip_autopipe.reference.base import ElectronicStructure

    spacing = k_point_spacing(goal, is_metal=is_metal)
    kind = "a metal" if is_metal else "an insulator"
    smearing = SMEARING_EV[is_metal]
    return ElectronicStructure(
        kpts=kpoint_mesh(structure, spacing),
        kpts_reason=Reason(
            reason=f"Gamma-centred, at most {spacing:g} 1/A apart (2 pi included), for {kind} and goal {goal}",
            source=GAMMA_SOURCE,
        ),
        smearing_eV=smearing,
        smearing_reason=Reason(
            reason=f"{smearing:g} eV: bands of a metal are partly filled" if is_metal else "an insulator needs none",
            source=SMEARING_SOURCE,
        ),
        spin_polarised=is_magnetic,
        spin_reason=magnetic_reason,
        initial_magmoms=[float(m) for m in structure.site_properties["magmom"]] if is_magnetic else None,
        is_metal=is_metal,
        elements=list(dict.fromkeys(site.specie.symbol for site in structure)),
    )
