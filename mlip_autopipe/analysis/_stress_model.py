"""What the stresses of strained cells hold besides linear elasticity, for `analysis.elastic`."""

from __future__ import annotations

import numpy as np

from mlip_autopipe.analysis import _least_squares as lsq
from mlip_autopipe.analysis.symmetry import FloatArray, invariant_stress_basis, stabilisers

# Scatter of components that symmetry forbids counts as "made zero by the code" below this part of the rest.
_SILENT = 0.1
_NUMERICAL_ZERO = 1e-6


def nuisance_terms(strains: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Columns (n, 6, q) of even and of third order in the strain, for the directions measured at both signs.

    The third-order columns exist only where a direction has two amplitudes: with one they equal the linear
    response.
    """
    even: list[FloatArray] = []
    odd: list[FloatArray] = []
    for members, amplitudes in _directions(strains):
        if amplitudes.min() > 0 or amplitudes.max() < 0:
            continue
        scale = np.abs(amplitudes).max()
        profile = np.zeros((len(strains), 1, 1))
        profile[members, 0, 0] = amplitudes / scale
        even.append(profile**2 * np.eye(6))
        if np.ptp(np.abs(amplitudes)) > 0.05 * scale:
            odd.append(profile**3 * np.eye(6))
    empty = np.zeros((len(strains), 6, 0))
    return np.concatenate([empty, *even], axis=2), np.concatenate([empty, *odd], axis=2)


def _directions(strains: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Group parallel strains: indices and signed amplitudes of each direction, unstrained cells left out."""
    norms = np.linalg.norm(strains, axis=1)
    left = [int(i) for i in np.flatnonzero(norms > 1e-9)]
    groups = []
    while left:
        unit = strains[left[0]] / norms[left[0]]
        members = np.array([i for i in left if abs(strains[i] @ unit) > (1 - 1e-8) * norms[i]])
        groups.append((members, strains[members] @ unit))
        left = [i for i in left if i not in set(members.tolist())]
    return groups


def allowed_stresses(strains: FloatArray, rotations: FloatArray) -> FloatArray:
    """Projectors (n, 6, 6) on the stress components that the symmetry left by each strain allows."""
    projectors = np.empty((len(strains), 6, 6))
    for k, kept in enumerate(stabilisers(strains, rotations)):
        orthonormal, _ = np.linalg.qr(invariant_stress_basis(rotations[kept]).T)
        projectors[k] = orthonormal @ orthonormal.T
    return projectors


def symmetrised(strains: FloatArray, stresses: FloatArray, design: FloatArray, rotations: FloatArray) -> bool:
    """Tell whether the code that made the stresses symmetrised them.

    Then the components that the symmetry of a strained cell forbids are zero by construction; they say
    nothing about the noise and must not count as degrees of freedom.
    """
    even, _ = nuisance_terms(strains)
    # A constant of its own for each direction: a shared one would carry scatter from one direction to
    # another.
    own = [np.zeros((len(strains), 6, 0))]
    for members, _ in _directions(strains):
        indicator = np.zeros((len(strains), 1, 1))
        indicator[members] = 1.0
        own.append(indicator * np.eye(6))
    nuisance = np.concatenate([*own, even], axis=2)
    solution = lsq.solve(np.tile(np.eye(6), (len(strains), 1, 1)), design, nuisance, stresses)
    if solution is None:
        return False
    residual = solution.residual.reshape(-1, 6)
    inside = np.einsum("nij,nj->ni", allowed_stresses(strains, rotations), residual)
    forbidden = float(np.linalg.norm(residual - inside))
    limit = max(_SILENT * np.linalg.norm(inside), _NUMERICAL_ZERO * np.linalg.norm(stresses))
    return forbidden < float(limit)
