from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.split import split_held_out


def data(*formulas: str) -> TrainingSet:
    return TrainingSet.of(
        Configuration(Atoms(formula, positions=np.zeros((len(Atoms(formula)), 3))), float(k), label_id=str(k))
        for k, formula in enumerate(formulas)
    )


def ids(configurations: TrainingSet) -> list[str]:
    return [str(one.label_id) for one in configurations]


@given(
    formulas=st.lists(st.sampled_from(["Ni4", "Ni8", "CuAu", "Cu2Au2", "Au", "NiCu"]), min_size=2, max_size=40),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_configuration_is_in_one_part(formulas: list[str], fraction: float, seed: int) -> None:
    whole = data(*formulas)
    training, held_out = split_held_out(whole, fraction, seed)
    assert sorted(ids(training) + ids(held_out), key=int) == ids(whole)
    assert len(training) > 0
    assert len(held_out) <= max(1, round(fraction * len(whole)))
    assert set(training.elements) == set(whole.elements)
    assert ids(training) == sorted(ids(training), key=int)
    again = split_held_out(whole, fraction, seed)
    assert [ids(part) for part in again] == [ids(training), ids(held_out)]


def test_each_kind_is_held_out_in_its_share() -> None:
    whole = data(*["Ni4"] * 40, *["Ni32"] * 20, *["Cu4"] * 20)
    for seed in range(5):
        _, held_out = split_held_out(whole, 0.25, seed)
        counts = Counter(one.atoms.get_chemical_formula() for one in held_out)
        assert len(held_out) == 20
        assert counts["Ni4"] in (9, 10, 11)
        assert counts["Ni32"] in (4, 5, 6)
        assert counts["Cu4"] in (4, 5, 6)


def test_seeds_differ_and_the_order_is_random() -> None:
    whole = data(*["Ni4"] * 60)
    first, second = (ids(split_held_out(whole, 0.5, seed)[1]) for seed in (0, 1))
    assert set(first) != set(second)
    assert first != sorted(first, key=int)


def test_what_cannot_be_missed_is_trained_on() -> None:
    whole = data("Ni4", "Ni4", "Ni4", "Ni", "NiCu")
    for seed in range(10):
        training, held_out = split_held_out(whole, 0.6, seed)
        assert {"3", "4"} <= set(ids(training))
        assert len(held_out) > 0


def test_bad_input() -> None:
    with pytest.raises(InvalidInputError, match="1 configuration is too little"):
        split_held_out(data("Ni4"), 0.2, 0)
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(InvalidInputError, match="held-out fraction"):
            split_held_out(data("Ni4", "Ni4"), fraction, 0)
    training, held_out = split_held_out(data("Ni4", "Ni4"), 0, 0)
    assert (len(training), len(held_out)) == (2, 0)
