from __future__ import annotations

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_autopipe.errors import BudgetExhaustedError, ReferenceCalculationError
from mlip_autopipe.reference.ase_engine import ASEEngine
from mlip_autopipe.reference.base import EngineResult
from mlip_autopipe.reference.budget import BudgetLedger
from mlip_autopipe.reference.labels import label_id
from mlip_autopipe.reference.relax import relax_cell
from mlip_autopipe.schemas.system import RelaxationSettings

from .fakes import failure, fake_engine

TIGHT = RelaxationSettings(fmax_eV_per_A=1e-4, stress_tolerance_GPa=1e-3, max_steps=30, keep_symmetry=True)


class CountingEMT(ASEEngine):
    """Counts calculations and dies before the one numbered `dies_before`."""

    cheap = False
    n = 0
    dies_before = 10**6

    def compute(self, atoms):
        if self.n == self.dies_before:
            raise KeyboardInterrupt
        self.n += 1
        return super().compute(atoms)


@pytest.fixture
def hcp():
    atoms = bulk("Cu", "hcp", a=2.5, c=4.3)
    atoms.positions[1] += [0.02, -0.01, 0.03]
    return atoms


def test_it_answers_like_the_calculator_behind_it(labelled, ase_settings, hcp):
    engine = CountingEMT(ase_settings())
    calculator = labelled(engine)
    hcp.calc = calculator
    plain = hcp.copy()
    plain.calc = EMT()
    assert hcp.get_potential_energy() == pytest.approx(plain.get_potential_energy())
    assert hcp.get_potential_energy(force_consistent=True) == pytest.approx(plain.get_potential_energy())
    assert hcp.get_forces() == pytest.approx(plain.get_forces())
    assert hcp.get_stress() == pytest.approx(plain.get_stress())
    assert engine.n == 1
    assert calculator.label_ids == [label_id(hcp, engine.settings_hash)]


def test_ids_are_listed_once_in_the_order_of_use(labelled, hcp):
    engine = fake_engine()
    calculator = labelled(engine)
    ids = []
    for shift in (0.0, 0.1, 0.0, 0.2):
        atoms = hcp.copy()
        atoms.positions[0, 0] += shift
        atoms.calc = calculator
        atoms.get_forces()
        ids.append(label_id(atoms, engine.settings_hash))
    assert calculator.label_ids == [ids[0], ids[1], ids[3]]
    assert len(engine.computed) == 3


def test_warnings_are_kept_once(labelled, hcp):
    engine = fake_engine()
    plain = engine.compute(hcp)
    engine.result = EngineResult(1.0, plain.forces_eV_per_A, plain.stress_eV_per_A3, warnings=["only with care"])
    calculator = labelled(engine)
    for shift in (0.0, 0.1):
        hcp.positions[0, 0] += shift
        hcp.calc = calculator
        hcp.get_forces()
    assert calculator.label_warnings == ["only with care"]


def test_failures_and_the_budget_come_through_the_optimiser(labelled, memory_jobstore, ase_settings, hcp):
    broken = fake_engine()
    broken.fails = [failure("it blew up")]
    with pytest.raises(ReferenceCalculationError, match="it blew up"):
        relax_cell(hcp, labelled(broken), TIGHT)
    ledger = BudgetLedger(memory_jobstore, "r", max_reference_calculations=2, max_core_hours=1.0)
    engine = CountingEMT(ase_settings())
    with pytest.raises(BudgetExhaustedError):
        relax_cell(hcp, labelled(engine, budget=ledger, run_id="r"), TIGHT)
    assert engine.n == 2


def test_a_killed_relaxation_resumes_from_its_labels(labelled, memory_jobstore, ase_settings, hcp):
    def ledger():
        return BudgetLedger(memory_jobstore, "r", max_reference_calculations=30, max_core_hours=1.0)

    killed = CountingEMT(ase_settings())
    killed.dies_before = 3
    with pytest.raises(KeyboardInterrupt):
        relax_cell(hcp, labelled(killed, budget=ledger(), run_id="r"), TIGHT)
    assert killed.n == 3

    resumed = CountingEMT(ase_settings())
    outcome = relax_cell(hcp, labelled(resumed, budget=ledger(), run_id="r"), TIGHT)
    assert outcome.converged
    assert resumed.n == outcome.n_steps - 3
    # reserved once per label, although the killed calculation was reserved, too
    assert ledger().spent()[0] == outcome.n_steps == len(outcome.label_ids)

    replayed = CountingEMT(ase_settings())
    again = relax_cell(hcp, labelled(replayed, budget=ledger(), run_id="r"), TIGHT)
    assert replayed.n == 0
    assert again.label_ids == outcome.label_ids
    assert (again.atoms.positions == outcome.atoms.positions).all()
    assert (again.atoms.cell.array == outcome.atoms.cell.array).all()


def test_two_relaxations_with_one_calculator_list_their_own_labels(labelled, ase_settings, hcp):
    calculator = labelled(CountingEMT(ase_settings()))
    one = relax_cell(hcp, calculator, TIGHT)
    two = relax_cell(bulk("Cu", a=3.6), calculator, TIGHT)
    assert not set(one.label_ids) & set(two.label_ids)
    assert calculator.label_ids == one.label_ids + two.label_ids
    assert len(two.label_ids) == two.n_steps
