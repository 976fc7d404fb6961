from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlip_autopipe.potentials.base import FitReport
from tests.potentials.mace_cases import TINY, cells, with_garbage

if TYPE_CHECKING:
    from mlip_autopipe.potentials.mace import MacePotential


@pytest.fixture(scope="session")
def committee_and_report() -> tuple[MacePotential, FitReport]:
    """A committee of two that was trained for seconds, on labels some of which are garbage of weight 0."""
    from mlip_autopipe.potentials.mace import MacePotential

    potential = MacePotential(**TINY)
    training = with_garbage(cells(11, 1), 1e3, force=0, energy=0, stress=0)
    return potential, potential.fit(training)


@pytest.fixture(scope="session")
def committee(committee_and_report: tuple[MacePotential, FitReport]) -> MacePotential:
    """Not to be changed by a test."""
    return committee_and_report[0]


@pytest.fixture(scope="session")
def saved(committee: MacePotential) -> bytes:
    """The committee as bytes."""
    return committee.save().data
