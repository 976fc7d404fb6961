"""Estimates and limits."""

from __future__ import annotations

import pytest

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.prototypes import prototype_structure
from mlip_autopipe.heuristics.budget import (
    ION_RELAXATION_LABELS,
    RELAXATION_LABELS,
    ions_move_under_strain,
    label_core_seconds,
    valence_electrons,
)

from .conftest import EMT

RELAXED, PER_STRAIN = RELAXATION_LABELS[False], ION_RELAXATION_LABELS[False]
SI = {"elements": ["Si"]}


def test_anchor_is_reproduced():
    silicon = prototype_structure(["Si"], "diamond")
    seconds = label_core_seconds(silicon, {"cutoff_eV": 400}, (6, 6, 6), is_metal=False, spin_polarised=False)
    assert seconds == pytest.approx(9.0, rel=0.02)


def test_cost_grows_with_everything_that_costs():
    silicon = prototype_structure(["Si"], "diamond")

    def cost(structure=silicon, cutoff=400, kpts=(6, 6, 6), is_metal=False, spin=False):
        return label_core_seconds(structure, {"cutoff_eV": cutoff}, kpts, is_metal=is_metal, spin_polarised=spin)

    assert cost(silicon * (2, 1, 1)) == pytest.approx(4 * cost())
    assert cost(cutoff=500) > cost()
    assert cost(kpts=(8, 8, 8)) > 2 * cost()
    assert cost(is_metal=True) > cost()
    assert cost(spin=True) > 2 * cost()


@pytest.mark.parametrize(
    ("elements", "name", "moves"),
    [
        (["Al"], "fcc", False),
        (["W"], "bcc", False),
        (["Na", "Cl"], "rocksalt", False),
        (["Cs", "Cl"], "cesiumchloride", False),
        (["Si"], "diamond", True),
        (["Mg"], "hcp", True),
        (["Ga", "As"], "zincblende", True),
        (["Zn", "O"], "wurtzite", True),
    ],
)
def test_ions_that_strain_displaces(elements, name, moves):
    structure = prototype_structure(elements, name)
    assert ions_move_under_strain(structure) is moves
    structure.translate_sites(list(range(len(structure))), [0.13, 0.27, 0.41])
    assert ions_move_under_strain(structure) is moves


def test_numbers_of_calculations(expand):
    aluminium, silicon = expand({"elements": ["Al"]}).estimate, expand(SI).estimate
    assert aluminium.n_reference_calculations == RELAXED + 4
    assert silicon.n_reference_calculations == RELAXED + 4 * PER_STRAIN
    assert "9 s for Si2" in silicon.basis


def test_overrides_reach_the_estimate(expand):
    plain = expand(SI).estimate
    fewer = expand(SI, overrides={"elastic.half_amplitude_check": False}).estimate
    assert fewer.n_reference_calculations == RELAXED + 2 * PER_STRAIN
    dearer = expand(SI, overrides={"reference.parameters.kpts": [12, 12, 12]}).estimate
    assert dearer.core_hours > 5 * plain.core_hours
    assert expand(SI, overrides={"reference.parameters.cutoff_eV": 800}).estimate.core_hours > 2 * plain.core_hours


def test_classical_potentials_cost_next_to_nothing(expand):
    estimate = expand({"elements": ["Al"]}, reference=EMT).estimate
    assert 0 < estimate.core_hours < 0.01


def test_default_budget_is_generous(expand):
    config = expand(SI)
    assert config.budget.max_reference_calculations >= 4 * config.estimate.n_reference_calculations
    assert config.budget.max_core_hours >= 5 * config.estimate.core_hours
    assert config.budget.cores >= 1


def test_resources_of_the_user_win_and_say_so(expand):
    config = expand(SI, resources={"max_reference_calculations": 10, "max_core_hours": 0.001, "cores": 3})
    assert config.budget.model_dump() == {"max_reference_calculations": 10, "max_core_hours": 0.001, "cores": 3}
    for name in config.budget.model_dump():
        assert config.reasons[f"budget.{name}"].source == "input.yaml: resources"
    assert sum("may stop before" in w for w in config.warnings) == 2


def test_a_limit_is_set_in_one_place(expand):
    with pytest.raises(InvalidInputError, match="keep one"):
        expand(SI, resources={"cores": 3}, overrides={"budget": {"cores": 4}})


def test_valence_electrons():
    from pymatgen.core import Element

    known = {"Al": 3, "Si": 4, "Cu": 11, "Fe": 8, "Ti": 10, "O": 6, "Cl": 7, "H": 1}
    assert {s: valence_electrons(Element(s)) for s in known} == known
    assert all(valence_electrons(Element.from_Z(z)) > 0 for z in range(1, 104))
