"""The examples of docs/potentials.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlip_autopipe.potentials.dataset import TrainingSet
from mlip_autopipe.potentials.files import usage_example
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from tests.potentials.helpers import emt_set

PAGE = Path(__file__).parents[2] / "docs" / "potentials.md"


def test_examples(clean_dir: Path, capsys: Any) -> None:
    data = emt_set(6, 0)
    potential = PolymlpPotential(largest=20)
    potential.fit(data)
    Path("ni.mlip").write_bytes(potential.save().data)
    data.write_extxyz("ni.extxyz")
    atoms = data.configurations[0].atoms.copy()
    known: dict[str, Any] = {"atoms": atoms}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 5
    assert examples[0].replace('"', "'").strip() == usage_example("ni.mlip")
    for example in examples:
        exec(example, known)
    assert float(capsys.readouterr().out.splitlines()[0]) == potential.predict(data.configurations[0].atoms).energy_eV
    again = TrainingSet.read_extxyz("masked.extxyz")
    assert again.configurations[0].force_weights[0] == 0
    assert again.force_components == data.force_components - 3
