"""Engines that compute nothing heavy and count how often they are asked."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mlip_autopipe.errors import ReferenceCalculationError
from mlip_autopipe.reference.base import ElectronicStructure, EngineResult, ParameterChoices, ReferenceEngine
from mlip_autopipe.schemas.config import ReferenceRequest
from mlip_autopipe.schemas.label import Attempt
from mlip_autopipe.schemas.system import Reason, ReferenceSettings

REASON = Reason(reason="a test", source="this file")


class FakeEngine(ReferenceEngine):
    """Says energy = sum of z coordinates; `before` is called with the atoms first, `fails` lists failures to come."""

    name: ClassVar[str] = "fake"
    cheap: ClassVar[bool] = False
    version = "fake 1"

    def __init__(self, settings: ReferenceSettings, *, cores: int = 1) -> None:
        super().__init__(settings, cores=cores)
        self.computed: list[Any] = []
        self.fails: list[Exception] = []
        self.before: Callable[[Any], None] = lambda atoms: None
        self.result: EngineResult | None = None
        self._lock = threading.Lock()

    def compute(self, atoms: Any) -> EngineResult:
        with self._lock:
            self.computed.append(atoms)
        self.before(atoms)
        if self.fails:
            raise self.fails.pop(0)
        if self.result is not None:
            return self.result
        return EngineResult(
            float(atoms.positions[:, 2].sum()),
            np.zeros((len(atoms), 3)),
            np.arange(6.0),
            attempts=[Attempt(step="as planned", converged=True, wall_time_s=0.0)],
        )

    @classmethod
    def choose_parameters(cls, request: ReferenceRequest, electronic: ElectronicStructure) -> ParameterChoices:
        return {"depth": (1, REASON)}


def fake_engine(**parameters: Any) -> FakeEngine:
    return FakeEngine(ReferenceSettings(engine="fake", parameters={"depth": 1, **parameters}, cheap=False))


def failure(text: str = "it blew up") -> ReferenceCalculationError:
    return ReferenceCalculationError(text)


class WritingEngine(FakeEngine):
    """Appends its process number to a file for every calculation, slowly enough for others to come in between."""

    def compute(self, atoms: Any) -> EngineResult:
        with Path(os.environ["FAKE_ENGINE_LOG"]).open("a", encoding="ascii") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        return super().compute(atoms)
