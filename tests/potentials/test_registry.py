from __future__ import annotations

import pytest

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.potentials import registry
from mlip_autopipe.potentials.blob import pack, unpack
from mlip_autopipe.potentials.errors import PotentialFileError


def test_names_and_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.POTENTIALS, "targets", dict(registry.POTENTIALS.targets))
    assert "polymlp" in registry.potential_names()
    with pytest.raises(InvalidInputError, match="did you mean 'polymlp'"):
        registry.potential_class("polympl")
    registry.register_potential("missing", "mlip_autopipe.nowhere:Nothing")
    with pytest.raises(EnvironmentProblemError, match="cannot be imported"):
        registry.potential_class("missing")
    registry.register_potential("wrong", "mlip_autopipe.potentials.zbl:ZBL")
    with pytest.raises(EnvironmentProblemError, match="is no Potential"):
        registry.potential_class("wrong")


def test_bytes_that_hold_no_potential() -> None:
    for data in (b"", b"nonsense", b"PK\x03\x04nonsense"):
        with pytest.raises(PotentialFileError):
            registry.load_potential(data)
    with pytest.raises(PotentialFileError, match="format version"):
        unpack(pack("polymlp", {"format_version": 99}, {}))
    with pytest.raises(InvalidInputError, match="unknown potential"):
        registry.load_potential(pack("other", {}, {}))
