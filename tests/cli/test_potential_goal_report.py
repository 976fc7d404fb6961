"""What a person reads of a potential that covers a range."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from mlip_autopipe.cli.potential_report import plot_potential, show_potential


def document(**learned: Any) -> dict[str, Any]:
    audit = {"force_rmse_eV_per_A": 0.012, "predicted_rms_eV_per_A": 0.01, "generation": 3}
    return {
        "run_id": "cu-au-1",
        "formula": "CuAu",
        "state": "done",
        "target_force_error_eV_per_A": 0.04,
        "force_rmse_eV_per_A": 0.008,
        "n_reference_calculations": 30,
        "gates": [],
        "missing": [],
        "warnings": [],
        "provenance": {"reference_core_time_s": 3.0},
        "learned": {
            "backend": "polymlp",
            "model": "angular-4.2",
            "parameters": 587,
            "audit_errors": [{**audit, "temperature_K": t, "start": s} for s in (0, 1) for t in (300.0, 600.0)],
            "labels_by_origin": {"seed": 6, "audit": 4, "pool": 4},
            "coverage_90": 0.9,
            "coverage_labels": 6,
            "stop_reason": "it is enough",
            "held_out": None,
            **learned,
        },
    }


def shown(what: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=100)
    show_potential(console, what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_errors_of_several_crystals_are_told_apart_and_remarks_are_shown():
    text = shown(document(others=["Cu (fcc)"], remarks=["pool 1: 12 structures, 0 of them absurd, 4 chosen"]))
    lines = [line for line in text.splitlines() if "12.0" in line]
    assert ["CuAu" in line for line in lines] == [True, True, False, False]
    assert ["Cu (fcc)" in line for line in lines] == [False, False, True, True]
    assert "pool 1: 12 structures" in text


def test_a_single_crystal_needs_no_column():
    single = document(others=[])
    single["learned"]["audit_errors"] = single["learned"]["audit_errors"][:2]
    assert "crystal" not in shown(single)


def test_every_crystal_is_drawn(tmp_path):
    path = plot_potential(document(others=["Cu (fcc)"]), tmp_path / "potential.png")
    assert path.read_bytes().startswith(b"\x89PNG")
