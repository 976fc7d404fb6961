"""``results.json``, the printed tables and the figure come from the document alone."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from mlip_autopipe.cli.figures import plot_elastic, young_modulus
from mlip_autopipe.cli.results import flat_results, report, write_results
from mlip_autopipe.errors import EXIT_NOT_ENOUGH_EVIDENCE, EnvironmentProblemError, InvalidInputError

AL = np.diag([113.8, 113.8, 113.8, 31.6, 31.6, 31.6])
AL[:3, :3] += 61.6 * (1 - np.eye(3))


@pytest.fixture
def document() -> dict:
    zero = np.zeros((6, 6)).tolist()
    estimate = {"value": 79.0, "stderr": 0.5}
    names = ("bulk_modulus_VRH_GPa", "shear_modulus_VRH_GPa", "poisson_ratio", "debye_temperature_K")
    strains = 0.005 * np.eye(6)
    return {
        "@module": "m",
        "@class": "C",
        "schema_version": 1,
        "goal": "elastic",
        "run_id": "al-1",
        "state": "done",
        "formula": "Al",
        "space_group": "Fm-3m",
        "crystal_system": "cubic",
        "elastic_tensor_GPa": AL.tolist(),
        "elastic_tensor_stderr_GPa": zero,
        "independent_constants_GPa": {"C11": {"value": 113.8, "stderr": 0.1}},
        "moduli": dict.fromkeys(names, estimate),
        "residual_stress_GPa": [0.0] * 6,
        "strains": strains.tolist(),
        "stresses_GPa": (strains @ AL).tolist(),
        "gates": [{"name": "born_stable", "passed": True, "detail": "fine"}],
        "born_stable": True,
        "n_reference_calculations": 8,
        "warnings": ["careful"],
        "provenance": {"reference_core_time_s": 1.0},
    }


def test_flat_results_hold_the_promised_keys(document):
    flat = flat_results(document)
    promised = (
        "goal formula elastic_tensor_GPa elastic_tensor_stderr_GPa C11_GPa bulk_modulus_VRH_GPa "
        "shear_modulus_VRH_GPa n_reference_calculations born_stable warnings provenance"
    )
    assert set(promised.split()) <= set(flat)
    assert flat["C11_GPa"] == 113.8
    assert flat["C11_stderr_GPa"] == 0.1
    assert flat["bulk_modulus_VRH_stderr_GPa"] == 0.5
    assert flat["poisson_ratio_stderr"] == 0.5
    assert not [key for key in flat if key.startswith("@")]
    json.dumps(flat, allow_nan=False)


def test_report_prints_published_values_and_writes_both_files(document, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert report(document, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "Kamm" in printed
    assert "113.8" in printed
    assert "careful" in printed
    assert json.loads((tmp_path / "out" / "results.json").read_text())["run_id"] == "al-1"
    assert (tmp_path / "out" / "elastic.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["elastic.png", "results.json"]


def test_a_failed_gate_is_exit_code_1(document, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    document["state"] = "failed"
    document["gates"][0]["passed"] = False
    assert report(document, tmp_path) == 1
    assert "FAILED" in capsys.readouterr().out


def test_too_little_evidence_is_exit_code_3_and_says_what_is_missing(document, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    document |= {"state": "not_enough_evidence", "missing": ["more labels are needed"]}
    assert report(document, tmp_path) == EXIT_NOT_ENOUGH_EVIDENCE
    printed = capsys.readouterr().out
    assert "more labels are needed" in printed
    assert "FAILED" not in printed


def test_a_document_of_an_unknown_goal_is_refused_in_one_sentence(document):
    with pytest.raises(InvalidInputError, match=r"goal 'phases'.*elastic"):
        flat_results(document | {"goal": "phases"})


def test_a_full_disk_leaves_nothing_behind(document, tmp_path, monkeypatch):
    def full(self: Path, *args: object, **kwargs: object) -> None:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(EnvironmentProblemError, match=r"No space left.*mlip-auto results al-1"):
        write_results(document, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_figure(document, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def full(self: Figure, path: Path, **kwargs: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(EnvironmentProblemError, match="No space left"):
        plot_elastic(document, tmp_path / "elastic.png")
    assert list(tmp_path.iterdir()) == []


def test_young_modulus_by_direction():
    # Nye, Physical Properties of Crystals: 1/E = s11 - 2 (s11 - s12 - s44/2) (l^2 m^2 + m^2 n^2 + l^2 n^2)
    s = np.linalg.inv(AL)
    for direction in ([1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 2, 3]):
        n = np.array(direction) / np.linalg.norm(direction)
        mix = (n[0] * n[1]) ** 2 + (n[1] * n[2]) ** 2 + (n[0] * n[2]) ** 2
        expected = 1 / (s[0, 0] - 2 * (s[0, 0] - s[0, 1] - s[3, 3] / 2) * mix)
        assert young_modulus(AL, n[None])[0] == pytest.approx(expected, rel=1e-12)
