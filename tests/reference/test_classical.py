from __future__ import annotations

import sys

import pytest
from ase.build import bulk
from ase.units import GPa

from mlip_autopipe.errors import EnvironmentProblemError
from mlip_autopipe.reference.ase_engine import ASEEngine

DOTTED = "mlip_autopipe.reference.classical.stillinger_weber_silicon"


def test_silicon_is_the_published_one(ase_settings):
    pytest.importorskip("matscipy")
    engine = ASEEngine(ase_settings(DOTTED))
    # 10.1103/PhysRevB.31.5262 fits a = 5.431 A and -4.3363 eV per atom in units of its epsilon of 2.1678 eV
    result = engine.compute(bulk("Si", a=5.431))
    assert result.energy_eV / 2 == pytest.approx(-2 * 2.1678, abs=2e-3)
    assert abs(result.stress_eV_per_A3[:3]).max() / GPa < 0.1
    assert abs(engine.compute(bulk("Si", a=5.35)).stress_eV_per_A3[:3]).min() / GPa > 3


def test_without_matscipy_it_says_what_to_install(ase_settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "matscipy.calculators.manybody", None)
    with pytest.raises(EnvironmentProblemError, match="pip install matscipy"):
        ASEEngine(ase_settings(DOTTED)).compute(bulk("Si"))
