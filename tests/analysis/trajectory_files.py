"""The same trajectory in every format that is read."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from mlip_autopipe.dynamics.trajectory import TrajectoryWriter

SYMBOLS = ["Li"] * 5 + ["O"] * 3
CELL = np.array([[9.0, 0.0, 0.0], [2.0, 8.0, 0.0], [-1.5, 1.0, 7.0]])
FORMATS = ("h5", "traj", "extxyz", "dump", "xdatcar")


def positions_A(frames: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, 0.3, (frames, len(SYMBOLS), 3)), axis=0) + rng.random((len(SYMBOLS), 3)) @ CELL


def frames_of(positions: np.ndarray, symbols=None, cells=None, *, wrap: bool = True) -> list[Atoms]:
    cells = np.broadcast_to(CELL if cells is None else cells, (len(positions), 3, 3))
    found = [
        Atoms(symbols or SYMBOLS, positions=p, cell=c, pbc=True) for p, c in zip(positions, cells, strict=True)
    ]
    for atoms in found:
        if wrap:
            atoms.wrap()
    return found


def write_as(kind: str, folder: Path, positions: np.ndarray, cells: np.ndarray | None = None) -> Path:
    """Write wrapped positions; HDF5 knows its 20 fs between frames."""
    frames = frames_of(positions, cells=cells)
    path = folder / ("XDATCAR" if kind == "xdatcar" else f"run.{kind}")
    if kind == "h5":
        with TrajectoryWriter(path, frames[0].numbers, frames[0].pbc) as writer:
            for k, atoms in enumerate(frames):
                writer.append_arrays(positions[k], atoms.cell[:], 10 * k, 20.0 * k)
    elif kind == "dump":
        path.write_text("".join(lammps_frame(atoms, 10 * k) for k, atoms in enumerate(frames)))
    else:
        write(path, frames, **({"format": "vasp-xdatcar"} if kind == "xdatcar" else {}))
    return path


def lammps_frame(atoms: Atoms, step: int, columns: str = "id type x y z", extra: str = "") -> str:
    """Write atoms in an order that changes from frame to frame, as LAMMPS does."""
    a, b, c = atoms.cell[:]
    xy, xz, yz = b[0], c[0], c[1]
    bounds = [
        (min(0, xy, xz, xy + xz), a[0] + max(0, xy, xz, xy + xz), xy),
        (min(0, yz), b[1] + max(0, yz), xz),
        (0, c[2], yz),
    ]
    box = "".join(" ".join(f"{x:.12f}" for x in row) + "\n" for row in bounds)
    fields = {"x": atoms.positions[:, 0], "y": atoms.positions[:, 1], "z": atoms.positions[:, 2]}
    scaled = atoms.get_scaled_positions(wrap=False)
    fields |= {f"{axis}s": scaled[:, k] for k, axis in enumerate("xyz")}
    order = np.random.default_rng(step).permutation(len(atoms))
    rows = []
    for i in order:
        words = []
        for name in columns.split():
            if name == "id":
                words.append(str(i + 1))
            elif name == "type":
                words.append("1" if atoms.symbols[i] == "Li" else "2")
            elif name == "element":
                words.append(atoms.symbols[i])
            else:
                words.append(f"{fields[name][i]:.10f}")
        rows.append(" ".join(words) + "\n")
    return (
        f"{extra}ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(atoms)}\nITEM: BOX BOUNDS xy xz yz pp pp pp\n"
        f"{box}ITEM: ATOMS {columns}\n" + "".join(rows)
    )
