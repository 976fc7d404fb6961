from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.potentials import registry
from mlip_autopipe.potentials.blob import pack, unpack
from mlip_autopipe.potentials.errors import PotentialFileError
from tests.potentials.helpers import emt_set


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


def test_a_calculator_from_a_file(tmp_path: Path) -> None:
    potential = registry.make_potential("polymlp", largest=30)
    potential.fit(emt_set(3, 0))
    path = tmp_path / "ni.mlip"
    path.write_bytes(potential.save().data)
    atoms = emt_set(1, 1).configurations[0].atoms
    atoms.calc = registry.load_calculator(path)
    assert atoms.get_potential_energy() == pytest.approx(potential.predict(atoms).energy_eV, abs=1e-10)
    assert np.allclose(atoms.calc.force_std(atoms), potential.force_std(atoms), rtol=1e-6)


def test_files_that_give_no_calculator(tmp_path: Path) -> None:
    path = tmp_path / "x.mlip"
    whole = pack("polymlp", {}, {"mean": np.zeros(500)})
    for data in (b"elements: Ni\n", whole[: len(whole) // 2], whole, pack("other", {}, {})):
        path.write_bytes(data)
        with pytest.raises(PotentialFileError, match=r"x\.mlip: "):
            registry.load_calculator(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(PotentialFileError, match=r"x\.mlip: .*damaged"):
        registry.load_calculator(path)
