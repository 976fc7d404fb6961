"""The pool: structures away from the crystal's dynamics, and the choice among them."""

from __future__ import annotations

import re

import pytest
from ase.build import bulk

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.learning.pool import choose_from_pool
from mlip_autopipe.learning.starts import Start
from mlip_autopipe.potentials.dataset import atoms_of
from mlip_autopipe.potentials.registry import load_potential
from tests.learning.tiny import finished, run, tiny_plan, tiny_settings

CUBE = ((2, 0, 0), (0, 2, 0), (0, 0, 2))
SETTINGS = tiny_settings(pool_structures=8, pool_labels=3, pool_strain=0.06, seed_rattle_A=0.1)


@pytest.fixture(scope="module")
def potential():
    return load_potential(BlobStore(finished().store).get(finished().learned.potential_sha256))


@pytest.fixture(scope="module")
def nickel():
    return [Start("Ni", bulk("Ni", a=3.49), CUBE)]


def test_the_best_few_of_all_kinds_come_out_and_are_the_same_again(potential, nickel):
    found, remarks = choose_from_pool(nickel, SETTINGS, potential, [], 0)
    assert len(found) == 3
    assert {one.origin for one in found} == {"pool"}
    assert all(one.walker is None and one.start == 0 for one in found)
    assert remarks == ["pool 1: 8 structures, 2 of them absurd, 3 chosen (d_optimal)"]
    assert choose_from_pool(nickel, SETTINGS, potential, [], 0)[0] == found
    assert choose_from_pool(nickel, SETTINGS, potential, [], 1)[0] != found


def test_copies_of_what_is_known_are_not_chosen_again(potential, nickel):
    first, _ = choose_from_pool(nickel, SETTINGS, potential, [], 0)
    known = [atoms_of(one.structure) for one in first]
    again, _ = choose_from_pool(nickel, SETTINGS, potential, known, 0)
    assert again
    assert all(one.structure not in [known.structure for known in first] for one in again)


def test_what_a_given_surrogate_calls_absurd_is_not_labelled(potential, nickel, tmp_path):
    path = tmp_path / "other.mlip"
    path.write_bytes(potential.save().data)
    harsh = SETTINGS.model_copy(update={"surrogate": str(path), "pool_strain": 0.28, "pool_structures": 24})
    found, (remark,) = choose_from_pool(nickel, harsh.model_copy(update={"pool_labels": 24}), potential, [], 0)
    absurd = int(re.search(r"(\d+) of them absurd", remark).group(1))
    assert 0 < absurd < 24
    assert len(found) <= 24 - absurd
    lowest = potential.predict(nickel[0].cell).energy_eV / 8
    whole = [atoms_of(one.structure) for one in found if len(one.structure["numbers"]) == 8]
    assert all(potential.predict(atoms).energy_eV / 8 < lowest + 2.0 for atoms in whole)


def test_a_surrogate_that_cannot_be_read_is_said(potential, nickel):
    with pytest.raises(InvalidInputError, match=r"nowhere\.mlip cannot be read"):
        choose_from_pool(nickel, SETTINGS.model_copy(update={"surrogate": "nowhere.mlip"}), potential, [], 0)


def test_a_melt_joins_the_pool_and_says_how_it_ended(potential, nickel, monkeypatch):
    for name in ("MELT_FS", "COOLING_FS", "HOLD_FS"):
        monkeypatch.setattr(f"mlip_autopipe.learning.pool.{name}", 60.0)
    hot = SETTINGS.model_copy(update={"melt_temperature_K": 2000.0, "pool_structures": 0, "pool_labels": 6})
    found, remarks = choose_from_pool(nickel, hot, potential, [], 0)
    assert {one.detail.split()[0] for one in found} <= {"liquid", "cooling", "quenched"}
    assert found
    assert len(remarks) == 2  # 60 fs do not melt anything, or the little potential fails before
    assert "Ni: " in remarks[0]


def test_the_loop_learns_from_it_once_but_is_not_calibrated_by_it(clean_dir):
    ran = run(tiny_plan(pool_labels=2, pool_structures=4))
    assert ran.learned.labels_by_origin["pool"] == 2
    fresh = [one for generation in ran.generations for one in generation.fresh_errors]
    assert [one.origin for one in fresh].count("pool") == 2
    assert ran.learned.coverage_labels <= sum(one.origin != "pool" for one in fresh)
    assert any("pool 1: 4 structures" in remark for remark in ran.learned.remarks)
    last = ran.generations[-1]
    assert last.new_labels == {"pool": 2}
    assert last.coverage_90 is None
    assert set(ran.learned.label_ids) >= {one.label_id for one in fresh if one.origin == "pool"}
