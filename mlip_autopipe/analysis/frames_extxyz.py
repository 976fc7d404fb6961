"""Read extended XYZ, and plain XYZ as frames without a cell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlip_autopipe.analysis.frames import Frame, bad_frame, complete_lines
from mlip_autopipe.analysis.symmetry import FloatArray

_LATTICE = re.compile(r"Lattice\s*=\s*[\"'{\[]([^\"'}\]]*)[\"'}\]]", re.IGNORECASE)
_PROPERTIES = re.compile(r"Properties\s*=\s*[\"']?([\w:]+)", re.IGNORECASE)
_PBC = re.compile(r"pbc\s*=\s*(?:[\"'{\[]([^\"'}\]]*)[\"'}\]]|(\w+))", re.IGNORECASE)
_TIME = re.compile(r"\btime_fs\s*=\s*[\"']?([-+.\deE]+)")
_PLAIN = "species:S:1:pos:R:3"


def read_extxyz(path: Path) -> Iterator[Frame]:
    """Yield the frames of a file; ``time_fs=`` in the comment line gives their time."""
    species: tuple[str, ...] = ()
    with path.open(encoding="utf-8", errors="replace") as stream:
        index = 0
        while header := stream.readline():
            if not header.strip():
                if stream.read().strip():
                    raise bad_frame(path, index, "starts with an empty line")
                return
            if not header.strip().isdigit():
                raise bad_frame(path, index, f"starts with {header.strip()[:40]!r} where the number of atoms belongs")
            comment = stream.readline()
            lines = complete_lines(path, int(header), index, stream.readline)
            try:
                cell, pbc = _cell(comment)
                symbol, position = _columns(comment)
                symbols = tuple(line.split(None, symbol + 1)[symbol] for line in lines)
                positions = _positions(lines, position)
                time = _TIME.search(comment)
                time_fs = float(time[1]) if time else None
            except (ValueError, IndexError) as error:
                raise bad_frame(path, index, f"cannot be understood ({error})") from None
            species = species if symbols == species else symbols
            yield Frame(species, positions, cell, pbc, time_fs)
            index += 1


def _cell(comment: str) -> tuple[FloatArray, Any]:
    found = _LATTICE.search(comment)
    if not found:
        return np.zeros((3, 3)), np.zeros(3, dtype=bool)
    cell = np.array(found[1].split(), dtype=float).reshape(3, 3)
    pbc = _PBC.search(comment)
    if not pbc:
        return cell, np.ones(3, dtype=bool)
    words = (pbc[1] or pbc[2]).split()
    flags = [word[0] in "tT1" for word in words]
    return cell, np.array(flags * 3 if len(flags) == 1 else flags, dtype=bool).reshape(3)


def _columns(comment: str) -> tuple[int, int]:
    """Column of the name and first column of the position."""
    found = _PROPERTIES.search(comment)
    fields = (found[1] if found else _PLAIN).split(":")
    start, places = 0, {}
    for name, width in zip(fields[::3], fields[2::3], strict=True):
        places[name.lower()] = start
        start += int(width)
    try:
        return places["species"], places["pos"]
    except KeyError as missing:
        raise ValueError(f"Properties has no {missing.args[0]}") from None


def _positions(lines: Sequence[str], first: int) -> FloatArray:
    if not lines:
        raise ValueError("there are no atoms")
    found = np.loadtxt(lines, usecols=range(first, first + 3), ndmin=2, comments=None)
    return np.asarray(found, dtype=float)
