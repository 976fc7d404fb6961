"""GPAW (plane waves, PBE) as a reference engine (10.1063/5.0182685).

The energy of a label is the free energy, to which forces and stress belong when occupations are smeared.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlip_autopipe.errors import EnvironmentProblemError, ReferenceCalculationError
from mlip_autopipe.reference.base import (
    ElectronicStructure,
    EngineResult,
    ParameterChoices,
    ReferenceEngine,
)
from mlip_autopipe.reference.ladder import Rung, climb
from mlip_autopipe.schemas.config import ReferenceRequest
from mlip_autopipe.schemas.system import Reason, ReferenceSettings

if TYPE_CHECKING:
    from ase import Atoms

CUTOFF_EV = 400.0
HARD_CUTOFF_EV = 500.0
HARD_ELEMENTS = frozenset("B C N O F V Cr Mn Fe Co Ni Cu Zn".split())
"""2p and 3d states are the most localised ones: they need more plane waves."""

MAX_ITERATIONS = 100
CONVERGENCE = {"energy": 1e-5, "density": 1e-6, "eigenstates": 4e-8}
"""GPAW's criteria: eV per valence electron, electrons per valence electron, eV^2 per valence electron.

On strained silicon a density of 1e-6 leaves 1e-5 GPa in the stress, 1e-4 leaves 3e-4 GPa (measured)."""

GENTLE_MIXER = {"backend": "pulay", "beta": 0.02, "nmaxold": 5, "weight": 100.0}
MIN_WIDE_SMEARING_EV = 0.3
GPAW_DOCS = "GPAW manual, gpaw.readthedocs.io"


class GPAWEngine(ReferenceEngine):
    """Plane-wave GPAW with a fixed k-point mesh and a recovery ladder."""

    name: ClassVar[str] = "gpaw"
    cheap: ClassVar[bool] = False

    def __init__(self, settings: ReferenceSettings, *, cores: int = 1) -> None:
        super().__init__(settings, cores=cores)
        self._calculator: Any = None
        self._last: Atoms | None = None

    @property
    def version(self) -> str:
        """Versions of GPAW and of its PAW setups."""
        found = []
        for package in ("gpaw", "gpaw-data"):
            try:
                found.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                continue
        return ", ".join(found) or "gpaw of unknown version"

    def compute(self, atoms: Atoms) -> EngineResult:
        """Return converged free energy, forces and stress, climbing the ladder if need be.

        Raises
        ------
        LadderExhaustedError
            No rung of the ladder converged.
        """
        from gpaw import ConvergenceError

        def is_recoverable(error: Exception) -> bool:
            # a full disk or a lost network says nothing about this structure: the job is retried
            return isinstance(error, ConvergenceError) or not isinstance(error, (OSError, MemoryError))

        what = f"the GPAW calculation of {atoms.get_chemical_formula()}"
        result, attempts = climb(
            self._rungs(), lambda rung: self._calculate(atoms, rung), is_recoverable=is_recoverable, what=what
        )
        energy, forces, stress, magmoms = result
        warnings = [] if len(attempts) == 1 else [f"{what} converged only with {attempts[-1].step}"]
        return EngineResult(energy, forces, stress, magmoms, warnings=warnings, attempts=attempts)

    def close(self) -> None:
        """Free wave functions and close the text output."""
        self._calculator = None
        self._last = None

    @classmethod
    def check_available(cls) -> None:
        """Raise `EnvironmentProblemError` when GPAW is not installed."""
        if find_spec("gpaw") is None:
            raise EnvironmentProblemError(
                "GPAW is not installed in this environment; `pip install 'mlip-autopipe[gpaw]'`, or choose another "
                "engine under reference"
            )

    @classmethod
    def choose_parameters(cls, request: ReferenceRequest, electronic: ElectronicStructure) -> ParameterChoices:
        """Return GPAW's parameters from the code-independent choices."""
        hard = [e for e in electronic.elements if e in HARD_ELEMENTS]
        cutoff = HARD_CUTOFF_EV if hard else CUTOFF_EV
        why = f"localised states of {', '.join(hard)}" if hard else "no element with localised 2p or 3d states"
        smearing = {
            "name": "marzari-vanderbilt" if electronic.is_metal else "fermi-dirac",
            "width": float(electronic.smearing_eV),
        }
        tight = Reason(
            reason="stresses converged to 1e-5 GPa, far below the 0.4 GPa that a strain of 0.25 % makes",
            source="measured: docs/reference_engines.md",
        )
        return {
            "xc": ("PBE", Reason(reason="the field's standard for solids", source="doi:10.1103/PhysRevLett.77.3865")),
            "cutoff_eV": (cutoff, Reason(reason=why, source=GPAW_DOCS)),
            "kpts": (list(electronic.kpts), electronic.kpts_reason),
            "smearing": (smearing, electronic.smearing_reason),
            "spin_polarised": (electronic.spin_polarised, electronic.spin_reason),
            "convergence": (dict(CONVERGENCE), tight),
            "max_iterations": (
                MAX_ITERATIONS,
                Reason(reason="20 to 40 are usual; the recovery ladder triples it", source=GPAW_DOCS),
            ),
        }

    def _rungs(self) -> list[Rung]:
        parameters = self.settings.parameters
        many = 3 * int(parameters["max_iterations"])
        planned = parameters["smearing"]
        wide = {**planned, "width": max(MIN_WIDE_SMEARING_EV, 3 * planned["width"])}
        gentle = {"max_iterations": many, "mixer": GENTLE_MIXER}
        return [
            Rung("as planned"),
            Rung("more iterations", {"max_iterations": many}),
            Rung("gentler mixing", gentle),
            Rung("wider smearing, then narrowed again", gentle, first={"smearing": wide}),
            Rung("other eigensolver", {**gentle, "eigensolver": "rmm-diis"}),
        ]

    def _calculate(self, atoms: Atoms, rung: Rung) -> tuple[float, Any, Any, list[float] | None]:
        parameters = {**self.settings.parameters, **rung.changes}
        atoms = atoms.copy()
        fresh = bool(rung.changes or rung.first) or not self._continues(atoms)
        if fresh:
            self._calculator = _make_calculator({**parameters, **rung.first}, self.cores)
        calculator, self._calculator, self._last = self._calculator, None, None
        if rung.first:
            calculator.get_property("energy", atoms)
            calculator.dft.change(occupations=_occupations(parameters["smearing"]))
        energy = float(calculator.get_property("free_energy", atoms))
        forces = np.asarray(calculator.get_property("forces", atoms), dtype=float)
        stress = np.asarray(calculator.get_property("stress", atoms), dtype=float)
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise ReferenceCalculationError("GPAW returned a number that is not finite")
        magmoms = None
        if parameters["spin_polarised"]:
            magmoms = [float(m) for m in calculator.get_property("magmoms", atoms)]
        if fresh and rung.changes:
            calculator = None  # the next structure starts from the plan again
        self._calculator, self._last = calculator, atoms
        return energy, forces, stress, magmoms

    def _continues(self, atoms: Atoms) -> bool:
        """Whether only ions moved, by little, since the last calculation: its wave functions are a good start."""
        last = self._last
        return (
            self._calculator is not None
            and last is not None
            and np.array_equal(last.numbers, atoms.numbers)
            and np.array_equal(last.cell.array, atoms.cell.array)
            and np.array_equal(last.get_initial_magnetic_moments(), atoms.get_initial_magnetic_moments())
            and float(np.abs(last.positions - atoms.positions).max()) < 0.2
        )


def _make_calculator(parameters: dict[str, Any], cores: int) -> Any:
    from gpaw import GPAW

    keywords: dict[str, Any] = {
        "mode": {"name": "pw", "ecut": parameters["cutoff_eV"]},
        "xc": parameters["xc"],
        # the size of the mesh is part of the plan: a spacing would give strained cells other meshes
        "kpts": {"size": tuple(parameters["kpts"]), "gamma": True},
        "occupations": _occupations(parameters["smearing"]),
        "spinpol": parameters["spin_polarised"],
        "convergence": dict(parameters["convergence"]),
        # not the criterion "maximum iterations", which calls whatever is reached by then converged
        "maxiter": parameters["max_iterations"],
        "txt": "gpaw.txt",
    }
    for optional in ("mixer", "eigensolver"):
        if optional in parameters:
            keywords[optional] = parameters[optional]
    return GPAW(**keywords)


def _occupations(smearing: dict[str, Any]) -> dict[str, Any]:
    return {"name": smearing["name"], "width": smearing["width"]}
