"""What the user may set by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.heuristics.budget import RELAXATION_LABELS
from mlip_autopipe.heuristics.overrides import Overrides, like

AL = {"elements": ["Al"]}


@pytest.mark.parametrize(
    "overrides",
    [
        {"elastic.strain_amplitude": 0.003, "reference.parameters.kpts": [4, 4, 4]},
        {"elastic": {"strain_amplitude": 0.003}, "reference": {"parameters": {"kpts": [4, 4, 4]}}},
        {"elastic": {"strain_amplitude": 0.003}, "reference.parameters": {"kpts": [4, 4, 4]}},
    ],
)
def test_nested_and_dotted(expand, overrides):
    config = expand(AL, overrides=overrides)
    assert config.elastic.strain_amplitude == 0.003
    assert config.reference.parameters["kpts"] == [4, 4, 4]
    for path in ("elastic.strain_amplitude", "reference.parameters.kpts"):
        assert config.reasons[path].reason == "set by the user"
        assert config.reasons[path].source == "input.yaml: overrides"
    assert config.reasons["elastic.ion_max_steps"].source != "input.yaml: overrides"


def test_groups_inside_a_parameter_are_merged(expand):
    config = expand(AL, overrides={"reference.parameters.convergence.energy_eV": 1e-8})
    assert config.reference.parameters["convergence"] == {"energy_eV": 1e-8, "density": 1e-5}


def test_numbers_that_yaml_reads_as_text(expand):
    config = expand(AL, overrides={"relaxation.fmax_eV_per_A": "1e-3", "reference.parameters.cutoff_eV": "5e2"})
    assert config.relaxation.fmax_eV_per_A == 1e-3
    assert config.reference.parameters["cutoff_eV"] == 500.0


def test_directions_by_hand(expand):
    directions = [[1, 0, 0, 0, 0, 0], [0, 0, 0, 2, 0, 0]]
    config = expand(AL, overrides={"elastic.directions": directions})
    assert [list(d) for d in config.elastic.directions] == directions
    assert config.estimate.n_reference_calculations == RELAXATION_LABELS[False] + 8


def test_looser_symmetry_changes_the_directions(expand, tmp_path):
    from ase.build import bulk
    from ase.io import write

    atoms = bulk("Al")
    atoms.set_cell(atoms.cell.array * [1, 1, 1.01], scale_atoms=True)
    write(tmp_path / "POSCAR", atoms)
    target = {"structure": str(tmp_path / "POSCAR")}
    assert len(expand(target).elastic.directions) == 2
    assert len(expand(target, overrides={"elastic.symmetry_tolerance_A": 0.1}).elastic.directions) == 1


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"elastic.strain_amplitud": 0.003}, "did you mean elastic.strain_amplitude"),
        ({"elastc.strain_amplitude": 0.003}, "did you mean elastic.strain_amplitude"),
        ({"strain_amplitude": 0.003}, "did you mean elastic.strain_amplitude"),
        ({"reference.parameters.cutof_eV": 500}, "did you mean reference.parameters.cutoff_eV"),
        ({"via": "potential"}, "set via at the top of the input"),
        ({"otf.segment_steps": 100}, "has no meaning for goal elastic via reference, whose plan has no otf"),
        ({"nonsense": 1}, "does not exist; its groups are material, reference"),
        ({"elastic": {"nested": {"deep": 1}}}, "elastic.nested.deep does not exist"),
        ({"elastic": 3}, "write elastic.<name>: value"),
        ({"elastic.strain_amplitude": "big"}, "elastic.strain_amplitude .*number"),
        ({"elastic.strain_amplitude": 0.2}, "less than 0.05"),
        ({"elastic.strain_amplitude": True}, "must be a number, not true"),
        ({"elastic.half_amplitude_check": 7}, "true or false"),
        ({"elastic.directions": [[1, 2]]}, "elastic.directions"),
        ({"budget.cores": 1.5}, "whole number"),
        ({"reference.parameters.kpts": [4, 4]}, "list of 3 values"),
        ({"reference.parameters.kpts": [4, 4, 4.5]}, "whole number"),
        ({"reference.parameters.cutoff_eV": "high"}, "must be a number, not high"),
        ({"reference.parameters.spin_polarised": 1}, "true or false"),
        ({"reference.parameters.xc": 3}, "a word such as PBE"),
        ({"reference.parameters.convergence": 3}, "mapping"),
        ({"reference.engine": "gpaw"}, "set reference.engine at the top"),
        ({"run_id": "x"}, "follows from the plan"),
        ({"estimate": {"core_hours": 1}}, "follows from the plan"),
        ({"material.formula": "Al"}, "target_system"),
        ({"goal": "elastic"}, "simulation_goal"),
        ({"elastic.strain_amplitude": 0.003, "elastic": {"strain_amplitude": 0.004}}, "twice"),
        ({"reference.parameters.xc": "LDA", "reference": {"parameters": {"xc": "PBE"}}}, "twice"),
    ],
)
def test_mistakes_get_one_sentence(expand, overrides, sentence):
    with pytest.raises(InvalidInputError, match=sentence) as caught:
        expand(AL, overrides=overrides)
    assert str(caught.value).startswith("overrides")
    assert "\n" not in str(caught.value)


@given(st.dictionaries(st.text(max_size=12), st.none() | st.integers() | st.text(max_size=5), max_size=3))
def test_anything_else_is_refused_not_a_crash(overrides):
    if overrides:
        with pytest.raises(InvalidInputError):
            Overrides(overrides)


@given(st.integers(-1000, 1000))
def test_whole_numbers_stay_whole(n):
    assert like(1, n, "p") == n
    assert type(like(1, float(n), "p")) is int
    assert type(like(1.0, n, "p")) is float
