from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from mlip_autopipe import plugins
from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.reference import registry
from mlip_autopipe.reference.ase_engine import ASEEngine
from mlip_autopipe.schemas.system import ReferenceSettings

from .fakes import FakeEngine

FAKE = f"{FakeEngine.__module__}:FakeEngine"


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(registry.ENGINES, "targets", dict(registry.ENGINES.targets))


def _provide(monkeypatch, name, target):
    points = [EntryPoint(name, target, registry.ENGINES.group)]
    monkeypatch.setattr(plugins, "entry_points", lambda *, group: points if group == points[0].group else [])


def test_built_in_engines():
    assert registry.engine_names() == ["ase", "gpaw"]
    assert registry.engine_class("ase") is ASEEngine
    assert registry.engine_class("gpaw").name == "gpaw"


def test_a_misspelled_engine_is_answered_with_the_right_name():
    with pytest.raises(InvalidInputError, match=r"unknown reference engine 'gpwa'; did you mean 'gpaw'\?"):
        registry.engine_class("gpwa")
    with pytest.raises(InvalidInputError, match="valid: ase, gpaw"):
        registry.engine_class("zzz")


def test_an_engine_registered_by_name():
    registry.register_engine("fake", FAKE)
    engine = registry.make_engine(
        ReferenceSettings(engine="fake", parameters={}, cheap=False),
        cores=3,
    )
    assert isinstance(engine, FakeEngine)
    assert engine.cores == 3


def test_an_engine_of_an_entry_point_even_with_extras(monkeypatch):
    _provide(monkeypatch, "theirs", f"{FAKE} [some]")
    assert registry.engine_class("theirs") is FakeEngine
    assert "theirs" in registry.engine_names()


@pytest.mark.parametrize("target", ["no.such.module:Engine", "ase:NoSuchName", "ase"])
def test_a_broken_registration_says_whose_fault_it_is(monkeypatch, target):
    _provide(monkeypatch, "theirs", target)
    with pytest.raises(EnvironmentProblemError, match="reference engine theirs is registered as"):
        registry.engine_class("theirs")


def test_what_is_no_engine_is_refused():
    registry.register_engine("atoms", "ase:Atoms")
    with pytest.raises(EnvironmentProblemError, match="which is no ReferenceEngine"):
        registry.engine_class("atoms")


def test_an_engine_whose_code_is_missing_is_not_made(monkeypatch):
    registry.register_engine("fake", FAKE)

    def missing(cls):
        raise EnvironmentProblemError("install it")

    monkeypatch.setattr(FakeEngine, "check_available", classmethod(missing))
    with pytest.raises(EnvironmentProblemError, match="install it"):
        registry.make_engine(ReferenceSettings(engine="fake", parameters={}, cheap=False))
