from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.dataset import Configuration
from mlip_autopipe.potentials.extxyz import read_extxyz, write_extxyz
from tests.potentials.helpers import emt_set

CELL = 'Lattice="3 0 0 0 3 0 0 0 3"'
COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"


def file(folder: Path, header: str, *atoms: str) -> Path:
    path = folder / "data.extxyz"
    path.write_text(f"{len(atoms)}\n{header}\n" + "".join(f"{line}\n" for line in atoms))
    return path


def test_other_programs_find_what_ase_knows(tmp_path: Path) -> None:
    one = emt_set(1, 0).configurations[0]
    masked = Configuration(
        one.atoms, one.energy_eV, one.forces_eV_per_A, one.stress_eV_per_A3, np.array([0.0, 1, 1, 1]), label_id="ab"
    )
    masked.atoms.info["split"] = "held_out"
    write_extxyz(tmp_path / "x.extxyz", [masked])
    frame = read(tmp_path / "x.extxyz")
    assert frame.get_potential_energy() == pytest.approx(one.energy_eV)
    assert np.allclose(frame.get_forces(), one.forces_eV_per_A, atol=1e-8)
    assert np.allclose(frame.get_stress(), one.stress_eV_per_A3)
    assert frame.arrays["force_weight"].tolist() == [0, 1, 1, 1]
    assert frame.info["label_id"] == "ab"
    (again,) = read_extxyz(tmp_path / "x.extxyz")
    assert again.atoms.info == {"split": "held_out"}
    assert set(again.atoms.arrays) == set(one.atoms.arrays)


def test_numbers_with_prefix_are_the_reference(tmp_path: Path) -> None:
    header = (
        f"{CELL} Properties=species:S:1:pos:R:3:forces:R:3:REF_forces:R:3 energy=9 REF_energy=-2.5 "
        'REF_stress="1 6 5 6 2 4 5 4 3" stress="9 9 9 9 9 9 9 9 9"'
    )
    (found,) = read_extxyz(file(tmp_path, header, "Ni 0 0 0 9 9 9 1 2 3"))
    assert found.energy_eV == -2.5
    assert found.forces_eV_per_A.tolist() == [[1, 2, 3]]
    assert found.stress_eV_per_A3.tolist() == [1, 2, 3, 4, 5, 6]


def test_masks_may_be_logical(tmp_path: Path) -> None:
    path = file(tmp_path, f"{CELL} {COLUMNS}:force_weight:L:1 energy=1", "Ni 0 0 0 1 1 1 F", "Ni 1 1 1 1 1 1 T")
    assert read_extxyz(path)[0].force_weights.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("header", "atom", "sentence"),
    [
        (f"{CELL} {COLUMNS} energy=nan", "Ni 0 0 0 0 0 0", "configuration 1: .* not finite"),
        (f"{CELL} {COLUMNS} energy=1", "Ni 0 0 0 nan 0 0", "configuration 1: .* not finite"),
        (f"{CELL} {COLUMNS} energy=1", "Ni inf 0 0 0 0 0", "configuration 1: .* not finite"),
        (f"{CELL} {COLUMNS} energy=1", "Ni 0 0 0 *** 0 0", "cannot be read as extended XYZ"),
        (f"{CELL} {COLUMNS} energy=abc", "Ni 0 0 0 0 0 0", "configuration 1: .*abc"),
        (f"{CELL} {COLUMNS} energy=1", "Xx 0 0 0 0 0 0", "unknown element or column 'Xx'"),
        (f"{CELL} {COLUMNS} energy=1", "X 0 0 0 0 0 0", "configuration 1: unknown element X"),
        (f'{COLUMNS} energy=1 pbc="T T T"', "Ni 0 0 0 0 0 0", "configuration 1: periodic, but without a cell"),
        (f"{CELL} {COLUMNS}:force_weight:R:1 energy=1", "Ni 0 0 0 0 0 0 -1", "configuration 1: .* negative weight"),
        (f"{CELL} {COLUMNS} energy=1 energy_weight=heavy", "Ni 0 0 0 0 0 0", "configuration 1: .*heavy"),
        (f"{CELL} Properties=species:S:1:pos:R:3", "Ni 0 0 0", "no energies and forces"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, header: str, atom: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence) as caught:
        read_extxyz(file(tmp_path, header, atom))
    assert "data.extxyz" in str(caught.value)


def test_a_cut_file_a_folder_and_no_file(tmp_path: Path) -> None:
    path = file(tmp_path, f"{CELL} {COLUMNS} energy=1", "Ni 0 0 0 0 0 0")
    path.write_text(path.read_text().replace("1\n", "2\n", 1))
    with pytest.raises(InvalidInputError, match=r"as extended XYZ: .*1 atoms, expected 2"):
        read_extxyz(path)
    path.write_text("hello\n")
    with pytest.raises(InvalidInputError, match=r"as extended XYZ: .*hello"):
        read_extxyz(path)
    with pytest.raises(InvalidInputError, match="Is a directory"):
        read_extxyz(tmp_path)
    with pytest.raises(InvalidInputError, match="No such file"):
        read_extxyz(tmp_path / "none.extxyz")
