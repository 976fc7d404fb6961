"""MACE models as force fields: a committee that shares one neighbour list, and combinations of its members."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.errors import EnvironmentProblemError
from mlip_autopipe.potentials.base import ForceField, Prediction
from mlip_autopipe.potentials.errors import PredictionError
from mlip_autopipe.potentials.mace_model import ModelData, build, default_dtype, fill
from mlip_autopipe.potentials.zbl import ZBL

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]


class MaceCommittee:
    """Models with the same elements and cutoff, evaluated together.

    Parameters
    ----------
    models
        At least one.
    zbl
        The repulsive baseline that is added to each; None for none.
    dtype
        ``float64`` or ``float32``.
    device
        As torch names it.
    modules
        The torch modules, when they are built already.
    """

    def __init__(
        self,
        models: Sequence[ModelData],
        *,
        zbl: ZBL | None,
        dtype: str,
        device: str,
        modules: Sequence[Any] | None = None,
    ) -> None:
        self.models = tuple(models)
        self.elements = models[0].elements
        self.zbl = None if zbl is None else ZBL(inner=zbl.inner, outer=zbl.outer)
        self.dtype = dtype
        self.device = device
        self._modules = [one.to(device).eval() for one in modules or _build_all(models, dtype)]
        self._last: tuple[bytes, MemberPredictions] | None = None

    def __len__(self) -> int:
        return len(self.models)

    @property
    def parameters(self) -> int:
        """Trained numbers in all members together."""
        return sum(parameter.numel() for module in self._modules for parameter in module.parameters())

    def evaluate(self, atoms: Atoms, which: Sequence[int] | None = None) -> MemberPredictions:
        """Return what the members say; of all of them, the last answer is kept."""
        key = _identity(atoms)
        if which is None and self._last is not None and self._last[0] == key:
            return self._last[1]
        graph = self._graph(atoms)
        chosen = range(len(self)) if which is None else which
        single = [_evaluate(self._modules[index], graph) for index in chosen]
        energies, forces, stresses = (np.array(parts) for parts in zip(*single, strict=True))
        if self.zbl is not None:
            energy, more_forces, virial = self.zbl.evaluate(atoms)
            energies, forces = energies + energy, forces + more_forces
            if atoms.pbc.all():
                stresses = stresses - _voigt(virial) / atoms.get_volume()
        found = MemberPredictions(energies, forces, stresses if atoms.pbc.all() else np.zeros_like(stresses))
        if which is None:
            self._last = key, found
        return found

    def _graph(self, atoms: Atoms) -> dict[str, Any]:
        from mace.data import AtomicData, Configuration
        from mace.tools import AtomicNumberTable
        from mace.tools.torch_geometric import Batch

        architecture = self.models[0].architecture
        configuration = Configuration(
            atomic_numbers=atoms.numbers,
            positions=atoms.positions,
            properties={},
            property_weights={},
            cell=atoms.cell.array.copy(),
            pbc=tuple(bool(periodic) for periodic in atoms.pbc),
            head=architecture["heads"][0],
        )
        table = AtomicNumberTable(architecture["atomic_numbers"])
        with default_dtype(self.dtype):
            graph = AtomicData.from_config(
                configuration, z_table=table, cutoff=architecture["r_max"], heads=architecture["heads"]
            )
            found: dict[str, Any] = Batch.from_data_list([graph]).to(self.device).to_dict()
        return found


@dataclass(frozen=True, eq=False)
class MemberPredictions:
    """What every member says of one structure: energy (m,) in eV, forces (m, n, 3) in eV/A, stress (m, 6) in eV/A^3."""

    energies_eV: FloatArray
    forces_eV_per_A: FloatArray
    stresses_eV_per_A3: FloatArray


class MaceForceField(ForceField):
    """A linear combination of the members of a committee; the coefficients add up to one.

    The gradient of a combination of energies is the same combination of forces: energy and forces stay consistent.
    """

    def __init__(self, committee: MaceCommittee, coefficients: FloatArray) -> None:
        self.committee = committee
        self.coefficients = coefficients

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that it knows."""
        return self.committee.elements

    def predict(self, atoms: Atoms) -> Prediction:
        """Return energy, forces and stress; the stress of a structure that is not periodic in all directions is 0."""
        self.check_elements(atoms)
        used = np.flatnonzero(self.coefficients)
        found = self.committee.evaluate(atoms, None if len(used) == len(self.committee) else [int(i) for i in used])
        weights = self.coefficients[used]
        energy = float(weights @ found.energies_eV)
        forces = np.tensordot(weights, found.forces_eV_per_A, 1)
        stress = weights @ found.stresses_eV_per_A3
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise PredictionError("the potential's energy or forces are not finite; are two atoms on one place?")
        return Prediction(energy, forces, stress)


def choose_device(wanted: str | None, dtype: str) -> str:
    """Return the device that is asked for, else the first there is of cuda, mps (for float32 only) and cpu.

    Raises
    ------
    EnvironmentProblemError
        cuda is asked for and not there.
    """
    import torch

    if wanted is not None:
        if wanted.startswith("cuda") and not torch.cuda.is_available():
            raise EnvironmentProblemError(f"torch finds no device {wanted} here; leave device out, or ask for cpu")
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if dtype == "float32" and torch.backends.mps.is_available() else "cpu"


def _build_all(models: Sequence[ModelData], dtype: str) -> list[Any]:
    first = build(models[0], dtype)
    found = [first]
    for model in models[1:]:
        if model.architecture != models[0].architecture:
            found.append(build(model, dtype))
        else:
            # making a module compiles its tensor products; a copy does not
            found.append(fill(copy.deepcopy(first), model))
    return found


def _evaluate(module: Any, graph: Mapping[str, Any]) -> tuple[float, FloatArray, FloatArray]:
    # the model writes into the graph
    own = dict(graph) | {"positions": graph["positions"].detach().clone()}
    output = module(own, compute_force=True, compute_stress=True)
    forces, stress = (output[key].detach().cpu().numpy().astype(float) for key in ("forces", "stress"))
    return float(output["energy"].detach().cpu()), forces, _voigt(stress[0])


def _voigt(matrix: FloatArray) -> FloatArray:
    return np.array([matrix[0, 0], matrix[1, 1], matrix[2, 2], matrix[1, 2], matrix[0, 2], matrix[0, 1]])


def _identity(atoms: Atoms) -> bytes:
    parts = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
