"""Cluster spaces of icet on a parent lattice, and the correlations of decorations and random alloys in them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Final

import numpy as np

from mlip_autopipe.analysis._expansion_fit import Correlations, penalties
from mlip_autopipe.analysis.lattice_decoration import LatticeDecoration, ParentLattice
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import EnvironmentProblemError

# Cut-offs of pairs, triplets and quadruplets by the number of the neighbour shell that they include.
_LADDER: Final = ((1,), (2,), (3,), (3, 1), (4, 1), (4, 2), (4, 1, 1), (5, 2, 1), (6, 2, 1), (6, 3, 1), (8, 3, 1))
_SHELLS: Final = max(step[0] for step in _LADDER)
_PARAMETERS_PER_STRUCTURE: Final = 0.7
# Distances within this part of each other are one shell: those of hcp split where c/a is not ideal.
_SAME_SHELL: Final = (0.05, 0.02, 0.01, 1e-3)


def cluster_space(parent: ParentLattice, elements: Sequence[str], cutoffs_A: Sequence[float]) -> Any:
    """Return icet's space.

    Raises
    ------
    EnvironmentProblemError
        icet is not installed.
    """
    from ase import Atoms

    try:
        from icet import ClusterSpace
    except ModuleNotFoundError:
        raise EnvironmentProblemError("cluster expansions need icet: pip install 'mlip-autopipe[alloys]'") from None
    primitive = Atoms("H" * parent.n_basis, scaled_positions=parent.basis, cell=parent.cell_A, pbc=True)
    return ClusterSpace(primitive, [float(c) for c in cutoffs_A], list(elements))


def cluster_vectors(
    space: Any, decorations: Sequence[LatticeDecoration], parent: ParentLattice, elements: Sequence[str]
) -> FloatArray:
    """Return the cluster vectors (n, k) of decorations."""
    from ase import Atoms

    rows = []
    for decoration in decorations:
        positions = parent.positions_A(np.array(decoration.vectors), np.array(decoration.basis))
        cell = np.array(decoration.matrix) @ parent.cell_A
        atoms = Atoms([elements[k] for k in decoration.species], positions, cell=cell, pbc=True)
        rows.append(np.asarray(space.get_cluster_vector(atoms)))
    return np.array(rows)


def random_correlations(space: Any, fractions: FloatArray, elements: Sequence[str]) -> FloatArray:
    """Return the cluster vectors (n, k) of infinite random alloys: products of means over one site."""
    from ase.data import atomic_numbers

    m = len(elements)
    # icet numbers species by atomic number
    order = sorted(range(m), key=lambda k: atomic_numbers[elements[k]])
    functions = [[space.evaluate_cluster_function(m, f, s) for s in range(m)] for f in range(m - 1)]
    means = fractions[:, order] @ np.array(functions).T
    columns = [np.prod(means[:, orbit["multicomponent_vector"]], axis=1) for orbit in space.as_list if orbit["order"]]
    return np.column_stack([np.ones(len(fractions)), *columns])


def ladder(
    parent: ParentLattice, elements: Sequence[str], decorations: Sequence[LatticeDecoration], n_alloys: int
) -> tuple[list[Any], list[Correlations]]:
    """Return cluster spaces from small to large, and in them the correlations of all decorations.

    Spaces of more parameters than `n_alloys` structures can tell are left out, except for the smallest.
    """
    ends = _ends(parent)
    fractions = np.array([d.fractions(len(elements)) for d in decorations])
    spaces: list[Any] = []
    found: list[Correlations] = []
    for step in _LADDER:
        space = cluster_space(parent, elements, [ends[shell - 1] for shell in step])
        orders = np.array([orbit["order"] for orbit in space.as_list])
        large = orders >= 2
        if spaces and large.sum() > _PARAMETERS_PER_STRUCTURE * n_alloys:
            continue
        radii = np.array([orbit["radius"] for orbit in space.as_list], dtype=float)
        values = cluster_vectors(space, decorations, parent, elements)
        values -= fractions @ random_correlations(space, np.eye(len(elements)), elements)
        spaces.append(space)
        found.append(Correlations(values[:, large], penalties(orders[large], radii[large]), orders[large]))
    return spaces, found


def _ends(parent: ParentLattice) -> list[float]:
    """Return for every shell a distance between it and the next one, Angstrom."""
    shifts = np.array(list(product(range(-4, 5), repeat=3)))
    apart = (parent.basis[:, None] - parent.basis[0] + shifts) @ parent.cell_A
    lengths = np.sort(np.linalg.norm(apart, axis=-1).ravel())[1:]
    # far shells of hcp lie so near each other that all of them would be one
    for same in _SAME_SHELL:
        last = np.flatnonzero(np.diff(lengths) > same * lengths[:-1])[:_SHELLS]
        if len(last) == _SHELLS:
            break
    return [float((lengths[k] + lengths[k + 1]) / 2) for k in last]
