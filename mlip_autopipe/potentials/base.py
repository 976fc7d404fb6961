"""The contract of a potential: fit, predict with a calibrated uncertainty, draw samples, save and load.

Units are ASE's: eV, eV/A, eV/A^3; stress is positive under tension, in the order xx yy zz yz xz xy.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.calibration import Calibration
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.errors import PotentialFileError, PredictionError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a potential says of one structure.

    Attributes
    ----------
    force_std_eV_per_A
        Per atom: standard deviation of one force component. Calibrated: |dF| stays below 2.50 times it in 90 % of
        cases, as for a Gaussian in three dimensions. None when it was not asked for.
    """

    energy_eV: float
    forces_eV_per_A: FloatArray
    stress_eV_per_A3: FloatArray
    force_std_eV_per_A: FloatArray | None = None


@dataclass(frozen=True)
class Blob:
    """A potential as bytes, named by their content."""

    data: bytes

    @property
    def sha256(self) -> str:
        """Hexadecimal sha256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class FitReport:
    """What a fit was and how well it describes its own training data.

    Attributes
    ----------
    model
        The chosen model, e.g. the name of the feature set.
    parameters
        Number of its coefficients.
    rmse
        On the training set: energy (eV/atom), force (eV/A), stress (eV/A^3).
    candidates
        Every model that was tried with its size and log evidence.
    reselect
        True when the data have grown so much that a new fit should choose the model again.
    """

    backend: str
    model: str
    parameters: int
    configurations: int
    wall_time_s: float
    rmse: dict[str, float]
    effective_parameters: float | None = None
    log_evidence: float | None = None
    candidates: list[dict[str, Any]] = field(default_factory=list)
    reselect: bool = False


@dataclass(frozen=True)
class ModelDescription:
    """What a trained model is, for model cards.

    Attributes
    ----------
    model
        Feature set or architecture.
    parameters
        Number of trained coefficients, where known.
    cutoff_A
        Radius of the neighbourhood that an atom sees directly.
    settings
        What else defines the model; JSON data.
    """

    model: str
    parameters: int | None = None
    cutoff_A: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)


class ForceField(ABC):
    """Anything that gives energy, forces and stress."""

    @property
    @abstractmethod
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that it knows."""

    @abstractmethod
    def predict(self, atoms: Atoms) -> Prediction:
        """Return energy, forces and stress, without uncertainty.

        Raises
        ------
        PredictionError
            Not trained, an unknown element, or a result that is not finite.
        """

    def calculator(self) -> Calculator:
        """Return an ASE calculator with energy, forces and stress."""
        from mlip_autopipe.potentials.calculator import ForceFieldCalculator

        return ForceFieldCalculator(self)

    def check_elements(self, atoms: Atoms) -> None:
        """Raise `PredictionError` when there is an element that it does not know."""
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(self.elements))
        if unknown:
            raise PredictionError(
                f"the potential knows {', '.join(self.elements) or 'no element'}, not {', '.join(unknown)}; "
                "train it on configurations that hold them"
            )


class Potential(ForceField):
    """A force field that is trained and knows what it does not know."""

    name: ClassVar[str]
    calibration: Calibration

    @abstractmethod
    def fit(self, training: TrainingSet) -> FitReport:
        """Train from nothing on all configurations; chooses the model.

        Raises
        ------
        TrainingError
            The fit gave no usable potential.
        """

    @abstractmethod
    def add(self, configurations: Sequence[Configuration]) -> FitReport:
        """Train on more configurations, keeping the model.

        Raises
        ------
        TrainingError
            Not fitted before, or the fit gave no usable potential.
        """

    @abstractmethod
    def raw_force_std(self, atoms: Atoms) -> FloatArray:
        """Return the uncalibrated standard deviation of a force component per atom, shape (n,), eV/A."""

    @abstractmethod
    def draw(self, n: int, seed: int) -> list[ForceField]:
        """Return force fields that could be as right as this one: their spread is the model's part of an error."""

    def draw_energies(self, structures: Sequence[Atoms], n: int, seed: int) -> FloatArray:
        """Return the energies of the samples of `draw` minus the potential's own in eV, shape (n, structures)."""
        own = np.array([self.predict(one).energy_eV for one in structures])
        drawn = np.array([[one.predict(s).energy_eV for s in structures] for one in self.draw(n, seed)])
        return np.asarray(drawn - own)

    @abstractmethod
    def save(self) -> Blob:
        """Return everything needed to go on: to predict, to draw, and where possible to `add`.

        Raises
        ------
        TrainingError
            What was written does not load.
        """

    @classmethod
    @abstractmethod
    def load(cls, data: bytes, *, sha256: str | None = None) -> Potential:
        """Return the potential of `save`.

        Raises
        ------
        PotentialFileError
            The bytes are damaged, of another version or backend, or not those with the given sha256.
        """

    @classmethod
    def check_available(cls) -> None:
        """Raise `EnvironmentProblemError` when the trainer is not installed on this machine."""

    def describe(self) -> ModelDescription:
        """Return what the trained model is."""
        return ModelDescription(model=self.name)

    def force_std(self, atoms: Atoms) -> FloatArray:
        """Return the calibrated standard deviation of a force component per atom, shape (n,), eV/A."""
        return self.calibration.factor * self.raw_force_std(atoms)

    def predict_with_uncertainty(self, atoms: Atoms) -> Prediction:
        """Return energy, forces and stress with the calibrated force uncertainty."""
        return replace(self.predict(atoms), force_std_eV_per_A=self.force_std(atoms))

    def observe(self, fresh: Configuration, *, generation: int | None = None) -> float | None:
        """Compare with a label that the potential was not trained on, and calibrate by it.

        Call it before `fit` or `add` gets the label.

        Returns
        -------
        fraction of unmasked atoms inside the stated 90 % interval, or None without forces
        """
        counting = fresh.force_weights > 0
        if fresh.forces_eV_per_A is None or not counting.any():
            return None
        difference = self.predict(fresh.atoms).forces_eV_per_A - fresh.forces_eV_per_A
        errors = np.linalg.norm(difference, axis=1)
        self.calibration = self.calibration.observed(
            errors[counting],
            self.raw_force_std(fresh.atoms)[counting],
            label_id=fresh.label_id,
            generation=generation,
        )
        last = self.calibration.coverage[-1]
        return last.covered / last.atoms


def check_sha256(data: bytes, sha256: str | None) -> None:
    """Raise `PotentialFileError` when the bytes are not those with this hash."""
    if sha256 is not None and (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise PotentialFileError(f"the potential's bytes have sha256 {found[:12]}..., not {sha256[:12]}...: damaged")
