"""How far other lattices lie below the hull of one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlip_autopipe.analysis.hull import convex_hull
from mlip_autopipe.jobs.alloy_temperature import _missed


def found(energies: list[float], x: list[float]) -> Any:
    fractions = np.array([[1 - one, one] for one in x])
    return SimpleNamespace(
        kept=np.arange(10, 10 + len(x)),
        hull=convex_hull(fractions, energies),
        energies=SimpleNamespace(fractions=np.vstack([np.zeros((10, 2)), fractions])),
    )


@pytest.mark.parametrize(
    ("other", "at", "below"),
    [(-0.035, 0.5, 0.005), (-0.025, 0.25, 0.005), (-0.002, 0.0, 0.002), (0.1, 0.5, 0.0)],
)
def test_the_deepest_phase_of_another_lattice_counts(other, at, below):
    # the lattice has vertices at 0, 1/4, 1/2 and 1
    one = found([0.0, 0.0, -0.03, -0.02, other], [0.0, 1.0, 0.5, 0.25, at])
    assert _missed(one, [10, 11, 12, 13]) == pytest.approx(below, abs=1e-12)
