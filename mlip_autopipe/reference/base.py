"""The contract of a reference engine: what labels structures, and what a label costs and carries.

Units are ASE's: eV, eV/A, eV/A^3; stress is positive under tension, in the order xx yy zz yz xz xy.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.errors import ReferenceCalculationError
from mlip_autopipe.schemas.config import ReferenceRequest
from mlip_autopipe.schemas.label import Attempt
from mlip_autopipe.schemas.system import Reason, ReferenceSettings

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]
ParameterChoices = dict[str, tuple[Any, Reason]]


@dataclass(frozen=True)
class KPointSpacing:
    """How dense k-points are when cells of several sizes are labelled.

    Attributes
    ----------
    spacing_per_A
        Largest distance of k-points along a reciprocal vector, 2 pi included: the mesh of a cell follows from it.
    primitive_atoms, primitive_lengths_per_A
        Of the unstrained primitive cell: number of atoms, and lengths of the reciprocal vectors, 2 pi included. Cells
        with as many atoms are strained versions of it and keep its mesh, or their energies had steps.
    """

    spacing_per_A: float
    primitive_atoms: int
    primitive_lengths_per_A: list[float]


@dataclass(frozen=True)
class ElectronicStructure:
    """What the heuristics choose for the electrons, independent of any code.

    Attributes
    ----------
    kpts
        Gamma-centred mesh along the reciprocal vectors.
    smearing_eV
        Width of the occupation function; 0 for insulators.
    initial_magmoms
        Bohr magnetons per atom, or None without spin.
    k_spacing
        From which each cell's mesh follows when cells of several sizes are labelled. None: the mesh `kpts` for all.
    """

    kpts: tuple[int, int, int]
    kpts_reason: Reason
    smearing_eV: float
    smearing_reason: Reason
    spin_polarised: bool
    spin_reason: Reason
    initial_magmoms: Sequence[float] | None
    is_metal: bool
    elements: Sequence[str]
    k_spacing: KPointSpacing | None = None


@dataclass(frozen=True, eq=False)
class EngineResult:
    """Numbers of one converged calculation."""

    energy_eV: float
    forces_eV_per_A: FloatArray
    stress_eV_per_A3: FloatArray
    magmoms: list[float] | None = None
    warnings: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)


class LadderExhaustedError(ReferenceCalculationError):
    """Every rung of the recovery ladder failed; `attempts` says what was tried."""

    def __init__(self, message: str, attempts: list[Attempt]) -> None:
        super().__init__(message)
        self.attempts = attempts


class ReferenceEngine(ABC):
    """Labels structures with fixed settings.

    Parameters
    ----------
    settings
        Everything that decides the numbers.
    cores
        Cores that the engine may use.
    """

    name: ClassVar[str]
    cheap: ClassVar[bool]
    """True when a label takes milliseconds: many are batched into one job."""

    def __init__(self, settings: ReferenceSettings, *, cores: int = 1) -> None:
        self.settings = settings
        self.cores = cores

    @property
    @abstractmethod
    def version(self) -> str:
        """Version of the code that computes."""

    @abstractmethod
    def compute(self, atoms: Atoms) -> EngineResult:
        """Return converged energy, forces and stress.

        Raises
        ------
        ReferenceCalculationError
            There is no converged answer; never returns a number that is not one.
        """

    def compute_harder(self, atoms: Atoms) -> EngineResult:
        """Return the same as `compute`, by slower means, after that has failed; by default it is tried again.

        Raises
        ------
        ReferenceCalculationError
            There is no converged answer this way either.
        """
        return self.compute(atoms)

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Free what the engine holds; it is not used afterwards."""

    @classmethod  # noqa: B027 - some need nothing
    def check_available(cls) -> None:
        """Raise `EnvironmentProblemError` when the code is not installed on this machine."""

    @classmethod
    @abstractmethod
    def choose_parameters(cls, request: ReferenceRequest, electronic: ElectronicStructure) -> ParameterChoices:
        """Return the complete parameters by key, each with its reason."""

    @classmethod
    def named_files(cls, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Return sha256 by path of the files that parameters name; they belong to every label's identity."""
        return {}

    @cached_property
    def settings_hash(self) -> str:
        """Hash of engine, version, parameters and the content of files that they name."""
        return settings_hash(self.settings, self.version)


def settings_hash(settings: ReferenceSettings, version: str) -> str:
    """Return the sha256 of everything that decides an engine's numbers.

    Files count by content, not by path.
    """
    return sha256_of(
        {
            "engine": settings.engine,
            "version": version,
            "parameters": _without_paths(settings.parameters, settings.files),
            "files": sorted(settings.files.values()),
        }
    )


def sha256_of(data: Any) -> str:
    """Return the sha256 of JSON data, independent of the order of keys and of writing 400 or 400.0."""
    canonical = json.dumps(_whole(data), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _without_paths(data: Any, files: Mapping[str, str]) -> Any:
    if isinstance(data, Mapping):
        return {key: _without_paths(value, files) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_without_paths(value, files) for value in data]
    return files.get(data, data) if isinstance(data, str) else data


def _whole(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _whole(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_whole(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data
