"""A user's own energies for a hull: extended XYZ or ASE trajectories, JSON of pymatgen's entries, CSV.

What cannot be used is left out and said (`HullEntries.problem`); the rest is read all the same.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

FRAMES: Final = {".extxyz": "extxyz", ".xyz": "extxyz", ".traj": "traj"}
FORMATS: Final = "extended XYZ (.extxyz, .xyz), ASE trajectory (.traj), pymatgen entries (.json, .json.gz), CSV (.csv)"
STDERR_KEY: Final = "energy_stderr_eV"
COLUMNS: Final = ("formula", "energy_eV", STDERR_KEY)


@dataclass(frozen=True, eq=False)
class Entry:
    """One energy.

    Attributes
    ----------
    formula
        As written in the file, or of the atoms of a frame.
    amounts
        Atoms of each element.
    energy_eV, energy_stderr_eV
        Of all these atoms together; the error may be unknown.
    name
        What the file calls it, if anything.
    origin
        The ASE frame or pymatgen entry it was, if it was one.
    """

    formula: str
    amounts: dict[str, float]
    energy_eV: float
    energy_stderr_eV: float | None = None
    name: str | None = None
    origin: Any = None

    @property
    def n_atoms(self) -> float:
        """Atoms in the formula."""
        return sum(self.amounts.values())


@dataclass(frozen=True, eq=False)
class HullEntries:
    """N entries over d elements.

    Attributes
    ----------
    source
        The file.
    entries
        In the order of the file.
    elements
        In alphabetical order.
    fractions
        (N, d) atomic fractions.
    energies_eV_per_atom, energy_stderrs_eV_per_atom
        (N,); an error that is not known is nan.
    problem
        What could not be read, in one sentence; None where all was.
    """

    source: str
    entries: tuple[Entry, ...]
    elements: tuple[str, ...]
    fractions: FloatArray
    energies_eV_per_atom: FloatArray
    energy_stderrs_eV_per_atom: FloatArray
    problem: str | None = None


def read_entries(path: str | Path) -> HullEntries:
    """Read a file of entries; the name's ending tells the format.

    Raises
    ------
    InvalidInputError
        The file cannot be read, holds no usable entry, or none of a pure element.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInputError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give a file of entries")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in FRAMES:
        items = _frames(path, FRAMES[last])
    elif last == ".csv":
        items = _table(path)
    elif last == ".json" or suffixes[-2:] == [".json", ".gz"]:
        items = _pymatgen(path)
    else:
        raise InvalidInputError(f"{path}: its ending does not tell what it is; known are {FORMATS}")
    entries, problems = [], []
    for item in items:
        if isinstance(item, Entry):
            entries.append(item)
        else:
            problems.append(item)
    return _collect(str(path), entries, problems)


def pymatgen_entries(entries: HullEntries) -> list[Any]:
    """Return pymatgen's entries, from which its ``PhaseDiagram`` can be made; they keep structures and errors.

    Entries that came from pymatgen are returned as they were.
    """
    from ase import Atoms
    from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry
    from pymatgen.io.ase import AseAtomsAdaptor

    found: list[Any] = []
    for k, entry in enumerate(entries.entries):
        options: dict[str, Any] = {"entry_id": entry.name or f"entry-{k}"}
        if entry.energy_stderr_eV is not None:
            options["data"] = {STDERR_KEY: entry.energy_stderr_eV}
        if isinstance(entry.origin, Atoms) and entry.origin.pbc.all():
            bare = Atoms(entry.origin.numbers, entry.origin.positions, cell=entry.origin.cell, pbc=True)
            found.append(ComputedStructureEntry(AseAtomsAdaptor.get_structure(bare), entry.energy_eV, **options))
        elif entry.origin is None or isinstance(entry.origin, Atoms):
            found.append(ComputedEntry(entry.amounts, entry.energy_eV, **options))
        else:
            found.append(entry.origin)
    return found


class _UnusableError(Exception):
    """Why an entry cannot be used, without where it is."""


@dataclass(frozen=True)
class _Problem:
    where: str
    why: str


_Items = Iterator[Entry | _Problem]


def _collect(source: str, entries: list[Entry], problems: list[_Problem]) -> HullEntries:
    problem = None
    if problems:
        others = ", ".join(one.where for one in problems[1:6]) + (" ..." if len(problems) > 6 else "")
        problem = f"{source}: {problems[0].where} {problems[0].why}"
        if others:
            problem += f"; {len(problems) - 1} more cannot be used ({others})"
    if not entries:
        raise InvalidInputError(problem or f"{source} holds no entries")
    elements = tuple(sorted({element for entry in entries for element in entry.amounts}))
    pure = {next(iter(entry.amounts)) for entry in entries if len(entry.amounts) == 1}
    if missing := [element for element in elements if element not in pure]:
        lacking = f"no entry of pure {' and none of pure '.join(missing)}, which formation energies are relative to"
        raise InvalidInputError(f"{problem}; there is {lacking}" if problem else f"{source} holds {lacking}: add one")
    amounts = np.array([[entry.amounts.get(element, 0.0) for element in elements] for entry in entries])
    atoms = amounts.sum(axis=1)
    errors = [math.nan if entry.energy_stderr_eV is None else entry.energy_stderr_eV for entry in entries]
    return HullEntries(
        source=source,
        entries=tuple(entries),
        elements=elements,
        fractions=amounts / atoms[:, None],
        energies_eV_per_atom=np.array([entry.energy_eV for entry in entries]) / atoms,
        energy_stderrs_eV_per_atom=np.array(errors) / atoms,
        problem=problem,
    )


def _frames(path: Path, kind: str) -> _Items:
    from ase.io import iread

    frames, index = iread(path, index=":", format=kind), 0
    while True:
        try:
            atoms = next(frames, None)
        except Exception as error:  # noqa: BLE001 - whatever a damaged file makes of ASE's parsers
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield _Problem(f"frame {index}", f"is cut off or cannot be understood ({reason})")
            return
        if atoms is None:
            return
        try:
            yield _frame(atoms)
        except _UnusableError as error:
            yield _Problem(f"frame {index}", str(error))
        index += 1


def _frame(atoms: Any) -> Entry:
    known = dict(atoms.info) | (atoms.calc.results if atoms.calc is not None else {})
    energy = next((known[key] for key in ("energy", "free_energy") if key in known), None)
    if energy is None:
        raise _UnusableError("has no energy; write energy=... (eV, of all its atoms) in its comment line")
    if "X" in (symbols := atoms.get_chemical_symbols()):
        raise _UnusableError("has an atom of no element (X)")
    amounts: dict[str, float] = {}
    for symbol in sorted(symbols):
        amounts[symbol] = amounts.get(symbol, 0.0) + 1.0
    name = next((str(known[key]) for key in ("name", "entry_id") if key in known), None)
    return _entry(_formula(amounts), amounts, energy, known.get(STDERR_KEY), name, atoms)


def _table(path: Path) -> _Items:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path} is not text in UTF-8; save it as CSV in that encoding") from None
    lines = [line.strip() for line in text.splitlines()]
    numbered = [(k, line) for k, line in enumerate(lines, start=1) if line and not line.startswith("#")]
    if not numbered:
        raise InvalidInputError(f"{path} is empty; its first line must be {','.join(COLUMNS)}")
    separator = max(",;\t", key=numbered[0][1].count)
    rows = csv.reader((line for _, line in numbered), delimiter=separator, skipinitialspace=True)
    header = [name.strip() for name in next(rows)]
    if missing := [name for name in COLUMNS[:2] if name not in header]:
        raise InvalidInputError(
            f"{path} has no column {' and no column '.join(missing)}, its first line is {','.join(header)!r}; write "
            "formula,energy_eV or formula,energy_eV,energy_stderr_eV (energies of whole formulas)"
        )
    for (number, _), row in zip(numbered[1:], rows, strict=False):
        try:
            if len(row) != len(header):
                raise _UnusableError(f"has {len(row)} cells where the first line has {len(header)}")
            cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
            formula = cells["formula"]
            stderr = cells.get(STDERR_KEY) or None
            yield _entry(formula, _amounts(formula), cells["energy_eV"], stderr, cells.get("name") or None)
        except _UnusableError as problem:
            yield _Problem(f"line {number}", str(problem))


def _pymatgen(path: Path) -> _Items:
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix.lower() == ".gz" else data
        document = json.loads(text)
    except (ValueError, OSError, EOFError) as error:
        raise InvalidInputError(f"{path} is not JSON ({error}); write the entries with monty's dumpfn") from None
    for index, one in enumerate(_entry_list(path, document)):
        try:
            yield _pymatgen_entry(one)
        except _UnusableError as error:
            yield _Problem(f"entry {index}", str(error))


def _entry_list(path: Path, document: Any) -> list[Any]:
    if isinstance(document, dict):
        inside = document.get("computed_data")  # of a PhaseDiagram
        places = [document.get("entries"), document.get("all_entries")]
        places += [inside.get("all_entries")] if isinstance(inside, dict) else []
        document = next((place for place in places if isinstance(place, list)), None)
    if not isinstance(document, list):
        raise InvalidInputError(f"{path} holds no list of pymatgen entries; write a list of them with monty's dumpfn")
    return document


def _pymatgen_entry(one: Any) -> Entry:
    from importlib import import_module

    from pymatgen.core import Composition
    from pymatgen.entries import Entry as AnyEntry

    if not (isinstance(one, dict) and str(one.get("@module", "")).startswith("pymatgen.") and "@class" in one):
        raise _UnusableError("is no entry of pymatgen (a dictionary with @module and @class)")
    try:
        kind = getattr(import_module(one["@module"]), str(one["@class"]))
        found = kind.from_dict(one) if issubclass(kind, AnyEntry) else None
    except Exception as error:  # noqa: BLE001 - a damaged dictionary fails in as many ways as it has keys
        raise _UnusableError(f"cannot be read by pymatgen ({type(error).__name__}: {error})") from None
    if found is None:
        raise _UnusableError(f"is a {one['@class']}, which is no entry")
    amounts = _checked(Composition(found.composition), str(found.composition))
    data = getattr(found, "data", None) or getattr(found, "attribute", None)
    stderr = data.get(STDERR_KEY) if isinstance(data, dict) else None
    name = getattr(found, "entry_id", None)
    return _entry(_formula(amounts), amounts, found.energy, stderr, None if name is None else str(name), found)


def _amounts(formula: str) -> dict[str, float]:
    from pymatgen.core import Composition

    if not formula:
        raise _UnusableError("has no formula")
    try:
        composition = Composition(formula)
    except ValueError:
        raise _UnusableError(f"has {formula!r}, which is no formula such as Au4Cu12") from None
    return _checked(composition, formula)


def _checked(composition: Any, formula: str) -> dict[str, float]:
    from pymatgen.core import Element

    amounts: dict[str, float] = {}
    for species, amount in composition.items():
        symbol = getattr(species, "symbol", str(species))
        if not Element.is_valid_symbol(symbol):
            raise _UnusableError(f"has {formula!r}, where {symbol} is no element")
        amounts[symbol] = amounts.get(symbol, 0.0) + float(amount)
    if not amounts or not all(math.isfinite(amount) and amount > 0 for amount in amounts.values()):
        raise _UnusableError(f"has {formula!r}, which holds no atoms")
    return dict(sorted(amounts.items()))


def _entry(
    formula: str, amounts: dict[str, float], energy: Any, stderr: Any, name: str | None, origin: Any = None
) -> Entry:
    energy_eV = _number("the energy", energy)
    stderr_eV = None if stderr is None else _number(STDERR_KEY, stderr)
    if stderr_eV is not None and stderr_eV < 0:
        raise _UnusableError(f"has {stderr_eV:g} as {STDERR_KEY}; an error is not negative")
    return Entry(formula, amounts, energy_eV, stderr_eV, name, origin)


def _number(what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _UnusableError(f"has {value!r} as {what}, which is no number") from None
    if not math.isfinite(number):
        raise _UnusableError(f"has {number} as {what}, which is not finite")
    return number


def _formula(amounts: dict[str, float]) -> str:
    return "".join(symbol + ("" if amount == 1 else f"{amount:.10g}") for symbol, amount in amounts.items())
