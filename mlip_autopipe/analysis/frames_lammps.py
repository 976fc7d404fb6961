"""Read LAMMPS dump files (style atom or custom), lengths in A."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.frames import Frame, bad_frame, complete_lines
from mlip_autopipe.analysis.symmetry import FloatArray

# columns that hold a position, best first, and whether they are fractional and unwrapped
_POSITIONS: Final = (
    (("xu", "yu", "zu"), False, True),
    (("xsu", "ysu", "zsu"), True, True),
    (("x", "y", "z"), False, False),
    (("xs", "ys", "zs"), True, False),
)
_IMAGES: Final = ("ix", "iy", "iz")
_FS: Final = {"real": 1.0, "metal": 1000.0}


class _ProblemError(Exception):
    """What is wrong with the frame being read."""


def read_lammps(path: Path, type_names: Mapping[int, str]) -> Iterator[Frame]:
    """Yield the frames of a file, atoms sorted by id.

    ``ITEM: TIME`` with ``ITEM: UNITS`` metal or real gives times; the number of the step does not.
    """
    known: tuple[str, ...] = ()
    units: str | None = None
    with path.open(encoding="utf-8", errors="replace") as stream:
        index = 0
        while True:
            try:
                sections = _header(stream, path, index)
                if sections is None:
                    return
                units = sections.get("UNITS", [units or ""])[0].strip() or None
                if units not in (None, *_FS):
                    raise _ProblemError(f"is in LAMMPS units {units!r}, whose lengths are not A: convert it")
                species, frame = _frame(sections, stream, path, index, type_names, units)
            except _ProblemError as problem:
                raise bad_frame(path, index, str(problem)) from None
            except (ValueError, IndexError, KeyError) as error:
                raise bad_frame(path, index, f"cannot be understood ({error})") from None
            known = known if species == known else species
            yield Frame(known, *frame)
            index += 1


def _header(stream: TextIO, path: Path, index: int) -> dict[str, list[str]] | None:
    """Return the lines of every section up to the line that starts the atoms, by the section's name."""
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    rest = ""
    while line := stream.readline():
        if line.startswith("ITEM:"):
            name = line[5:].strip()
            key = next((k for k in ("BOX BOUNDS", "ATOMS") if name.startswith(k)), name)
            current = sections.setdefault(key, [])
            if key in ("BOX BOUNDS", "ATOMS"):
                current.append(name.removeprefix(key).strip())
            if key == "ATOMS":
                return sections
        elif current is not None:
            current.append(line)
        elif line.strip() and line.endswith("\n"):
            raise _ProblemError(f"starts with {line.strip()[:40]!r} where ITEM: belongs")
        else:
            rest = line.strip()
    if sections or rest:
        raise _ProblemError("is cut off")
    return None


def _frame(
    sections: Mapping[str, list[str]],
    stream: TextIO,
    path: Path,
    index: int,
    type_names: Mapping[int, str],
    units: str | None,
) -> tuple[tuple[str, ...], tuple[FloatArray, FloatArray, NDArray[np.bool_], float | None, bool]]:
    count = int(sections["NUMBER OF ATOMS"][0])
    columns = sections["ATOMS"][0].split()
    cell, origin, pbc = _box(sections["BOX BOUNDS"])
    lines = complete_lines(path, count, index, stream.readline)
    if not lines:
        raise _ProblemError("has no atoms")
    names, fractional, unwrapped = next(
        (one for one in _POSITIONS if all(name in columns for name in one[0])), ((), False, False)
    )
    if not names:
        raise _ProblemError("has no positions: dump x y z, xu yu zu or xs ys zs")
    if "element" not in columns and "type" not in columns:
        raise _ProblemError("names no atoms: dump the column element or type")
    images = _IMAGES if not unwrapped and all(name in columns for name in _IMAGES) else ()
    others = [name for name in ("id", "type") if name in columns]
    wanted = [*others, *names, *images]
    # everything at once: most of the time goes into taking lines apart
    values = np.loadtxt(lines, usecols=[columns.index(name) for name in wanted], ndmin=2, comments=None)
    order = np.argsort(values[:, 0], kind="stable") if "id" in columns else np.arange(count)
    values = np.asarray(values, dtype=float)[order]
    positions = values[:, len(others) : len(others) + 3]
    if fractional:
        positions = positions @ cell + origin
    if images:
        positions = positions + values[:, -3:] @ cell
    if "element" in columns:
        k = columns.index("element")
        species = tuple(lines[row].split(None, k + 1)[k] for row in order)
    else:
        species = _names(values[:, others.index("type")].astype(int).tolist(), type_names)
    time_fs = float(sections["TIME"][0]) * _FS[units] if "TIME" in sections and units else None
    return species, (positions, cell, pbc, time_fs, unwrapped or bool(images))


def _names(types: Sequence[int], type_names: Mapping[int, str]) -> tuple[str, ...]:
    table = {number: type_names.get(number, f"type{number}") for number in set(types)}
    return tuple([table[number] for number in types])


def _box(lines: Sequence[str]) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Cell, origin and periodic directions; bounds of a tilted box enclose it (LAMMPS manual, triclinic boxes)."""
    words = lines[0].split()
    pbc = np.array([word.startswith("p") for word in words[-3:]], dtype=bool) if words else np.ones(3, dtype=bool)
    rows = np.array([line.split() for line in lines[1:4]], dtype=float)
    if words and words[0] == "abc":  # general triclinic: the vectors themselves, and the origin
        return rows[:, :3], rows[:, 3], pbc
    low, high = rows[:, 0].copy(), rows[:, 1].copy()
    xy, xz, yz = rows[:, 2] if rows.shape[1] == 3 else (0.0, 0.0, 0.0)
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    length = high - low
    cell = np.array([[length[0], 0.0, 0.0], [xy, length[1], 0.0], [xz, yz, length[2]]])
    return cell, low, pbc
