from __future__ import annotations

import time

import numpy as np
import pytest

from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.state import initial_state
from mlip_autopipe.dynamics.watch import UncertaintyWatch
from mlip_autopipe.errors import InvalidInputError
from tests.dynamics.toys import ToyLJ, argon

STATE = initial_state(argon(1), 10.0, 0)


@pytest.mark.parametrize("cost_ms", [0.0, 4.0])
def test_checks_cost_at_most_their_part(cost_ms: float) -> None:
    def asked(atoms) -> np.ndarray:
        time.sleep(cost_ms / 1000)
        return np.zeros(len(atoms))

    watch = UncertaintyWatch(asked, 1.0)
    outcome = run_md(
        MDSettings(ensemble="nve", temperature_K=30, time_step_fs=4), argon(2), ToyLJ(cutoff=5.3), 1500, watch=watch
    )
    assert outcome.status == "finished"
    assert watch.last_step == 1500
    assert watch.n_checks >= 5
    if cost_ms:
        assert watch.every > 5
    # The first check comes before anything is known of its cost, and the last frame is always checked.
    budget = 0.1 / 0.9 * outcome.timing["steps"] + 3 * cost_ms / 1000
    assert outcome.timing["watch"] <= 1.3 * budget


@pytest.mark.parametrize(
    ("check_s", "step_s", "expected"), [(0.0, 1.0, 1), (0.1, 1.0, 1), (1.0, 1.0, 9), (30.0, 1.0, 270)]
)
def test_interval_from_costs(check_s: float, step_s: float, expected: int) -> None:
    watch = UncertaintyWatch(lambda atoms: np.zeros(len(atoms)), 1.0)
    watch._check_seconds.append(check_s)
    watch.adapt(step_s)
    assert watch.every == expected
    assert watch.every * step_s * 0.1 >= check_s * 0.9 - 1e-12


def test_limits_of_the_interval() -> None:
    watch = UncertaintyWatch(lambda atoms: np.zeros(len(atoms)), 1.0, max_every=20)
    watch._check_seconds.append(100.0)
    watch.adapt(1.0)
    assert watch.every == 20
    fixed = UncertaintyWatch(lambda atoms: np.zeros(len(atoms)), 1.0, every=7)
    fixed._check_seconds.append(100.0)
    fixed.adapt(1.0)
    assert fixed.every == 7


def test_not_a_number_is_beyond_every_threshold() -> None:
    event = UncertaintyWatch(lambda atoms: np.array([0.1, 0.9, np.nan, 0.2]), 5.0).check(STATE)
    assert event is not None
    assert event.atom == 2


def test_threshold_itself_is_allowed() -> None:
    assert UncertaintyWatch(lambda atoms: np.full(4, 0.3), 0.3).check(STATE) is None
    assert UncertaintyWatch(lambda atoms: np.full(4, np.nextafter(0.3, 1)), 0.3).check(STATE) is not None


def test_bad_input() -> None:
    with pytest.raises(InvalidInputError, match="one value per atom"):
        UncertaintyWatch(lambda atoms: np.zeros(3), 1.0).check(STATE)
    for bad in ({"threshold_eV_per_A": 0.0}, {"cost_fraction": 1.5}, {"every": 0}):
        with pytest.raises(InvalidInputError):
            UncertaintyWatch(lambda atoms: np.zeros(4), **({"threshold_eV_per_A": 1.0} | bad))
