"""Read VASP's XDATCAR, also of runs whose cell changes (there the header is repeated)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from mlip_autopipe.analysis.frames import Frame, bad_frame, complete_lines
from mlip_autopipe.analysis.symmetry import FloatArray

_HEADER_LINES = 7


def read_xdatcar(path: Path) -> Iterator[Frame]:
    """Yield the frames of a file."""
    known: tuple[str, ...] = ()
    pbc = np.ones(3, dtype=bool)
    cell: FloatArray = np.zeros((3, 3))
    with path.open(encoding="utf-8", errors="replace") as stream:
        index = 0
        while line := stream.readline():
            if not line.strip():
                continue
            try:
                if not line.lower().startswith(("direct", "cartesian")):
                    cell, species = _header(path, stream, index)
                    known = known if species == known else species
                    line = stream.readline()
                    if not line:
                        raise bad_frame(path, index, "is cut off")
                    if not line.lower().startswith(("direct", "cartesian")):
                        raise ValueError(f"{line.strip()[:40]!r} where 'Direct configuration=' belongs")
                lines = complete_lines(path, len(known), index, stream.readline)
                values = np.asarray(np.loadtxt(lines, usecols=(0, 1, 2), ndmin=2, comments=None), dtype=float)
            except (ValueError, IndexError) as error:
                raise bad_frame(path, index, f"cannot be understood ({error})") from None
            yield Frame(known, values if line.lower().startswith("c") else values @ cell, cell, pbc)
            index += 1


def _header(path: Path, stream: TextIO, index: int) -> tuple[FloatArray, tuple[str, ...]]:
    """Read what follows the title: scale, lattice, names, counts."""
    lines = [stream.readline() for _ in range(_HEADER_LINES - 1)]
    if not lines[-1].endswith("\n"):
        raise bad_frame(path, index, "is cut off")
    scale = float(lines[0])
    cell = np.array([line.split()[:3] for line in lines[1:4]], dtype=float)
    # a negative scale is the wanted volume
    cell *= scale if scale > 0 else (-scale / abs(np.linalg.det(cell))) ** (1 / 3)
    # newer versions of VASP write the name of the potential: Li_sv, or Li/ and a hash
    names, counts = [re.split("[_/]", name)[0] for name in lines[4].split()], lines[5].split()
    if len(names) != len(counts) or not all(count.isdigit() for count in counts):
        raise ValueError("the sixth line must name the elements and the seventh count them")
    return cell, tuple(name for name, count in zip(names, counts, strict=True) for _ in range(int(count)))
