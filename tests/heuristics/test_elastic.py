"""Rules for strains and relaxation."""

import numpy as np
import pytest

from mlip_autopipe.errors import InvalidInputError


def test_directions_that_leave_constants_open_are_refused_before_anything_is_paid_for(expand):
    for rows, words in (([[1, 0, 0, 0, 0, 0]], "determine"), ([[0] * 6], "zeros"), ([], "at least one row")):
        with pytest.raises(InvalidInputError, match=words):
            expand({"elements": ["Cu"]}, overrides={"elastic.directions": rows})


def test_an_antiferromagnet_has_the_symmetry_of_its_order(expand, tmp_path):
    from ase import Atoms
    from ase.io import write

    a = 4.17  # NiO, moments alternating along [111] (doi:10.1103/PhysRev.110.1333)
    cell = a * np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    positions = a * np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1.5, 1.5, 1.5]])
    nickel_oxide = Atoms("Ni2O2", positions=positions, cell=cell, pbc=True)
    nickel_oxide.set_initial_magnetic_moments([2.0, -2.0, 0.0, 0.0])
    write(tmp_path / "nio.extxyz", nickel_oxide)
    config = expand({"structure": str(tmp_path / "nio.extxyz")})
    assert len(config.elastic.directions) == 2, "trigonal, not cubic"
    assert "-3m" in config.reasons["elastic.directions"].reason
    assert config.relaxation.keep_symmetry is False
