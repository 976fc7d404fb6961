"""Errors of the mean volume: a force field that differs by a known pressure shifts it by a known amount."""

from dataclasses import dataclass

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.units import GPa

from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.learning.npt_series import NPTSeries
from mlip_autopipe.learning.volume_error import (
    LEAST_FRAMES_FOR_VIBRATIONS,
    check_frames,
    check_shift,
    model_shifts,
    states_of,
)
from mlip_autopipe.potentials.base import ForceField, Prediction
from tests.learning.tiny import tiny_settings

MODULUS = ValueWithError(134.0, 1.0)
KELVIN = 300.0
CELL = make_supercell(bulk("Cu", a=3.6), [[-1, 1, 1], [1, -1, 1], [1, 1, -1]])


class Pressed(ForceField):
    """EMT with an additional pressure, and its own samples."""

    elements = ("Cu",)

    def __init__(self, pressure_GPa=0.0, samples=()):
        self.pressure = pressure_GPa * GPa
        self.samples = samples

    def predict(self, atoms):
        frame = atoms.copy()
        frame.calc = EMT()
        stress = frame.get_stress() - self.pressure * np.array([1, 1, 1, 0, 0, 0])
        energy = frame.get_potential_energy() - self.pressure * frame.get_volume()
        return Prediction(energy, frame.get_forces(), stress)

    def draw(self, n, seed):
        return [Pressed(p) for p in self.samples[:n]]


@dataclass
class Frames:
    series: NPTSeries
    atoms: list


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    n = 40
    cells = CELL.cell.array * (1 + 0.003 * rng.standard_normal(n))[:, None, None]
    positions = CELL.get_scaled_positions() @ cells + 0.05 * rng.standard_normal((n, len(CELL), 3))
    zeros = np.zeros(n)
    series = NPTSeries(
        np.arange(n), cells, zeros, zeros, np.zeros((n, 6)), zeros, np.arange(n), positions.astype(np.float32)
    )
    return Frames(series, [series.atoms(k, CELL) for k in range(n)])


@pytest.mark.parametrize("n", [4, LEAST_FRAMES_FOR_VIBRATIONS, 40])
def test_a_reference_that_pushes_outwards_makes_the_crystal_larger(frames, n):
    some = frames.atoms[:n]
    found = check_shift(states_of(Pressed(), some), states_of(Pressed(0.1), some), len(CELL), 11.7, MODULUS, KELVIN)
    expected = 11.7 * 0.1 / MODULUS.value
    assert found.value == pytest.approx(expected, rel=0.02 if n == 4 else 0.1)
    assert found.stderr < 0.2 * expected


def test_an_equal_reference_shifts_nothing(frames):
    same = states_of(Pressed(), frames.atoms)
    assert check_shift(same, same, len(CELL), 11.7, MODULUS, KELVIN).value == 0


def test_each_sample_shifts_the_volume_by_its_own_pressure(frames):
    potential = Pressed(samples=(0.05, -0.05, 0.0))
    shifts = model_shifts(potential, frames.series, 0, CELL, MODULUS, KELVIN, draws=3, seed=0)
    assert shifts == pytest.approx(11.66 * np.array([0.05, -0.05, 0.0]) / MODULUS.value, rel=0.1, abs=1e-9)


def test_frames_for_the_reference_come_from_the_run(frames):
    otf = tiny_settings(label_max_atoms=len(CELL))
    found = check_frames(Pressed(), None, otf, frames.series, 10, CELL, KELVIN, 3)
    assert [one.positions.tolist() for one in found] == [frames.atoms[k].positions.tolist() for k in (10, 24, 39)]


def test_frames_too_large_for_the_reference_are_made_in_the_cell_of_learning(frames):
    class Crystal:
        def repeated(self, supercell, volume):
            asked.append((supercell, volume))
            return bulk("Cu", a=(4 * volume) ** (1 / 3), cubic=True)

    asked = []
    otf = tiny_settings(label_max_atoms=len(CELL) - 1, segment_steps=4)
    found = check_frames(Pressed(), Crystal(), otf, frames.series, 10, CELL, KELVIN, 2)
    volumes = np.abs(np.linalg.det(frames.series.cells_A[10:])) / len(CELL)
    assert asked == [(otf.supercell, pytest.approx(volumes.mean()))]
    assert len(found) == 2
    assert not np.allclose(found[0].positions, found[1].positions)
    assert check_frames(Pressed(), Crystal(), otf, frames.series, 10, CELL, KELVIN, 0) == []
