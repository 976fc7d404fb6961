"""How much order of known kinds a decoration of a supercell has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.lattice_decoration import LatticeDecoration, variants
from mlip_autopipe.analysis.symmetry import FloatArray

if TYPE_CHECKING:
    from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian

ORDERED: Final = 0.45
"""A decoration this similar to an ordered structure counts as that phase; random ones of 200 sites reach 0.25."""


class OrderOverlaps:
    """Similarity of decorations with ordered structures.

    The overlap with a structure is the cosine between the two deviations from the mean composition, as vectors over
    all sites and species, largest over all images of the structure under the symmetry of the parent: 1 in the
    structure, about the square root of 2 ln(images) / sites in random decorations.

    Parameters
    ----------
    hamiltonian
        Its supercell.
    states
        Ordered structures that fit into it, none of them pure.
    """

    def __init__(self, hamiltonian: LatticeHamiltonian, states: Sequence[LatticeDecoration]) -> None:
        self._m = hamiltonian.n_elements
        self.names = tuple(state.name for state in states)
        self._images = [
            self._deviations(variants(state, hamiltonian.parent, hamiltonian.supercell)) for state in states
        ]

    def of(self, decorations: ArrayLike) -> FloatArray:
        """Return overlaps (..., states) of decorations (..., n)."""
        return self._each(decorations, lambda cosines: cosines.max(axis=1))

    def squares(self, decorations: ArrayLike) -> FloatArray:
        """Return sums of the squared cosines with all images (..., states): invariant under the symmetry."""
        return self._each(decorations, lambda cosines: (cosines**2).sum(axis=1))

    def _each(self, decorations: ArrayLike, reduce: Callable[[FloatArray], FloatArray]) -> FloatArray:
        array = np.asarray(decorations)
        flat = self._deviations(array.reshape(-1, array.shape[-1]))
        found = np.array([reduce(flat @ images.T) for images in self._images]).reshape(len(self.names), -1)
        return np.asarray(found.T.reshape(*array.shape[:-1], len(self.names)))

    def _deviations(self, decorations: ArrayLike) -> FloatArray:
        """Return unit vectors (k, n m); zero for pure elements."""
        array = np.asarray(decorations)
        hot = (array[:, None] == np.arange(self._m)[:, None]).astype(float)
        hot -= hot.mean(axis=-1, keepdims=True)
        flat = hot.reshape(len(array), -1)
        length = np.linalg.norm(flat, axis=1, keepdims=True)
        return np.asarray(flat / np.where(length > 0, length, 1.0))
