"""The document is built from stresses alone, so wrong stresses must make it fail."""

import numpy as np
import pytest

from mlip_autopipe.analysis.elastic import strain_set
from mlip_autopipe.jobs.elastic_document import build_elastic_document
from mlip_autopipe.reference.labels import LabelStore
from mlip_autopipe.schemas.elastic import RelaxationDocument, StrainedStressDocument
from tests.flows.conftest import plan  # noqa: F401

AL = np.diag([113.8, 113.8, 113.8, 31.6, 31.6, 31.6])
AL[:3, :3] += 61.6 * (1 - np.eye(3))
ZERO = (0.0,) * 6


@pytest.fixture
def build(plan, memory_jobstore):  # noqa: F811
    system = plan("Al", "fcc")

    def make(tensor=AL, *, converged=True, stress=ZERO, noise=0.0):
        rng = np.random.default_rng(1)
        relaxation = RelaxationDocument(
            structure=system.material.structure,
            energy_eV=-1.0,
            max_force_eV_per_A=0.0,
            stress_GPa=stress,
            converged=converged,
            n_steps=3,
            label_ids=["a", "b"],
        )
        strains = strain_set(system.elastic.directions, system.elastic.strain_amplitude)
        measurements = [
            StrainedStressDocument(
                strain=tuple(e),
                stress_GPa=tuple(tensor @ e + noise * rng.normal(size=6)),
                max_force_eV_per_A=1e-4,
                converged=True,
                n_steps=1,
                label_ids=["b", f"s{i}"],
            )
            for i, e in enumerate(strains)
        ]
        return build_elastic_document(system, relaxation, measurements, LabelStore(memory_jobstore))

    return make


def test_known_constants_come_back(build):
    document = build()
    assert document.state == "done"
    constants = {name: e.value for name, e in document.independent_constants_GPa.items()}
    assert constants == pytest.approx({"C11": 113.8, "C12": 61.6, "C44": 31.6}, abs=1e-6)
    assert document.moduli.bulk_modulus_VRH_GPa.value == pytest.approx((113.8 + 2 * 61.6) / 3, abs=1e-6)
    assert document.n_reference_calculations == 2 + 4  # label b is shared
    assert document.provenance["label_ids"] == ["a", "b", "s0", "s1", "s2", "s3"]


def test_noise_becomes_a_standard_error(build):
    stderr = build(noise=0.01).independent_constants_GPa["C11"].stderr
    assert 0.2 < stderr < 5  # 0.01 GPa / 0.005 = 2 GPa per stress


def test_an_unstable_tensor_fails(build):
    unstable = AL.copy()
    unstable[3:, 3:] *= -1
    document = build(unstable)
    assert document.state == "failed"
    assert not document.born_stable


def test_an_unrelaxed_cell_fails(build):
    document = build(converged=False)
    assert document.state == "failed"
    assert [g.name for g in document.gates if not g.passed] == ["relaxed"]


def test_a_residual_pressure_is_warned_of(build):
    document = build(stress=(-1.0, -1.0, -1.0, 0.0, 0.0, 0.0))
    assert document.pressure_GPa == pytest.approx(1.0)
    assert any("pressure of 1.00 GPa" in warning for warning in document.warnings)
