"""A user's own entries: every format, what cannot be read, and pymatgen's entries from them."""

import gzip
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from monty.serialization import MontyEncoder

from mlip_autopipe.analysis.hull_entries import pymatgen_entries, read_entries
from mlip_autopipe.errors import InvalidInputError

TABLE = "formula,energy_eV,energy_stderr_eV\nAu,-3.2,0\nCu3,-10.5,0.03\nAu4Cu12,-56,0.16\n"


@pytest.fixture
def file(tmp_path):
    def make(text, name="entries.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def frame(symbols, energy_eV, **info):
    atoms = Atoms(symbols, cell=[20, 20, 20], pbc=True)
    atoms.positions += 3.0 * np.arange(len(atoms))[:, None]
    if energy_eV is not None:
        atoms.calc = SinglePointCalculator(atoms, energy=energy_eV)
    atoms.info |= info
    return atoms


def test_a_table(file):
    found = read_entries(file(TABLE))
    assert found.elements == ("Au", "Cu")
    assert [one.formula for one in found.entries] == ["Au", "Cu3", "Au4Cu12"]
    np.testing.assert_allclose(found.fractions, [[1, 0], [0, 1], [0.25, 0.75]])
    np.testing.assert_allclose(found.energies_eV_per_atom, [-3.2, -3.5, -3.5])
    np.testing.assert_allclose(found.energy_stderrs_eV_per_atom, [0, 0.01, 0.01])
    assert found.problem is None


def test_tables_as_people_write_them(file):
    text = (
        "# my energies\n\n energy_eV ; name; formula ;energy_stderr_eV\n-3.2;gold; Au;\n\n-3.5;;Cu;0.1\n"
        '-7e0; "L1_0"; Au0.5(Cu0.25)2 ; 0.02\n'
    )
    found = read_entries(file("\ufeff" + text.replace("\n", "\r\n"), "Entries.CSV"))
    assert [one.name for one in found.entries] == ["gold", None, "L1_0"]
    np.testing.assert_allclose(found.energies_eV_per_atom, [-3.2, -3.5, -7])
    np.testing.assert_allclose(found.energy_stderrs_eV_per_atom, [np.nan, 0.1, 0.02])
    tabs = read_entries(file(TABLE.replace(",", "\t")))
    assert len(tabs.entries) == 3


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("Au2Cu2,abc,0", "line 5 has 'abc' as the energy, which is no number"),
        ("Au2Cu2,nan,0", "line 5 has nan as the energy, which is not finite"),
        ("Au2Cu2,inf,0", "line 5 has inf as the energy"),
        ("Au2Cu2,,0", "line 5 has '' as the energy"),
        ("Au2Cu2,-3,-0.1", "line 5 has -0.1 as energy_stderr_eV; an error is not negative"),
        ("Au2Cu2,-3,x", "line 5 has 'x' as energy_stderr_eV"),
        ("Au2Xx2,-3,0", "line 5 has 'Au2Xx2', where Xx is no element"),
        ("gold,-3,0", "line 5 has 'gold', which is no formula such as Au4Cu12"),
        ("Au0,-3,0", "line 5 has 'Au0', which holds no atoms"),
        (",-3,0", "line 5 has no formula"),
        ("Au2Cu2,-3,5,0", "line 5 has 4 cells where the first line has 3"),
        ("Au2Cu2,-3", "line 5 has 2 cells"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_kept(file, row, words):
    found = read_entries(file(TABLE + row + "\nCu,-3.4,0\n"))
    assert words in found.problem
    assert found.problem.startswith(found.source)
    assert len(found.entries) == 4
    assert "more" not in found.problem


def test_several_bad_rows(file):
    found = read_entries(file(TABLE + "Q,1,0\n" * 9))
    assert found.problem.endswith("; 8 more cannot be used (line 6, line 7, line 8, line 9, line 10 ...)")


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("", "a.csv", "is empty"),
        ("# nothing\n", "a.csv", "is empty"),
        ("formula,energy_eV\n", "a.csv", "holds no entries"),
        ("formula,energy\nAu,1\n", "a.csv", "no column energy_eV, its first line is 'formula,energy'"),
        ("1,2\n", "a.csv", "no column formula and no column energy_eV"),
        ("formula,energy_eV\nAuCu,1\nAu,2", "a.csv", "no entry of pure Cu, which formation energies are relative to"),
        ("formula,energy_eV\nAuCuNi,1\nAu,2", "a.csv", "no entry of pure Cu and none of pure Ni"),
        ("formula,energy_eV\nAuCu,1\nAu,2\nCu,x", "a.csv", "line 4 has 'x'.*; there is no entry of pure Cu"),
        ("formula,energy_eV\nAu,x", "a.csv", "line 2 has 'x'"),
        (TABLE, "a.txt", "its ending does not tell what it is; known are extended XYZ"),
        (TABLE, "entries", "its ending does not tell"),
        ("", "a.json", "is not JSON"),
        ("{", "a.json", "is not JSON"),
        ("[]", "a.json", "holds no entries"),
        ('{"a": 1}', "a.json", "holds no list of pymatgen entries"),
        ("3", "a.json", "holds no list of pymatgen entries"),
        ('[{"a": 1}]', "a.json", "entry 0 is no entry of pymatgen"),
        ("", "a.extxyz", "holds no entries"),
        ("two\n\n", "a.extxyz", "frame 0 is cut off or cannot be understood"),
        ("x", "a.traj", "frame 0 is cut off or cannot be understood"),
    ],
)
def test_what_holds_nothing_is_refused(file, text, name, words):
    with pytest.raises(InvalidInputError, match=words):
        read_entries(file(text, name))


def test_no_file_and_other_encodings(tmp_path):
    with pytest.raises(InvalidInputError, match="is not there"):
        read_entries(tmp_path / "a.csv")
    with pytest.raises(InvalidInputError, match="is a folder"):
        read_entries(tmp_path)
    (tmp_path / "a.csv").write_bytes(TABLE.encode("utf-16"))
    with pytest.raises(InvalidInputError, match="is not text in UTF-8"):
        read_entries(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["frames.extxyz", "frames.xyz", "frames.traj"])
def test_frames(tmp_path, name):
    frames = [frame("Cu", -3.5), frame("CuAuCu", -10.5, energy_stderr_eV=0.03, name="mine"), frame("AuAu", -6.4)]
    write(tmp_path / name, frames, format="traj" if name.endswith("traj") else "extxyz")
    found = read_entries(tmp_path / name)
    assert [one.formula for one in found.entries] == ["Cu", "AuCu2", "Au2"]
    assert [one.name for one in found.entries] == [None, "mine", None]
    np.testing.assert_allclose(found.energies_eV_per_atom, [-3.5, -3.5, -3.2])
    np.testing.assert_allclose(found.energy_stderrs_eV_per_atom, [np.nan, 0.01, np.nan])


def test_frames_without_an_energy_and_cut_files(tmp_path):
    path = tmp_path / "frames.extxyz"
    write(path, [frame("Cu", -3.5), frame("CuAu", None), frame("Au", -3.2), frame("XAu", -3.2), frame("AuAuCu", -9)])
    found = read_entries(path)
    assert "frame 1 has no energy; write energy=..." in found.problem
    assert "1 more cannot be used (frame 3)" in found.problem
    assert [one.formula for one in found.entries] == ["Cu", "Au", "Au2Cu"]
    path.write_text(path.read_text()[:-40])
    found = read_entries(path)
    assert "(frame 3, frame 4)" in found.problem
    assert len(found.entries) == 2


def entries_of_pymatgen():
    from pymatgen.analysis.phase_diagram import PDEntry
    from pymatgen.core import Composition, Lattice, Structure
    from pymatgen.entries.computed_entries import (
        ComputedEntry,
        ComputedStructureEntry,
        ConstantEnergyAdjustment,
    )

    structure = Structure(Lattice.cubic(3.0), ["Au", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return [
        ComputedEntry({"Au": 2}, -6.4, entry_id="gold"),
        PDEntry(Composition("Cu4"), -14.0, attribute={"energy_stderr_eV": 0.04}),
        ComputedStructureEntry(structure, -7.0, data={"energy_stderr_eV": 0.02}),
        ComputedEntry("AuCu3", -13.0, energy_adjustments=[ConstantEnergyAdjustment(-1.0)]),
    ]


@pytest.mark.parametrize("form", ["list", "dictionary", "diagram", "compressed"])
def test_entries_of_pymatgen(tmp_path, form):
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    entries = entries_of_pymatgen()
    document = {"dictionary": {"entries": entries}, "diagram": PhaseDiagram(entries)}.get(form, entries)
    data = json.dumps(document, cls=MontyEncoder).encode()
    path = tmp_path / ("entries.json.gz" if form == "compressed" else "entries.json")
    path.write_bytes(gzip.compress(data) if form == "compressed" else data)
    found = read_entries(path)
    energies = dict(zip([one.formula for one in found.entries], found.energies_eV_per_atom, strict=True))
    # corrections count
    assert energies == pytest.approx({"Au2": -3.2, "Cu4": -3.5, "AuCu": -3.5, "AuCu3": -3.5})
    errors = dict(zip([one.formula for one in found.entries], found.energy_stderrs_eV_per_atom, strict=True))
    assert errors == pytest.approx({"Au2": np.nan, "Cu4": 0.01, "AuCu": 0.01, "AuCu3": np.nan}, nan_ok=True)
    assert [one.name for one in found.entries if one.formula == "Au2"] == ["gold"]


def test_bad_entries_of_pymatgen(tmp_path):
    good = json.loads(json.dumps(entries_of_pymatgen(), cls=MontyEncoder))
    broken = {key: value for key, value in good[0].items() if key != "composition"}
    endless = good[0] | {"energy": float("nan")}
    other = {"@module": "pymatgen.core.lattice", "@class": "Lattice", "matrix": np.eye(3).tolist()}
    foreign = {"@module": "os", "@class": "system"}
    charged = good[0] | {"composition": {"Au+": 1}}
    path = tmp_path / "entries.json"
    path.write_text(json.dumps([*good, broken, endless, other, foreign, 3, charged]))
    found = read_entries(path)
    assert "entry 4 cannot be read by pymatgen (KeyError" in found.problem
    assert "4 more cannot be used (entry 5, entry 6, entry 7, entry 8)" in found.problem
    assert [one.formula for one in found.entries][4:] == ["Au"]


def test_a_phase_diagram_of_pymatgen_and_the_entries_again(tmp_path, file):
    """What is written for pymatgen has the same hull there, keeps structures and errors, and can be read again."""
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    frames = [bulk("Cu"), bulk("Au"), bulk("CuAu", "rocksalt", a=4.0), Atoms("Au3")]
    for atoms, energy in zip(frames, [-3.5, -3.2, -7.0, -9.0], strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        atoms.info["energy_stderr_eV"] = 0.01
    write(tmp_path / "frames.extxyz", frames)
    for path in (tmp_path / "frames.extxyz", file(TABLE)):
        found = read_entries(path)
        entries = pymatgen_entries(found)
        diagram = PhaseDiagram(entries)
        energies = [one.energy_per_atom for one in entries]
        np.testing.assert_allclose(energies, found.energies_eV_per_atom)
        again = tmp_path / "again.json"
        again.write_text(json.dumps(entries, cls=MontyEncoder))
        reread = read_entries(again)
        np.testing.assert_allclose(reread.energies_eV_per_atom, found.energies_eV_per_atom)
        np.testing.assert_allclose(reread.energy_stderrs_eV_per_atom, found.energy_stderrs_eV_per_atom)
        assert len(diagram.all_entries) == len(found.entries)
        assert [type(one).__name__ for one in pymatgen_entries(reread)] == [type(one).__name__ for one in entries]
    structures = [hasattr(one, "structure") for one in pymatgen_entries(read_entries(tmp_path / "frames.extxyz"))]
    assert structures == [True, True, True, False]
