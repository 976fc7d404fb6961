"""Many relaxations in one process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_autopipe.learning.batch_relaxation import relax_structures
from mlip_autopipe.potentials.errors import PredictionError


class Field:
    """EMT as a force field."""

    def calculator(self) -> Any:
        return EMT()


class Refusing:
    """Knows copper only."""

    def calculator(self) -> Any:
        class One(EMT):
            def calculate(self, atoms: Any = None, *more: Any, **keywords: Any) -> None:
                if set(atoms.get_chemical_symbols()) != {"Cu"}:
                    raise PredictionError("the potential knows Cu, not Au")
                super().calculate(atoms, *more, **keywords)

        return One()


def test_cells_and_ions_relax_and_starts_are_left_alone():
    strained = bulk("Cu", "fcc", a=3.75, cubic=True)
    strained.rattle(0.05, seed=1)
    before = strained.positions.copy()
    (found,) = relax_structures([strained], Field())
    assert found.converged
    # EMT copper: a = 3.59 A in its own published parameters (doi:10.1016/0039-6028(96)00816-3)
    assert found.atoms.get_volume() ** (1 / 3) == pytest.approx(3.59, abs=0.01)
    np.testing.assert_array_equal(strained.positions, before)
    ideal = bulk("Cu", "fcc", a=3.5902)
    ideal.calc = EMT()
    assert found.energy_eV / 4 == pytest.approx(ideal.get_potential_energy(), abs=1e-3)
    assert found.atoms.calc is None


def test_one_that_cannot_be_computed_does_not_stop_the_others():
    found = list(relax_structures([bulk("Au", "fcc", a=4.1), bulk("Cu", "fcc", a=3.6)], Refusing()))
    assert [one.converged for one in found] == [False, True]
    assert np.isnan(found[0].energy_eV)
    assert "not Au" in found[0].failure
