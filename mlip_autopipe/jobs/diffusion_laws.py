"""How coefficients depend on temperature: the laws of Arrhenius, and of Vogel, Fulcher and Tammann."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlip_autopipe.errors import AnalysisError
from mlip_autopipe.schemas.diffusion import ArrheniusEstimate, DiffusionAtTemperature, SpeciesDiffusion, VTFEstimate


def arrhenius_laws(described: Sequence[DiffusionAtTemperature]) -> dict[str, ArrheniusEstimate]:
    """Return the law of each species that moves at two temperatures at least."""
    found: dict[str, ArrheniusEstimate] = {}
    for name, kelvins, species in _by_species(described):
        try:
            found[name] = _arrhenius(kelvins, species)
        except AnalysisError:  # it does not move, or at one temperature only
            continue
    return found


def vtf_laws(described: Sequence[DiffusionAtTemperature]) -> dict[str, VTFEstimate]:
    """Return the law of each species of a liquid that four temperatures at least determine."""
    from mlip_autopipe.analysis.arrhenius import fit_vtf

    found: dict[str, VTFEstimate] = {}
    for name, kelvins, species in _by_species(described):
        values, errors = ([getattr(one.D_cm2_s, key) for one in species] for key in ("value", "stderr"))
        try:
            fit = fit_vtf(kelvins, values, errors)
        except AnalysisError:
            continue
        if np.isfinite(fit.covariance).all():
            found[name] = VTFEstimate(
                D0_cm2_s=fit.D0,
                B_K=fit.B_K,
                T0_K=fit.T0_K,
                covariance=fit.covariance.tolist(),
                chi_squared=fit.chi_squared,
                n_dof=fit.n_dof,
            )
    return found


def _by_species(
    described: Sequence[DiffusionAtTemperature],
) -> list[tuple[str, list[float], list[SpeciesDiffusion]]]:
    kelvins = [one.temperature_K for one in described]
    names = described[0].species if described else ()
    return [(name, kelvins, [one.species[name] for one in described]) for name in names]


def _arrhenius(kelvins: list[float], species: list[SpeciesDiffusion]) -> ArrheniusEstimate:
    """Fit the law; what a sample of the potential changes, it changes at all temperatures together."""
    from mlip_autopipe.analysis.arrhenius import fit_arrhenius

    values = np.array([one.D_cm2_s.value for one in species])
    together = all(one.model_ln_D_shifts for one in species)
    errors = np.array([_statistics(one) if together else one.D_cm2_s.stderr for one in species])
    fit = fit_arrhenius(kelvins, values, errors)
    covariance = np.asarray(fit.covariance)[::-1, ::-1]
    if together:
        factors = np.exp(np.array([one.model_ln_D_shifts for one in species]).T)
        laws = [fit_arrhenius(kelvins, factor * values, factor * errors) for factor in factors]
        energies = np.array([law.activation_energy_eV for law in laws]) - fit.activation_energy_eV
        change = np.stack([energies, np.log([law.D0 / fit.D0 for law in laws])], axis=1)
        covariance = covariance + change.T @ change / len(change)
    return ArrheniusEstimate(
        activation_energy_eV=fit.activation_energy_eV,
        activation_energy_stderr_eV=float(np.sqrt(covariance[0, 0])),
        D0_cm2_s=fit.D0,
        ln_D0_stderr=float(np.sqrt(covariance[1, 1])),
        covariance=covariance.tolist(),
        chi_squared=fit.chi_squared,
        n_dof=fit.n_dof,
    )


def _statistics(one: SpeciesDiffusion) -> float:
    part = one.D_cm2_s.stderr_parts.statistics
    assert part is not None, "every coefficient has a statistical error"
    return part
