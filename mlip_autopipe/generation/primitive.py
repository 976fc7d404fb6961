"""Reduce a crystal to its primitive cell without turning it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAGMOM_DECIMALS = 2
"""Moments that agree to this many decimals (Bohr magnetons) count as the same kind of atom."""


def primitive_cell(structure: Structure, tolerance_A: float = 1e-3) -> Structure:
    """Return the smallest cell that repeats to the same crystal, in the same Cartesian orientation.

    Atoms of one element with different ``magmom`` stay different, so an antiferromagnetic cell is not reduced to
    a ferromagnetic one.

    Parameters
    ----------
    structure
        The crystal; with or without the site property ``magmom``.
    tolerance_A
        Distance in Angstrom within which atoms count as translated copies.

    Returns
    -------
    Structure
        The structure itself when it is primitive (or no symmetry is found), else a new, smaller one.
    """
    import spglib
    from pymatgen.core import Structure

    magmoms = structure.site_properties.get("magmom")
    moments = [0.0] * len(structure) if magmoms is None else [round(float(m), MAGMOM_DECIMALS) for m in magmoms]
    kinds: list[tuple[str, float]] = []
    numbers = []
    for site, moment in zip(structure, moments, strict=True):
        kind = (site.specie.symbol, moment)
        if kind not in kinds:
            kinds.append(kind)
        numbers.append(kinds.index(kind) + 1)
    cell = (structure.lattice.matrix, structure.frac_coords, numbers)
    try:
        # no_idealize: new vectors are combinations of the old ones, nothing is rotated
        found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=tolerance_A)
    except spglib.SpglibError:
        found = None
    if found is None or len(found[2]) >= len(structure):
        return structure
    lattice, positions, labels = (np.asarray(part) for part in found)
    # spglib sorts by kind; its order is ours because kinds are numbered in order of appearance
    return Structure(
        lattice,
        [kinds[label - 1][0] for label in labels],
        positions,
        site_properties=None if magmoms is None else {"magmom": [kinds[label - 1][1] for label in labels]},
    )
