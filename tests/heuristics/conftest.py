from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from mlip_autopipe.heuristics import HeuristicEngine
from mlip_autopipe.reference import registry
from mlip_autopipe.reference.base import ElectronicStructure, ReferenceEngine
from mlip_autopipe.schemas.config import ReferenceRequest
from mlip_autopipe.schemas.loading import parse_user_config
from mlip_autopipe.schemas.system import Reason, SystemConfig

RULE = Reason(reason="plane-wave code", source="the stub's table")


class StubEngine(ReferenceEngine):
    """A plane-wave code that only says which parameters it would take."""

    name: ClassVar[str] = "stub"
    cheap: ClassVar[bool] = False
    version = "stub 1"

    def compute(self, atoms: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def choose_parameters(
        cls, request: ReferenceRequest, electronic: ElectronicStructure
    ) -> dict[str, tuple[Any, Reason]]:
        return {
            "xc": ("PBE", RULE),
            "cutoff_eV": (400.0, RULE),
            "kpts": (list(electronic.kpts), electronic.kpts_reason),
            "smearing_eV": (electronic.smearing_eV, electronic.smearing_reason),
            "spin_polarised": (electronic.spin_polarised, electronic.spin_reason),
            "max_iterations": (100, RULE),
            "convergence": ({"energy_eV": 1e-6, "density": 1e-5}, RULE),
        }


@pytest.fixture
def stub_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = registry.ENGINES.targets
    monkeypatch.setitem(targets, "stub", f"{StubEngine.__module__}:{StubEngine.__name__}")


@pytest.fixture
def expand(stub_engine: None) -> Callable[..., SystemConfig]:
    """Expand an input given as target_system and further top-level keys."""

    def _expand(target: dict[str, Any], **more: Any) -> SystemConfig:
        data = {
            "project_name": "test",
            "target_system": target,
            "simulation_goal": "elastic",
            "reference": {"engine": "stub"},
            **more,
        }
        return HeuristicEngine().expand(parse_user_config(data))

    return _expand


EMT = {"engine": "ase", "calculator": "ase.calculators.emt.EMT"}
