"""Laws over temperature: what samples of a potential change together must not look like noise."""

from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.jobs.diffusion_laws import arrhenius_laws, vtf_laws
from mlip_autopipe.schemas.diffusion import DiffusionAtTemperature, SpeciesDiffusion
from mlip_autopipe.schemas.property import Estimate, SplitEstimate

KELVINS = (900.0, 1000.0, 1100.0, 1250.0)
ENERGY_EV, D0 = 0.8, 2e-3


def at(kelvin: float, value: float, relative: float, shifts: list[float]) -> DiffusionAtTemperature:
    one = SpeciesDiffusion(
        D_cm2_s=SplitEstimate.from_parts(
            value, statistics=relative * value, model=value * float(np.std(shifts)) if shifts else None
        ),
        model_ln_D_shifts=shifts,
    )
    return DiffusionAtTemperature(
        temperature_K=kelvin,
        species={"Cu": one},
        volume_A3_per_atom=Estimate(value=12.0, stderr=0.1),
        n_atoms=1,
        simulated_time_ps=1.0,
        n_runs=1,
    )


def law(kelvin: float, barrier_eV: float = ENERGY_EV) -> float:
    return D0 * float(np.exp(-barrier_eV / (BOLTZMANN_EV_PER_K * kelvin)))


def test_barriers_that_samples_change_are_the_error_of_the_activation_energy():
    rng = np.random.default_rng(0)
    changes = rng.normal(0, 0.03, 200)
    shifts = {k: (-changes / (BOLTZMANN_EV_PER_K * k)).tolist() for k in KELVINS}
    found = arrhenius_laws([at(k, law(k), 1e-3, shifts[k]) for k in KELVINS])["Cu"]
    assert found.activation_energy_eV == pytest.approx(ENERGY_EV, abs=1e-3)
    assert found.activation_energy_stderr_eV == pytest.approx(np.sqrt(np.mean(changes**2)), rel=0.05)
    assert found.ln_D0_stderr < 0.05  # a barrier changes no prefactor
    # taken for noise at each temperature, the same errors would say much less of the energy
    noise = arrhenius_laws([at(k, law(k), float(np.std(shifts[k])), []) for k in KELVINS])["Cu"]
    assert noise.activation_energy_stderr_eV > 2 * found.activation_energy_stderr_eV


def test_a_factor_at_all_temperatures_is_an_error_of_the_prefactor_alone():
    shifts = np.random.default_rng(1).normal(0, 0.2, 100).tolist()
    found = arrhenius_laws([at(k, law(k), 1e-3, shifts) for k in KELVINS])["Cu"]
    assert found.ln_D0_stderr == pytest.approx(np.sqrt(np.mean(np.square(shifts))), rel=0.05)
    assert found.activation_energy_stderr_eV < 0.003


def test_what_stands_still_has_no_law():
    assert arrhenius_laws([at(k, 1e-12, 2.0, []) for k in KELVINS]) == {}
    assert arrhenius_laws([]) == {}


def test_a_liquid_near_its_glass_follows_vogel_fulcher_and_tammann():
    values = {k: 1e-3 * float(np.exp(-2000.0 / (k - 500.0))) for k in KELVINS}
    found = vtf_laws([at(k, values[k], 0.02, []) for k in KELVINS])["Cu"]
    glass_K, slope_K = found.T0_K, found.B_K
    assert glass_K == pytest.approx(500.0, abs=5)
    assert slope_K == pytest.approx(2000.0, rel=0.05)
    assert vtf_laws([at(k, values[k], 0.02, []) for k in KELVINS[:3]]) == {}
