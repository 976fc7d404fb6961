"""Write a `PolymlpPotential` as pypolymlp's own file, and say what that file cannot hold."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.base import ForceField
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.potentials.polymlp_features import parameters


def polymlp_yaml(potential: ForceField) -> tuple[str, list[str]]:
    """Return the text of ``polymlp.yaml`` and, as sentences, what it leaves out; the text ends with them as comments.

    Forces and stress of atoms that are no nearer than the stated distances are those of the potential.

    Raises
    ------
    InvalidInputError
        The potential is of another backend.
    """
    if not isinstance(potential, PolymlpPotential):
        raise InvalidInputError("only a potential of backend polymlp can be written as polymlp.yaml")
    from pypolymlp.core.io_polymlp import save_mlp  # type: ignore[import-untyped]

    model = potential.model
    energies = tuple(model.atomic_energies_eV[element] for element in model.elements)
    params = replace(parameters(model.features, model.elements).params, atomic_energy=energies)
    coefficients = model.coefficients[: -len(model.elements)]
    with tempfile.TemporaryDirectory() as folder, np.printoptions():  # save_mlp changes how numpy prints
        path = Path(folder) / "polymlp.yaml"
        save_mlp(params, coefficients, np.ones(len(coefficients)), filename=str(path))
        text = path.read_text()
    notes = _notes(potential)
    return text + "".join(f"# {note}\n" for note in notes), notes


def _notes(potential: PolymlpPotential) -> list[str]:
    from ase.data import atomic_numbers, covalent_radii

    radii = {element: float(covalent_radii[atomic_numbers[element]]) for element in potential.elements}
    reach = ", ".join(
        f"{a}-{b} {potential.zbl.outer * (radii[a] + radii[b]):.2f} A"
        for a, b in combinations_with_replacement(potential.elements, 2)
    )
    return [
        f"the short-range repulsion is missing: do not use it where atoms come nearer than {reach}",
        "pypolymlp's energies do not contain the atomic energies of this file (atomic_energy); add them to compare",
        "the uncertainty is missing",
    ]
