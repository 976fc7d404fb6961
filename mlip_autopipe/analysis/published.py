"""Published elastic constants, printed beside computed ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedElasticConstants:
    """Elastic constants of one crystal from one source.

    Attributes
    ----------
    formula, crystal_structure
        Reduced formula and prototype of the crystal.
    method
        ``experiment`` with its temperature, or the functional.
    constants_GPa
        By name, Voigt, IEEE orientation.
    source
        Reference with DOI.
    """

    formula: str
    space_group: str
    method: str
    constants_GPa: dict[str, float]
    source: str


_KAMM_ALERS = "Kamm and Alers, J. Appl. Phys. 35, 327 (1964), doi:10.1063/1.1713309"
_MCSKIMIN = "McSkimin and Andreatch, J. Appl. Phys. 35, 2161 (1964), doi:10.1063/1.1702809"
_MATERIALS_PROJECT = "Materials Project; de Jong et al., Sci. Data 2, 150009 (2015), doi:10.1038/sdata.2015.9"
_ZHAO = "Zhao, Winey and Gupta, Phys. Rev. B 75, 094105 (2007), doi:10.1103/PhysRevB.75.094105"
_OVERTON = "Overton and Gaffney, Phys. Rev. 98, 969 (1955), doi:10.1103/PhysRev.98.969"

PUBLISHED: tuple[PublishedElasticConstants, ...] = (
    PublishedElasticConstants("Si", "Fd-3m", "PBE", {"C11": 153.1, "C12": 57.0, "C44": 74.3}, _MATERIALS_PROJECT),
    PublishedElasticConstants("Si", "Fd-3m", "experiment, 298 K", {"C11": 165.8, "C12": 63.9, "C44": 79.6}, _MCSKIMIN),
    PublishedElasticConstants("Al", "Fm-3m", "experiment, 0 K", {"C11": 114.3, "C12": 61.9, "C44": 31.6}, _KAMM_ALERS),
    PublishedElasticConstants("Cu", "Fm-3m", "experiment, 0 K", {"C11": 176.2, "C12": 124.9, "C44": 81.8}, _OVERTON),
)


def published_elastic_constants(formula: str, space_group: str) -> list[PublishedElasticConstants]:
    """Return what is tabulated for a crystal, possibly nothing.

    Parameters
    ----------
    formula
        Reduced formula, e.g. ``Si``.
    space_group
        International symbol, e.g. ``Fd-3m``.
    """
    return [p for p in PUBLISHED if (p.formula, p.space_group) == (formula, space_group)]
