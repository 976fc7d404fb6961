from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.analysis.volume_shift import (
    model_stderr,
    reweighted_volume_shift,
    volume_shift,
    volume_shift_from_pressure,
)
from mlip_autopipe.errors import AnalysisError

from .exact_crystal import ExactCrystal

CRYSTAL = ExactCrystal()
MODULUS = ValueWithError(CRYSTAL.bulk_modulus_GPa(), 0.0)
CHANGES = {
    "static pressure": lambda e: {"static_pressure_GPa": e},
    "stiffness": lambda e: {"stiffness": CRYSTAL.stiffness * (1 + e)},
    "gruneisen": lambda e: {"gruneisen": CRYSTAL.gruneisen * (1 + e)},
    "lattice": lambda e: {"volume": CRYSTAL.volume * (1 + e / 20)},
}


def shift_of(other, n_frames, seed, **options):
    v, u2 = CRYSTAL.sample(n_frames, seed)
    return volume_shift(
        v,
        CRYSTAL.virial_pressure_GPa(v, u2),
        other.virial_pressure_GPa(v, u2) - CRYSTAL.virial_pressure_GPa(v, u2),
        other.energy(v, u2) - CRYSTAL.energy(v, u2),
        MODULUS,
        CRYSTAL.temperature_K,
        independent=True,
        **options,
    )


@pytest.mark.parametrize("name", CHANGES)
def test_first_order_shift_is_exact(name):
    """Against the exact shift of the changed crystal; the changes are so small that second order does not count."""
    other = replace(CRYSTAL, **CHANGES[name](0.01))
    truth = other.mean_volume() - CRYSTAL.mean_volume()
    found = shift_of(other, 200_000, 1).from_pressure
    assert abs(found.value - truth) < 4 * found.stderr_statistics + 0.03 * abs(truth)
    assert found.stderr_statistics < 0.02 * CRYSTAL.mean_volume() * 0.01 / MODULUS.value
    assert found.complete


def test_pressure_alone_sees_a_false_shift_when_the_vibrations_change():
    """Stiffer springs at all volumes alike: no shift, though the pressure on the old frames changes."""
    other = replace(CRYSTAL, **CHANGES["stiffness"](0.05))
    assert other.mean_volume() == pytest.approx(CRYSTAL.mean_volume(), rel=1e-9)
    v, u2 = CRYSTAL.sample(50_000, 2)
    difference = other.virial_pressure_GPa(v, u2) - CRYSTAL.virial_pressure_GPa(v, u2)
    bare = volume_shift_from_pressure(difference, float(v.mean()), MODULUS, independent=True)
    assert not bare.complete
    assert bare.value > 20 * bare.stderr_statistics
    full = shift_of(other, 50_000, 2).from_pressure
    assert abs(full.value) < 4 * full.stderr_statistics
    assert abs(full.value) < 0.1 * bare.value


@pytest.mark.parametrize("name", ["stiffness", "gruneisen", "lattice"])
def test_errors_hold_on_few_frames(name):
    """Twenty frames, as many as a reference calculation can afford.

    Products of fluctuations have heavier tails than a Gaussian: two errors hold 87 to 93 %, not 95 %.
    """
    other = replace(CRYSTAL, **CHANGES[name](0.02))
    truth = other.mean_volume() - CRYSTAL.mean_volume()
    found = [shift_of(other, 20, seed).from_pressure for seed in range(500)]
    score = np.array([(f.value - truth) / f.stderr for f in found])
    assert 0.62 < np.mean(np.abs(score) < 1) < 0.78
    assert np.mean(np.abs(score) < 2) > 0.85


def test_large_shifts_state_their_nonlinearity():
    other = replace(CRYSTAL, static_pressure_GPa=5.0, modulus_GPa=150.0)
    truth = other.mean_volume() - CRYSTAL.mean_volume()
    found = shift_of(other, 20_000, 3).from_pressure
    assert abs(found.value - truth) > 5 * found.stderr_statistics
    assert abs(found.value - truth) < 2 * found.linearisation
    assert found.linearisation < 0.5 * abs(truth)


def test_reweighting_is_exact_beyond_first_order():
    small = replace(CRYSTAL, n_atoms=8)
    other = replace(small, static_pressure_GPa=2.0, gruneisen=2.2)
    truth = other.mean_volume() - small.mean_volume()
    values, errors = [], []
    for seed in range(300):
        v, u2 = small.sample(2000, seed)
        found = reweighted_volume_shift(v, other.energy(v, u2) - small.energy(v, u2), 300.0, independent=True)
        assert not found.collapsed
        values.append(found.value)
        errors.append(found.stderr)
    spread = np.std(values)
    assert abs(np.mean(values) - truth) < 0.25 * spread
    assert 0.62 < np.mean(np.abs(np.array(values) - truth) < errors) < 0.75
    assert spread < 0.06 * truth


def test_collapsed_weights_are_noticed_and_pressure_is_trusted():
    other = replace(CRYSTAL, stiffness=4.0, static_pressure_GPa=0.3)
    found = shift_of(other, 2000, 4)
    assert found.reweighted.collapsed
    assert found.reweighted.effective_frames < 30
    assert found.trusted == "pressure"
    assert found.value == found.from_pressure.value


def test_reweighting_is_trusted_where_it_is_better():
    small = replace(CRYSTAL, n_atoms=8)
    other = replace(small, static_pressure_GPa=6.0, modulus_GPa=155.0)
    truth = other.mean_volume() - small.mean_volume()
    v, u2 = small.sample(100_000, 5)
    pressures = [c.virial_pressure_GPa(v, u2) for c in (small, other)]
    modulus = ValueWithError(small.bulk_modulus_GPa(), 1.0)
    energies = other.energy(v, u2) - small.energy(v, u2)
    found = volume_shift(v, pressures[0], pressures[1] - pressures[0], energies, modulus, 300.0, independent=True)
    assert found.trusted == "reweighting"
    assert abs(found.value - truth) < 3 * found.stderr
    assert abs(found.value - truth) < abs(found.from_pressure.value - truth)


def test_an_energy_offset_and_the_unit_of_volume_do_not_matter():
    other = replace(CRYSTAL, gruneisen=2.02)
    v, u2 = CRYSTAL.sample(500, 6)
    dp = other.virial_pressure_GPa(v, u2) - CRYSTAL.virial_pressure_GPa(v, u2)
    de = other.energy(v, u2) - CRYSTAL.energy(v, u2)
    p = CRYSTAL.virial_pressure_GPa(v, u2)
    one = volume_shift(v, p, dp, de, MODULUS, 300.0)
    two = volume_shift(v, p + 7, dp, de - 1e4, MODULUS, 300.0)
    assert two.from_pressure.value == pytest.approx(one.from_pressure.value, rel=1e-6)
    assert two.reweighted.value == pytest.approx(one.reweighted.value, rel=1e-6)
    per_atom = volume_shift_from_pressure(dp, 11.6, MODULUS)
    assert per_atom.value * 108 == pytest.approx(volume_shift_from_pressure(dp, 11.6 * 108, MODULUS).value)


def test_the_error_of_the_modulus_counts():
    dp = np.full(50, 0.5)
    found = volume_shift_from_pressure(dp, 1000.0, ValueWithError(100.0, 10.0))
    assert found.value == pytest.approx(5.0)
    assert found.stderr_statistics == pytest.approx(0.5)


def test_model_error_of_draws():
    rng = np.random.default_rng(0)
    held = [abs(rng.normal(0, 2)) < model_stderr(rng.normal(0, 2, 6)) for _ in range(4000)]
    assert np.mean(held) == pytest.approx(0.683, abs=0.03)
    assert model_stderr([-1.0, -1.0, -1.0]) == pytest.approx(model_stderr([1.0, -1.0, 1.0]))


def test_wrong_input_is_refused():
    with pytest.raises(AnalysisError, match="together, or none"):
        volume_shift_from_pressure(np.ones(9), 10.0, MODULUS, temperature_K=300.0)
    with pytest.raises(AnalysisError, match="must be positive"):
        volume_shift_from_pressure(np.ones(9), 10.0, ValueWithError(-3.0, 1.0))
    with pytest.raises(AnalysisError, match="9 numbers, one per frame"):
        reweighted_volume_shift(np.arange(9.0), np.ones(8), 300.0)
    with pytest.raises(AnalysisError, match="not finite"):
        reweighted_volume_shift([np.nan, 1.0], np.ones(2), 300.0)
    with pytest.raises(AnalysisError, match="different volumes"):
        volume_shift(np.ones(9), np.ones(9), np.ones(9), np.ones(9), MODULUS, 300.0)
    with pytest.raises(AnalysisError, match="at least one"):
        model_stderr([])
