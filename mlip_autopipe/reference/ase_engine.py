"""Any ASE calculator as a reference engine, named by its dotted path."""

from __future__ import annotations

import hashlib
import importlib
import sys
from contextlib import suppress
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlip_autopipe.errors import AutoPipeError, EnvironmentProblemError, InvalidInputError, ReferenceCalculationError
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
    from collections.abc import Callable, Mapping

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

    @cached_property
    def version(self) -> str:
        """Names and versions of the packages that the calculator comes from.

        A factory and the calculator that it returns can come from different packages. Of a module that belongs to no
        installed package, the file's content is its version.
        """
        modules = (self._dotted.rpartition(".")[0], type(self._ready()).__module__)
        return ", ".join(dict.fromkeys(_module_version(module) for module in modules))

    def compute(self, atoms: Atoms) -> EngineResult:
        """Return what the calculator says of the atoms.

        Raises
        ------
        ReferenceCalculationError
            The calculator raised, did not converge, or returned a number that is not finite.
        """
        import time

        calculator, what = self._ready(), f"{self._dotted} failed on {atoms.get_chemical_formula()}"
        self._calculator = None  # whatever state an exception leaves it in: the next structure starts afresh
        atoms = atoms.copy()
        atoms.calc = calculator
        warnings: list[str] = []
        started = time.perf_counter()
        try:
            energy = self._energy(atoms)
            forces = np.asarray(atoms.get_forces(apply_constraint=False), dtype=float)
            stress = self._stress(atoms, warnings)
        except (OSError, MemoryError):  # the machine's problem, not the structure's: such a job can be run again
            raise
        except Exception as error:
            raise ReferenceCalculationError(f"{what}: {type(error).__name__}: {error}") from error
        if _says_unconverged(calculator):
            raise ReferenceCalculationError(f"{what}: it did not converge, and its numbers are not used")
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise ReferenceCalculationError(f"{what}: it returned a number that is not finite")
        self._calculator = calculator
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

    @classmethod
    def named_files(cls, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Return sha256 by path of all files that the parameters name."""
        return named_files(parameters)

    @property
    def _dotted(self) -> str:
        return str(self.settings.parameters["calculator"])

    def _ready(self) -> Calculator:
        if self._calculator is None:
            self._calculator = make_calculator(self._dotted, self.settings.parameters["kwargs"])
        return self._calculator

    @staticmethod
    def _energy(atoms: Atoms) -> float:
        """Return the free energy, to which forces belong, or the energy of a calculator that has only one."""
        from ase.calculators.calculator import PropertyNotImplementedError

        try:
            return float(atoms.get_potential_energy(force_consistent=True))
        except PropertyNotImplementedError:
            return float(atoms.get_potential_energy())

    @staticmethod
    def _stress(atoms: Atoms, warnings: list[str]) -> Any:
        from ase.calculators.fd import calculate_numerical_stress

        try:
            return np.asarray(atoms.get_stress(voigt=True, apply_constraint=False), dtype=float)
        except NotImplementedError:
            warnings.append("the calculator has no stress; it was obtained by finite differences of the energy")
            free = "free_energy" in getattr(atoms.calc, "implemented_properties", ())
            return np.asarray(
                calculate_numerical_stress(atoms, eps=1e-5, voigt=True, force_consistent=free), dtype=float
            )


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
    except AutoPipeError:
        raise
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
    if not module or not all(part.isidentifier() for part in dotted.split(".")):
        raise InvalidInputError(f"calculator {dotted!r} is not a dotted name; {hint}")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise InvalidInputError(f"calculator {dotted}: there is no module {error.name}; {hint}") from None
        raise EnvironmentProblemError(
            f"calculator {dotted} needs the module {error.name}, which is not installed"
        ) from error
    except AttributeError:
        raise InvalidInputError(f"calculator {dotted}: module {module} has no {name}; {hint}") from None
    except Exception as error:
        raise EnvironmentProblemError(
            f"calculator {dotted} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return found


def _says_unconverged(calculator: Calculator) -> bool:
    """Whether a calculator has an attribute or method ``converged`` that says no; None means that it does not know."""
    converged = getattr(calculator, "converged", None)
    if callable(converged):
        converged = converged()
    return converged is not None and not converged


@cache
def _module_version(module: str) -> str:
    top = module.partition(".")[0]
    versions = []
    for distribution in sorted(set(packages_distributions().get(top, []))):
        with suppress(PackageNotFoundError):
            versions.append(f"{distribution} {version(distribution)}")
    if versions:
        return ", ".join(versions)
    origin = getattr(sys.modules.get(module), "__file__", None)
    digest = file_digest(origin) if origin else None
    return f"{module} of unknown version" if digest is None else f"{module} with sha256 {digest}"


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
    return str(Path(data).expanduser().resolve()) if isinstance(data, str) and _is_file(data) else data


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, the home of nobody
        return False
