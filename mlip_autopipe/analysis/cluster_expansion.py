"""Cluster expansion of the formation energies of ordered structures on one parent lattice.

The space of clusters is chosen from a ladder of cut-offs by cross-validation, and what it does not need is left out;
icet (10.1002/adts.201900015) gives the correlations. Whether the expansion may be asked for a transition temperature is
told by a gate, which compares its error with the energy that drives ordering or separation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis._expansion_fit import choose, cross_validation_residuals, make_folds
from mlip_autopipe.analysis._expansion_ground_states import keep_ground_states
from mlip_autopipe.analysis._expansion_spaces import cluster_space, cluster_vectors, ladder, random_correlations
from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.hull import convex_hull
from mlip_autopipe.analysis.lattice_decoration import LatticeDecoration, ParentLattice, read_decoration
from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian, lattice_hamiltonian
from mlip_autopipe.analysis.results import GateResult
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms

TRUSTWORTHY: Final = "transition_temperatures_trustworthy"
MAX_ERROR_RATIO: Final = 1 / 4
"""Of the cross-validation error to the ordering energy; see `ClusterExpansion.trustworthy`."""

_LEAST_WEIGHT: Final = 0.05
_SEED: Final = 0


@dataclass(frozen=True)
class LadderStep:
    """One cluster space that was tried.

    Attributes
    ----------
    cutoffs_A
        Of pairs, triplets ...
    n_parameters
        Of pairs and larger clusters.
    leave_one_out_error_eV
        Weighted root mean square, eV per atom.
    """

    cutoffs_A: tuple[float, ...]
    n_parameters: int
    leave_one_out_error_eV: float


@dataclass(frozen=True, eq=False)
class ClusterExpansion:
    """A fitted expansion; JSON by `to_dict`, and back by `from_dict` without a new fit.

    Attributes
    ----------
    elements
        Alphabetical.
    parent
        The lattice.
    cutoffs_A
        Of pairs, triplets ...
    parameters_eV
        (k,) of icet's cluster vector, eV per site.
    covariance_eV2
        (k, k) of the parameters; its scale is the cross-validation error.
    cross_validation_error_eV
        Root mean square over structures that neither the fit nor the choice of the space has seen, eV per atom, with
        the weights of the fit.
    cross_validation_error_unweighted_eV
        The same with equal weights.
    leave_one_out_error_eV, fit_error_eV
        Weighted root mean squares in the chosen space, eV per atom.
    ordering_energy_eV
        Largest energy by which the stable mixture of ordered structures lies below the random alloy, eV per atom.
    ordering_fractions
        Composition at which that is.
    fractions, energies_eV, predictions_eV
        Of all structures: (n, m) atomic fractions, given and predicted formation energies per atom.
    ground_states, ground_state_energies_eV
        Vertices of the hull of the predictions, pure elements included.
    ladder
        What was tried.
    ground_state_mismatch_eV
        Largest distance of a vertex of the given energies' hull from that of the predictions, and the other way round;
        0 where both have the same vertices.
    """

    elements: tuple[str, ...]
    parent: ParentLattice
    cutoffs_A: tuple[float, ...]
    parameters_eV: FloatArray
    covariance_eV2: FloatArray
    cross_validation_error_eV: float
    cross_validation_error_unweighted_eV: float
    leave_one_out_error_eV: float
    fit_error_eV: float
    ordering_energy_eV: float
    ordering_fractions: tuple[float, ...]
    fractions: FloatArray
    energies_eV: FloatArray
    predictions_eV: FloatArray
    ground_states: tuple[LatticeDecoration, ...]
    ground_state_energies_eV: tuple[float, ...]
    ladder: tuple[LadderStep, ...]
    ground_state_mismatch_eV: float

    def cluster_space(self) -> Any:
        """Return the `icet.ClusterSpace`."""
        return cluster_space(self.parent, self.elements, self.cutoffs_A)

    def hamiltonian(self, supercell: ArrayLike) -> LatticeHamiltonian:
        """Return the energies of a supercell, (3, 3) integers in primitive vectors."""
        return lattice_hamiltonian(self.cluster_space(), self.parameters_eV, self.parent, self.elements, supercell)

    def predict_eV(self, structures: Sequence[Atoms]) -> FloatArray:
        """Return formation energies (n,) of structures on the lattice, eV per atom."""
        decorations = [read_decoration(atoms, self.parent, self.elements) for atoms in structures]
        return cluster_vectors(self.cluster_space(), decorations, self.parent, self.elements) @ self.parameters_eV

    def random_alloy_eV(self, fractions: ArrayLike) -> FloatArray:
        """Return formation energies (n,) of random alloys of compositions (n, m), eV per atom."""
        return random_correlations(self.cluster_space(), np.atleast_2d(fractions), self.elements) @ self.parameters_eV

    @property
    def error_ratio(self) -> float:
        """Cross-validation error over ordering energy."""
        return self.cross_validation_error_eV / max(self.ordering_energy_eV, 1e-300)

    def cluster_vector(self, hamiltonian: LatticeHamiltonian, decorations: ArrayLike) -> FloatArray:
        """Return the mean cluster vector (k,) of decorations (..., n) of a supercell."""
        from ase import Atoms

        space, parent = self.cluster_space(), self.parent
        atoms = Atoms(
            positions=parent.positions_A(hamiltonian.vectors, hamiltonian.basis),
            cell=hamiltonian.supercell @ parent.cell_A,
            pbc=True,
        )
        rows = []
        for row in np.asarray(decorations).reshape(-1, hamiltonian.n_sites):
            atoms.symbols = [self.elements[k] for k in row]
            rows.append(np.asarray(space.get_cluster_vector(atoms)))
        return np.asarray(np.mean(rows, axis=0))

    def mixing_cluster_vector(self) -> FloatArray:
        """Return the cluster vector (k,) of the random alloy of equal parts minus the mean of the pure elements."""
        m = len(self.elements)
        space = self.cluster_space()
        random = random_correlations(space, np.full((1, m), 1 / m), self.elements)[0]
        return np.asarray(random - random_correlations(space, np.eye(m), self.elements).mean(axis=0))

    def relative_error(self, difference: ArrayLike) -> float:
        """Return the error of an energy difference over itself, from the covariance of the parameters.

        Parameters
        ----------
        difference
            (k,) cluster vector of one phase minus that of the other. Of two phases that coexist at a transition this is
            the relative error of the temperature: dT / T = dF / (T S) to first order, with the change dF of the
            difference of the free energies, and T S equal to that of the energies.
        """
        apart = np.asarray(difference, dtype=float)
        error = float(np.sqrt(apart @ self.covariance_eV2 @ apart))
        return error / max(abs(float(apart @ self.parameters_eV)), 1e-300)

    @property
    def ordering_temperature_K(self) -> float:
        """Highest temperature at which the ground states and the random alloy have the same free energy.

        Without short-range order, and so higher than where the alloy orders: by 1.8 in nearest-neighbour B2.
        """
        grid, gains = _ordering_gains(self)
        entropies = -np.sum(grid * np.log(np.maximum(grid, 1e-300)), axis=1)
        return float(np.max(gains / (BOLTZMANN_EV_PER_K * entropies), initial=0.0))

    def trustworthy(self, max_ratio: float = MAX_ERROR_RATIO) -> GateResult:
        """Check that transition temperatures mean something.

        A transition temperature goes as the energy between order and disorder, over an entropy that is nearly known.
        With energies whose noise is a part r of the ordering energy it was off by r / 2, as claimed by the covariance
        of the parameters, up to r = 1/4; beyond r = 0.3 by up to two thirds, and the claim was too low
        (`benchmarks/expansion_noise.py`).
        """
        ratio = self.error_ratio
        detail = (
            f"cross-validation error {1e3 * self.cross_validation_error_eV:.2g} meV/atom, ordering energy "
            f"{1e3 * self.ordering_energy_eV:.2g} meV/atom: ratio {ratio:.2g}, below {max_ratio:.2g} needed"
        )
        passed = ratio < max_ratio
        return GateResult(
            TRUSTWORTHY, passed, detail if passed else f"{detail}; no transition temperature can be given"
        )

    def ground_states_reproduced(self) -> GateResult:
        """Check that the expansion has the ground states of the energies that it was fitted to."""
        names = ", ".join(state.name for state in self.ground_states)
        mismatch, error = self.ground_state_mismatch_eV, self.cross_validation_error_eV
        return GateResult(
            "ground_states_reproduced",
            mismatch <= error,
            f"ground states of the expansion: {names}; they and those of the energies lie at most "
            f"{1e3 * mismatch:.2g} meV/atom above each other's hull, no more than the cross-validation error "
            f"{1e3 * error:.2g} is accepted",
        )

    def stable_in_energies(self, state: LatticeDecoration) -> GateResult:
        """Check that one of the expansion's ground states is one of the energies' too, but for the error."""
        place = self.ground_states.index(state)
        own = (self.predictions_eV == self.ground_state_energies_eV[place]) & np.isclose(
            self.fractions, state.fractions(len(self.elements))
        ).all(axis=1)
        above = float(convex_hull(self.fractions, self.energies_eV).e_above_hull_eV_per_atom[own].min())
        return GateResult(
            "stable_in_energies",
            above <= self.cross_validation_error_eV,
            f"{state.name} lies {1e3 * above:.2g} meV/atom above the hull of the energies that were expanded, no more "
            f"than the cross-validation error {1e3 * self.cross_validation_error_eV:.2g} is accepted",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        stored = {key: value for key, value in vars(self).items() if key not in ("parent", "ground_states", "ladder")}
        plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in stored.items()}
        return {
            **plain,
            "parent": {"cell_A": self.parent.cell_A.tolist(), "basis": self.parent.basis.tolist()},
            "ground_states": [asdict(state) for state in self.ground_states],
            "ladder": [asdict(step) for step in self.ladder],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> ClusterExpansion:
        """Rebuild from `to_dict`, or from the JSON of it."""
        made: dict[str, Any] = {**stored, "parent": ParentLattice(**_arrays(stored["parent"]))}
        for key in ("parameters_eV", "covariance_eV2", "fractions", "energies_eV", "predictions_eV"):
            made[key] = np.array(stored[key], dtype=float)
        for key in ("elements", "cutoffs_A", "ordering_fractions", "ground_state_energies_eV"):
            made[key] = tuple(stored[key])
        made["ground_states"] = tuple(LatticeDecoration.from_dict(state) for state in stored["ground_states"])
        steps = ({**step, "cutoffs_A": tuple(step["cutoffs_A"])} for step in stored["ladder"])
        made["ladder"] = tuple(LadderStep(**step) for step in steps)
        return cls(**made)


def fit_cluster_expansion(
    parent: Atoms,
    structures: Sequence[Atoms],
    formation_energies_eV: ArrayLike,
    *,
    elements: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    intact: ArrayLike | None = None,
) -> ClusterExpansion:
    """Fit an expansion to relaxed energies.

    Squared residuals are weighted by 1 / [1 + (d / s)^2], where d is the distance from the hull and s its median: what
    lies far above the hull is hardly visited at temperatures at which the alloy orders.

    Parameters
    ----------
    parent
        Primitive cell of the lattice; its element does not matter.
    structures
        Two or three elements, decorations of the parent: ideal ones, or relaxed ones whose sites icet can tell. The
        pure elements must be among them.
    formation_energies_eV
        (n,) per atom.
    elements
        Alphabetical; those of the structures when None.
    names
        Of the structures; formulas when None.
    intact
        (n,) of booleans: whether each structure still sits on the parent. Others are left out.

    Raises
    ------
    InvalidInputError
        Shapes do not fit, energies are not finite, a pure element is missing, or there are too few structures.
    EnvironmentProblemError
        icet is not installed.
    """
    energies = np.asarray(formation_energies_eV, dtype=float)
    kept = np.ones(len(structures), dtype=bool) if intact is None else np.asarray(intact, dtype=bool)
    labels = list(names) if names is not None else [""] * len(structures)
    if not energies.shape == kept.shape == (len(structures),) == (len(labels),):
        raise InvalidInputError(f"{len(structures)} structures need as many energies, names and marks of being intact")
    if not np.isfinite(energies[kept]).all():
        raise InvalidInputError("a formation energy is not finite: leave that structure out")
    chosen = [int(k) for k in np.flatnonzero(kept)]
    symbols = elements or {symbol for k in chosen for symbol in structures[k].get_chemical_symbols()}
    alphabet = tuple(sorted(set(symbols)))
    if len(alphabet) not in (2, 3):
        raise InvalidInputError(f"an expansion needs two or three elements; {', '.join(alphabet) or 'none'} are given")
    lattice = ParentLattice.from_atoms(parent)
    decorations = [read_decoration(structures[k], lattice, alphabet, labels[k]) for k in chosen]
    return _fitted(lattice, alphabet, decorations, energies[chosen])


def _fitted(
    parent: ParentLattice, elements: tuple[str, ...], decorations: list[LatticeDecoration], energies: FloatArray
) -> ClusterExpansion:
    fractions = np.array([d.fractions(len(elements)) for d in decorations])
    ends = _pure_energies(fractions, energies, elements)
    alloyed = fractions.max(axis=1) < 1
    folds = make_folds(int(alloyed.sum()), _SEED)
    given = convex_hull(fractions, energies)
    above = given.e_above_hull_eV_per_atom[alloyed]
    scale = max(float(np.median(above)), 1e-9)
    weights = np.maximum(1 / (1 + (above / scale) ** 2), _LEAST_WEIGHT)
    excess = (energies - fractions @ ends)[alloyed]
    spaces, all_correlations = ladder(parent, elements, decorations, int(alloyed.sum()))
    correlations = [c.of(alloyed) for c in all_correlations]
    best, fits = choose(correlations, excess, weights)
    unseen = cross_validation_residuals(correlations, excess, weights, folds)
    space, error = spaces[best], _rms(unseen, weights)
    kept = keep_ground_states(all_correlations[best], fractions, energies, fractions @ ends, weights, fits[best], error)
    fit, predictions, hull = kept.fit, kept.predictions_eV, kept.hull
    # what the ground states cost is no smaller for structures that were not seen
    error *= max(1.0, kept.growth)
    parameters, covariance = _with_points(space, fit.parameters, fits[best].covariance * error**2, ends, elements)
    made = ClusterExpansion(
        elements=elements,
        parent=parent,
        cutoffs_A=tuple(float(c) for c in space.cutoffs),
        parameters_eV=parameters,
        covariance_eV2=covariance,
        cross_validation_error_eV=error,
        cross_validation_error_unweighted_eV=_rms(unseen, np.ones(len(unseen))),
        leave_one_out_error_eV=_rms(fit.left_out_residuals, weights),
        fit_error_eV=kept.error_eV,
        ordering_energy_eV=0.0,
        ordering_fractions=(),
        fractions=fractions,
        energies_eV=energies,
        predictions_eV=predictions,
        ground_states=tuple(decorations[k] for k in hull.vertices),
        ground_state_energies_eV=tuple(float(predictions[k]) for k in hull.vertices),
        ladder=tuple(
            LadderStep(tuple(float(c) for c in s.cutoffs), f.parameters.size, f.score)
            for s, f in zip(spaces, fits, strict=True)
        ),
        ground_state_mismatch_eV=kept.mismatch_eV,
    )
    grid, gains = _ordering_gains(made)
    place = int(np.argmax(gains))
    return replace(
        made, ordering_energy_eV=float(gains[place]), ordering_fractions=tuple(float(x) for x in grid[place])
    )


def _pure_energies(fractions: FloatArray, energies: FloatArray, elements: tuple[str, ...]) -> FloatArray:
    """Return the lowest energy of each element on the lattice."""
    ends = np.empty(len(elements))
    for k, symbol in enumerate(elements):
        own = energies[fractions[:, k] == 1]
        if len(own) == 0:
            raise InvalidInputError(
                f"the structures hold no pure {symbol} on the parent lattice: add it with its energy"
            )
        ends[k] = own.min()
    return ends


def _with_points(
    space: Any, parameters: FloatArray, covariance: FloatArray, ends: FloatArray, elements: tuple[str, ...]
) -> tuple[FloatArray, FloatArray]:
    """Add the constant and the point terms, which follow from the energies of the pure elements."""
    corners = random_correlations(space, np.eye(len(elements)), elements)
    low = len(elements)
    inverse = np.linalg.inv(corners[:, :low])
    follow = -inverse @ corners[:, low:]
    whole = np.vstack([follow, np.eye(len(parameters))])
    full = whole @ parameters
    full[:low] += inverse @ ends
    return full, whole @ covariance @ whole.T


def _ordering_gains(expansion: ClusterExpansion) -> tuple[FloatArray, FloatArray]:
    """Return compositions (g, m) and there the energy of the random alloy above the ground states (g,), eV per atom."""
    m = len(expansion.elements)
    steps = 20 if m == 2 else 10
    whole = [c for c in product(range(steps + 1), repeat=m) if sum(c) == steps and max(c) < steps]
    states = np.array([state.fractions(m) for state in expansion.ground_states])
    grid = np.vstack([np.array(whole) / steps, states[states.max(axis=1) < 1]])
    energies = np.array(expansion.ground_state_energies_eV)
    # far above the hull they do not change it
    lift = 1.0 + np.ptp(energies)
    random = expansion.random_alloy_eV(grid) + lift
    hull = convex_hull(np.vstack([states, grid]), np.concatenate([energies, random]))
    return grid, hull.e_above_hull_eV_per_atom[len(states) :] - lift


def _arrays(stored: dict[str, Any]) -> dict[str, FloatArray]:
    return {key: np.array(value, dtype=float) for key, value in stored.items()}


def _rms(residuals: FloatArray, weights: FloatArray) -> float:
    return float(np.sqrt(np.sum(weights * residuals**2) / np.sum(weights)))
