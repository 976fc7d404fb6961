"""GPAW (plane waves, PBE) as a reference engine (10.1063/5.0182685).

The energy of a label is the free energy, to which forces and stress belong when occupations are smeared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlip_autopipe.errors import EnvironmentProblemError, ReferenceCalculationError
from mlip_autopipe.reference.base import (
    ElectronicStructure,
    EngineResult,
    FloatArray,
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
HARD_ELEMENTS = frozenset({"B", "C", "N", "O", "F", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"})
"""2p and 3d states are the most localised ones: they need more plane waves."""

MAX_ITERATIONS = 100
CONVERGENCE = {"energy": 1e-5, "density": 1e-6, "eigenstates": 4e-8}
"""GPAW's criteria: eV per valence electron, electrons per valence electron, eV^2 per valence electron.

On strained silicon a density of 1e-6 leaves 1e-5 GPa in the stress, 1e-4 leaves 3e-4 GPa (measured)."""

GENTLE_MIXER = {"backend": "pulay", "beta": 0.02, "nmaxold": 5, "weight": 100.0}
DAMPED_MIXER = {"backend": "pulay", "beta": 0.005, "nmaxold": 8, "weight": 200.0}
MIN_WIDE_SMEARING_EV = 0.3
AS_PLANNED = "as planned"
TEXT_FILE = "gpaw.txt"
"""GPAW's own output, in the working directory of the job."""
GPAW_DOCS = "GPAW manual, gpaw.readthedocs.io"

Numbers = tuple[float, FloatArray, FloatArray, list[float] | None]


class GPAWEngine(ReferenceEngine):
    """Plane-wave GPAW with a fixed k-point mesh and a recovery ladder."""

    name: ClassVar[str] = "gpaw"
    cheap: ClassVar[bool] = False

    def __init__(self, settings: ReferenceSettings, *, cores: int = 1) -> None:
        super().__init__(settings, cores=cores)
        self._calculator: Any = None
        self._last: Atoms | None = None
        self._text: IO[str] | None = None

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
        return self._climbed(atoms, self._rungs())

    def compute_harder(self, atoms: Atoms) -> EngineResult:
        """Return the same from rungs that cost many times as much: hundreds of heavily damped iterations.

        Raises
        ------
        LadderExhaustedError
            No rung converged.
        """
        return self._climbed(atoms, self._harder_rungs())

    def close(self) -> None:
        """Free wave functions and close the text output."""
        self._calculator = None
        self._last = None
        if self._text is not None:
            self._text.close()
            self._text = None

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
        # Fermi-Dirac converges smoothly with the mesh where cold smearing oscillates (measured: docs/benchmarks.md)
        smearing = {"name": "fermi-dirac", "width": float(electronic.smearing_eV)}
        tight = Reason(
            reason="stresses converged to 1e-5 GPa, far below the 0.4 GPa that a strain of 0.25 % makes",
            source="measured: docs/reference_engines.md",
        )
        return {
            "xc": ("PBE", Reason(reason="the field's standard for solids", source="doi:10.1103/PhysRevLett.77.3865")),
            "cutoff_eV": (cutoff, Reason(reason=why, source=GPAW_DOCS)),
            "kpts": (
                list(electronic.kpts) if electronic.k_spacing is None else asdict(electronic.k_spacing),
                electronic.kpts_reason,
            ),
            "smearing": (smearing, electronic.smearing_reason),
            "spin_polarised": (electronic.spin_polarised, electronic.spin_reason),
            "convergence": (dict(CONVERGENCE), tight),
            "max_iterations": (
                MAX_ITERATIONS,
                Reason(reason="20 to 40 are usual; the recovery ladder triples it", source=GPAW_DOCS),
            ),
        }

    def _climbed(self, atoms: Atoms, rungs: list[Rung]) -> EngineResult:
        what = f"the GPAW calculation of {atoms.get_chemical_formula()}"
        result, attempts = climb(
            rungs, lambda rung: self._calculate(atoms, rung), is_recoverable=_is_of_structure, what=what
        )
        energy, forces, stress, magmoms = result
        as_planned = attempts[-1].step == AS_PLANNED
        warnings = [] if as_planned else [f"{what} converged only with {attempts[-1].step}"]
        return EngineResult(energy, forces, stress, magmoms, warnings=warnings, attempts=attempts)

    def _harder_rungs(self) -> list[Rung]:
        planned = self.settings.parameters["smearing"]
        many = 10 * int(self.settings.parameters["max_iterations"])
        damped = {"max_iterations": many, "mixer": DAMPED_MIXER}
        wide = {**planned, "width": max(2 * MIN_WIDE_SMEARING_EV, 6 * planned["width"])}
        return [
            Rung("damped mixing, ten times the iterations", damped),
            Rung("very wide smearing, then narrowed again", damped, first={"smearing": wide, **damped}),
        ]

    def _rungs(self) -> list[Rung]:
        parameters = self.settings.parameters
        many = 3 * int(parameters["max_iterations"])
        planned = parameters["smearing"]
        wide = {**planned, "width": max(MIN_WIDE_SMEARING_EV, 3 * planned["width"])}
        gentle = {"max_iterations": many, "mixer": GENTLE_MIXER}
        return [
            Rung(AS_PLANNED),
            Rung("more iterations", {"max_iterations": many}),
            Rung("gentler mixing", gentle),
            Rung("wider smearing, then narrowed again", gentle, first={"smearing": wide}),
            Rung("other eigensolver", {**gentle, "eigensolver": "rmm-diis"}),
        ]

    def _calculate(self, atoms: Atoms, rung: Rung) -> Numbers:
        atoms = atoms.copy()
        if not self.settings.parameters["spin_polarised"]:
            atoms.set_initial_magnetic_moments(None)  # GPAW refuses moments without spin
        planned = not (rung.changes or rung.first)
        calculator, continues = self._calculator, planned and self._continues(atoms)
        self._calculator = self._last = None
        numbers: Numbers | None = None
        if continues:
            try:
                numbers = self._numbers(calculator, atoms)
            except Exception as error:
                if not _is_of_structure(error):
                    raise
                # the old start does not suit, for one because the symmetry is lower now: from scratch, as planned
        if numbers is None:
            parameters = {**self.settings.parameters, **rung.changes}
            calculator = self._make({**parameters, **rung.first, "kpts": mesh_of(atoms, parameters["kpts"])})
            if rung.first:
                calculator.get_property("energy", atoms)
                calculator.dft.change(occupations=_occupations(parameters["smearing"]))
            numbers = self._numbers(calculator, atoms)
        if planned:  # what a rung changed is not what the next structure starts with
            self._calculator, self._last = calculator, atoms
        return numbers

    def _numbers(self, calculator: Any, atoms: Atoms) -> Numbers:
        energy = float(calculator.get_property("free_energy", atoms))
        forces = np.asarray(calculator.get_property("forces", atoms), dtype=float)
        stress = np.asarray(calculator.get_property("stress", atoms), dtype=float)
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise ReferenceCalculationError("GPAW returned a number that is not finite")
        magmoms = None
        if self.settings.parameters["spin_polarised"]:
            magmoms = [float(m) for m in calculator.get_property("magmoms", atoms)]
        return energy, forces, stress, magmoms

    def _make(self, parameters: dict[str, Any]) -> Any:
        if self._text is None:
            # appended to: what failed rungs wrote is what one wants to read
            self._text = open(TEXT_FILE, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        return _make_calculator(parameters, self._text)

    def _continues(self, atoms: Atoms) -> bool:
        """Whether only ions moved, by little, since the last calculation: its wave functions are a good start."""
        last = self._last
        return (
            self._calculator is not None
            and last is not None
            and np.array_equal(last.numbers, atoms.numbers)
            and np.array_equal(last.pbc, atoms.pbc)
            and np.array_equal(last.cell.array, atoms.cell.array)
            and np.array_equal(last.get_initial_magnetic_moments(), atoms.get_initial_magnetic_moments())
            and float(np.abs(last.positions - atoms.positions).max()) < 0.2
        )


def mesh_of(atoms: Atoms, kpts: Sequence[int] | Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the Gamma-centred mesh of a cell.

    Parameters
    ----------
    atoms
        The cell that is computed.
    kpts
        The mesh itself, or the fields of a `KPointSpacing`.
    """
    if not isinstance(kpts, Mapping):
        n1, n2, n3 = (int(n) for n in kpts)
        return n1, n2, n3
    spacing = float(kpts["spacing_per_A"])
    if len(atoms) == kpts.get("primitive_atoms"):
        lengths = np.array(kpts["primitive_lengths_per_A"])
    else:
        lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    # symmetry-equivalent axes must not get different counts because of the last bit
    n1, n2, n3 = (max(1, int(np.ceil(length / spacing - 1e-6))) for length in lengths)
    return n1, n2, n3


def _make_calculator(parameters: dict[str, Any], text: IO[str]) -> Any:
    from gpaw import GPAW

    keywords: dict[str, Any] = {
        "mode": {"name": "pw", "ecut": parameters["cutoff_eV"]},
        "xc": parameters["xc"],
        "kpts": {"size": tuple(parameters["kpts"]), "gamma": True},
        "occupations": _occupations(parameters["smearing"]),
        "spinpol": parameters["spin_polarised"],
        "convergence": dict(parameters["convergence"]),
        # not the criterion "maximum iterations", which calls whatever is reached by then converged
        "maxiter": parameters["max_iterations"],
        "txt": text,
    }
    for optional in ("mixer", "eigensolver"):
        if optional in parameters:
            keywords[optional] = parameters[optional]
    return GPAW(**keywords)


def _occupations(smearing: dict[str, Any]) -> dict[str, Any]:
    return {"name": smearing["name"], "width": smearing["width"]}


def _is_of_structure(error: Exception) -> bool:
    """Whether an exception may be the structure's fault; a full disk, a lost network or too little memory is not."""
    return not isinstance(error, (OSError, MemoryError))
