"""Tables, ``results.json`` and figure of the equilibrate goal come from the document alone."""

import json

import numpy as np
import pytest

from mlip_autopipe.cli.equilibrate_report import pm
from mlip_autopipe.cli.results import flat_results, report
from mlip_autopipe.errors import EXIT_FAILED, EXIT_NOT_ENOUGH_EVIDENCE, EXIT_OK
from mlip_autopipe.schemas.equilibrate import (
    EquilibrateDocument,
    EquilibriumAtTemperature,
    ThermalExpansionEstimate,
)
from mlip_autopipe.schemas.property import Estimate, Gate, SplitEstimate


def at(kelvin, free=("a_A",)):
    a = 3.59 + 7e-5 * kelvin
    values = {"a_A": a, "b_A": a, "c_A": 1.6 * a, "alpha_deg": 90.0, "beta_deg": 90.0, "gamma_deg": 120.0}
    return EquilibriumAtTemperature(
        temperature_K=kelvin,
        lattice_parameters={k: SplitEstimate.from_parts(v, statistics=2e-4, model=1e-4) for k, v in values.items()},
        free_parameters=list(free),
        volume_A3_per_atom=SplitEstimate.from_parts(a**3 / 4, statistics=1e-3, check=2e-3),
        density_g_per_cm3=SplitEstimate.from_parts(8.9, statistics=1e-3),
        bulk_modulus_GPa=SplitEstimate.from_parts(120.0, statistics=2.0),
        energy_eV_per_atom=Estimate(value=-3.5, stderr=1e-4),
        measured_temperature_K=Estimate(value=kelvin, stderr=1.0),
        measured_pressure_GPa=None,
        n_atoms=108,
        n_frames=400,
        n_discarded_frames=20,
        effective_samples=80.0,
        simulated_time_ps=20.0,
        gates=[Gate(name="not_drifted", passed=True, detail="fine")],
    )


def expansion(kelvin, value=5e-5, axes=()):
    return ThermalExpansionEstimate(
        temperature_K=kelvin,
        volumetric_per_K=SplitEstimate.from_parts(value, statistics=1e-6, curvature=2e-6),
        linear_per_K=SplitEstimate.from_parts(value / 3, statistics=3e-7, curvature=6e-7),
        axes_per_K={name: SplitEstimate.from_parts(value / 3, statistics=3e-7) for name in axes},
        degree=2,
        curvature_determined=True,
    )


def document(free=("a_A",), **changes):
    kelvins = [200.0, 300.0, 400.0]
    values = {
        "run_id": "cu-1",
        "project_name": "cu",
        "state": "done",
        "formula": "Cu",
        "structure": {},
        "space_group": "Fm-3m",
        "crystal_system": "cubic",
        "pressure_GPa": 0.0,
        "temperature_K": 300.0,
        "temperatures_K": kelvins,
        "equilibria": [at(kelvin, free) for kelvin in kelvins],
        "thermal_expansion": expansion(300.0, axes=free if len(free) > 1 else ()),
        "gates": [Gate(name="relaxed", passed=True, detail="fine")],
        "n_reference_calculations": 24,
        "warnings": ["careful"],
        "provenance": {"reference_core_time_s": 1.0},
    }
    return EquilibrateDocument(**{**values, **changes}).model_dump(mode="json")


def test_flat_results_are_those_of_the_asked_temperature():
    flat = flat_results(document() | {"@module": "m"})
    assert flat["lattice_constant_A"] == pytest.approx(3.611)
    assert flat["lattice_constant_stderr_A"] == pytest.approx(np.hypot(2e-4, 1e-4))
    assert flat["lattice_constant_stderr_parts_A"]["model"] == 1e-4
    assert flat["density_g_per_cm3"] == 8.9
    assert flat["volume_stderr_A3_per_atom"] == pytest.approx(np.hypot(1e-3, 2e-3))
    assert flat["thermal_expansion_per_K"] == pytest.approx(5e-5 / 3)
    assert flat["thermal_expansion_stderr_parts_per_K"]["curvature"] == 6e-7
    assert flat["volumetric_thermal_expansion_stderr_per_K"] == pytest.approx(np.hypot(1e-6, 2e-6))
    assert flat["lattice_constants_A"] == pytest.approx([3.604, 3.611, 3.618])
    assert flat["temperatures_K"] == [200, 300, 400]
    assert {"n_reference_calculations", "warnings", "provenance", "state", "gates", "missing"} <= set(flat)
    assert not [key for key in flat if key.startswith("@")]
    json.dumps(flat, allow_nan=False)


def test_flat_results_without_expansion_and_with_several():
    assert flat_results(document(thermal_expansion=None))["thermal_expansion_per_K"] is None
    (other,) = flat_results(document(further_expansions=[expansion(400.0, 6e-5)]))["further_thermal_expansions"]
    assert (other["temperature_K"], other["thermal_expansion_per_K"]) == (400.0, pytest.approx(2e-5))


@pytest.mark.parametrize("free", [("a_A",), ("a_A", "c_A"), ("a_A", "b_A", "c_A", "beta_deg")])
def test_report_prints_and_writes_everything(free, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert report(document(free), tmp_path) == EXIT_OK
    printed = capsys.readouterr().out
    assert "3.61100 ± 0.00022" in printed
    assert "linear (16.67 ± 0.67)e-6 /K" in printed
    assert "careful" in printed
    assert ("along c" in printed) == ("c_A" in free)
    assert json.loads((tmp_path / "results.json").read_text())["run_id"] == "cu-1"
    assert (tmp_path / "equilibrate.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_single_temperature_can_be_shown(tmp_path, capsys):
    one = document(equilibria=[at(300.0)], temperatures_K=[300.0], thermal_expansion=None)
    assert report(one, tmp_path) == EXIT_OK


def test_a_failed_gate_of_one_temperature_is_shown_with_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    failed = document(state="failed")
    failed["equilibria"][2]["gates"][0] |= {"passed": False, "detail": "it melted"}
    assert report(failed, tmp_path) == EXIT_FAILED
    assert "400 K, not_drifted: FAILED (it melted)" in capsys.readouterr().out


def test_too_little_evidence_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert report(document(state="not_enough_evidence", missing=["a label"]), tmp_path) == EXIT_NOT_ENOUGH_EVIDENCE
    assert "missing: a label" in capsys.readouterr().out


def test_errors_are_written_with_two_digits():
    assert pm({"value": 3.61179, "stderr": 0.000228}) == "3.61179 ± 0.00023"
    assert pm({"value": 131.6, "stderr": 7.2}) == "131.6 ± 7.2"
    assert pm({"value": 131.6, "stderr": 41.0}) == "132 ± 41"
    assert pm({"value": 90.0, "stderr": 0.0}) == "90.0000 ± 0.0000"
