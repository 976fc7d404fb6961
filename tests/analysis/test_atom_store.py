"""From frames to atoms, in memory and on disk."""

import tempfile

import numpy as np
import pytest

from mlip_autopipe.analysis.atom_store import AtomStore
from mlip_autopipe.errors import EnvironmentProblemError

DATA = np.random.default_rng(0).normal(size=(50, 7, 3))


def filled(limit_MB):
    store = AtomStore(7, limit_MB)
    for start in range(0, 50, 16):
        store.append(DATA[start : start + 16])
    return store


@pytest.mark.parametrize(("limit_MB", "on_disk"), [(1.0, False), (0.003, True), (0.0, True)])
def test_atoms_and_frames_come_back(limit_MB, on_disk):
    with filled(limit_MB) as store:
        assert store.on_disk is on_disk
        assert store.n_frames == 50
        assert store.atoms(2, 5) == pytest.approx(DATA[:, 2:5].transpose(1, 2, 0), rel=1e-6)
        for frame in (0, 15, 16, 49):
            assert store.frame(frame) == pytest.approx(DATA[frame], rel=1e-6)
        with pytest.raises(IndexError):
            store.frame(50)


def test_memory_and_disk_agree_to_the_last_bit():
    with filled(1.0) as one, filled(0.0) as other:
        assert np.array_equal(one.atoms(0, 7), other.atoms(0, 7))


def test_no_room(monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(EnvironmentProblemError, match=r"No space left.*TMPDIR"):
        AtomStore(7, 0.0).append(DATA)
