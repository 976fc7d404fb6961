"""What goals ask of a potential: is it enough, and what would tell more."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from mlip_autopipe.learning.starts import primitive_atoms, starts_of
from mlip_autopipe.learning.target import ElasticTarget, ForceTarget, Verdict, VolumeTarget, target_of
from mlip_autopipe.potentials.dataset import atoms_of
from mlip_autopipe.schemas.otf import AuditError
from tests.learning.tiny import tiny_plan, tiny_settings


class ScaledEMT(Calculator):
    """EMT whose energies are multiplied and whose lengths are divided by factors."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, energy: float = 1.0, length: float = 1.0) -> None:
        super().__init__()
        self.energy, self.length = energy, length

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        large = atoms.copy()
        large.set_cell(atoms.cell.array * self.length, scale_atoms=True)
        large.calc = EMT()
        energy = self.energy * large.get_potential_energy()
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": self.energy * self.length * large.get_forces(),
            "stress": self.energy * self.length**3 * large.get_stress(),
        }


class Toy:
    """A potential with posterior samples that differ in a known way."""

    def __init__(self, *samples: dict[str, float]) -> None:
        self.samples = samples

    def calculator(self) -> Calculator:
        return EMT()

    def draw(self, n: int, seed: int) -> list[Any]:
        assert n == len(self.samples)

        def sample(factors: dict[str, float]) -> Any:
            return type("Sample", (), {"calculator": lambda self: ScaledEMT(**factors)})()

        return [sample(factors) for factors in self.samples]


def audit(temperature_K: float, error: float) -> AuditError:
    return AuditError(
        temperature_K=temperature_K, generation=1, force_rmse_eV_per_A=error, predicted_rms_eV_per_A=0.01
    )


@pytest.mark.parametrize(
    ("error", "target", "others", "enough"),
    [
        (0.01, 0.02, 0.0, True),
        (0.03, 0.02, 0.0, False),
        (0.03, 0.02, 0.04, True),  # something else is worse
        (0.05, 0.02, 0.04, False),
        (None, 1e9, 1e9, False),
    ],
)
def test_more_labels_help_while_the_model_is_the_largest_part_and_beyond_its_target(error, target, others, enough):
    assert Verdict(error, target, others, "eV/A").is_enough is enough


@pytest.mark.parametrize(
    ("goal", "kind"), [("elastic", ElasticTarget), ("potential", ForceTarget), ("equilibrate", VolumeTarget)]
)
def test_every_goal_has_a_target(goal, kind):
    plan = tiny_plan("elastic").model_copy(update={"goal": goal})
    assert isinstance(target_of(plan, starts_of(plan)), kind)


class TestForces:
    TARGET = ForceTarget((), tiny_settings(temperatures_K=[300.0, 900.0], target_force_error_eV_per_A=0.04))

    def test_the_worst_newest_audit_decides(self):
        verdict = self.TARGET.verdict(Toy(), [audit(300.0, 0.01), audit(900.0, 0.03)])
        assert (verdict.error, verdict.target, verdict.is_enough) == (0.03, 0.04, True)
        assert not self.TARGET.verdict(Toy(), [audit(300.0, 0.05), audit(900.0, 0.03)]).is_enough

    def test_a_temperature_that_no_label_has_seen_leaves_the_error_unknown(self):
        for audits in ([], [audit(300.0, 0.001)]):
            verdict = self.TARGET.verdict(Toy(), audits)
            assert verdict.error is None
            assert not verdict.is_enough

    def test_only_dynamics_tells_more(self):
        assert self.TARGET.informative(Toy(), 0, []).candidates == []
        assert not self.TARGET.wants_own_labels


class TestElastic:
    @pytest.fixture
    def target(self) -> ElasticTarget:
        plan = tiny_plan("elastic", draws=2, property_strain=0.01, property_stress_weight=50.0)
        found = target_of(plan, starts_of(plan))
        assert isinstance(found, ElasticTarget)
        return found

    def test_the_spread_of_the_samples_is_the_error_relative_to_the_largest_constant(self, target):
        verdict = target.verdict(Toy({"energy": 1.03}, {"energy": 0.95}), [])
        assert verdict.error == pytest.approx(np.sqrt((0.03**2 + 0.05**2) / 2), rel=1e-3)
        assert verdict.target == target.settings.target_property_error
        assert 0 < verdict.others < 0.01
        assert "constant" in verdict.unit

    def test_labels_are_strains_of_the_relaxed_crystal_in_both_senses(self, target):
        found = target.informative(Toy(), 0, []).candidates
        assert len(found) == 2 * len(target.elastic.directions)
        assert {one.stress_weight for one in found} == {50.0}
        assert {one.origin for one in found} == {"property"}
        cells = [atoms_of(one.structure).cell.array for one in found]
        relaxed = (cells[0] + cells[1]) / 2
        volume = bulk("Ni", a=3.49).get_volume()
        assert abs(np.linalg.det(relaxed)) == pytest.approx(volume, rel=0.02)
        gradient = np.linalg.solve(relaxed, cells[0]).T
        principal = np.linalg.eigvalsh((gradient + gradient.T) / 2 - np.eye(3))
        assert np.abs(principal).max() == pytest.approx(0.01, rel=0.02)

    def test_each_round_shows_another_amplitude(self, target):
        structures = [target.informative(Toy(), round_, []).candidates[0].structure for round_ in range(5)]
        assert all(structures[i] != structures[j] for i in range(5) for j in range(i))
        assert target.informative(Toy(), 5, []).candidates[0].structure == structures[0]


class TestVolume:
    @pytest.fixture
    def target(self) -> VolumeTarget:
        plan = tiny_plan("elastic", draws=2)
        return VolumeTarget(primitive_atoms(plan.material.structure), plan.otf, plan.relaxation)

    def test_the_spread_of_the_lattice_constant_is_the_error(self, target):
        verdict = target.verdict(Toy({"length": 1.002}, {"length": 0.999}), [])
        # lengths divided by 1.002 and 0.999
        off = np.array([1 / 1.002, 1 / 0.999]) - 1
        assert verdict.error == pytest.approx(np.sqrt((off**2).mean()), rel=0.02)

    def test_labels_are_compressed_and_stretched(self, target):
        volumes = [atoms_of(one.structure).get_volume() for one in target.informative(Toy(), 0, []).candidates]
        assert len(volumes) == 2
        assert (volumes[1] / volumes[0]) ** (1 / 3) == pytest.approx(1.01 / 0.99, rel=1e-3)
