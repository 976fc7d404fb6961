"""Any ASE calculator as a reference engine, named by its dotted path."""

from __future__ import annotations

import hashlib
import importlib
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlip_autopipe.errors import InvalidInputError, ReferenceCalculationError
from mlip_autopipe.reference.base import (
    ElectronicStructure,
    EngineResult,
    ParameterChoices,
    ReferenceEngine,
)
from mlip_autopipe.schemas.config import ReferenceRequest
from mlip_autopipe.schemas.label import Attempt
from mlip_autopipe.schemas.system import Reason, ReferenceSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from ase.calculators.calculator import Calculator

USER = Reason(reason="named by the user", source="input.yaml: reference")


class ASEEngine(ReferenceEngine):
    """Runs ``parameters["calculator"](**parameters["kwargs"])``."""

    name: ClassVar[str] = "ase"
    cheap: ClassVar[bool] = True

    def __init__(self, settings: ReferenceSettings, *, cores: int = 1) -> None:
        super().__init__(settings, cores=cores)
        for path, digest in settings.files.items():
            if file_digest(path) != digest:
                raise InvalidInputError(
                    f"file {path} of calculator {self._dotted} is missing or has changed since the run was planned; "
                    "restore it, or submit the input again"
                )
        self._calculator: Calculator | None = None

    @property
    def version(self) -> str:
        """Name and version of the distribution that the calculator comes from."""
        top = self._dotted.split(".")[0]
        for distribution in packages_distributions().get(top, []):
            try:
                return f"{distribution} {version(distribution)}"
            except PackageNotFoundError:
                continue
        return f"{top} of unknown version"

    def compute(self, atoms: Atoms) -> EngineResult:
        """Return what the calculator says of the atoms.

        Raises
        ------
        ReferenceCalculationError
            The calculator raised, did not converge, or returned a number that is not finite.
        """
        import time

        if self._calculator is None:
            self._calculator = make_calculator(self._dotted, self.settings.parameters["kwargs"])
        atoms = atoms.copy()
        atoms.calc = self._calculator
        warnings: list[str] = []
        started = time.perf_counter()
        try:
            energy = float(atoms.get_potential_energy())
            forces = np.asarray(atoms.get_forces(), dtype=float)
            stress = self._stress(atoms, warnings)
        except OSError:  # a disk or network problem says nothing about the structure: the job retries it
            raise
        except Exception as error:
            self._calculator = None  # whatever state it is in, the next structure starts afresh
            raise ReferenceCalculationError(
                f"{self._dotted} failed on {atoms.get_chemical_formula()}: {type(error).__name__}: {error}"
            ) from error
        if getattr(self._calculator, "converged", True) is False:
            raise ReferenceCalculationError(
                f"{self._dotted} did not converge on {atoms.get_chemical_formula()}; its numbers are not used"
            )
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise ReferenceCalculationError(
                f"{self._dotted} returned a number that is not finite for {atoms.get_chemical_formula()}"
            )
        attempt = Attempt(step="as planned", converged=True, wall_time_s=time.perf_counter() - started)
        return EngineResult(energy, forces, stress, warnings=warnings, attempts=[attempt])

    def close(self) -> None:
        """Drop the calculator."""
        self._calculator = None

    @classmethod
    def choose_parameters(cls, request: ReferenceRequest, electronic: ElectronicStructure) -> ParameterChoices:
        """Take the calculator as the user named it, after checking that it can be made and knows the elements."""
        assert request.calculator is not None, "the schema requires a calculator for engine ase"
        kwargs = _absolute_files(request.kwargs)
        calculator = make_calculator(request.calculator, kwargs)
        _require_elements(request.calculator, calculator, electronic.elements)
        return {"calculator": (request.calculator, USER), "kwargs": (kwargs, USER)}

    @property
    def _dotted(self) -> str:
        return str(self.settings.parameters["calculator"])

    @staticmethod
    def _stress(atoms: Atoms, warnings: list[str]) -> Any:
        from ase.calculators.calculator import PropertyNotImplementedError
        from ase.calculators.fd import calculate_numerical_stress

        try:
            return np.asarray(atoms.get_stress(voigt=True), dtype=float)
        except (PropertyNotImplementedError, NotImplementedError):
            warnings.append("the calculator has no stress; it was obtained by finite differences of the energy")
            return np.asarray(calculate_numerical_stress(atoms, eps=1e-5, voigt=True), dtype=float)


def make_calculator(dotted: str, kwargs: dict[str, Any]) -> Calculator:
    """Import a calculator class or factory by its dotted path and call it.

    Raises
    ------
    InvalidInputError
        There is no such thing, or it does not take these keywords.
    """
    factory = _import(dotted)
    try:
        calculator = factory(**kwargs)
    except Exception as error:
        raise InvalidInputError(
            f"calculator {dotted} cannot be made with kwargs {kwargs}: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(calculator, "get_property"):
        raise InvalidInputError(f"{dotted} gave a {type(calculator).__name__}, which is no ASE calculator")
    return calculator


def file_digest(path: str) -> str | None:
    """Return the sha256 of a file's content, or None when it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def named_files(parameters: Any) -> dict[str, str]:
    """Return sha256 by path of all files that parameters name."""
    if isinstance(parameters, dict):
        return {k: v for value in parameters.values() for k, v in named_files(value).items()}
    if isinstance(parameters, (list, tuple)):
        return {k: v for value in parameters for k, v in named_files(value).items()}
    if isinstance(parameters, str) and _is_file(parameters):
        digest = file_digest(parameters)
        return {} if digest is None else {parameters: digest}
    return {}


def _import(dotted: str) -> Callable[..., Any]:
    module, _, name = dotted.rpartition(".")
    hint = "write it as package.module.Class, for example ase.calculators.emt.EMT"
    if not module:
        raise InvalidInputError(f"calculator {dotted!r} is not a dotted name; {hint}")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise InvalidInputError(f"calculator {dotted}: there is no module {error.name}; {hint}") from error
    except AttributeError:
        raise InvalidInputError(f"calculator {dotted}: module {module} has no {name}; {hint}") from None
    return found


def _require_elements(dotted: str, calculator: Calculator, elements: Any) -> None:
    """Refuse elements that EMT does not know; other calculators say so themselves on the first structure."""
    if type(calculator).__name__ != "EMT":
        return
    from ase.calculators.emt import parameters as known

    missing = [e for e in elements if e not in known]
    if missing:
        raise InvalidInputError(
            f"calculator {dotted} has no parameters for {', '.join(missing)}; it knows {', '.join(known)}"
        )


def _absolute_files(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _absolute_files(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_absolute_files(value) for value in data]
    return str(Path(data).resolve()) if isinstance(data, str) and _is_file(data) else data


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False
