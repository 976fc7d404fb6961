"""One stretch of dynamics under watch: what ends it, what it asks for, and that it goes on as if never stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_autopipe.dynamics.checkpoint import from_bytes
from mlip_autopipe.learning.exploration import (
    HISTORY_POINTS,
    RESTART_AFTER_GUARDS,
    Stretch,
    _is_plausible,
    explore,
    md_settings,
    sample_frames,
    thinned,
)
from mlip_autopipe.potentials.dataset import atoms_of
from mlip_autopipe.schemas.otf import Walker
from tests.learning.tiny import tiny_settings
from tests.learning.wild import Exploding

CELL = bulk("Ni", a=3.5, cubic=True)
SETTINGS = tiny_settings(temperatures_K=[300.0, 600.0], force_std_trigger_eV_per_A=0.1, segment_steps=20)


class Toy:
    """Moves atoms by one calculator and is as unsure as it is told."""

    def __init__(self, unsure: Callable[[Atoms], float] = lambda atoms: 0.01, calculator: Any = EMT) -> None:
        self.unsure = unsure
        self.calculator = calculator
        self.asked = 0

    def force_std(self, atoms: Atoms) -> Any:
        self.asked += 1
        return np.full(len(atoms), self.unsure(atoms))


def unsure_from(question: int) -> Callable[[Atoms], float]:
    """Sure until a certain question."""
    count = [0]

    def unsure(atoms: Atoms) -> float:
        count[0] += 1
        return 0.5 if count[0] >= question else 0.01

    return unsure


def go(toy: Any, walker: Walker | None = None, checkpoint: bytes | None = None, **more: Any) -> Stretch:
    settings = more.pop("settings", SETTINGS)
    walker = walker or Walker(index=0, segment_end=settings.segment_steps)
    sha256 = more.pop("sha256", "p")
    return explore(walker, settings, CELL, toy, potential_sha256=sha256, checkpoint=checkpoint, **more)


class TestAStretch:
    def test_it_ends_with_an_audit(self):
        found = go(Toy())
        assert (found.walker.step, found.steps) == (20, 20)
        assert not found.out_of_time
        assert found.candidate.origin == "audit"
        assert (found.candidate.walker, found.candidate.temperature_K, found.candidate.step) == (0, 300.0, 20)
        assert found.candidate.predicted_max_std_eV_per_A == 0.01
        stop = from_bytes(found.checkpoint).stop
        np.testing.assert_allclose(atoms_of(found.candidate.structure).positions, stop.positions, atol=1e-8)

    def test_the_watch_is_asked_at_fixed_steps_and_at_the_end(self):
        found = go(Toy(), settings=SETTINGS.model_copy(update={"check_every": 6}))
        assert [step for _, step, _ in found.history] == [0, 6, 12, 18, 20]
        assert {temperature for temperature, _, _ in found.history} == {300.0}

    def test_left_to_itself_it_is_asked_four_times_at_least(self):
        found = go(Toy(), settings=SETTINGS.model_copy(update={"check_every": None}))
        steps = [step for _, step, _ in found.history]
        assert np.diff([0, *steps]).max() <= SETTINGS.segment_steps // 4

    def test_an_unsure_potential_stops_it_and_the_least_sure_frame_is_asked_for(self):
        found = go(Toy(unsure_from(3)))
        assert found.candidate.origin == "trigger"
        assert found.walker.step == found.candidate.step == 10
        assert found.candidate.predicted_max_std_eV_per_A == 0.5
        assert found.walker.segment_end == 20

    def test_it_goes_on_from_the_same_state_with_the_next_potential(self):
        first = go(Toy(unsure_from(3)))
        later = go(Toy(), first.walker, first.checkpoint, sha256="q")
        assert later.steps == 10
        assert later.walker.step == 20
        # the frame at which it stopped is known now: it is not asked for again
        assert [step for _, step, _ in later.history] == [15, 20]
        whole = go(Toy())
        np.testing.assert_allclose(
            atoms_of(later.candidate.structure).positions, atoms_of(whole.candidate.structure).positions, atol=1e-6
        )

    def test_without_time_it_goes_on_later_to_the_same_bits(self):
        nothing = go(Toy(), seconds_left=0.0)
        assert nothing.out_of_time
        assert nothing.candidate is None
        assert nothing.steps == 0
        later = go(Toy(), nothing.walker, nothing.checkpoint)
        stop, expected = from_bytes(later.checkpoint).stop, from_bytes(go(Toy()).checkpoint).stop
        assert stop.same_point(expected)

    def test_walkers_temperatures_and_attempts_have_random_numbers_of_their_own(self):
        walkers = [
            Walker(index=0, segment_end=20),
            Walker(index=1, segment_end=20),
            Walker(index=0, segment_end=20, temperature_index=1),
            Walker(index=0, segment_end=20, attempt=1),
        ]
        seeds = [md_settings(walker, SETTINGS).seed for walker in walkers]
        assert len(set(seeds)) == 4
        assert md_settings(walkers[0], SETTINGS).seed == seeds[0]
        assert md_settings(walkers[0], SETTINGS.model_copy(update={"seed": 1})).seed not in seeds
        assert [md_settings(walker, SETTINGS).temperature_K for walker in walkers] == [300, 300, 600, 300]


class TestGuards:
    WILD = staticmethod(lambda: Toy(calculator=Exploding))

    def test_what_no_reference_can_be_asked_is_replaced_by_the_last_good_state(self):
        found = go(self.WILD())
        assert found.candidate.origin == "guard"
        assert found.candidate.detail
        frame = atoms_of(found.candidate.structure)
        assert _is_plausible(frame)
        assert found.walker.guards == 1
        assert found.walker.step == 0
        assert from_bytes(found.checkpoint).stop.step == 0

    def test_a_plausible_frame_is_asked_for_itself_and_the_run_goes_on_before_it(self):
        class Pushing(Exploding):
            def calculate(self, *arguments: Any, **keywords: Any) -> None:
                super().calculate(*arguments, **keywords)
                self.results["forces"] *= 3e-3

        found = go(Toy(calculator=Pushing))
        assert found.candidate.origin == "guard"
        assert "temperature ran away" in found.candidate.detail
        assert found.candidate.step > 0
        moved = atoms_of(found.candidate.structure).positions - from_bytes(found.checkpoint).stop.positions
        assert np.abs(moved).max() > 1e-3
        # taught, it goes on from before
        later = go(Toy(), found.walker, found.checkpoint, sha256="q")
        assert (later.candidate.origin, later.walker.guards) == ("audit", 0)

    def test_again_and_again_means_a_new_start_that_counts_as_a_failed_segment(self):
        walker, checkpoint = Walker(index=0, segment_end=20, passed=1), None
        for _ in range(RESTART_AFTER_GUARDS):
            found = go(self.WILD(), walker, checkpoint)
            walker, checkpoint = found.walker, found.checkpoint
            assert walker.attempt == 0
        found = go(self.WILD(), walker, checkpoint)
        assert found.checkpoint is None
        assert found.walker == Walker(index=0, segment_end=20, attempt=1, segments=1)

    def test_a_frame_that_is_unsure_and_no_structure_is_treated_like_one_of_a_guard(self, monkeypatch):
        monkeypatch.setattr("mlip_autopipe.learning.exploration._is_plausible", lambda atoms: False)
        found = go(Toy(unsure_from(2)))
        assert found.candidate.origin == "guard"
        assert found.candidate.detail == "implausible structure"
        assert found.walker.guards == 1


class TestPlausible:
    def test_a_crystal_is_and_a_hot_one_too(self):
        hot = CELL * (2, 2, 2)
        hot.rattle(0.3, seed=1)
        assert _is_plausible(CELL)
        assert _is_plausible(hot)

    @pytest.mark.parametrize("breaking", ["position", "cell", "overlap", "collapse"])
    def test_what_is_not(self, breaking):
        atoms = CELL.copy()
        if breaking == "position":
            atoms.positions[0, 0] = np.nan
        elif breaking == "cell":
            atoms.cell[0, 0] = np.inf
        elif breaking == "overlap":
            atoms.positions[1] = atoms.positions[0] + 0.5
        else:
            atoms.set_cell([[3, 0, 0], [0, 3, 0], [3, 3, 1e-6]])
        assert not _is_plausible(atoms)

    def test_images_count(self):
        assert not _is_plausible(Atoms("Ni", cell=[0.8, 9.0, 9.0], pbc=True))


class TestSampling:
    def frames(self, n: int = 4, seed: int = 0, toy: Any = None) -> list[Atoms]:
        return sample_frames(toy or Toy(), SETTINGS, CELL, 600.0, n, seed)

    def test_one_frame_of_each_segment_at_a_random_time_the_same_again(self):
        found, again, other = self.frames(), self.frames(), self.frames(seed=1)
        assert len(found) == 4
        for k in range(4):
            np.testing.assert_array_equal(found[k].positions, again[k].positions)
            assert np.abs(found[k].positions - other[k].positions).max() > 1e-3
        assert np.abs(found[0].positions - found[1].positions).max() > 1e-3

    def test_nobody_asks_the_potential_whether_it_is_sure(self):
        toy = Toy(lambda atoms: 1e9)
        assert len(self.frames(2, toy=toy)) == 2
        assert toy.asked == 0

    def test_a_run_that_does_not_hold_gives_what_it_had(self):
        assert self.frames(2, toy=Toy(calculator=Exploding)) == []


def test_a_long_history_keeps_the_largest_values():
    history = [(300.0, float(step), float(step % 997)) for step in range(5000)]
    found = thinned(history)
    assert len(found) == HISTORY_POINTS
    assert set(found) <= set(history)
    assert max(value for _, _, value in found) == 996
    assert [step for _, step, _ in found] == sorted(step for _, step, _ in found)
    assert thinned(history[:50]) == history[:50]
