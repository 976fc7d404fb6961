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


def test_the_goal_gives_a_miscibility_gap_that_closes(tmp_path):
    pytest.importorskip("pypolymlp")
    pytest.importorskip("icet")
    from tests.jobs.test_phase_diagram import run

    temperatures = {"phase_diagram.temperatures_K": [500.0, 1100.0], "phase_diagram.monte_carlo_sites": 64}
    document, search = run(tmp_path, elements=("Ag", "Cu"), **temperatures)
    assert document.state == "done"
    part = document.temperature
    assert part["parent"] == "fcc"
    assert part["expansion"]["ground_states"] == ["fcc Ag", "fcc Cu"]
    diagram = part["diagram"]
    assert all(gate["passed"] for gate in diagram["gates"])
    cold, hot = diagram["slices"][0], diagram["slices"][-1]
    assert (cold["temperature_K"], hot["temperature_K"]) == (500.0, 1100.0)
    (gap,) = cold["two_phase"]
    assert gap["low"]["value"] < 0.2 < 0.8 < gap["high"]["value"]
    assert hot["two_phase"] == []
    top = diagram["consolute_temperature_K"]
    # the whole default run finds 864 K, with its own expansion of ten times as many structures
    assert abs(top["value"] - 864) < 3 * top["stderr"] < 400
    assert "PHASE" in part["tdb"]
    assert search.blobs.has(part["expansion_sha256"])
    assert len(document.model_dump_json()) < 1_000_000
