"""Cells as series: strains that a crystal's symmetry allows, and lattice parameters.

Cells hold the lattice vectors in rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.symmetry import VOIGT_PAIRS, FloatArray, invariant_stress_basis
from mlip_autopipe.errors import AnalysisError

PARAMETER_NAMES: Final = ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")
"""Lengths in A and angles in degrees, in the order of `lattice_parameters`."""

_STEP = 1e-6
_DEPENDENT = 1e-6
# Common denominator of the coordinates that lattice points have in cells of up to six primitive ones.
_DENOMINATOR = 60


def lattice_parameters(metrics: ArrayLike) -> FloatArray:
    """Return (..., 6) lengths and angles (A, degrees) of (..., 3, 3) metric tensors ``cell @ cell.T`` in A^2."""
    g = np.asarray(metrics, dtype=float)
    lengths = np.sqrt(np.diagonal(g, axis1=-2, axis2=-1))
    cosines = [g[..., i, j] / (lengths[..., i] * lengths[..., j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    angles = np.degrees(np.arccos(np.clip(np.stack(cosines, axis=-1), -1, 1)))
    return np.concatenate([lengths, angles], axis=-1)


def strain_basis(rotations: ArrayLike | None) -> FloatArray:
    """Return (k, 3, 3) symmetric tensors, orthonormal, that span the strains which keep the symmetry.

    k is 1 for cubic, 2 for hexagonal, tetragonal and trigonal, 3 for orthorhombic, 4 for monoclinic and 6 for
    triclinic crystals.

    Parameters
    ----------
    rotations
        (m, 3, 3) Cartesian operations of the point group; None: no symmetry.
    """
    voigt = invariant_stress_basis(np.eye(3)[None] if rotations is None else rotations)
    tensors = np.empty((len(voigt), 3, 3))
    for k, (i, j) in enumerate(VOIGT_PAIRS):
        tensors[:, i, j] = tensors[:, j, i] = voigt[:, k]
    return tensors


def symmetric_strains(cells_A: ArrayLike, reference_cell_A: ArrayLike, basis: ArrayLike) -> FloatArray:
    """Return (k, n) Green-Lagrange strains of cells, averaged over the crystal's operations.

    Parameters
    ----------
    cells_A
        (n, 3, 3).
    reference_cell_A
        (3, 3) the same cell of the unstrained crystal, which has the full symmetry.
    basis
        (k, 3, 3) of `strain_basis`.
    """
    gradient = np.linalg.solve(np.asarray(reference_cell_A, dtype=float), np.asarray(cells_A, dtype=float))
    green = (gradient @ gradient.transpose(0, 2, 1) - np.eye(3)) / 2
    strains: FloatArray = np.einsum("kij,nij->kn", np.asarray(basis), green)
    return strains


def strained_parameters(cell_A: ArrayLike, basis: ArrayLike, strains: ArrayLike) -> FloatArray:
    """Return (6, n) lattice parameters of a (3, 3) unstrained cell under (k, n) symmetric strains."""
    cell = np.asarray(cell_A, dtype=float)
    tensors = np.einsum("kn,kij->nij", np.asarray(strains, dtype=float), np.asarray(basis, dtype=float))
    return lattice_parameters(cell @ (np.eye(3) + 2 * tensors) @ cell.T).T


def free_parameters(cell_A: ArrayLike, basis: ArrayLike) -> tuple[str, ...]:
    """Name the lattice parameters that the symmetry leaves free, e.g. a_A and c_A of a hexagonal cell.

    Parameters
    ----------
    cell_A
        (3, 3) of the unstrained crystal.
    basis
        (k, 3, 3) of `strain_basis`.

    Raises
    ------
    AnalysisError
        When the operations are no symmetry of the cell: the parameters do not determine the symmetric strains.
    """
    k = len(np.asarray(basis))
    steps = _STEP * np.eye(k)
    up, down = (strained_parameters(cell_A, basis, sign * steps) for sign in (1, -1))
    gradients = (up - down) / (2 * _STEP)
    gradients[3:] = np.radians(gradients[3:])
    gradients[:3] /= np.linalg.norm(np.asarray(cell_A, dtype=float), axis=1)[:, None]
    chosen: list[int] = []
    for row in range(6):
        singular = np.linalg.svd(gradients[[*chosen, row]], compute_uv=False)
        if len(singular) > len(chosen) and singular[-1] > _DEPENDENT:
            chosen.append(row)
    if len(chosen) != k:
        raise AnalysisError(
            "The lattice parameters do not determine the strains that the symmetry allows: the rotations must be "
            "Cartesian operations in the orientation of the cell."
        )
    return tuple(PARAMETER_NAMES[row] for row in chosen)


def check_symmetry(cell_A: ArrayLike, rotations: ArrayLike, tolerance: float = 1e-3) -> None:
    """Raise `AnalysisError` unless every Cartesian operation is one of the lattice of a (3, 3) cell.

    The cell need not be primitive (an orthorhombic cell of a hexagonal crystal is not): its vectors are mapped to
    rational combinations of each other.
    """
    cell = np.asarray(cell_A, dtype=float)
    turned = cell @ np.asarray(rotations, dtype=float).transpose(0, 2, 1) @ np.linalg.inv(cell)
    deviation = float(np.abs(turned - np.round(_DENOMINATOR * turned) / _DENOMINATOR).max())
    if deviation > tolerance:
        raise AnalysisError(
            f"The rotations are no operations of the lattice (off by {deviation:.2g} lattice vectors): they must "
            "belong to the unstrained crystal in the orientation of reference_cell_A; check repetitions, too."
        )
