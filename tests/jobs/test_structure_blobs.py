"""Many structures in one blob come back as they were."""

from __future__ import annotations

import numpy as np
from ase.build import bulk

from mlip_autopipe.jobs.structure_blobs import pack_structures, unpack_structures


def test_structures_of_different_sizes_come_back():
    structures = [bulk("Cu"), bulk("NaCl", "rocksalt", a=5.6, cubic=True), bulk("Mg")]
    structures[1].rattle(0.1, seed=0)
    names = np.array(["a", "rock salt", ""])
    again, more = unpack_structures(pack_structures(structures, {"names": names, "energies_eV": [1.0, np.nan, -2.5]}))
    for one, other in zip(structures, again, strict=True):
        np.testing.assert_array_equal(one.numbers, other.numbers)
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.cell.array, other.cell.array)
        assert other.pbc.all()
    assert more["names"].tolist() == names.tolist()
    np.testing.assert_array_equal(more["energies_eV"], [1.0, np.nan, -2.5])
    assert set(more) == {"names", "energies_eV"}
