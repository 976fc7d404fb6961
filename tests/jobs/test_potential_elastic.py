"""Elastic constants from a learned potential: right within what they claim, and judged by the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_autopipe.analysis.symmetry import crystal_symmetry
from mlip_autopipe.flows.otf import reserved_labels
from mlip_autopipe.jobs import potential_elastic
from mlip_autopipe.learning.elastic_property import measure_elastic
from mlip_autopipe.learning.starts import primitive_atoms
from mlip_autopipe.schemas.elastic import ElasticDocument
from tests.learning.calculators import COMPUTED, WatchedEMT
from tests.learning.tiny import Ran, run, tiny_plan

SETTINGS: dict[str, Any] = {"held_out": 0, "potential": {"largest": 150}, "seed_structures": 4}


@pytest.fixture(scope="module", autouse=True)
def _few_samples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(potential_elastic, "FULL_SAMPLES", 4)
        yield


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Ran:
    """A whole run; look, do not touch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("measured"))
        return run(tiny_plan("elastic", **SETTINGS), finish=None)


@pytest.fixture(scope="module")
def document(measured) -> ElasticDocument:
    return measured.output


@pytest.fixture(scope="module")
def truth(measured) -> np.ndarray:
    """What the reference itself says, GPa."""
    plan = measured.system
    primitive = primitive_atoms(plan.material.structure)
    from pymatgen.io.ase import AseAtomsAdaptor

    rotations = crystal_symmetry(AseAtomsAdaptor.get_structure(primitive), 0.01).rotations
    return measure_elastic(primitive, EMT(), plan.relaxation, plan.elastic, rotations).fit.tensor


def test_the_constants_are_those_of_the_reference_within_their_errors(document, truth):
    assert document.state == "done"
    assert document.via == "potential"
    off = np.array(document.elastic_tensor_GPa) - truth
    assert np.abs(off).max() < 0.03 * truth.max()
    stderr = np.array(document.elastic_tensor_stderr_GPa)
    assert (np.abs(off) <= 4 * stderr + 1e-9).all()


def test_the_error_is_split_by_source(document):
    parts = {name: np.array(part) for name, part in document.elastic_tensor_stderr_parts_GPa.items()}
    assert set(parts) == {"fit", "nonlinearity", "model", "check"}
    assert parts["model"].max() > 0
    total = np.sqrt(sum(part**2 for part in parts.values()))
    np.testing.assert_allclose(document.elastic_tensor_stderr_GPa, total, rtol=1e-6, atol=1e-9)


def test_the_check_is_the_reference_s_own_stress_on_cells_that_were_not_trained_on(document, measured):
    check = document.reference_check
    assert check is not None
    assert not set(check.label_ids) & set(measured.learned.label_ids)
    assert set(check.label_ids) <= set(document.provenance["label_ids"])
    assert len(check.strains) == len(measured.system.elastic_check.strains) == reserved_labels(measured.system)
    difference = np.array(check.reference_stresses_GPa) - np.array(check.potential_stresses_GPa)
    tensor = np.array(check.deviation_GPa)
    # the deviation is what would have to be added to the constants to give the reference's stresses
    residual = difference - np.array(check.strains) @ tensor
    assert np.abs(residual - residual.mean(axis=0)).max() < 0.05 * np.abs(difference).max() + 0.02
    np.testing.assert_allclose(document.elastic_tensor_stderr_parts_GPa["check"], np.abs(tensor))


def test_every_calculation_is_counted(document, measured):
    assert document.n_reference_calculations == len(measured.computed) == len(set(measured.computed))


def test_gates_of_the_potential_are_among_the_others(document):
    gates = {gate.name: gate for gate in document.gates}
    assert gates["reference_agrees_on_the_crystal"].passed
    assert gates["checked_by_the_reference"].passed
    assert {"born_stable", "relaxed"} <= set(gates)


def test_where_its_numbers_come_from(document, measured):
    potential = document.provenance["potential"]
    assert potential["potential_sha256"] == measured.learned.potential_sha256
    assert document.provenance["plan"]["otf"]["seed"] == measured.system.otf.seed


@pytest.mark.usefixtures("clean_dir")
class TestTrouble:
    def again(self, measured: Ran) -> ElasticDocument:
        """The last job once more."""
        return run(measured.system, measured.store, finish=None).output

    def test_the_last_job_again_computes_nothing_and_says_the_same(self, measured, document):
        before = len(COMPUTED)
        again = self.again(measured)
        assert len(COMPUTED) == before
        assert again.elastic_tensor_stderr_GPa == document.elastic_tensor_stderr_GPa

    def test_a_check_that_fails_is_a_gate_that_does_not_pass(self, monkeypatch):
        original = potential_elastic._check

        def check(*arguments: Any) -> Any:
            monkeypatch.setattr(WatchedEMT, "trouble", staticmethod(lambda atoms: True))
            return original(*arguments)

        monkeypatch.setattr(potential_elastic, "_check", check)
        document = run(tiny_plan("elastic", **SETTINGS), finish=None).output
        assert document.state == "failed"
        assert [gate.name for gate in document.gates if not gate.passed] == ["checked_by_the_reference"]
        assert document.reference_check.deviation_GPa is None
        assert "check" not in document.elastic_tensor_stderr_parts_GPa

    def test_a_crystal_that_the_reference_does_not_know_is_noticed(self, document):
        check = document.reference_check.model_copy(update={"max_force_eV_per_A": 0.3})
        gate = potential_elastic._same_crystal(check)
        assert not gate.passed
        assert "0.3 eV/A" in gate.detail

    @pytest.mark.parametrize("limit", [3, 6])
    def test_a_small_budget_keeps_the_labels_of_the_check_and_says_what_is_missing(self, limit, truth):
        ran = run(tiny_plan("elastic", max_reference_calculations=limit, **SETTINGS), finish=None)
        document = ran.output
        assert len(ran.computed) == limit == document.n_reference_calculations
        assert len(document.reference_check.label_ids) == 2
        assert ran.learned.n_reference_calculations == limit - 2
        off = np.abs(np.array(document.elastic_tensor_GPa) - truth).max()
        if off > 0.1 * truth.max():
            assert document.state != "done"
        if document.state == "not_enough_evidence":
            assert "raise resources.max_reference_calculations" in " ".join(document.missing)


def test_strains_of_the_check_leave_the_crystal_as_the_potential_relaxed_it(measured, document):
    from pymatgen.core import Structure

    volume = Structure.from_dict(document.structure).volume
    assert volume == pytest.approx(bulk("Ni", a=3.49).get_volume(), rel=0.02)  # EMT's own nickel
