"""Rules for the electrons: k-points, smearing, spin."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from mlip_autopipe.schemas.config import Goal
from mlip_autopipe.schemas.system import Reason

if TYPE_CHECKING:
    from pymatgen.core import Element, Structure

    from mlip_autopipe.reference.base import ElectronicStructure

K_SPACING_PER_A: dict[bool, dict[Goal, float]] = {
    True: {"elastic": 0.15},
    False: {"elastic": 0.35},
}
"""Largest spacing of k-points in 1/A (with the 2 pi), by is_metal and goal.

0.35 gives silicon (primitive, a = 5.43 A) 6x6x6, which reproduces its published PBE constants within 0.2 GPa;
0.15 gives aluminium (primitive fcc, a = 4.05 A) 18x18x18: with 0.3 eV of smearing its constants are within 4 % of those
of 20x20x20 (measured: docs/benchmarks.md).
"""

DEFAULT_K_SPACING_PER_A: dict[bool, float] = {True: 0.22, False: 0.40}
"""Spacing for goals that compare energies and forces, not derivatives of the stress."""

SMEARING_EV = 0.1
"""Width of the Fermi-Dirac occupation function of a metal."""

SIMPLE_METAL_ELASTIC_SMEARING_EV = 0.3
"""Of a metal without open d or f shells when derivatives of the stress are asked for.

Its few, steep bands make C44 of aluminium swing by 50 GPa from mesh to mesh at 0.1 eV, by 1 GPa at 0.3 eV (measured:
docs/benchmarks.md). Open shells have many bands at the Fermi level, and moments that wide smearing would quench.
"""

_ROUNDING = 1e-6
_DIGITS = 6
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
    structure: Structure,
    goal: Goal,
    *,
    is_metal: bool,
    is_magnetic: bool,
    magnetic_reason: Reason,
    several_cells: bool = False,
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
    several_cells
        Whether cells of several sizes are labelled: then the spacing of k-points is fixed instead of their number.
    """
    from mlip_autopipe.reference.base import ElectronicStructure, KPointSpacing

    spacing = k_point_spacing(goal, is_metal=is_metal)
    kind = "a metal" if is_metal else "an insulator"
    smearing, smearing_reason = _smearing(structure, goal, is_metal=is_metal)
    mesh = kpoint_mesh(structure, spacing)
    reason = f"Gamma-centred, at most {spacing:g} 1/A apart (2 pi included), for {kind} and goal {goal}"
    k_spacing: KPointSpacing | None = None
    if several_cells:
        even = commensurate_spacing(structure, mesh)
        mesh = kpoint_mesh(structure, even)
        lengths = [round(float(b), _DIGITS) for b in structure.lattice.reciprocal_lattice.abc]
        k_spacing = KPointSpacing(even, len(structure), lengths)
        reason = (
            f"at most {even:.4g} 1/A apart in every cell: {'x'.join(map(str, mesh))} in the primitive one ({spacing:g} "
            f"1/A or less, for {kind} and goal {goal}), strained or not, and as dense in supercells"
        )
    return ElectronicStructure(
        kpts=mesh,
        kpts_reason=Reason(reason=reason, source=GAMMA_SOURCE),
        smearing_eV=smearing,
        smearing_reason=smearing_reason,
        spin_polarised=is_magnetic,
        spin_reason=magnetic_reason,
        initial_magmoms=[float(m) for m in structure.site_properties["magmom"]] if is_magnetic else None,
        is_metal=is_metal,
        elements=list(dict.fromkeys(site.specie.symbol for site in structure)),
        k_spacing=k_spacing,
    )


def commensurate_spacing(structure: Structure, mesh: tuple[int, int, int]) -> float:
    """Return a spacing that gives at least this mesh, and half of its points or more in a cell twice as long.

    The number of points is rounded up. A spacing at the edge would give cells that differ by next to nothing meshes of
    two kinds, and their energies a step; this one lies half a point inside, for the axis that needs the smallest.
    """
    lengths = [float(b) for b in structure.lattice.reciprocal_lattice.abc]
    spacing = min(length / (n - 0.5 if n > 1 else 0.9) for length, n in zip(lengths, mesh, strict=True))
    return round(spacing, _DIGITS)  # the last bits, which differ from machine to machine, must not name the settings


def _smearing(structure: Structure, goal: Goal, *, is_metal: bool) -> tuple[float, Reason]:
    if not is_metal:
        return 0.0, Reason(reason="an insulator needs none", source=SMEARING_SOURCE)
    open_shells = list(dict.fromkeys(e.symbol for e in structure.elements if _has_open_shell(e)))
    if open_shells or goal != "elastic":
        why = f"open d or f shells of {', '.join(open_shells)}" if open_shells else f"goal {goal}"
        return SMEARING_EV, Reason(
            reason=f"{SMEARING_EV:g} eV: bands of a metal are partly filled; {why}", source=SMEARING_SOURCE
        )
    width = SIMPLE_METAL_ELASTIC_SMEARING_EV
    return width, Reason(
        reason=f"{width:g} eV: a simple metal whose elastic constants swing from mesh to mesh with less",
        source="measured: docs/benchmarks.md",
    )


def _has_open_shell(element: Element) -> bool:
    """Whether d or f states are partly filled in the metal: groups 3 to 10, lanthanides and actinides."""
    return bool(element.is_lanthanoid or element.is_actinoid or (element.is_transition_metal and element.group <= 10))
