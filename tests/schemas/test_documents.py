"""Schemas export valid JSON schema and survive JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from mlip_autopipe.schemas.config import UserConfig
from mlip_autopipe.schemas.elastic import ElasticDocument, RelaxationDocument, StrainedStressDocument
from mlip_autopipe.schemas.label import Attempt, ReferenceLabel
from mlip_autopipe.schemas.loading import parse_user_config
from mlip_autopipe.schemas.system import SystemConfig

MODELS = [UserConfig, SystemConfig, ReferenceLabel, ElasticDocument, RelaxationDocument, StrainedStressDocument]

finite = st.floats(-1e6, 1e6)
voigt = st.tuples(*[finite] * 6)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_json_schema_is_valid(model, mode):
    schema = model.model_json_schema(mode=mode)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("model", [SystemConfig, ReferenceLabel, ElasticDocument, RelaxationDocument])
def test_stored_documents_carry_their_version(model):
    assert model.model_json_schema()["properties"]["schema_version"]["const"] == 1


def test_json_schema_accepts_what_the_model_accepts():
    data = {
        "project_name": "al-elastic",
        "target_system": {"elements": ["Al"], "crystal_structure": "fcc"},
        "simulation_goal": "elastic",
    }
    validator = Draft202012Validator(UserConfig.model_json_schema())
    assert validator.is_valid(data)
    config = parse_user_config(data)
    assert validator.is_valid(config.model_dump(mode="json"))
    assert UserConfig.model_validate_json(config.model_dump_json()) == config
    assert not validator.is_valid({**data, "simulation_goal": "hardness"})
    assert not validator.is_valid({**data, "unknown": 1})


@given(
    energy=finite,
    forces=st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=3),
    stress=voigt,
    magmoms=st.none() | st.lists(finite, max_size=3),
)
def test_label_survives_json(energy, forces, stress, magmoms):
    label = ReferenceLabel(
        label_id="a" * 64,
        settings_hash="b" * 64,
        engine="ase",
        engine_version="1",
        state="done",
        structure={"numbers": [13], "pbc": [True, True, True]},
        energy_eV=energy,
        forces_eV_per_A=forces,
        stress_eV_per_A3=stress,
        magmoms=magmoms,
        attempts=[Attempt(step="as planned", converged=True, wall_time_s=0.1)],
        wall_time_s=0.1,
        core_time_s=0.2,
    )
    assert ReferenceLabel.model_validate_json(label.model_dump_json()) == label


@given(strain=voigt, stress=voigt)
def test_strained_stress_survives_json(strain, stress):
    document = StrainedStressDocument(
        strain=strain, stress_GPa=stress, max_force_eV_per_A=0.0, converged=True, n_steps=1, label_ids=["a"]
    )
    assert StrainedStressDocument.model_validate_json(document.model_dump_json()) == document


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_no_document_holds_a_number_that_is_none(bad):
    with pytest.raises(ValidationError):
        StrainedStressDocument(
            strain=(bad, 0, 0, 0, 0, 0),
            stress_GPa=(0,) * 6,
            max_force_eV_per_A=0,
            converged=True,
            n_steps=1,
            label_ids=[],
        )


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError):
        Attempt(step="x", converged=True, wall_time_s=0, nonsense=1)
