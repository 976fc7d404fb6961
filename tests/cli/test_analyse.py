"""``mlip-auto analyse diffusion``: numbers, files, exit codes and sentences."""

import io
import json

import numpy as np
import pytest
from matplotlib.image import imread

from mlip_autopipe.cli.analyse import parse_charges, parse_groups, scientific
from mlip_autopipe.errors import InvalidInputError
from tests.analysis.trajectory_files import FORMATS, frames_of, positions_A, write_as


@pytest.fixture
def run(tmp_path, invoke):
    def call(kind="extxyz", *options, frames=400, positions=None):
        path = write_as(kind, tmp_path, positions_A(frames) if positions is None else positions)
        return path, invoke("analyse", "diffusion", path, "--temperature", 900, *options)

    return call


@pytest.mark.parametrize("kind", FORMATS)
def test_json_of_every_format(kind, run):
    # steps of 0.3 A per 20 fs: D = 0.3^2 / 2 / 20 A^2/fs; the centre of mass takes a part of eight atoms' motion
    path, outcome = run(kind, "--time-step-fs", 20, "--types", "Li,O", "--reference", "none", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert list(document["species"]) == ["Li", "O"]
    for one in document["species"].values():
        assert {"D_cm2_s", "D_stderr_cm2_s", "plateau_ps", "warnings"} <= set(one)
        assert abs(one["D_cm2_s"] - 2.25e-4) < 4 * one["D_stderr_cm2_s"]
        assert 0 < one["plateau_ps"][0] < one["plateau_ps"][1] < 4
    assert document["temperature_K"] == 900
    assert document["trajectory"] == str(path)
    assert document["state"] == "done"


def test_the_time_step_may_come_from_the_file(run):
    _, outcome = run("h5", "--json")
    assert json.loads(outcome.out)["time_step_fs"] == 20
    assert run("extxyz")[1].code == 2
    _, outcome = run("dump", "--types", "Li,O")
    assert "does not say how much time lies between its frames" in outcome.err


def test_table_files_groups_and_conductivity(run, tmp_path):
    options = ("--charge", "Li=1", "--group", "half=0-3", "--out", tmp_path / "out", "--reference", "none")
    _, outcome = run("h5", *options)
    assert outcome.code == 0, outcome.err
    for words in ("tracer D", "half", "Li: nernst-einstein conductivity", "Haven", "wrote"):
        assert words in outcome.out
    document = json.loads((tmp_path / "out" / "diffusion.json").read_text())
    assert list(document["groups"]) == ["half"]
    assert document["groups"]["half"]["n_atoms"] == 4
    lithium = document["species"]["Li"]
    kT = 1.380649e-23 * 900
    density = 5 / (document["volume_A3"] * 1e-30)
    expected = density * 1.602176634e-19**2 * lithium["D_cm2_s"] * 1e-4 / kT / 100
    assert lithium["conductivity_nernst_einstein_S_per_cm"] == pytest.approx(expected, rel=1e-6)
    picture = imread(io.BytesIO((tmp_path / "out" / "diffusion.png").read_bytes()))
    assert picture.std() > 0


def test_what_was_read_before_a_bad_frame_is_shown_and_exit_is_2(run, tmp_path, invoke):
    path, _ = run("extxyz")
    path.write_bytes(path.read_bytes()[:-200])
    outcome = invoke("analyse", "diffusion", path, "--temperature", 900, "--time-step-fs", 20, "--json")
    assert outcome.code == 2
    assert json.loads(outcome.out)["n_frames"] == 399
    assert outcome.err.count("\n") == 1
    assert "frame 399 is cut off; the 399 frames before it are sound" in outcome.err
    assert any("cut off" in warning for warning in json.loads(outcome.out)["warnings"])

    jumping = positions_A(400)
    jumping[200:, 3] += 0.45 * np.array([9.0, 0, 0])
    _, outcome = run("extxyz", "--time-step-fs", 20, "--json", positions=jumping)
    assert outcome.code == 2
    assert json.loads(outcome.out)["n_frames"] == 200
    assert "frame 200 has atom 3" in outcome.err


def test_order_of_atoms_that_changes(tmp_path, invoke):
    from ase.io import write

    swapped = ["O", "Li", "Li", "Li", "Li", "Li", "O", "O"]
    frames = frames_of(positions_A(60)) + frames_of(positions_A(60), swapped)
    write(tmp_path / "t.extxyz", frames)
    outcome = invoke("analyse", "diffusion", tmp_path / "t.extxyz", "--temperature", 900, "--time-step-fs", 20)
    assert outcome.code == 2
    assert "frame 60 has O as atom 0 where Li was" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--time-step-fs", -1), "the time between frames is above zero"),
        (("--time-step-fs", 1), "has 20 fs between its frames, not 1 fs"),
        (("--stop", 20), "20 usable frames"),
        (("--start", 5000), "no frame from number 5000 on"),
        (("--phase", "gas"), "write solid or liquid"),
        (("--reference", "Q"), "Q cannot be the reference"),
        (("--group", "a=x"), "write NAME=ATOMS"),
        (("--group", "a=99"), "must name atoms from 0 to 7"),
        (("--charge", "Li"), "write SPECIES=CHARGE"),
        (("--charge", "Q=1"), "the trajectory holds Li, O"),
    ],
)
def test_bad_options(options, words, run):
    _, outcome = run("h5", *options, frames=100)
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("kelvin", [0, -300, "nan"])
def test_bad_temperatures(kelvin, tmp_path, invoke):
    path = write_as("h5", tmp_path, positions_A(64))
    outcome = invoke("analyse", "diffusion", path, "--temperature", kelvin)
    assert outcome.code == 2
    assert "a temperature in K is above zero" in outcome.err


def test_nothing_diffuses(run):
    still = positions_A(1)[[0] * 300] + np.random.default_rng(0).normal(0, 0.05, (300, 8, 3))
    _, outcome = run("h5", positions=still)
    assert outcome.code == 3
    assert "enough_evidence failed" in outcome.out


def test_a_failed_check(run):
    walk = positions_A(600)
    _, outcome = run("h5", "--phase", "solid", "--json", positions=walk)
    assert outcome.code == 1
    assert "it has melted" in " ".join(json.loads(outcome.out)["warnings"])


def test_words():
    assert parse_groups(["a=0-2,5", "b=7"]) == {"a": [0, 1, 2, 5], "b": [7]}
    assert parse_charges(["Li=1", "O=-2"]) == {"Li": 1.0, "O": -2.0}
    for text in ("a", "=1", "a=1-", "a=b"):
        with pytest.raises(InvalidInputError):
            parse_groups([text])
    assert scientific(2.4312e-5, 3.1e-7) == "(2.431 ± 0.031)e-05"
    assert scientific(1e-7, 2e-6) == "(0.1 ± 2.0)e-06"
    assert scientific(-3e-6, None) == "-3.000e-06"
    assert scientific(None, None) == ""
