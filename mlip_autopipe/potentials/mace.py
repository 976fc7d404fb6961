"""A committee of MACE models over a ZBL baseline, trained by mace-torch itself in child processes.

The spread of the committee is its uncertainty (query by committee, doi:10.1063/1.5023802), which calibration scales.
"""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.potentials.base import (
    Blob,
    FitReport,
    ForceField,
    ModelDescription,
    Potential,
    Prediction,
    check_sha256,
)
from mlip_autopipe.potentials.blob import pack, unpack
from mlip_autopipe.potentials.calibration import Calibration
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.dataset_arrays import below, training_arrays, training_from_arrays
from mlip_autopipe.potentials.errors import PotentialFileError, PredictionError, TrainingError
from mlip_autopipe.potentials.mace_committee import MaceCommittee, MaceForceField, choose_device
from mlip_autopipe.potentials.mace_labels import atomic_energies, check_training, training_errors
from mlip_autopipe.potentials.mace_model import ModelData, read_model_file
from mlip_autopipe.potentials.mace_settings import MaceSettings
from mlip_autopipe.potentials.mace_training import MemberPlan, train_members

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]

SMALLEST_FORCE_STD: Final = 1e-3
"""eV/A: no member is better than this, however much they agree."""

_GROWTH_BEFORE_RESELECTION = 2.0
_SHARED = "shared"


@dataclass(frozen=True, eq=False)
class _Trained:
    committee: MaceCommittee
    training: TrainingSet
    # root mean square of a force component's error on the training set
    noise_eV_per_A: float
    configurations_at_fit: int
    foundation_sha256: str | None


class MacePotential(Potential):
    """A committee of MACE models; see the module.

    Parameters
    ----------
    settings
        Those of `MaceSettings`, e.g. ``members=4, hidden_irreps="64x0e + 64x1o", foundation_model=Path("my.model")``.

    Raises
    ------
    InvalidInputError
        A setting is unknown or wrong, or the foundation model's file does not exist.
    """

    name = "mace"

    def __init__(self, **settings: Any) -> None:
        try:
            self.settings = MaceSettings(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InvalidInputError(f"potential mace: {where or 'settings'}: {first['msg']}") from error
        self._check_foundation()
        self.calibration = Calibration()
        self._trained: _Trained | None = None

    @classmethod
    def check_available(cls) -> None:
        """Raise `EnvironmentProblemError` when mace-torch is not installed."""
        try:
            missing = importlib.util.find_spec("mace.cli.run_train") is None or not importlib.util.find_spec("torch")
        except ModuleNotFoundError:
            missing = True
        if missing:
            raise EnvironmentProblemError(
                "mace-torch is not installed: pip install 'mlip-autopipe[mace]' (first the build of PyTorch that fits "
                "your graphics card or CPU, see pytorch.org)"
            )

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that it knows; none before it is trained."""
        return self._trained.committee.elements if self._trained else ()

    @property
    def training(self) -> TrainingSet:
        """The configurations that it was trained on."""
        return self._require().training

    def fit(self, training: TrainingSet) -> FitReport:
        """Train all members from nothing, or from the foundation model."""
        start = time.perf_counter()
        check_training(training)
        settings = self.settings
        first = self._foundation(training.elements)
        energies = atomic_energies(training, settings.zbl, None if first is None else _alone(first, "float64", "cpu"))
        if first is not None:
            # it has an energy zero of its own, which is moved by what it leaves of the labels' energies
            energies = {element: energy + first.atomic_energies_eV[element] for element, energy in energies.items()}
        given = settings.atomic_energies_eV or {}
        energies |= {element: given[element] for element in training.elements if element in given}
        if first is not None:
            first = first.with_atomic_energies(energies)
        rate = settings.learning_rate if first is None else settings.fine_tuning_rate
        models = self._train(training, energies, [first] * settings.members, settings.updates, rate)
        sha256 = None
        if settings.foundation_model is not None:
            sha256 = hashlib.sha256(settings.foundation_model.expanduser().read_bytes()).hexdigest()
        return self._become(models, training, len(training), sha256, start)

    def add(self, configurations: Sequence[Configuration]) -> FitReport:
        """Go on training every member from where it is, on the old labels and the new ones together.

        On the new ones alone the members would forget the others. Atomic energies, energy scale and average number of
        neighbours stay those of the fit.
        """
        start = time.perf_counter()
        trained = self._trained
        if trained is None:
            raise TrainingError("nothing to add to: fit the potential first")
        for one in configurations:
            if new := sorted(set(one.atoms.get_chemical_symbols()) - set(self.elements)):
                raise TrainingError(f"{one.description} brings {', '.join(new)}; fit the potential again on all labels")
        models = list(trained.committee.models)
        training = trained.training + configurations
        if configurations:
            energies, settings = models[0].atomic_energies_eV, self.settings
            models = self._train(training, energies, models, settings.add_updates, settings.fine_tuning_rate)
        return self._become(models, training, trained.configurations_at_fit, trained.foundation_sha256, start)

    def predict(self, atoms: Atoms) -> Prediction:
        """Return energy, forces and stress of the committee's mean."""
        committee = self._require().committee
        return MaceForceField(committee, np.full(len(committee), 1 / len(committee))).predict(atoms)

    def raw_force_std(self, atoms: Atoms) -> FloatArray:
        """Return the spread of the members and the error on the training set together, per force component and atom.

        The spread is the sample standard deviation over members and components, without the bias that it has in a
        small committee. The second part is common to all members, which their spread cannot know.
        """
        trained = self._require()
        # for its checks; the committee keeps the answer
        self.predict(atoms)
        forces = trained.committee.evaluate(atoms).forces_eV_per_A
        spread = np.sqrt(forces.var(axis=0, ddof=1).mean(axis=1)) / _bias(3 * (len(forces) - 1))
        return np.asarray(np.sqrt(spread**2 + trained.noise_eV_per_A**2))

    def draw(self, n: int, seed: int) -> list[ForceField]:
        """Return n force fields whose spread around the mean is the committee's, widened by the calibration factor.

        Up to as many as there are members, they are members in random order, moved away from the mean by the factor
        that calibration found for forces. More are Gaussian combinations of the members with the same covariance. Each
        costs as much as the whole committee, unless the factor is 1.
        """
        committee = self._require().committee
        m = len(committee)
        rng = np.random.default_rng(seed)
        around = np.eye(m)[rng.permutation(m)[:n]] if n <= m else rng.normal(0, 1 / np.sqrt(m - 1), (n, m))
        around -= around.mean(axis=1, keepdims=True)
        coefficients = 1 / m + self.calibration.factor * around
        # a coefficient of 1e-17 would cost an evaluation
        coefficients[np.abs(coefficients) < 1e-12] = 0.0
        return [MaceForceField(committee, row) for row in coefficients]

    def describe(self) -> ModelDescription:
        """Return the architecture, its size and how it was trained."""
        trained = self._require()
        first = trained.committee.models[0]
        settings = self.settings.model_dump(mode="json", exclude={"device", "work_dir", "foundation_model"})
        return ModelDescription(
            model=_name(trained.committee.models),
            parameters=trained.committee.parameters,
            cutoff_A=first.architecture["r_max"],
            settings=settings
            | {
                "foundation_sha256": trained.foundation_sha256,
                "atomic_energies_eV": first.atomic_energies_eV,
                "noise": {"force": trained.noise_eV_per_A},
            },
        )

    def save(self) -> Blob:
        """Return all models, the training set that `add` needs, and the calibration as bytes."""
        trained = self._require()
        label_ids, labels = training_arrays(trained.training)
        models = trained.committee.models
        arrays = {f"training/{key}": array for key, array in labels.items()}
        for key, first in models[0].arrays.items():
            # tables of coupling coefficients are most of a small model, and the same in all of them
            if all(np.array_equal(first, model.arrays[key]) for model in models[1:]):
                arrays[f"{_SHARED}/{key}"] = first
            else:
                arrays |= {f"member-{index}/{key}": model.arrays[key] for index, model in enumerate(models)}
        header = {
            # where a run keeps its files and which device it has is no property of the potential
            "settings": self.settings.model_dump(mode="json", exclude={"device", "work_dir"}),
            "architecture": [model.architecture for model in models],
            "label_ids": label_ids,
            "noise_eV_per_A": trained.noise_eV_per_A,
            "configurations_at_fit": trained.configurations_at_fit,
            "foundation_sha256": trained.foundation_sha256,
            "calibration": self.calibration.model_dump(mode="json"),
        }
        blob = Blob(pack(self.name, header, arrays))
        self._check_saved(blob)
        return blob

    @classmethod
    def load(cls, data: bytes, *, sha256: str | None = None) -> MacePotential:
        """Return the potential of `save`, on the device of this machine."""
        check_sha256(data, sha256)
        header, arrays = unpack(data)
        if header.get("backend") != cls.name:
            raise PotentialFileError(f"the potential is of backend {header.get('backend')}, not {cls.name}")
        try:
            return cls._from_parts(header, arrays)
        except (KeyError, TypeError, ValueError, IndexError, TrainingError) as error:
            raise PotentialFileError(f"the potential is incomplete: {error!r}") from error

    @classmethod
    def _from_parts(cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> MacePotential:
        found = cls()
        # not through the constructor: the foundation model is needed for another fit only
        found.settings = MaceSettings(**header["settings"])
        found.calibration = Calibration.model_validate(header["calibration"])
        shared = below(_SHARED, arrays)
        models = [
            ModelData(architecture, shared | below(f"member-{index}", arrays))
            for index, architecture in enumerate(header["architecture"])
        ]
        if len(models) != found.settings.members or not all(model.is_finite for model in models):
            raise ValueError("members are missing or not finite")
        found._trained = _Trained(
            found._committee(models),
            training_from_arrays(header["label_ids"], below("training", arrays)),
            float(header["noise_eV_per_A"]),
            int(header["configurations_at_fit"]),
            header["foundation_sha256"],
        )
        return found

    def _check_saved(self, blob: Blob) -> None:
        try:
            again = type(self).load(blob.data)
        except PotentialFileError as error:
            raise TrainingError(f"the trained potential does not load again: {error}") from error
        atoms = self.training.configurations[0].atoms
        before, after = self.predict(atoms), again.predict(atoms)
        digits = 1e-8 if self.settings.dtype == "float64" else 1e-3
        if not np.allclose(before.forces_eV_per_A, after.forces_eV_per_A, rtol=digits, atol=digits):
            raise TrainingError("the trained potential predicts other forces after saving and loading")

    def _require(self) -> _Trained:
        if self._trained is None:
            raise PredictionError("the potential is not trained yet; call fit first")
        return self._trained

    def _device(self) -> str:
        return choose_device(self.settings.device, self.settings.dtype)

    def _committee(self, models: Sequence[ModelData]) -> MaceCommittee:
        settings = self.settings
        return MaceCommittee(models, zbl=settings.zbl, dtype=settings.dtype, device=self._device())

    def _check_foundation(self) -> None:
        path = self.settings.foundation_model
        if path is not None and not path.expanduser().is_file():
            raise InvalidInputError(f"there is no foundation model file {path}; give the path of an existing file")

    def _foundation(self, elements: Sequence[str]) -> ModelData | None:
        self._check_foundation()
        settings = self.settings
        if settings.foundation_model is None:
            return None
        found = read_model_file(settings.foundation_model, settings.foundation_head)
        if missing := sorted(set(elements) - set(found.elements)):
            raise InvalidInputError(f"{settings.foundation_model} does not know {', '.join(missing)}; give another")
        return found

    def _train(
        self,
        training: TrainingSet,
        energies_eV: dict[str, float],
        starts: Sequence[ModelData | None],
        updates: int,
        rate: float,
    ) -> list[ModelData]:
        device = self._device()
        return train_members(
            [
                MemberPlan(self.settings, member, training, energies_eV, start, updates, rate, device)
                for member, start in enumerate(starts)
            ]
        )

    def _become(
        self,
        models: Sequence[ModelData],
        training: TrainingSet,
        configurations_at_fit: int,
        foundation_sha256: str | None,
        start: float,
    ) -> FitReport:
        try:
            committee = self._committee(models)
            mean = MaceForceField(committee, np.full(len(models), 1 / len(models)))
            rmse = training_errors(mean, training)
        except (PotentialFileError, PredictionError) as error:
            raise TrainingError(f"the trained committee cannot be used: {error}") from error
        noise = max(rmse.get("force", 0.0), SMALLEST_FORCE_STD)
        self._trained = _Trained(committee, training, noise, configurations_at_fit, foundation_sha256)
        return FitReport(
            backend=self.name,
            model=_name(models),
            parameters=committee.parameters,
            configurations=len(training),
            wall_time_s=time.perf_counter() - start,
            rmse=rmse,
            reselect=len(training) >= _GROWTH_BEFORE_RESELECTION * configurations_at_fit,
        )


def force_field_from_mace_file(
    path: str | Path, *, head: str | None = None, dtype: str = "float64", device: str | None = None
) -> ForceField:
    """Return the model in a file of mace-torch as a force field, e.g. a foundation model to screen structures with.

    Such a file is a pickle, which can run any program when it is read: use only files that you trust. Nothing is
    downloaded.

    Parameters
    ----------
    path
        What ``mace_run_train`` calls ``NAME.model``, or a published foundation model.
    head
        Which head, when it has several.
    dtype, device
        As in `MaceSettings`.

    Raises
    ------
    EnvironmentProblemError
        mace-torch is not installed.
    InvalidInputError, PotentialFileError
        As `read_model_file` raises them.
    """
    MacePotential.check_available()
    return _alone(read_model_file(Path(path), head), dtype, choose_device(device, dtype))


def _name(models: Sequence[ModelData]) -> str:
    architecture = models[0].architecture
    return f"{len(models)} x MACE {architecture['hidden_irreps']}, {architecture['r_max']:g} A"


def _alone(model: ModelData, dtype: str, device: str) -> MaceForceField:
    return MaceForceField(MaceCommittee([model], zbl=None, dtype=dtype, device=device), np.ones(1))


def _bias(degrees: int) -> float:
    """Return the expected sample standard deviation of a unit Gaussian with so many degrees of freedom."""
    return float(np.sqrt(2 / degrees) * np.exp(lgamma((degrees + 1) / 2) - lgamma(degrees / 2)))
