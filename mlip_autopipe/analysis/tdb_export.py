"""Thermodynamic database (TDB text) of a binary on one lattice, for programs of the CALPHAD kind such as pycalphad.

It holds the disordered solution as a Redlich-Kister polynomial (10.1021/ie50458a036) with coefficients a + b T, fitted
to the free energies of the solution in the diagram, and every ordered ground state as a line compound with its energy
at 0 K. Energies are in J/mol of atoms or formula units; their zero is that of the formation energies. Vibrations, the
liquid and the width of the ordered phases are not in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.phase_slices import SOLUTION
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from mlip_autopipe.analysis.cluster_expansion import ClusterExpansion
    from mlip_autopipe.analysis.phase_boundaries import PhaseBoundaries

J_PER_MOL_PER_EV: Final = 96485.33212
SOLUTION_PHASE: Final = "SOLUTION"
_LIMITS: Final = "1 {value}; 6000 N"
_ORDER: Final = 2
# What lies too near to a pure element tells nothing about the interactions.
_LEAST_FRACTION: Final = 0.02
_LEAST_POINTS: Final = 8
_RANDOM_WEIGHT: Final = 0.1


@dataclass(frozen=True)
class SolutionDescription:
    """Coefficients of the solution: L_k = enthalpies_eV[k] + slopes_eV_per_K[k] T, and how well they fit.

    Attributes
    ----------
    enthalpies_eV, slopes_eV_per_K
        (order + 1,).
    rms_error_eV
        Of the fit, eV per atom.
    n_points
        Free energies that were fitted; 0 when those of the random alloy had to do.
    """

    enthalpies_eV: tuple[float, ...]
    slopes_eV_per_K: tuple[float, ...]
    rms_error_eV: float
    n_points: int


def describe_solution(expansion: ClusterExpansion, diagram: PhaseBoundaries) -> SolutionDescription:
    """Fit the free energies of the disordered solution in a diagram.

    Points in intervals of the solution count; elsewhere the random alloy's with little weight, so that the polynomial
    stays sound between them. When there are too few points, or at one temperature only, the energies of the random
    alloy are all there is, without a dependence on temperature.

    Raises
    ------
    InvalidInputError
        Not two elements.
    """
    if len(expansion.elements) != 2 or diagram.baseline is None:
        raise InvalidInputError("a TDB file is written for diagrams of two elements")
    rows = []
    for item in diagram.slices:
        inside = [(p.low.value, p.high.value) for p in item.single_phase if p.phase == SOLUTION]
        for place, energy in zip(item.fractions, item.free_energies_eV, strict=True):
            if _LEAST_FRACTION < place < 1 - _LEAST_FRACTION:
                rows.append((place, item.temperature_K, energy, any(low <= place <= high for low, high in inside)))
    x, kelvin, energies, known = np.array(rows, dtype=float).reshape(-1, 4).T
    stable = known == 1
    if stable.sum() < _LEAST_POINTS or len(np.unique(kelvin[stable])) < 2:
        own = diagram.baseline.interactions_eV
        return SolutionDescription(own, (0.0,) * len(own), 0.0, 0)
    ends = diagram.baseline.ends_eV
    ideal = BOLTZMANN_EV_PER_K * kelvin * (x * np.log(x) + (1 - x) * np.log(1 - x))
    reference = (1 - x) * ends[0] + x * ends[1]
    excess = np.where(stable, energies - reference - ideal, diagram.baseline.energy_eV(x) - reference)
    # of Redlich and Kister: first minus second element
    columns = np.stack([x * (1 - x) * (1 - 2 * x) ** k for k in range(_ORDER + 1)], axis=1)
    design = np.hstack([columns, columns * kelvin[:, None]])
    weights = np.where(stable, 1.0, _RANDOM_WEIGHT)
    found = np.linalg.lstsq(weights[:, None] * design, weights * excess, rcond=None)[0]
    error = float(np.sqrt(np.mean((design @ found - excess)[stable] ** 2)))
    enthalpies, slopes = np.split(found, 2)
    return SolutionDescription(tuple(map(float, enthalpies)), tuple(map(float, slopes)), error, int(stable.sum()))


def tdb_text(expansion: ClusterExpansion, diagram: PhaseBoundaries) -> str:
    """Return the database as text.

    Parameters
    ----------
    expansion, diagram
        Of `fit_cluster_expansion` and `calculate_phase_boundaries`.

    Raises
    ------
    InvalidInputError
        Not two elements, or the expansion is not trusted.
    """
    solution = describe_solution(expansion, diagram)
    if not diagram.slices:
        raise InvalidInputError("the diagram holds no temperatures: its gates say why, and no TDB file is written")
    first, second = (symbol.upper() for symbol in expansion.elements)
    assert diagram.baseline is not None
    source = f"fitted to {solution.n_points} free energies" if solution.n_points else "of the random alloy"
    lines = [
        f"$ {first}-{second} on one lattice, from a cluster expansion of relaxed energies",
        f"$ cross-validation error {1e3 * expansion.cross_validation_error_eV:.2f} meV/atom",
        f"$ solution: {source}, rms error {1e3 * solution.rms_error_eV:.2f} meV/atom",
        "$ zero of energy: that of the formation energies; no vibrations, no liquid",
        "ELEMENT /- ELECTRON_GAS 0.0 0.0 0.0 !",
        "ELEMENT VA VACUUM 0.0 0.0 0.0 !",
        *(f"ELEMENT {name} {SOLUTION_PHASE} {_mass(name):.4f} 0.0 0.0 !" for name in (first, second)),
        "TYPE_DEFINITION % SEQ *!",
        "DEFINE_SYSTEM_DEFAULT ELEMENT 2 !",
        "DEFAULT_COMMAND DEF_SYS_ELEMENT VA /- !",
        f"PHASE {SOLUTION_PHASE} % 1 1.0 !",
        f"CONSTITUENT {SOLUTION_PHASE} :{first},{second}: !",
    ]
    for name, energy in zip((first, second), diagram.baseline.ends_eV, strict=True):
        lines.append(_parameter(f"G({SOLUTION_PHASE},{name};0)", energy))
    for k, (a, b) in enumerate(zip(solution.enthalpies_eV, solution.slopes_eV_per_K, strict=True)):
        lines.append(_parameter(f"L({SOLUTION_PHASE},{first},{second};{k})", a, b))
    used = {SOLUTION_PHASE}
    for state, energy in zip(expansion.ground_states, expansion.ground_state_energies_eV, strict=True):
        counts = np.bincount(state.species, minlength=2)
        if counts.min() == 0:
            continue
        one, other = (int(c) // gcd(*map(int, counts)) for c in counts)
        name = _phase_name(state.name, used)
        lines += [
            f"PHASE {name} % 2 {one} {other} !",
            f"CONSTITUENT {name} :{first}:{second}: !",
            _parameter(f"G({name},{first}:{second};0)", energy * (one + other)),
        ]
    return "\n".join(lines) + "\n"


def _parameter(name: str, constant_eV: float, slope_eV_per_K: float = 0.0) -> str:
    value = f"{J_PER_MOL_PER_EV * constant_eV:+.4f}"
    if slope_eV_per_K:
        value += f"{J_PER_MOL_PER_EV * slope_eV_per_K:+.6f}*T"
    return f"PARAMETER {name} {_LIMITS.format(value=value)} !"


def _phase_name(name: str, used: set[str]) -> str:
    """Return a name of capital letters, digits and underscores that no other phase has."""
    plain = re.sub(r"[^A-Z0-9_]", "_", name.upper())
    plain = plain if plain[:1].isalpha() else f"P_{plain}"
    unique, k = plain, 2
    while unique in used:
        unique, k = f"{plain}_{k}", k + 1
    used.add(unique)
    return unique


def _mass(symbol: str) -> float:
    from ase.data import atomic_masses, atomic_numbers

    return float(atomic_masses[atomic_numbers[symbol.capitalize()]])
