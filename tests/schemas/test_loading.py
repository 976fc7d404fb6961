"""Every mistake in the input is one sentence that says how to mend it."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.schemas.config import UserConfig
from mlip_autopipe.schemas.loading import load_user_config, parse_user_config
from mlip_autopipe.schemas.words import suggestion

GOOD = {"project_name": "al", "target_system": {"elements": ["Al"]}, "simulation_goal": "elastic"}


def changed(**changes):
    """The good input with some top-level keys replaced; None removes one."""
    return {k: v for k, v in {**GOOD, **changes}.items() if v is not ...}


@pytest.fixture
def load(tmp_path):
    def _load(text: str) -> UserConfig:
        path = tmp_path / "input.yaml"
        path.write_text(text)
        return load_user_config(path)

    return _load


def refused(data, *words):
    with pytest.raises(InvalidInputError) as caught:
        parse_user_config(data)
    check_sentence(caught.value, *words)


def check_sentence(error, *words):
    sentence = str(error)
    assert error.exit_code == 2
    assert "\n" not in sentence
    assert "pydantic" not in sentence
    assert "Value error" not in sentence
    for word in words:
        assert word in sentence, sentence


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (changed(projct_name="x"), ["unknown key 'projct_name'", "did you mean 'project_name'?"]),
        (changed(target_system={"element": ["Al"]}), ["'target_system.element'", "did you mean 'elements'?"]),
        (changed(resources={"core": 2}), ["'resources.core'", "did you mean 'cores'?"]),
        (changed(reference={"engin": "gpaw"}), ["'reference.engin'", "did you mean 'engine'?"]),
        (changed(zzz=1), ["unknown key 'zzz'", "valid: project_name, target_system"]),
        (changed(target_system={"elements": ["Xy"]}), ["unknown element 'Xy'"]),
        (changed(target_system={"elements": ["AL"]}), ["did you mean 'Al'?"]),
        (changed(target_system={"elements": ["aluminium"]}), ["did you mean 'Al'?"]),
        (changed(target_system={"elements": ["Aluminum"]}), ["did you mean 'Al'?"]),
        (changed(target_system={"elements": ["X"]}), ["unknown element 'X'"]),
        (changed(target_system={"elements": []}), ["elements is empty", "[Al]"]),
        (changed(target_system={"elements": ["Al", "Al"]}), ["twice"]),
        (changed(target_system={"elements": "Al"}), ["must be a list", "write [Al]"]),
        (changed(target_system={"elements": [13]}), ["target_system.elements.0 must be text, not 13"]),
        (changed(target_system={"composition": {"Al": 0.5, "Cu": 0.4}}), ["sums to 0.9", "must sum to 1"]),
        (changed(target_system={"composition": {"Al": 1.5, "Cu": -0.5}}), ["Cu", "-0.5", "positive"]),
        (changed(target_system={"composition": {"Al": "a"}}), ["target_system.composition.Al must be a number"]),
        (changed(target_system={"composition": {"Al": float("nan")}}), ["finite number"]),
        (changed(target_system={"composition": ["Al"]}), ["key: value", "not a list"]),
        (changed(target_system={"elements": ["Al"], "composition": {"Cu": 1.0}}), ["must name the same symbols"]),
        (changed(target_system={"elements": ["Al", "Cu"], "composition_range": {"Cu": [0.5, 0.2]}}), ["lower one"]),
        (changed(target_system={"elements": ["Al", "Cu"], "composition_range": {"Cu": [0, 2]}}), ["between 0 and 1"]),
        (changed(target_system={"elements": ["Al", "Cu"], "composition_range": {"Au": [0, 1]}}), ["names Au"]),
        (changed(target_system={"elements": ["Al"], "composition_range": {"Al": [0, 1]}}), ["only Al"]),
        (
            changed(target_system={"elements": ["Al", "Cu"], "composition_range": {"Al": [0, 0.2], "Cu": [0, 0.2]}}),
            ["sum to 0 at least and 0.4 at most", "widen"],
        ),
        (
            changed(
                target_system={
                    "elements": ["Al", "Cu"],
                    "composition": {"Al": 0.5, "Cu": 0.5},
                    "composition_range": {"Al": [0, 1]},
                }
            ),
            ["remove it or composition_range"],
        ),
        (changed(target_system={"elements": ["Al"], "crystal_structure": "FCC"}), ["did you mean 'fcc'?"]),
        (changed(target_system={"elements": ["Al"], "crystal_structure": "cubic"}), ["valid: sc, fcc, bcc"]),
        (changed(target_system={"elements": ["Al"], "structure": "POSCAR"}), ["remove elements or structure"]),
        (changed(target_system={"structure": 5}), ["must be the path of a file, not 5"]),
        (changed(target_system={}), ["give elements"]),
        (changed(target_system="Al"), ["target_system must be a group", "not 'Al'"]),
        (changed(target_system=None), ["target_system must be a group", "not nothing"]),
        (changed(target_system=...), ["target_system is missing", "elements: [Al]"]),
        (changed(simulation_goal="elasic"), ["simulation_goal is 'elasic'", "did you mean 'elastic'?"]),
        (changed(simulation_goal="Elastic"), ["did you mean 'elastic'?"]),
        (changed(simulation_goal="hardness"), ["valid: equilibrate, elastic"]),
        (changed(simulation_goal=["elastic"]), ["simulation_goal"]),
        (changed(simulation_goal=...), ["simulation_goal is missing", "simulation_goal: elastic"]),
        (changed(project_name=...), ["project_name is missing"]),
        (changed(project_name=123), ["project_name must be text, not 123", "quotes"]),
        (changed(project_name="a b"), ["project_name is 'a b'", "letters, digits"]),
        (changed(project_name=""), ["letters, digits"]),
        (changed(project_name="x" * 64), ["at most 63"]),
        (changed(project_name="../x"), ["letters, digits"]),
        (changed(reference={"engine": "ase"}), ["engine ase needs calculator"]),
        (changed(reference={"engine": "gpaw", "calculator": "x.Y"}), ["belong to engine ase"]),
        (changed(via="potentials"), ["did you mean 'potential'?"]),
        (changed(temperatures_K=[0]), ["temperatures_K.0 must be greater than 0"]),
        (changed(temperatures_K=300), ["temperatures_K must be a list", "write [300]"]),
        (changed(resources={"cores": 0}), ["resources.cores must be at least 1, not 0"]),
        (changed(resources={"cores": 1.5}), ["whole number, not 1.5"]),
        (changed(resources={"cores": True}), ["number, not true"]),
        (changed(resources={"max_core_hours": -1}), ["greater than 0"]),
        (changed(resources={"max_core_hours": "many"}), ["must be a number, not 'many'"]),
        (changed(resources={"max_core_hours": float("inf")}), ["finite number"]),
        (changed(resources=[1]), ["resources must be a group", "not a list"]),
        (changed(overrides=[1]), ["overrides must be a group"]),
        (changed(overrides={1: 2}), ["overrides.1 must be text"]),
    ],
)
def test_mistakes_in_the_content(data, words):
    refused(data, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty", "mlip-auto init"]),
        ("# only a comment\n", ["is empty"]),
        ("- a\n- b\n", ["not a list"]),
        ("just words", ["not the single value 'just words'"]),
        ("a: [1,\n", ["not valid YAML at line"]),
        ("a:\n\tb: 1\n", ["line 2", "indent with spaces"]),
        ("a: 1\nb: 2\na: 3\n", ["line 3", "'a' occurs twice"]),
        ("target_system:\n  elements: [Al]\n  elements: [Cu]\n", ["line 3", "'elements' occurs twice"]),
        ("a: *unknown\n", ["not valid YAML"]),
        ("a: !!python/object:os.system {}\n", ["not valid YAML"]),
        ("a: 1\n---\nb: 2\n", ["not valid YAML"]),
        ("? [a, b]\n: 1\n", ["input.yaml"]),
    ],
)
def test_mistakes_in_the_file(load, text, words):
    with pytest.raises(InvalidInputError) as caught:
        load(text)
    check_sentence(caught.value, "input.yaml", *words)


def test_missing_file(tmp_path):
    with pytest.raises(InvalidInputError, match="does not exist; `mlip-auto init`"):
        load_user_config(tmp_path / "input.yaml")


def test_folder_and_binary(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_user_config(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InvalidInputError, match="UTF-8"):
        load_user_config(tmp_path / "x.yaml")


def test_byte_order_mark_is_no_mistake(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(GOOD).encode())
    assert load_user_config(tmp_path / "x.yaml").project_name == "al"


def test_structure_is_relative_to_the_input(load, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    config = load("project_name: x\ntarget_system: {structure: cells/POSCAR}\nsimulation_goal: elastic\n")
    assert config.target_system.structure == (tmp_path / "cells" / "POSCAR").resolve()


def test_traps_of_yaml_1_1(load):
    config = load(
        "project_name: 2026-01-01\n"
        "target_system: {elements: [No, Y]}\n"
        "simulation_goal: elastic\n"
        "overrides: {a: 1e-3, b: 1:30, c: on, d: true, e: null, f: 0777, g: -1.5E+2, h: .5, i: 0x10, j: ~}\n"
    )
    assert config.project_name == "2026-01-01"
    assert config.target_system.elements == ["No", "Y"]
    assert config.overrides == {
        "a": 1e-3, "b": "1:30", "c": "on", "d": True, "e": None, "f": "0777", "g": -150.0, "h": 0.5, "i": "0x10",
        "j": None,
    }  # fmt: skip


def test_the_usual_loader_is_left_alone():
    assert yaml.safe_load("No") is False


def test_merge_keys_and_anchors_work(load):
    config = load(
        "project_name: x\ntarget_system: &t {elements: [Al]}\nsimulation_goal: elastic\n"
        "overrides:\n  a: &a {x: 1, y: 2}\n  b: {<<: *a, y: 3}\n"
    )
    assert config.overrides["b"] == {"x": 1, "y": 3}


def test_composition_alone_names_the_elements():
    config = parse_user_config(changed(target_system={"composition": {"Cu": 0.75, "Au": 0.25}}))
    assert config.target_system.elements == ["Cu", "Au"]


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4))
def test_compositions_sum_to_one_or_are_refused(weights):
    symbols = ["Cu", "Au", "Ni", "Al"][: len(weights)]
    total = sum(weights)
    parse_user_config(
        changed(target_system={"composition": dict(zip(symbols, (w / total for w in weights), strict=True))})
    )
    if abs(total - 1) > 2e-3:
        refused(changed(target_system={"composition": dict(zip(symbols, weights, strict=True))}), "must sum to 1")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(key=st.sampled_from([*UserConfig.model_fields, "nonsense"]), value=json_values)
def test_any_value_is_accepted_or_refused_in_one_sentence(key, value):
    sentence = ""
    try:
        parse_user_config({**GOOD, key: value})
    except InvalidInputError as error:
        sentence = str(error)
    assert "\n" not in sentence


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_any_text_is_refused_not_a_crash(tmp_path, text):
    path = tmp_path / "input.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError):
        load_user_config(path)


def test_suggestions():
    assert suggestion("elasic", ["elastic", "diffusion"]) == "; did you mean 'elastic'?"
    assert suggestion("zzz", ["a", "b"]) == "; valid: a, b"
    assert suggestion("zzz", [str(i) * 9 for i in range(20)]) == ""


def test_misspelled_keys_come_first():
    """``projct_name`` is both missing and unknown; the misspelling explains both."""
    data = {"projct_name": "x", **{k: v for k, v in GOOD.items() if k != "project_name"}}
    refused(data, "did you mean 'project_name'?")
