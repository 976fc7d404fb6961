from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlip_autopipe.reference.calculator import LabelledCalculator
from mlip_autopipe.reference.labels import LabelStore
from mlip_autopipe.schemas.system import ReferenceSettings


@pytest.fixture
def labels(memory_jobstore: Any) -> LabelStore:
    return LabelStore(memory_jobstore)


@pytest.fixture
def ase_settings() -> Callable[..., ReferenceSettings]:
    def make(calculator: str = "ase.calculators.emt.EMT", files: Any = None, **kwargs: Any) -> ReferenceSettings:
        return ReferenceSettings(
            engine="ase", parameters={"calculator": calculator, "kwargs": kwargs}, files=files or {}, cheap=True
        )

    return make


@pytest.fixture
def labelled(labels: LabelStore) -> Callable[..., LabelledCalculator]:
    def make(engine: Any, **more: Any) -> LabelledCalculator:
        return LabelledCalculator(engine=engine, labels=labels, **more)

    return make


@pytest.fixture
def live_jobstore(live_launchpad: Any) -> Any:
    """A connected JobStore on the live server, as jobs get it."""
    from mlip_autopipe.launch.jobstore import jobstore_for

    store = jobstore_for(live_launchpad)
    store.connect()
    yield store
    store.close()
