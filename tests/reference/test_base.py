from __future__ import annotations

import copy
import math

import pytest

from mlip_autopipe.reference.base import settings_hash, sha256_of
from mlip_autopipe.schemas.system import ReferenceSettings

from .fakes import fake_engine


def _settings(parameters, files=None):
    return ReferenceSettings(engine="e", parameters=parameters, files=files or {}, cheap=True)


PLAN = {"cutoff": 400.0, "kpts": [4, 4, 2], "smearing": {"name": "fd", "width": 0.1}, "spin": False}


def test_order_of_parameters_does_not_matter():
    turned = {key: PLAN[key] for key in reversed(PLAN)}
    turned["smearing"] = {"width": 0.1, "name": "fd"}
    assert settings_hash(_settings(turned), "1") == settings_hash(_settings(PLAN), "1")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("cutoff",), 400.5),
        (("kpts",), [4, 2, 4]),
        (("smearing", "width"), 0.1000001),
        (("smearing", "name"), "mv"),
        (("spin",), True),
        (("more",), None),
    ],
)
def test_every_parameter_counts(path, value):
    changed = copy.deepcopy(PLAN)
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    assert settings_hash(_settings(changed), "1") != settings_hash(_settings(PLAN), "1")


def test_version_and_engine_count():
    plan = _settings(PLAN)
    other = plan.model_copy(update={"engine": "f"})
    assert len({settings_hash(plan, "1"), settings_hash(plan, "2"), settings_hash(other, "1")}) == 3


def test_whole_floats_and_integers_are_the_same_number_but_booleans_are_not_numbers():
    assert sha256_of({"a": [400.0, -0.0]}) == sha256_of({"a": [400, 0]})
    assert sha256_of({"a": True}) != sha256_of({"a": 1})
    assert sha256_of({"a": 0.5}) != sha256_of({"a": 0})


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_not_finite_has_no_hash(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        sha256_of({"a": number})


def test_files_count_by_content_and_not_by_path():
    def of(path, digest):
        return settings_hash(_settings({"kwargs": {"files": [path], "path": path}}, {path: digest}), "1")

    assert of("/a/pot.eam", "d1") == of("/b/other-name.eam", "d1")
    assert of("/a/pot.eam", "d1") != of("/a/pot.eam", "d2")


def test_an_engine_names_no_files_unless_it_says_so():
    engine = fake_engine(path=__file__)
    assert engine.named_files(engine.settings.parameters) == {}


def test_the_hash_of_an_engine_is_that_of_its_settings_and_version():
    engine = fake_engine(depth=7)
    assert engine.settings_hash == settings_hash(engine.settings, "fake 1") != fake_engine().settings_hash
