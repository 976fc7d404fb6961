"""Many small structures relaxed by a potential, one after the other in one process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.errors import AutoPipeError
from mlip_autopipe.learning.towards_reference import Bias, BiasedCalculator
from mlip_autopipe.reference.relax import relax_cell
from mlip_autopipe.schemas.system import RelaxationSettings

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.potentials.base import ForceField

SETTINGS: Final = RelaxationSettings(
    fmax_eV_per_A=0.01, stress_tolerance_GPa=0.1, max_steps=150, keep_symmetry=False, symmetry_tolerance_A=0.01
)
"""What is left of the energy is some 1e-5 eV per atom: F^2 / 2k for a metal's ions, V s^2 / 2K for its cell."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Where a relaxation ended.

    Attributes
    ----------
    atoms
        The structure; where nothing could be computed, the start.
    energy_eV
        Of the cell; not a number where nothing could be computed.
    converged, n_steps
        Whether forces and stress are below their thresholds, and after how many evaluations.
    failure
        Why nothing could be computed, or nothing.
    """

    atoms: Atoms
    energy_eV: float
    converged: bool
    n_steps: int
    failure: str = ""


def relax_structures(
    structures: Iterable[Atoms],
    force_field: ForceField,
    settings: RelaxationSettings = SETTINGS,
    biases: Iterable[Bias | None] = (),
) -> Iterator[Relaxed]:
    """Yield each structure relaxed, cell and ions; one that cannot be computed is said to be so.

    Parameters
    ----------
    structures
        Starts; not changed.
    force_field
        Moves them.
    settings
        Thresholds.
    biases
        By structure, None and missing ones: no bias. A biased structure starts from the label that the bias comes from,
        and relaxes to where that says that the reference's minimum is; its energy is the force field's there. One that
        does not get there relaxes without.
    """
    calculator = force_field.calculator()
    for start, bias in zip(structures, chain(biases, repeat(None)), strict=False):
        try:
            found = None
            if bias is not None:
                found = relax_cell(bias.start, BiasedCalculator(calculator, bias), settings)
            if found is None or not found.converged:
                found = relax_cell(start, calculator, settings)
        except (AutoPipeError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            yield Relaxed(start.copy(), float("nan"), False, 0, f"{type(error).__name__}: {error}")
            continue
        atoms = found.atoms
        atoms.calc = None
        yield Relaxed(atoms, found.energy_eV, found.converged, found.n_steps)
