"""Melt and quench of an effective-medium metal, and of potentials that break down."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from mlip_autopipe.dynamics.guards import GuardSettings
from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.melt_quench import MeltQuenchSettings, melt_quench
from mlip_autopipe.generation.perturb import shortest_distance
from mlip_autopipe.potentials.errors import PredictionError

SHORT = {"melt_steps": 400, "cooling_steps": 300, "hold_steps": 50, "time_step_fs": 4.0}


@pytest.fixture
def copper():
    return bulk("Cu", a=3.65, cubic=True).repeat(2)


class Attractive(Calculator):
    """Pulls all atoms to the middle of the cell."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, list(properties), list(system_changes))
        out = self.atoms.positions - self.atoms.cell.array.sum(axis=0) / 2
        self.results = {"energy": float((out**2).sum()), "forces": -2 * out}


class Mute(EMT):
    """Can say nothing after some calls."""

    calls = 0

    def calculate(self, *args, **kwargs):
        self.calls += 1
        if self.calls > 250:
            raise PredictionError("the forces are not finite")
        super().calculate(*args, **kwargs)


def test_crystal_melts_and_is_quenched(copper):
    before = copper.copy()
    found = melt_quench(copper, EMT(), MeltQuenchSettings(3500, volume_scale=1.06, **SHORT), seed=1)
    assert copper == before
    assert found.stopped is None
    assert found.melted
    assert [f.info["stage"] for f in found.frames] == ["liquid"] * 3 + ["cooling"] * 2 + ["quenched"] * 2
    temperatures = [f.info["temperature_K"] for f in found.frames]
    assert temperatures[:3] == [3500] * 3
    assert temperatures[-2:] == [300] * 2
    assert 3500 > temperatures[3] > temperatures[4] > 300
    energies = []
    for frame in found.frames:
        assert frame.get_volume() == pytest.approx(1.06 * copper.get_volume())
        assert not frame.has("momenta")
        frame.calc = EMT()
        energies.append(frame.get_potential_energy() / len(frame))
    assert max(energies[-2:]) < min(energies[:3]) - 0.2
    # every later frame is another one
    assert len({f.positions.tobytes() for f in found.frames}) == 7


def test_equal_seeds_give_equal_frames(copper):
    settings = MeltQuenchSettings(2000, melt_steps=40, cooling_steps=20, hold_steps=10, cooling_stages=2)
    one, two, other = (melt_quench(copper, EMT(), settings, seed=s).frames for s in (1, 1, 2))
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0].positions, other[0].positions)


def test_a_crystal_that_stays_one_is_called_so(copper):
    found = melt_quench(copper, EMT(), MeltQuenchSettings(600, **SHORT), seed=1)
    assert found.melted is False
    assert found.frames[2].info["rms_displacement_A"] < 0.4


def test_constant_pressure_expands_the_liquid(copper):
    settings = MeltQuenchSettings(2500, ensemble="npt", **SHORT | {"cooling_steps": 20})
    found = melt_quench(copper, EMT(), settings, seed=1)
    assert found.stopped is None
    assert found.frames[2].get_volume() > 1.05 * copper.get_volume()


def test_collapse_stops_the_run_with_a_reason_and_a_sound_frame(copper):
    settings = MeltQuenchSettings(1000, time_step_fs=0.05, cooling_stages=2, melt_steps=8000)
    found = melt_quench(copper, Attractive(), settings, seed=0)
    assert found.stopped.startswith("liquid at 1000 K: ")
    assert found.melted is None
    (last,) = found.frames
    assert last.info["stage"] == "liquid"
    assert shortest_distance(last) > 0.6 * 2 * 1.32


def test_a_potential_without_answer_stops_the_run(copper):
    settings = MeltQuenchSettings(1000, melt_steps=1000, n_liquid=5)
    found = melt_quench(copper, Mute(), settings, seed=0)
    assert "not finite" in found.stopped
    assert len(found.frames) == 1


def test_volume_guard_is_relative_to_the_start_of_the_whole_run(copper):
    settings = MeltQuenchSettings(4000, ensemble="npt", max_volume_ratio=1.05, **SHORT)
    found = melt_quench(copper, EMT(), settings, seed=1)
    assert "volume per atom" in found.stopped
    assert all(f.get_volume() <= 1.05 * copper.get_volume() for f in found.frames)


def test_guards_given_are_used(copper):
    found = melt_quench(
        copper, EMT(), MeltQuenchSettings(3000, **SHORT), seed=1, guards=GuardSettings(max_temperature_K=1000)
    )
    assert "1000 K" in found.stopped


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"final_temperature_K": 2000}, "between 0 and melt_temperature_K"),
        ({"melt_steps": 2}, "melt_steps"),
        ({"n_cooling": 11}, "cooling_stages"),
        ({"hold_steps": 1}, "hold_steps"),
        ({"n_liquid": -1}, "n_liquid"),
        ({"max_volume_ratio": 0.9}, "volume ratios"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(InvalidInputError, match=message):
        MeltQuenchSettings(1000, **kwargs)


def test_periodicity_is_asked_for():
    with pytest.raises(InvalidInputError, match="periodic"):
        melt_quench(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]), EMT(), MeltQuenchSettings(1000), seed=0)


def test_no_frames_asked_for(copper):
    settings = MeltQuenchSettings(
        500, melt_steps=4, cooling_steps=2, cooling_stages=1, hold_steps=0, n_liquid=0, n_cooling=0, n_quenched=0
    )
    found = melt_quench(copper, EMT(), settings, seed=0)
    assert found.frames == ()
    assert found.melted is None
