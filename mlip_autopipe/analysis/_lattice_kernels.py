"""Compiled inner loops of the lattice Monte Carlo (numba, which icet brings along).

Import this module inside functions: it loads numba. `tables` stands for the arrays of `LatticeHamiltonian.arrays`:
point energies (b, m); members (n, w), the other sites of all clusters of a site, pairs first; how many pairs, triplets
... a site has; where the table of each cluster starts (b, clusters); the tables (codes of the other sites, own
species fastest); the basis index of every site. Energies are in eV, totals of the cell.

Random numbers are those of SplitMix64 (Steele, Lea and Flood, 10.1145/2660193.2660195): a counter that is scrambled,
three times faster here than numpy's generators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba  # type: ignore[import-untyped, import-not-found, unused-ignore]
import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.symmetry import FloatArray

Sites = NDArray[np.int8]
State = NDArray[np.uint64]
Tables = tuple[Any, ...]
F = TypeVar("F", bound=Callable[..., Any])

U = np.uint64
ONE, TWO = U(1), U(2)


def _compiled(function: F) -> F:
    """Compile on first use, and keep the result on disk where that is possible."""
    try:
        return cast(F, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True)(function))


@_compiled
def _random(state: State) -> Any:
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@_compiled
def _below(state: State, n: int) -> Any:
    """Integer from 0 to n - 1; the bias is n / 2^32."""
    return np.int64(((_random(state) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@_compiled
def _uniform(state: State) -> Any:
    return np.float64(_random(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@_compiled
def _site_energy(occupation: Sites, site: int, old: int, new: int, m: int, tables: Tables) -> Any:
    """Energy of one species on a site minus that of another, the other sites as they are.

    All indices are unsigned: numba then leaves out its test for negative ones, which makes this three times faster.
    """
    points, members, orders, starts, energies, basis = tables
    b = basis[site]
    change = points[b, new] - points[b, old]
    row, begin = members[site], starts[b]
    kinds, was, now = U(m), U(old), U(new)
    place = U(0)
    cluster = U(0)
    for _ in range(orders[0]):
        start = U(begin[cluster]) + U(occupation[U(row[place])]) * kinds
        change += energies[start + now] - energies[start + was]
        place += ONE
        cluster += ONE
    if len(orders) > 1:
        for _ in range(orders[1]):
            code = U(occupation[U(row[place])]) * kinds + U(occupation[U(row[place + ONE])])
            start = U(begin[cluster]) + code * kinds
            change += energies[start + now] - energies[start + was]
            place += TWO
            cluster += ONE
    for order in range(2, len(orders)):
        for _ in range(orders[order]):
            code = U(0)
            for _ in range(order + 1):
                code = code * kinds + U(occupation[U(row[place])])
                place += ONE
            start = U(begin[cluster]) + code * kinds
            change += energies[start + now] - energies[start + was]
            cluster += ONE
    return change


@_compiled
def total_energy(occupation: Sites, m: int, tables: Tables) -> Any:
    """Energy of a decoration without the constant: every cluster is counted once, at each of its sites in part."""
    points, members, orders, starts, energies, basis = tables
    total = 0.0
    for site in range(len(occupation)):
        b = basis[site]
        total += points[b, occupation[site]]
        place = 0
        cluster = 0
        for order in range(len(orders)):
            for _ in range(orders[order]):
                code = 0
                for k in range(order + 1):
                    code = code * m + occupation[members[site, place + k]]
                place += order + 1
                total += energies[starts[b, cluster] + code * m + occupation[site]] / (order + 2)
                cluster += 1
    return total


@_compiled
def flip_energies(occupation: Sites, tables: Tables) -> Any:
    """Energy (n,) that it costs to change each site of a binary."""
    costs = np.empty(len(occupation))
    for site in range(len(occupation)):
        costs[site] = _site_energy(occupation, site, occupation[site], 1 - occupation[site], 2, tables)
    return costs


@_compiled
def transmute(
    occupation: Sites,
    counts: NDArray[np.int64],
    energy: float,
    m: int,
    tables: Tables,
    beta: float,
    fields: FloatArray,
    curvature: float,
    targets: FloatArray,
    state: State,
    energies: FloatArray,
    history: NDArray[np.int64],
    snapshots: Sites,
) -> Any:
    """Change the species of single sites (semi-grand and variance-constrained ensembles), one sweep per record.

    The weight of a state is exp(-beta E + sum_s [fields_s n_s - curvature / 2 (n_s - targets_s)^2]).
    `occupation`, `counts` and `state` change in place; energies (r,), history (r, m) and snapshots (s, n) are filled,
    the snapshots with equal spacing. Returns the energy and the number of accepted changes.
    """
    n = len(occupation)
    accepted = 0
    records = len(energies)
    for record in range(records):
        for _ in range(n):
            site = _below(state, n)
            old = occupation[site]
            new = (old + 1 + _below(state, m - 1)) % m if m > 2 else 1 - old
            change = _site_energy(occupation, site, old, new, m, tables)
            weight = fields[new] - fields[old] - beta * change
            weight -= curvature * (counts[new] - targets[new] - counts[old] + targets[old] + 1.0)
            if weight >= 0.0 or _uniform(state) < np.exp(weight):
                occupation[site] = new
                counts[old] -= 1
                counts[new] += 1
                energy += change
                accepted += 1
        energies[record] = energy
        history[record] = counts
        if len(snapshots) and (record + 1) * len(snapshots) // records > record * len(snapshots) // records:
            snapshots[(record + 1) * len(snapshots) // records - 1] = occupation
    return energy, accepted


@_compiled
def exchange(
    occupation: Sites,
    energy: float,
    m: int,
    tables: Tables,
    beta: float,
    state: State,
    energies: FloatArray,
    snapshots: Sites,
) -> Any:
    """Swap pairs of unlike atoms at fixed composition (canonical ensemble), one sweep per record; see `transmute`."""
    n = len(occupation)
    counts = np.zeros(m, np.int64)
    homes = np.empty((m, n), np.int64)
    slots = np.empty(n, np.int64)
    for site in range(n):
        species = occupation[site]
        homes[species, counts[species]] = site
        slots[site] = counts[species]
        counts[species] += 1
    accepted = 0
    records = len(energies)
    for record in range(records):
        for _ in range(n):
            one = _below(state, n)
            a = occupation[one]
            if counts[a] == n:
                continue
            pick = _below(state, n - counts[a])
            b = 0
            while b == a or pick >= counts[b]:
                if b != a:
                    pick -= counts[b]
                b += 1
            other = homes[b, pick]
            change = _site_energy(occupation, one, a, b, m, tables)
            occupation[one] = b
            change += _site_energy(occupation, other, b, a, m, tables)
            if change <= 0.0 or _uniform(state) < np.exp(-beta * change):
                occupation[other] = a
                slot = slots[one]
                homes[a, slot] = other
                homes[b, pick] = one
                slots[one] = pick
                slots[other] = slot
                energy += change
                accepted += 1
            else:
                occupation[one] = a
        energies[record] = energy
        if len(snapshots) and (record + 1) * len(snapshots) // records > record * len(snapshots) // records:
            snapshots[(record + 1) * len(snapshots) // records - 1] = occupation
    return energy, accepted


@_compiled
def umbrella(
    occupation: Sites,
    count: int,
    tables: Tables,
    beta: float,
    first: int,
    last: int,
    bias: FloatArray,
    learning: float,
    state: State,
    sweeps: int,
    tries: FloatArray,
    up: FloatArray,
    down: FloatArray,
) -> Any:
    """Change single sites of a binary while the number of atoms of species 1 stays from `first` to `last`.

    The weight of a state is exp(-beta E + bias[count - first]). `learning` is taken off the bias of the present count
    at every trial (Wang and Landau, 10.1103/PhysRevLett.86.2050): above 0 only while equilibrating. Of every trial the
    probability with which the change is accepted without bias is added, whether it is made or not, also where it would
    leave the window: up[k] of trials that add an atom to count first + k, down[k] of those that take one away,
    tries[k] of all trials there. Returns the count.
    """
    n = len(occupation)
    for _ in range(sweeps * n):
        site = _below(state, n)
        old = occupation[site]
        new = 1 - old
        exponent = -beta * _site_energy(occupation, site, old, new, 2, tables)
        chance = 1.0 if exponent >= 0.0 else np.exp(exponent)
        k = count - first
        tries[k] += 1.0
        step = new - old
        if step > 0:
            up[k] += chance
        else:
            down[k] += chance
        if first <= count + step <= last:
            exponent += bias[k + step] - bias[k]
            if exponent >= 0.0 or _uniform(state) < np.exp(exponent):
                occupation[site] = new
                count += step
        bias[count - first] -= learning
    return count
