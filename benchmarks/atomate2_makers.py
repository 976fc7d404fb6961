"""atomate2's elastic flow for any calculator factory; a module of its own because jobflow stores Makers by path."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from atomate2.ase.jobs import AseRelaxMaker
from atomate2.common.flows.elastic import BaseElasticMaker


@dataclass
class FactoryRelaxMaker(AseRelaxMaker):
    """Relax with the calculator that a factory, named by its dotted path, returns."""

    name: str = "relax"
    factory: str = ""

    def _get_calculator(self) -> Any:
        module, _, name = self.factory.rpartition(".")
        return getattr(importlib.import_module(module), name)()


@dataclass
class FactoryElasticMaker(BaseElasticMaker):
    """The elastic flow with the relaxations above."""

    name: str = "elastic"

    @property
    def prev_calc_dir_argname(self) -> None:
        """ASE calculators keep nothing in folders."""
        return
