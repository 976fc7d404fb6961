from __future__ import annotations

import numpy as np
import pytest
import spglib
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.units import GPa

from mlip_autopipe.reference.relax import relax_cell, relax_ions
from mlip_autopipe.schemas.system import RelaxationSettings


def _settings(**changes):
    values = {"fmax_eV_per_A": 1e-3, "stress_tolerance_GPa": 0.01, "max_steps": 40, "keep_symmetry": True, **changes}
    return RelaxationSettings(**values)


def _space_group(atoms):
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    return spglib.get_symmetry_dataset(cell, symprec=1e-4).number


class Counted(EMT):
    n = 0

    def calculate(self, *args, **kwargs):
        self.n += 1
        super().calculate(*args, **kwargs)


def _equilibrium_a(symbol):
    """Lattice constant at the minimum of a fine scan, without any relaxation."""
    from scipy.optimize import minimize_scalar

    def energy(a):
        atoms = bulk(symbol, "fcc", a=a)
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    return minimize_scalar(energy, bounds=(3.2, 4.5), method="bounded", options={"xatol": 1e-6}).x


class TestCell:
    @pytest.mark.parametrize("symbol", ["Al", "Cu", "Ni", "Ag", "Au", "Pt", "Pd"])
    @pytest.mark.parametrize("off", [0.99, 1.01])
    def test_cubic_metals_need_few_evaluations(self, symbol, off):
        a, calculator = _equilibrium_a(symbol), Counted()
        outcome = relax_cell(bulk(symbol, "fcc", a=off * a), calculator, _settings())
        assert outcome.converged
        assert outcome.n_steps == calculator.n <= 5
        assert np.abs(outcome.stress_GPa).max() < 0.01
        assert (4 * outcome.atoms.get_volume()) ** (1 / 3) == pytest.approx(a, rel=2e-4)
        assert not outcome.warnings

    @pytest.mark.parametrize("off", [0.92, 1.08])
    def test_a_bad_start_still_arrives(self, off):
        a = _equilibrium_a("Pt")
        outcome = relax_cell(bulk("Pt", "fcc", a=off * a), EMT(), _settings())
        assert outcome.converged
        assert (4 * outcome.atoms.get_volume()) ** (1 / 3) == pytest.approx(a, rel=2e-4)

    def test_symmetry_is_kept_and_the_hexagonal_cell_converges(self):
        atoms = bulk("Cu", "hcp", a=2.6, c=4.1)
        outcome = relax_cell(atoms, EMT(), _settings())
        assert outcome.converged
        assert _space_group(outcome.atoms) == _space_group(atoms) == 194
        lengths, angles = outcome.atoms.cell.lengths(), outcome.atoms.cell.angles()
        assert lengths[0] == pytest.approx(lengths[1], abs=1e-9)
        assert angles == pytest.approx([90, 90, 120], abs=1e-7)
        assert abs(lengths[0] - 2.6) > 0.01

    def test_without_symmetry_a_saddle_point_is_left(self):
        atoms = bulk("Cu", "bcc", a=2.8, cubic=True)
        atoms.set_cell(atoms.cell.array * [[1.0], [1.0], [1.02]], scale_atoms=True)
        atoms.set_cell(atoms.cell.array @ np.array([[1, 0.003, 0], [0.003, 1, 0], [0, 0, 1]]), scale_atoms=True)
        free = relax_cell(atoms, EMT(), _settings(keep_symmetry=False, max_steps=80))
        kept = relax_cell(bulk("Cu", "bcc", a=2.8), EMT(), _settings())
        assert free.converged
        assert kept.converged
        assert free.energy_eV / 2 < kept.energy_eV - 1e-3
        assert _space_group(kept.atoms) == 229

    def test_the_stress_is_reported_with_sign_and_unit(self):
        atoms = bulk("Cu", a=3.5)
        outcome = relax_cell(atoms, EMT(), _settings(max_steps=1))
        atoms.calc = EMT()
        assert outcome.stress_eV_per_A3 == pytest.approx(atoms.get_stress())
        assert outcome.stress_GPa == pytest.approx(atoms.get_stress() / GPa)
        assert outcome.stress_GPa[0] < -1

    def test_running_out_of_evaluations_is_said(self):
        calculator = Counted()
        outcome = relax_cell(bulk("Cu", a=3.5), calculator, _settings(max_steps=2))
        assert not outcome.converged
        assert outcome.n_steps == calculator.n == 2
        (warning,) = outcome.warnings
        assert warning.startswith("the cell did not relax within 2 evaluations (largest force ")
        assert "GPa" in warning

    def test_stress_that_symmetry_forbids_is_not_hidden(self):
        class Skewed(EMT):
            def calculate(self, *args, **kwargs):
                super().calculate(*args, **kwargs)
                self.results["stress"] = self.results["stress"] + np.array([0, 0, 0, 0.5 * GPa, 0, 0])

        outcome = relax_cell(bulk("Cu", a=3.6), Skewed(), _settings(max_steps=6))
        assert not outcome.converged
        assert outcome.stress_GPa[3] == pytest.approx(0.5, abs=0.01)

    def test_what_is_relaxed_already_costs_one_evaluation(self):
        relaxed = relax_cell(bulk("Cu", a=3.6), EMT(), _settings()).atoms
        assert relax_cell(relaxed, EMT(), _settings()).n_steps == 1

    def test_the_input_is_not_modified(self):
        atoms = bulk("Cu", "hcp", a=2.6, c=4.1)
        atoms.set_constraint(FixAtoms([0]))
        atoms.calc = own = EMT()
        before = atoms.copy()
        relax_cell(atoms, EMT(), _settings())
        assert atoms == before
        assert atoms.calc is own
        assert len(atoms.constraints) == 1

    def test_it_is_deterministic(self):
        atoms = bulk("Cu", "hcp", a=2.6, c=4.1)
        one, two = (relax_cell(atoms, EMT(), _settings()).atoms for _ in range(2))
        assert (one.positions == two.positions).all()
        assert (one.cell.array == two.cell.array).all()

    @pytest.mark.parametrize(
        ("force_factor", "stress_factor", "converged"),
        [(1.01, 1.01, True), (0.99, 1.01, False), (1.01, 0.99, False)],
    )
    def test_both_thresholds_count(self, force_factor, stress_factor, converged):
        atoms = bulk("Cu", "hcp", a=2.55, c=4.16)
        atoms.positions[1] += [0.03, 0.02, 0.01]
        found = relax_cell(atoms, EMT(), _settings(max_steps=1, keep_symmetry=False))
        settings = _settings(
            max_steps=1,
            keep_symmetry=False,
            fmax_eV_per_A=force_factor * found.max_force_eV_per_A,
            stress_tolerance_GPa=stress_factor * np.abs(found.stress_GPa).max(),
        )
        assert relax_cell(atoms, EMT(), settings).converged is converged


class TestIons:
    @pytest.fixture
    def strained(self):
        atoms = bulk("Cu", "hcp", a=2.55, c=4.16)
        atoms.set_cell(atoms.cell.array @ np.array([[1.01, 0.01, 0], [0.01, 0.99, 0], [0, 0, 1]]), scale_atoms=True)
        return atoms

    def test_forces_vanish_in_the_given_cell(self, strained):
        calculator = Counted()
        outcome = relax_ions(strained, calculator, fmax_eV_per_A=1e-3, max_steps=30)
        assert outcome.converged
        assert outcome.n_steps == calculator.n > 1
        assert outcome.max_force_eV_per_A < 1e-3
        assert (outcome.atoms.cell.array == strained.cell.array).all()
        assert np.abs(outcome.atoms.positions - strained.positions).max() > 1e-4
        again = outcome.atoms.copy()
        again.calc = EMT()
        assert outcome.energy_eV == pytest.approx(again.get_potential_energy())
        assert outcome.stress_eV_per_A3 == pytest.approx(again.get_stress())

    def test_forces_of_constrained_atoms_count(self, strained):
        strained.set_constraint(FixAtoms([0, 1]))
        outcome = relax_ions(strained, EMT(), fmax_eV_per_A=1e-3, max_steps=1)
        assert not outcome.converged
        assert outcome.max_force_eV_per_A > 1e-3

    def test_running_out_of_evaluations_is_said(self, strained):
        outcome = relax_ions(strained, EMT(), fmax_eV_per_A=1e-9, max_steps=2)
        assert not outcome.converged
        assert "the ions did not relax within 2 evaluations" in outcome.warnings[0]

    def test_one_atom_has_nothing_to_relax(self):
        outcome = relax_ions(bulk("Cu", a=3.5), EMT(), fmax_eV_per_A=1e-6, max_steps=30)
        assert outcome.converged
        assert outcome.n_steps == 1

    def test_the_input_is_not_modified(self, strained):
        before = strained.copy()
        relax_ions(strained, EMT(), fmax_eV_per_A=1e-3, max_steps=30)
        assert strained == before


def test_the_relaxed_cell_can_be_strained():
    """FixSymmetry left on the atoms would undo the shear without a word."""

    settings = RelaxationSettings(fmax_eV_per_A=1e-3, stress_tolerance_GPa=0.05, max_steps=50, keep_symmetry=True)
    relaxed = relax_cell(bulk("Cu"), EMT(), settings).atoms
    sheared = relaxed.cell.array @ np.array([[1, 0.01, 0], [0.01, 1, 0], [0, 0, 1]])
    relaxed.set_cell(sheared, scale_atoms=True)
    assert relaxed.cell.array == pytest.approx(sheared)
