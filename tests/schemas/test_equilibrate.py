from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from mlip_autopipe.schemas.equilibrate import (
    EquilibrateDocument,
    EquilibriumAtTemperature,
    ThermalExpansionEstimate,
)
from mlip_autopipe.schemas.property import ErrorParts, Estimate, Gate, SplitEstimate


def at(temperature, passed=True):
    return EquilibriumAtTemperature(
        temperature_K=temperature,
        lattice_parameters={"a_A": SplitEstimate.from_parts(3.6, statistics=3e-4, model=4e-4)},
        free_parameters=["a_A"],
        volume_A3_per_atom=SplitEstimate.from_parts(11.7, statistics=3e-3, model=4e-3, check=0.0, finite_size=1e-3),
        density_g_per_cm3=SplitEstimate.from_parts(8.9, statistics=1e-3),
        bulk_modulus_GPa=SplitEstimate.from_parts(120.0, statistics=2.0),
        energy_eV_per_atom=Estimate(value=-3.5, stderr=1e-4),
        measured_temperature_K=Estimate(value=temperature, stderr=1.0),
        measured_pressure_GPa=None,
        n_atoms=108,
        n_frames=400,
        n_discarded_frames=20,
        effective_samples=80.0,
        simulated_time_ps=20.0,
        gates=[Gate(name="not_drifted", passed=passed, detail="")],
    )


def document(**changes):
    values = {
        "run_id": "cu-1",
        "project_name": "cu",
        "state": "done",
        "formula": "Cu",
        "structure": {},
        "space_group": "Fm-3m",
        "crystal_system": "cubic",
        "pressure_GPa": 0.0,
        "temperature_K": 300.0,
        "temperatures_K": [200.0, 300.0],
        "equilibria": [at(200.0), at(300.0)],
        "thermal_expansion": ThermalExpansionEstimate(
            temperature_K=300.0,
            volumetric_per_K=SplitEstimate.from_parts(5e-5, statistics=1e-6, curvature=2e-6),
            linear_per_K=SplitEstimate.from_parts(1.7e-5, statistics=3e-7, curvature=6e-7),
            degree=1,
            curvature_determined=False,
        ),
        "gates": [],
        "n_reference_calculations": 12,
        "provenance": {},
    }
    return EquilibrateDocument(**{**values, **changes})


def test_json_schema_and_version():
    schema = EquilibrateDocument.model_json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema_version"]["const"] == 1
    assert schema["additionalProperties"] is False


def test_survives_json_and_finds_the_asked_temperature():
    one = document()
    assert EquilibrateDocument.model_validate_json(one.model_dump_json()) == one
    assert one.at_temperature().temperature_K == 300
    assert [g.name for g in one.all_gates()] == ["not_drifted", "not_drifted"]


def test_errors_are_the_quadrature_of_their_parts():
    one = SplitEstimate.from_parts(1.0, statistics=3.0, model=4.0)
    assert one.stderr == pytest.approx(5.0)
    assert one.stderr_parts.check is None
    assert SplitEstimate.from_parts(1.0).stderr == 0
    with pytest.raises(ValidationError, match="add up to 5"):
        SplitEstimate(value=1.0, stderr=3.0, stderr_parts=ErrorParts(statistics=3.0, model=4.0))
    with pytest.raises(ValidationError):
        SplitEstimate.from_parts(1.0, statistics=-1.0)
    with pytest.raises(ValidationError):
        SplitEstimate.from_parts(1.0, luck=1.0)


def test_inconsistent_documents_are_refused():
    with pytest.raises(ValidationError, match="none of"):
        document(temperature_K=250.0)
    with pytest.raises(ValidationError, match="in their order"):
        document(temperatures_K=[300.0, 200.0])
    with pytest.raises(ValidationError, match="stored as failed"):
        document(equilibria=[at(200.0), at(300.0, passed=False)])
    assert document(state="failed", equilibria=[at(200.0), at(300.0, passed=False)]).state == "failed"
