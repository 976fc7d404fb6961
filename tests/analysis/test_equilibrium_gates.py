from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlip_autopipe.analysis.equilibrium import equilibrium_state
from mlip_autopipe.analysis.equilibrium_gates import (
    enough_samples,
    equilibrium_gates,
    not_drifted,
    pressure_on_target,
    still_solid,
    temperature_on_target,
)

from .series import autoregressive
from .test_equilibrium import exact_run

NEAREST = 2.55


def solid(n, seed=0):
    return 0.03 + 0.002 * autoregressive(5, n, repeats=1, seed=seed)[0]


def gates_of(run, squares=None):
    state = equilibrium_state(run)
    squares = solid(len(run.cells_A)) if squares is None else squares
    return {g.name: g for g in equilibrium_gates(run, state, squares, NEAREST)}


def test_a_sound_run_passes_all():
    gates = gates_of(exact_run())
    assert list(gates) == [
        "not_drifted",
        "still_solid",
        "temperature_on_target",
        "pressure_on_target",
        "enough_samples",
    ]
    assert all(g.passed for g in gates.values()), gates


def test_sound_runs_rarely_fail():
    failed = [
        [g.name for g in gates_of(exact_run(seed=s), solid(1500, s)).values() if not g.passed] for s in range(100)
    ]
    assert sum(bool(names) for names in failed) <= 6, failed


def test_without_stresses_there_is_no_pressure_gate():
    assert "pressure_on_target" not in gates_of(exact_run(stresses=False, n=20_000))


def test_drift_fails():
    run = exact_run()
    drifting = run.energies_eV + 3 * run.energies_eV.std() * np.linspace(0, 1, 1500)
    assert not gates_of(replace(run, energies_eV=drifting))["not_drifted"].passed
    flat = autoregressive(5, 600, repeats=2)
    assert not_drifted(*flat).passed
    assert not not_drifted(flat[0] + np.linspace(0, 3, 600), flat[1]).passed


def test_a_liquid_and_a_hopping_crystal_are_no_solids():
    n = 1500
    melted = still_solid(solid(n) + 0.01 * np.arange(n), NEAREST)
    assert not melted.passed
    hopping = still_solid(solid(n) + 0.03 * (np.arange(n) > n // 2), NEAREST)
    assert not hopping.passed
    assert "leave their sites" in hopping.detail
    large = still_solid(solid(n) * 8, NEAREST)
    assert not large.passed
    assert "0.19" in large.detail
    assert still_solid(solid(n), NEAREST).passed
    # settling down is not melting
    assert still_solid(solid(n) + 0.02 * np.exp(-np.arange(n) / 300), NEAREST).passed


@pytest.mark.parametrize(("mean", "scatter", "passed"), [(301, 20, True), (302.9, 0.1, True), (310, 20, False)])
def test_temperature(mean, scatter, passed):
    series = mean + scatter * autoregressive(2, 1000, repeats=1)[0]
    assert temperature_on_target(series, 300.0).passed is passed


def test_pressure_off_target_fails_unless_it_is_harmless():
    series = 0.5 + 0.5 * autoregressive(5, 1000, repeats=1)[0]
    assert not pressure_on_target(series, 0.0).passed
    assert pressure_on_target(series, 0.45).passed
    assert pressure_on_target(series, 0.0, harmless_GPa=0.8).passed
    # a pressure that goes up and down once in the whole run is not known to be off
    assert pressure_on_target(0.3 + np.sin(np.linspace(0, 2 * np.pi, 300)), 0.0).passed


def test_too_few_samples_fail():
    state = equilibrium_state(exact_run(n=200, tau=30, stresses=False))
    assert not enough_samples(state).passed
    assert enough_samples(state, 1.0).passed
