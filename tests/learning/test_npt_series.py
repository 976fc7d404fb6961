"""Series of a run: what is kept survives bytes and joining, and belongs to the right frames."""

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from mlip_autopipe.learning.npt_series import KEPT_FRAMES, NPTSeries, joined, keep_steps

N_ATOMS = 2


def piece(first, last, keep, interval=10):
    """Frames whose numbers all tell the step."""
    steps = np.arange(first, last, interval)
    kept = np.flatnonzero(steps % keep == 0)
    return NPTSeries(
        steps=steps,
        cells_A=np.eye(3) * (10 + steps[:, None, None] / 1000),
        energies_eV=steps.astype(float),
        temperatures_K=steps + 0.5,
        stresses_GPa=np.tile(steps[:, None], (1, 6)).astype(float),
        square_displacements_A2=steps / 10,
        kept=kept,
        positions_A=np.broadcast_to(steps[kept][:, None, None], (len(kept), N_ATOMS, 3)).astype(np.float32),
    )


def test_joined_pieces_keep_every_frame_and_the_positions_of_the_right_ones():
    # the second piece was made after an extension, when fewer positions are kept
    whole = joined([piece(0, 200, 20), piece(200, 410, 40)], 40)
    assert whole.steps.tolist() == list(range(0, 410, 10))
    assert whole.steps[whole.kept].tolist() == list(range(0, 410, 40))
    assert whole.positions_A[:, 0, 0].tolist() == whole.steps[whole.kept].tolist()
    assert whole.energies_eV.tolist() == whole.steps.tolist()


def test_bytes_hold_everything():
    one = piece(0, 100, 20)
    again = NPTSeries.from_bytes(one.to_bytes())
    for name in vars(one):
        assert np.array_equal(getattr(again, name), getattr(one, name))
        assert getattr(again, name).dtype == getattr(one, name).dtype


def test_a_kept_frame_comes_with_its_own_cell():
    one = piece(0, 100, 20)
    like = bulk("NaCl", "rocksalt", a=5.6)
    frame = one.atoms(3, like)
    assert frame.positions[0, 0] == 60
    assert frame.cell[0, 0] == pytest.approx(10.06)
    assert frame.get_chemical_symbols() == ["Na", "Cl"]
    assert like.cell[0, 0] == 0


def test_samples_lie_after_the_transient_and_span_the_rest():
    one = piece(0, 1000, 10)
    places = one.sampled(50, 5)
    assert one.kept[places].tolist() == [50, 62, 74, 87, 99]
    assert len(one.sampled(95, 30)) == 5
    assert len(one.sampled(100, 30)) == 0


@given(st.integers(1, 200_000), st.integers(1, 20))
def test_a_run_twice_as_long_keeps_a_part_of_what_was_kept(n_steps, interval):
    every, later = keep_steps(n_steps, interval), keep_steps(2 * n_steps, interval)
    assert later in (every, 2 * every)
    assert every % interval == 0
    assert n_steps <= every * KEPT_FRAMES
