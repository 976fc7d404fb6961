"""Deterministic relaxations in few evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.schemas.system import RelaxationSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

STIFFNESS_EV_PER_A3 = 1.25
"""Guess of the curvature per volume along a cell strain (200 GPa); scales the cell's degrees of freedom."""
ION_CURVATURE_EV_PER_A2 = 25.0
"""First guess of the ions' force constants: silicon's optical mode has 27."""
CELL_CURVATURE_EV_PER_A2 = 70.0
MAX_ION_STEP_A = 0.2
MAX_CELL_STEP = 0.1
"""Largest strain of one step: a soft or very stiff crystal makes the guess of the first step a bad one."""


@dataclass(frozen=True, eq=False)
class RelaxationOutcome:
    """Where a relaxation ended.

    Attributes
    ----------
    n_steps
        Number of evaluations, the first included.
    label_ids
        Labels of this relaxation, in order (empty for a calculator without labels).
    """

    atoms: Atoms
    energy_eV: float
    max_force_eV_per_A: float
    stress_eV_per_A3: NDArray[np.float64]
    converged: bool
    n_steps: int
    label_ids: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def stress_GPa(self) -> NDArray[np.float64]:
        """Stress in GPa, ASE's sign and order."""
        from ase.units import GPa

        result: NDArray[np.float64] = self.stress_eV_per_A3 / GPa
        return result


def relax_cell(atoms: Atoms, calculator: Calculator, settings: RelaxationSettings) -> RelaxationOutcome:
    """Relax cell and ions until every force and stress component is below its threshold.

    Parameters
    ----------
    atoms
        Start; not modified.
    calculator
        Gives energy, forces and stress.
    settings
        Thresholds, and whether the space group is kept (10.1016/j.cpc.2018.07.007 describes the projection).
    """
    from ase.constraints import FixConstraint
    from ase.filters import UnitCellFilter
    from ase.optimize import BFGS
    from ase.units import GPa

    relaxed = _start(atoms, calculator)
    if settings.keep_symmetry:
        from ase.constraints import FixSymmetry

        constraint: FixConstraint = FixSymmetry(relaxed, symprec=settings.symmetry_tolerance_A)
        relaxed.set_constraint(constraint)
    # the logarithm of the strain takes no fewer steps than the strain itself, and more time than a cheap calculator;
    # with this scale a unit step of the cell has the curvature that the optimiser starts from
    scale = float(np.sqrt(STIFFNESS_EV_PER_A3 * relaxed.get_volume() / CELL_CURVATURE_EV_PER_A2))
    optimizer = BFGS(
        UnitCellFilter(relaxed, cell_factor=scale),
        logfile=None,
        alpha=CELL_CURVATURE_EV_PER_A2,
        maxstep=min(MAX_ION_STEP_A, MAX_CELL_STEP * scale),
    )

    def is_relaxed() -> bool:
        stress = np.abs(relaxed.get_stress(voigt=True, apply_constraint=False)).max() / GPa
        return bool(stress < settings.stress_tolerance_GPa and _max_force(relaxed) < settings.fmax_eV_per_A)

    return _run(relaxed, calculator, optimizer, is_relaxed, settings.max_steps, "cell")


def relax_ions(
    atoms: Atoms, calculator: Calculator, *, fmax_eV_per_A: float, max_steps: int
) -> RelaxationOutcome:
    """Relax the ions in a fixed cell until every force is below the threshold.

    Parameters
    ----------
    atoms
        Start; not modified.
    """
    from ase.optimize import BFGS

    relaxed = _start(atoms, calculator)
    optimizer = BFGS(relaxed, logfile=None, alpha=ION_CURVATURE_EV_PER_A2, maxstep=MAX_ION_STEP_A)
    return _run(
        relaxed, calculator, optimizer, lambda: _max_force(relaxed) < fmax_eV_per_A, max_steps, "ions"
    )


def _start(atoms: Atoms, calculator: Calculator) -> Atoms:
    copy = atoms.copy()
    copy.set_constraint()
    copy.calc = calculator
    return copy


def _run(
    atoms: Atoms, calculator: Any, optimizer: Any, is_relaxed: Any, max_steps: int, what: str
) -> RelaxationOutcome:
    from ase.units import GPa

    seen = list(getattr(calculator, "label_ids", []))
    if hasattr(calculator, "label_ids"):
        calculator.label_ids = []
        calculator.label_warnings = []
    evaluations = 1
    converged = is_relaxed()
    while not converged and evaluations < max_steps:
        optimizer.step()
        evaluations += 1
        converged = is_relaxed()
    used = list(getattr(calculator, "label_ids", []))
    warnings = list(getattr(calculator, "label_warnings", []))
    if hasattr(calculator, "label_ids"):
        calculator.label_ids = seen + [i for i in used if i not in seen]
    stress = np.asarray(atoms.get_stress(voigt=True, apply_constraint=False), dtype=float)
    if not converged:
        warnings.append(
            f"the {what} did not relax within {max_steps} evaluations (largest force {_max_force(atoms):.2g} eV/A, "
            f"largest stress {np.abs(stress).max() / GPa:.2g} GPa)"
        )
    energy, force = float(atoms.get_potential_energy()), _max_force(atoms)
    atoms.set_constraint()  # left on, FixSymmetry would silently undo a strain of the relaxed cell
    return RelaxationOutcome(
        atoms=atoms,
        energy_eV=energy,
        max_force_eV_per_A=force,
        stress_eV_per_A3=stress,
        converged=converged,
        n_steps=evaluations,
        label_ids=used,
        warnings=warnings,
    )


def _max_force(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(apply_constraint=False), axis=1).max())
