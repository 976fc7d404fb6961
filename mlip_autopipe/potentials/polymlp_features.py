"""pypolymlp's invariant polynomial features: sets of growing size, and their rows for energy, forces and stress.

The features: A. Seko, doi:10.1063/5.0129045; the code is pypolymlp, https://github.com/sekocha/pypolymlp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]

# pypolymlp: minus stress times volume in the order xx yy zz xy yz zx; ASE: xx yy zz yz xz xy
ASE_VOIGT: Final = [0, 1, 2, 4, 5, 3]

_ROWS_AT_ONCE = 4000
_STRUCTURES_AT_ONCE = 500


@dataclass(frozen=True)
class FeatureSet:
    """A set of polynomial features.

    Attributes
    ----------
    name
        What reports call it.
    kind
        ``pair``: of distances only; ``gtinv``: with angles.
    model_type
        pypolymlp's: 2 polynomials of all invariants, 3 polynomials of pair invariants plus the others linearly,
        4 as 3 with second-order invariants in the polynomials.
    order
        Of the polynomials.
    radial
        Number of Gaussians along the distance.
    angular
        Largest angular momenta of the invariants of order 2, 3, ...
    cutoff_A
        Radius of the neighbourhood.
    sharpness_per_A2
        Exponent of the Gaussians: the larger, the finer the details along the distance that they resolve.
    """

    name: str
    kind: Literal["pair", "gtinv"]
    model_type: Literal[1, 2, 3, 4]
    order: Literal[1, 2, 3]
    radial: int
    angular: tuple[int, ...] = ()
    cutoff_A: float = 6.0
    sharpness_per_A2: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return JSON data."""
        return asdict(self) | {"angular": list(self.angular)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FeatureSet:
        """Return the set of `as_dict`."""
        return cls(**{**data, "angular": tuple(data["angular"])})


def feature_ladder(elements: Sequence[str], *, cutoff_A: float, largest: int) -> list[tuple[FeatureSet, int]]:
    """Return feature sets by growing size with their sizes; at least one, the others not above the largest size."""
    sets = [
        FeatureSet("pair-4", "pair", 2, 2, 4, cutoff_A=cutoff_A),
        FeatureSet("pair-7", "pair", 2, 2, 7, cutoff_A=cutoff_A),
        FeatureSet("pair-7-cubic", "pair", 2, 3, 7, cutoff_A=cutoff_A),
        FeatureSet("pair-20-sharp", "pair", 2, 2, 20, (), cutoff_A, 8.0),
        FeatureSet("pair-10-cubic", "pair", 2, 3, 10, (), cutoff_A, 2.0),
        FeatureSet("angular-4.2-coarse", "gtinv", 3, 2, 4, (4, 2), cutoff_A),
        FeatureSet("angular-4.2", "gtinv", 3, 2, 5, (4, 2), cutoff_A),
        FeatureSet("angular-4.2-fine", "gtinv", 3, 2, 7, (4, 2), cutoff_A),
        FeatureSet("angular-4.4", "gtinv", 3, 2, 7, (4, 4), cutoff_A),
        FeatureSet("angular-4.4-fine", "gtinv", 3, 2, 9, (4, 4), cutoff_A),
        FeatureSet("coupled-4.2", "gtinv", 4, 2, 5, (4, 2), cutoff_A),
        FeatureSet("coupled-4.4", "gtinv", 4, 2, 7, (4, 4), cutoff_A),
    ]
    sized = sorted(((one, feature_count(one, tuple(elements))) for one in sets), key=lambda pair: pair[1])
    return [pair for pair in sized if pair[1] <= largest] or sized[:1]


@lru_cache(maxsize=64)
def parameters(features: FeatureSet, elements: tuple[str, ...], *, derivatives: bool = True) -> Any:
    """Return pypolymlp's parameters of a feature set, with forces and stress unless only energies are wanted."""
    from pypolymlp.core.params import PolymlpParams  # type: ignore[import-untyped]
    from pypolymlp.core.params_utils import set_all_params  # type: ignore[import-untyped]

    return PolymlpParams(
        set_all_params(
            elements=list(elements),
            include_force=derivatives,
            include_stress=derivatives,
            cutoff=features.cutoff_A,
            model_type=features.model_type,
            max_p=features.order,
            feature_type=features.kind,
            gaussian_params1=(features.sharpness_per_A2, features.sharpness_per_A2, 1),
            gaussian_params2=(0.0, features.cutoff_A - features.sharpness_per_A2**-0.5, features.radial),
            gtinv_order=len(features.angular) + 1,
            gtinv_maxl=features.angular,
            atomic_energy=(0.0,) * len(elements),
        )
    )


@lru_cache(maxsize=64)
def feature_count(features: FeatureSet, elements: tuple[str, ...]) -> int:
    """Return how many features a set has."""
    from pypolymlp.mlp_dev.core.features_attr import get_num_features  # type: ignore[import-untyped]

    return int(get_num_features(parameters(features, elements)))


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Derivatives of a structure's energy, forces and stress by the coefficients.

    Attributes
    ----------
    energy
        Shape (p,).
    forces
        Shape (3 n, p): x, y, z of the first atom, then of the next.
    stress
        Shape (6, p), ASE's sign and order, per volume.
    """

    energy: FloatArray
    forces: FloatArray
    stress: FloatArray


def feature_rows(features: FeatureSet, elements: tuple[str, ...], atoms: Sequence[Atoms]) -> Iterator[FeatureRows]:
    """Yield the rows of each structure."""
    from pypolymlp.mlp_dev.core.features import Features  # type: ignore[import-untyped]

    for batch in _batches(atoms):
        structures = [polymlp_structure(one, elements, features.cutoff_A) for one in batch]
        found = Features(parameters(features, elements), structures=structures, print_memory=False)
        x = np.asarray(found.x)
        _, force_row, stress_row = (int(k) for k in found.first_indices[0])
        for i, structure in enumerate(structures):
            n = 3 * len(batch[i])
            virial = x[stress_row + 6 * i : stress_row + 6 * i + 6]
            yield FeatureRows(x[i], x[force_row : force_row + n], -virial[ASE_VOIGT] / structure.volume)
            force_row += n


def energy_rows(features: FeatureSet, elements: tuple[str, ...], atoms: Sequence[Atoms]) -> FloatArray:
    """Return derivatives of the energies by the coefficients, shape (structures, p), without those of forces."""
    from pypolymlp.mlp_dev.core.features import Features

    found = []
    for start in range(0, len(atoms), _STRUCTURES_AT_ONCE):
        structures = [
            polymlp_structure(one, elements, features.cutoff_A) for one in atoms[start : start + _STRUCTURES_AT_ONCE]
        ]
        wanted = parameters(features, elements, derivatives=False)
        found.append(np.asarray(Features(wanted, structures=structures, print_memory=False).x)[: len(structures)])
    return np.concatenate(found)


def polymlp_structure(atoms: Atoms, elements: tuple[str, ...], cutoff_A: float) -> Any:
    """Return a structure as pypolymlp takes it; directions that are not periodic get vacuum wider than the cutoff."""
    from pypolymlp.core.data_format import PolymlpStructure  # type: ignore[import-untyped]

    if not atoms.pbc.all():
        atoms = atoms.copy()
        atoms.center(vacuum=cutoff_A, axis=tuple(int(k) for k in np.flatnonzero(~atoms.pbc)))
        atoms.pbc = True
    symbols = atoms.get_chemical_symbols()
    kinds = {element: k for k, element in enumerate(elements)}
    cell = atoms.cell.array
    return PolymlpStructure(
        axis=cell.T,
        positions=(np.linalg.solve(cell.T, atoms.positions.T)) % 1.0,
        n_atoms=[len(atoms)],
        elements=symbols,
        types=np.array([kinds[symbol] for symbol in symbols]),
        volume=float(abs(np.linalg.det(cell))),
    )


def _batches(atoms: Sequence[Atoms]) -> Iterator[list[Atoms]]:
    batch: list[Atoms] = []
    for one in atoms:
        if batch and sum(3 * len(other) + 7 for other in (*batch, one)) > _ROWS_AT_ONCE:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch
