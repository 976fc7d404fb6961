"""Exit codes, one-sentence errors, and what stays lazy."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("fireworks", "jobflow", "pymatgen", "ase", "scipy", "gpaw", "atomate2", "matplotlib", "torch")

GOOD = {
    "project_name": "cu",
    "target_system": {"elements": ["Cu"], "crystal_structure": "fcc"},
    "simulation_goal": "elastic",
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt.EMT"},
}


def write(path: Path, **changes: object) -> Path:
    import yaml

    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


@pytest.mark.parametrize(
    "module",
    ["mlip_autopipe.cli.app", "mlip_autopipe.cli.status", "mlip_autopipe.cli.db", "mlip_autopipe.schemas.loading"],
)
def test_light_commands_import_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_version_and_help(invoke):
    assert invoke("--version").out.startswith("mlip-auto ")
    shown = invoke("--help").out
    for command in ("init", "plan", "run", "submit", "export", "status", "results", "doctor", "db"):
        assert command in shown


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"simulaton_goal": "elastic"}, "did you mean 'simulation_goal'"),
        ({"target_system": {"elements": ["Cx"]}}, "unknown element 'Cx'"),
        ({"simulation_goal": "elastik"}, "did you mean 'elastic'"),
        ({"simulation_goal": "phase_diagram", "target_system": {"elements": ["Cu"]}}, "needs at least two elements"),
        ({"simulation_goal": "phase_diagram", "target_system": {"elements": ["Cu", "Fe"]}}, "Fe"),
        ({"reference": {"engine": "gpav"}}, "did you mean 'gpaw'"),
        ({"reference": {"engine": "ase", "calculator": "ase.calculators.emt.EMMT"}}, "EMMT"),
        ({"target_system": {"composition": {"Cu": 0.7, "Au": 0.2}}}, "sum"),
        ({"target_system": {"structure": "nowhere.cif"}}, "nowhere.cif"),
        ({"target_system": {"elements": ["Fe"]}}, "Fe"),  # EMT does not know iron
        ({"overrides": {"elastic.strain_amplitud": 0.01}}, "strain_amplitude"),
        ({"resources": {"cores": 0}}, "cores"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_bad_input_is_one_sentence_and_exit_code_2(invoke, clean_dir, changes, sentence, command):
    outcome = invoke(command, write(clean_dir / "input.yaml", **changes))
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err
    assert sorted(p.name for p in clean_dir.iterdir()) == ["input.yaml"], "nothing half-written"


def test_overlapping_atoms_and_unreadable_structure(invoke, clean_dir):
    (clean_dir / "POSCAR").write_text("Cu\n1.0\n4 0 0\n0 4 0\n0 0 4\nCu\n2\ndirect\n0 0 0\n0.05 0 0\n")
    outcome = invoke("plan", write(clean_dir / "input.yaml", target_system={"structure": "POSCAR"}))
    assert outcome.code == 2
    assert "POSCAR" in outcome.err
    (clean_dir / "POSCAR").write_text("not a structure\n")
    outcome = invoke("plan", write(clean_dir / "input.yaml", target_system={"structure": "POSCAR"}))
    assert outcome.code == 2
    assert "POSCAR" in outcome.err


def test_missing_input_file(invoke, clean_dir):
    outcome = invoke("run", "absent.yaml")
    assert outcome.code == 2
    assert "absent.yaml" in outcome.err
    assert list(clean_dir.iterdir()) == []


def test_debug_shows_the_traceback(monkeypatch, clean_dir):
    from mlip_autopipe.cli.app import main
    from mlip_autopipe.errors import InvalidInputError

    monkeypatch.setattr(sys, "argv", ["mlip-auto", "--debug", "run", "absent.yaml"])
    with pytest.raises(InvalidInputError):
        main()


def test_an_unexpected_exception_has_no_traceback_either(invoke, clean_dir, monkeypatch):
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("mlip_autopipe.cli.plan.show_plan", broken)
    outcome = invoke("plan", "input.yaml")
    assert outcome.code == 1
    assert "ZeroDivisionError: a bug" in outcome.err
    assert "--debug" in outcome.err
    assert "Traceback" not in outcome.err


def test_missing_gpaw_is_said_before_anything_is_done(invoke, clean_dir, monkeypatch):
    from mlip_autopipe.reference import gpaw_engine

    monkeypatch.setattr(gpaw_engine, "find_spec", lambda name: None)
    outcome = invoke("run", write(clean_dir / "input.yaml", reference={"engine": "gpaw"}))
    assert outcome.code == 1
    assert "mlip-autopipe[gpaw]" in outcome.err
    assert sorted(p.name for p in clean_dir.iterdir()) == ["input.yaml"]


def test_unreachable_database_names_host_and_port(invoke, clean_dir):
    (clean_dir / "my_launchpad.yaml").write_text("host: 127.0.0.1\nport: 1\nname: nothing\n")
    for command in (("run", write(clean_dir / "input.yaml")), ("status",), ("results",)):
        outcome = invoke(*command)
        assert outcome.code == 1
        assert "127.0.0.1:1 " in outcome.err
        assert outcome.err.count("\n") == 1


def test_unwritable_results_folder_is_noticed_first(invoke, clean_dir):
    (clean_dir / "results").write_text("a file, not a folder")
    outcome = invoke("run", write(clean_dir / "input.yaml"))
    assert outcome.code == 1
    assert "results" in outcome.err
    assert not (clean_dir / ".mlip_autopipe").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["run"], "INPUT"),
        (["rnu", "x.yaml"], "rnu"),
        (["plan", "--jsn", "x.yaml"], "--jsn"),
        (["status", "a", "b"], "b"),
    ],
)
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_usage_errors_are_invalid_input(invoke, clean_dir, arguments, word, debug):
    outcome = invoke(*arguments, *debug)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert word in outcome.err
    assert not outcome.err.startswith("error: unexpected")
    assert "Traceback" not in outcome.err


def test_interrupting_a_question(invoke, clean_dir, monkeypatch):
    import typer

    def interrupted(*args: object, **kwargs: object) -> str:
        raise typer.Abort

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "prompt", interrupted)
    outcome = invoke("init")
    assert outcome.code == 130
    assert outcome.err == "error: interrupted\n"
