"""The default potential: Bayesian ridge regression on pypolymlp's invariant polynomial features, over a ZBL baseline.

Evidence chooses the strength of the prior, the noise of energies, forces and stresses, and the feature set among a
ladder of growing size. More labels are added to the normal equations, exactly. The posterior is Gaussian in closed
form; force uncertainty comes from it, samples from it and from how much each label moves the fit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

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
from mlip_autopipe.potentials.bayesian_ridge import KINDS, BayesianRidge, NormalEquations, Posterior
from mlip_autopipe.potentials.blob import pack, unpack
from mlip_autopipe.potentials.calibration import Calibration
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet, composition, least_squares_atomic_energies
from mlip_autopipe.potentials.errors import PotentialFileError, PredictionError, TrainingError
from mlip_autopipe.potentials.jackknife import changes_without, draw_around
from mlip_autopipe.potentials.polymlp_features import (
    FeatureSet,
    energy_rows,
    feature_count,
    feature_ladder,
    feature_rows,
)
from mlip_autopipe.potentials.polymlp_model import PolymlpModel
from mlip_autopipe.potentials.polymlp_observations import (
    Observations,
    Targets,
    in_units_of_noise,
    observations,
    targets_of,
)
from mlip_autopipe.potentials.polymlp_trained import Trained, from_parts, to_parts
from mlip_autopipe.potentials.zbl import ZBL

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]

DEFAULT_CUTOFF_A: Final = 6.0
LARGEST_FEATURE_SET: Final = 1400
_GROWTH_BEFORE_RESELECTION = 1.25
_DRAWS = 8
_SMALL, _CHEAP = 300, 600


class PolymlpPotential(Potential):
    """Bayesian ridge on polynomial invariants; see the module.

    Parameters
    ----------
    cutoff_A
        Radius of the neighbourhood.
    features
        A fixed feature set; by default evidence chooses.
    largest
        Size of the largest feature set that evidence may choose.
    atomic_energies_eV
        Energies of isolated atoms; by default the least-squares fit of the labels' energies. Either is a starting
        point that the regression corrects.
    uncertainty
        ``posterior``: exact, from the derivatives of the features; ``draws``: spread of a few posterior samples.
    inner, outer
        Where the ZBL baseline is switched off, in sums of covalent radii.
    """

    name = "polymlp"

    def __init__(
        self,
        *,
        cutoff_A: float = DEFAULT_CUTOFF_A,
        features: FeatureSet | None = None,
        largest: int = LARGEST_FEATURE_SET,
        atomic_energies_eV: dict[str, float] | None = None,
        uncertainty: Literal["posterior", "draws"] = "posterior",
        inner: float = 0.3,
        outer: float = 0.65,
    ) -> None:
        if cutoff_A <= 1:
            raise InvalidInputError(f"cutoff_A is {cutoff_A}, must be more than 1 Angstrom")
        self.cutoff_A = cutoff_A
        self.features = features
        self.largest = largest
        self.atomic_energies_eV = atomic_energies_eV
        self.uncertainty = uncertainty
        self.zbl = ZBL(inner=inner, outer=outer)
        self.calibration = Calibration()
        self._trained: Trained | None = None
        self._model: PolymlpModel | None = None
        self._samples: list[ForceField] = []

    @classmethod
    def check_available(cls) -> None:
        """Raise `EnvironmentProblemError` when pypolymlp is not installed."""
        try:
            import pypolymlp.cxx.lib.libmlpcpp  # type: ignore[import-untyped]  # noqa: F401
        except ImportError as error:
            raise EnvironmentProblemError(
                "pypolymlp is not installed: pip install 'mlip-autopipe[polymlp]' (it needs a C++ compiler and Eigen), "
                "or conda install -c conda-forge pypolymlp"
            ) from error

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that it knows; none before it is trained."""
        return self._trained.elements if self._trained else ()

    @property
    def posterior(self) -> Posterior:
        """The posterior of the coefficients."""
        return self._require().posterior

    @property
    def model(self) -> PolymlpModel:
        """The posterior mean as a force field."""
        if self._model is None:
            self._model = self._with(self._require().posterior.mean)
        return self._model

    def fit(self, training: TrainingSet) -> FitReport:
        """Train from nothing; climb the ladder of feature sets until the evidence falls.

        Sets of up to 300 features are all tried; beyond, two worse ones in a row end the search, beyond 600 one does.
        Sets with more features than there are observations are not tried, nor those above 600 with fewer than six
        observations per feature: they cost seconds and were never chosen.
        """
        with _calm_blas():
            return self._fit(training)

    def add(self, configurations: Sequence[Configuration]) -> FitReport:
        """Add configurations to the normal equations; the result is that of a fit to all with this feature set."""
        with _calm_blas():
            return self._add(configurations)

    def predict(self, atoms: Atoms) -> Prediction:
        """Return energy, forces and stress of the posterior mean."""
        return self.model.predict(atoms)

    def raw_force_std(self, atoms: Atoms) -> FloatArray:
        """Return the standard deviation of posterior and noise together, per force component and atom."""
        trained = self._require()
        self.model.check_elements(atoms)
        if self.uncertainty == "draws":
            variance = self._variance_of_draws(atoms)
        else:
            (rows,) = feature_rows(trained.features, trained.elements, [atoms])
            spread = rows.forces @ trained.posterior.factor[: trained.ridge.features]
            variance = (spread**2).sum(axis=1).reshape(-1, 3).mean(axis=1)
        return np.asarray(np.sqrt(variance + trained.posterior.noise.get("force", 0.0) ** 2))

    def draw(self, n: int, seed: int) -> list[ForceField]:
        """Return n samples around the fit: what the posterior leaves open, and how much each label alone moves it.

        The second part (see `jackknife`) holds where the features cannot describe the reference, too; it takes the
        features of all labels, once per fit.
        """
        trained = self._require()
        with _calm_blas():
            drawn = draw_around(trained.posterior, self._changes(), n, seed)
        return [self._with(coefficients) for coefficients in drawn]

    def draw_energies(self, structures: Sequence[Atoms], n: int, seed: int) -> FloatArray:
        """Return what n samples change about energies; linear in the coefficients, so no sample is evaluated."""
        trained = self._require()
        for one in structures:
            self.model.check_elements(one)
        counts = np.array([composition(one, trained.elements) for one in structures])
        rows = np.hstack([energy_rows(trained.features, trained.elements, structures), counts])
        with _calm_blas():
            drawn = draw_around(trained.posterior, self._changes(), n, seed)
            return np.asarray((drawn - trained.posterior.mean) @ rows.T)

    def describe(self) -> ModelDescription:
        """Return the feature set, its size and the baseline."""
        trained = self._require()
        return ModelDescription(
            model=trained.features.name,
            parameters=len(trained.posterior.mean),
            cutoff_A=trained.features.cutoff_A,
            settings={
                "features": trained.features.as_dict(),
                "zbl": {"inner": self.zbl.inner, "outer": self.zbl.outer},
                "atomic_energies_eV": self.model.atomic_energies_eV,
                "noise": dict(trained.posterior.noise),
                "uncertainty": self.uncertainty,
            },
        )

    def save(self) -> Blob:
        """Return coefficients, posterior, normal equations, training set and calibration as bytes."""
        header, arrays = to_parts(self._require())
        header |= {
            "zbl": [self.zbl.inner, self.zbl.outer],
            "settings": {
                "cutoff_A": self.cutoff_A,
                "largest": self.largest,
                "uncertainty": self.uncertainty,
                "atomic_energies_eV": self.atomic_energies_eV,
                "fixed_features": self.features is not None,
            },
            "calibration": self.calibration.model_dump(mode="json"),
        }
        blob = Blob(pack(self.name, header, arrays))
        try:
            again = type(self).load(blob.data)
        except PotentialFileError as error:
            raise TrainingError(f"the trained potential does not load again: {error}") from error
        if not np.array_equal(again.posterior.mean, self.posterior.mean):
            raise TrainingError("the trained potential is not the same after saving and loading")
        return blob

    @classmethod
    def load(cls, data: bytes, *, sha256: str | None = None) -> PolymlpPotential:
        """Return the potential of `save`."""
        check_sha256(data, sha256)
        header, arrays = unpack(data)
        if header.get("backend") != cls.name:
            raise PotentialFileError(f"the potential is of backend {header.get('backend')}, not {cls.name}")
        try:
            return cls._from_parts(header, arrays)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise PotentialFileError(f"the potential is incomplete: {error!r}") from error

    @classmethod
    def _from_parts(cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> PolymlpPotential:
        trained = from_parts(header, arrays)
        settings = dict(header["settings"])
        fixed = settings.pop("fixed_features")
        inner, outer = header["zbl"]
        found = cls(**settings, features=trained.features if fixed else None, inner=inner, outer=outer)
        found.calibration = Calibration.model_validate(header["calibration"])
        found._become(trained)
        return found

    def _fit(self, training: TrainingSet) -> FitReport:
        start = time.perf_counter()
        if len(training) == 0:
            raise TrainingError("the training set is empty; label at least one configuration")
        elements = training.elements
        energies = least_squares_atomic_energies(training, elements) | (self.atomic_energies_eV or {})
        reference = np.array([energies[element] for element in elements])
        if self.features is None:
            ladder = feature_ladder(elements, cutoff_A=self.cutoff_A, largest=self.largest)
        else:
            ladder = [(self.features, feature_count(self.features, elements))]
        targets = self._targets(training.configurations, elements, reference)
        best: Trained | None = None
        tried: list[dict[str, Any]] = []
        worse = 0
        for features, size in ladder:
            if best is not None and not _worth_trying(size, best.ridge.count):
                break
            ridge = BayesianRidge(size, len(elements))
            _accumulate(ridge, observations(features, elements, training.configurations, targets))
            posterior = ridge.solve()
            tried.append({"name": features.name, "parameters": size, "log_evidence": posterior.log_evidence})
            if best is None or posterior.log_evidence > best.posterior.log_evidence:
                best = Trained(features, elements, reference, ridge, posterior, training, len(training))
                worse = 0
            else:
                worse += 1
            if (worse > 1 and size > _SMALL) or (worse and size > _CHEAP):
                break
        assert best is not None
        self._become(best)
        return self._report(start, tried)

    def _add(self, configurations: Sequence[Configuration]) -> FitReport:
        start = time.perf_counter()
        trained = self._trained
        if trained is None:
            raise TrainingError("nothing to add to: fit the potential first")
        for one in configurations:
            if new := sorted(set(one.atoms.get_chemical_symbols()) - set(trained.elements)):
                raise TrainingError(f"{one.description} brings {', '.join(new)}; fit the potential again on all labels")
        sums = {kind: _copy(trained.ridge.sums[kind]) for kind in KINDS}
        ridge = BayesianRidge(trained.ridge.features, trained.ridge.free, sums=sums)
        targets = self._targets(configurations, trained.elements, trained.reference_eV)
        _accumulate(ridge, observations(trained.features, trained.elements, configurations, targets))
        self._become(
            Trained(
                trained.features,
                trained.elements,
                trained.reference_eV,
                ridge,
                ridge.solve(),
                trained.training + configurations,
                trained.configurations_at_choice,
            )
        )
        return self._report(start, [])

    def _require(self) -> Trained:
        if self._trained is None:
            raise PredictionError("the potential is not trained yet; call fit first")
        return self._trained

    def _become(self, trained: Trained) -> None:
        self._trained = trained
        self._model = None
        self._samples = []

    def _with(self, coefficients: FloatArray) -> PolymlpModel:
        trained = self._require()
        total = coefficients.copy()
        total[trained.ridge.features :] += trained.reference_eV
        return PolymlpModel(trained.features, trained.elements, total, self.zbl)

    def _variance_of_draws(self, atoms: Atoms) -> FloatArray:
        if not self._samples:
            self._samples = [self._with(one) for one in self._require().posterior.draw(_DRAWS, 0)]
        forces = np.array([sample.predict(atoms).forces_eV_per_A for sample in self._samples])
        # the mean is known, so that nothing is lost by estimating it
        return np.asarray(((forces - self.predict(atoms).forces_eV_per_A) ** 2).mean(axis=(0, 2)))

    def _targets(
        self, configurations: Sequence[Configuration], elements: tuple[str, ...], reference: FloatArray
    ) -> list[Targets]:
        return [targets_of(one, elements, reference, self.zbl) for one in configurations]

    def _changes(self) -> FloatArray:
        trained = self._require()
        if trained.changes is None:
            labels = trained.training.configurations
            targets = self._targets(labels, trained.elements, trained.reference_eV)
            seen = observations(trained.features, trained.elements, labels, targets)
            noise = trained.posterior.noise
            trained.changes = changes_without(trained.posterior, (in_units_of_noise(one, noise) for one in seen))
        return trained.changes

    def _report(self, start: float, tried: list[dict[str, Any]]) -> FitReport:
        trained = self._require()
        posterior = trained.posterior
        rmse: dict[str, float] = {}
        for kind, one in trained.ridge.sums.items():
            if one.count:
                m = posterior.mean
                square = float(one.square - 2 * one.moment @ m + m @ one.gram @ m)
                rmse[kind] = float(np.sqrt(max(square, 0.0) / one.count))
        if not all(np.isfinite(value) for value in rmse.values()):
            raise TrainingError(f"the errors on the training set are not finite: {rmse}")
        return FitReport(
            backend=self.name,
            model=trained.features.name,
            parameters=len(posterior.mean),
            configurations=len(trained.training),
            wall_time_s=time.perf_counter() - start,
            rmse=rmse,
            effective_parameters=posterior.effective_parameters,
            log_evidence=posterior.log_evidence,
            candidates=tried,
            reselect=len(trained.training) >= _GROWTH_BEFORE_RESELECTION * trained.configurations_at_choice,
        )


@contextmanager
def _calm_blas() -> Iterator[None]:
    """Keep linear algebra on one core.

    The matrices are small, and OpenBLAS's threads wait for each other by spinning: beside other busy processes a fit
    that takes 1.6 s on one core took 75 s on two.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _worth_trying(features: int, observations: int) -> bool:
    return features <= observations and (features <= _CHEAP or 6 * features <= observations)


def _accumulate(ridge: BayesianRidge, labels: Iterable[Iterable[Observations]]) -> None:
    for label in labels:
        for one in label:
            ridge.add(one.kind, one.x, one.y, one.weights)


def _copy(sums: NormalEquations) -> NormalEquations:
    return NormalEquations(sums.gram.copy(), sums.moment.copy(), sums.square, sums.count, sums.log_weight)
