from __future__ import annotations

from pathlib import Path

import pytest

from mlip_autopipe.potentials.errors import PotentialFileError
from mlip_autopipe.potentials.files import read_potential_file, usage_example


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "ni.mlip"
    with pytest.raises(PotentialFileError, match=r"no file .*ni\.mlip"):
        read_potential_file(path)
    path.write_bytes(b"")
    with pytest.raises(PotentialFileError, match=r"ni\.mlip is empty"):
        read_potential_file(path)
    path.write_bytes(b"abc")
    assert read_potential_file(str(path)) == b"abc"
    with pytest.raises(PotentialFileError, match="cannot be read"):
        read_potential_file(tmp_path)


def test_the_example_has_three_lines_of_valid_python() -> None:
    example = usage_example("it's.mlip")
    assert len(example.splitlines()) == 3
    compile(example, "example", "exec")
