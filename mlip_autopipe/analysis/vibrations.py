"""Free energies of crystals from their vibrations: harmonic at one volume, quasi-harmonic over several.

Force constants come from finite displacements in a supercell (phonopy: Togo and Tanaka,
10.1016/j.scriptamat.2015.07.021; Togo, 10.7566/JPSJ.92.012001). Free energies are sums over the modes of a mesh of
wave vectors that leaves out Gamma, where three modes of every crystal have no frequency. A crystal is dynamically
stable when no mode is imaginary: neither on that mesh, nor at the wave vectors that fit into the supercell, where
frequencies are not interpolated, and half way between them, which brings in the ends of the zone. The three modes at
Gamma that move the whole crystal do not count.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K, PLANCK_EV_PER_THZ
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError, EnvironmentProblemError, InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms

Evaluate = Callable[[Sequence["Atoms"]], Sequence[tuple[float, FloatArray]]]
"""Energies of cells in eV, and forces (n, 3) in eV/A."""

SUPERCELL_A: Final = 10.0
"""Least distance of an atom from its periodic images."""
DISPLACEMENT_A: Final = 0.01
MESH_A: Final = 40.0
"""Wave vectors of the mesh are those of a crystal of about this size."""
IMAGINARY_THz: Final = 0.1
"""Imaginary frequencies up to this size are errors of the interpolation and of the forces."""
VOLUME_RATIOS: Final = (0.97, 1.0, 1.02, 1.04, 1.06, 1.08, 1.1)
LEAST_VOLUMES: Final = 5
LARGEST_DEGREE: Final = 4
"""Of the polynomial that is fitted to free energies; there are at least two volumes more than powers."""
SYMMETRY_TOLERANCE_A: Final = 1e-4
_SOFTEST_THz: Final = 0.01


@dataclass(frozen=True, eq=False)
class Phonons:
    """Modes of a crystal.

    Attributes
    ----------
    frequencies_THz
        (Q, 3n) on a mesh without Gamma, n the atoms of the primitive cell; negative: imaginary.
    worst_imaginary_THz
        Size of the largest imaginary frequency there, and at wave vectors around those of the supercell; 0: none.
    energy_eV_per_atom
        Of the crystal at rest.
    volume_A3_per_atom
        Of the crystal.
    n_displacements, n_supercell_atoms
        How many cells, of how many atoms, were computed.
    """

    frequencies_THz: FloatArray
    worst_imaginary_THz: float
    energy_eV_per_atom: float
    volume_A3_per_atom: float
    n_displacements: int
    n_supercell_atoms: int

    @property
    def dynamically_stable(self) -> bool:
        """Whether no mode is imaginary beyond `IMAGINARY_THz`."""
        return self.worst_imaginary_THz <= IMAGINARY_THz

    @property
    def zero_point_energy_eV_per_atom(self) -> float:
        """Half a quantum of every mode; imaginary ones beyond `IMAGINARY_THz` are left out."""
        return float(self.free_energy_eV_per_atom([0.0])[0])

    def free_energy_eV_per_atom(self, temperatures_K: ArrayLike) -> FloatArray:
        """Return the harmonic free energy of the vibrations in eV per atom, (T,), without the energy at rest.

        Imaginary modes beyond `IMAGINARY_THz` are left out: above 0 K the sum means nothing for a crystal with some.

        Parameters
        ----------
        temperatures_K
            (T,) not negative.
        """
        quanta, kT = self._quanta_eV, BOLTZMANN_EV_PER_K * _checked_temperatures(temperatures_K)
        found = np.full(len(kT), quanta.sum() / 2)
        for place in np.flatnonzero(kT > 0):
            found[place] += kT[place] * np.log(-np.expm1(-quanta / kT[place])).sum()
        return self._per_atom(found)

    def heat_capacity_k_per_atom(self, temperatures_K: ArrayLike) -> FloatArray:
        """Return the heat capacity at constant volume in Boltzmann constants per atom, (T,); arguments as above."""
        quanta, kT = self._quanta_eV, BOLTZMANN_EV_PER_K * _checked_temperatures(temperatures_K)
        found = np.zeros(len(kT))
        for place in np.flatnonzero(kT > 0):
            x = np.minimum(quanta / kT[place], 500.0)  # its square over the exponential vanishes far below
            found[place] = (x**2 * np.exp(-x) / np.expm1(-x) ** 2).sum()
        return self._per_atom(found)

    @property
    def _quanta_eV(self) -> FloatArray:
        counted = self.frequencies_THz[self.frequencies_THz > -IMAGINARY_THz]
        quanta: FloatArray = PLANCK_EV_PER_THZ * np.maximum(abs(counted), _SOFTEST_THz)
        return quanta

    def _per_atom(self, sums: FloatArray) -> FloatArray:
        points, modes = self.frequencies_THz.shape
        found: FloatArray = sums / (points * modes / 3)
        return found


@dataclass(frozen=True, eq=False)
class QuasiHarmonicCrystal:
    """A crystal that expands because its frequencies change with its volume.

    Attributes
    ----------
    temperatures_K
        (T,).
    free_energy_eV_per_atom
        (T,) least free energy over the volume at no pressure, with the energy at rest; not a number where the least
        one is not inside the volumes.
    volume_A3_per_atom
        (T,) where it is; not a number where it is not inside.
    inside
        (T,) whether it is inside the volumes.
    volumes_A3_per_atom
        (V,) ascending; those at which the crystal is dynamically stable.
    fit_error_eV_per_atom
        Largest distance of a free energy from the fitted curve.
    phonons
        At the volume of the given crystal, if that is among the volumes, or the nearest one.
    """

    temperatures_K: FloatArray
    free_energy_eV_per_atom: FloatArray
    volume_A3_per_atom: FloatArray
    inside: NDArray[np.bool_]
    volumes_A3_per_atom: FloatArray
    fit_error_eV_per_atom: float
    phonons: Phonons


def phonons_of(
    atoms: Atoms,
    evaluate: Evaluate,
    *,
    supercell_A: float = SUPERCELL_A,
    displacement_A: float = DISPLACEMENT_A,
    mesh_A: float = MESH_A,
) -> Phonons:
    """Return the modes of a crystal from finite displacements.

    The crystal is reduced to its primitive cell first, in its orientation, so that all cells of a crystal give the
    same. Displacements go both ways unless symmetry makes them the same: forces that a relaxation left cancel.

    Parameters
    ----------
    atoms
        A periodic crystal at its minimum of the energy, or scaled from it. Not changed.
    evaluate
        Energies and forces.
    supercell_A
        Least distance of an atom from its images in the supercell: force constants reach half as far.
    displacement_A
        Of one atom at a time.
    mesh_A
        The mesh for sums over modes is that of a crystal of about this size.

    Raises
    ------
    EnvironmentProblemError
        phonopy is not installed.
    AnalysisError
        Forces are not finite.
    """
    from ase import Atoms

    primitive, masses = _primitive(atoms)
    multiples = _multiples(primitive.cell.array, supercell_A)
    crystal = _phonopy(primitive, masses, multiples)
    crystal.generate_displacements(distance=displacement_A)
    cells = [crystal.supercell, *crystal.supercells_with_displacements]
    structures = [Atoms(one.symbols, one.positions, cell=one.cell, pbc=True) for one in cells]
    computed = evaluate(structures)
    forces = np.array([found for _, found in computed])
    if not np.isfinite(forces).all():
        raise AnalysisError(f"forces on displaced atoms of {atoms.get_chemical_formula()} are not finite")
    crystal.forces = forces[1:]
    crystal.produce_force_constants()
    crystal.symmetrize_force_constants()  # no forces when the whole crystal is moved
    heights = 1 / np.linalg.norm(np.linalg.inv(primitive.cell.array), axis=0)
    mesh = np.maximum(1, np.round(mesh_A / heights)).astype(int)
    frequencies = _frequencies_THz(crystal, _points(mesh, 0.5))
    gamma, *others = _frequencies_THz(crystal, _points(2 * multiples, 0.0))
    optical = gamma[np.argsort(abs(gamma))[3:]]  # the other three move the whole crystal
    lowest = min(frequencies.min(), np.min(others), optical.min(initial=0.0))
    return Phonons(
        frequencies_THz=frequencies,
        worst_imaginary_THz=float(max(0.0, -lowest)),
        energy_eV_per_atom=float(computed[0][0]) / len(structures[0]),
        volume_A3_per_atom=float(primitive.get_volume()) / len(primitive),
        n_displacements=len(structures) - 1,
        n_supercell_atoms=len(structures[0]),
    )


def quasi_harmonic(
    atoms: Atoms,
    evaluate: Evaluate,
    temperatures_K: ArrayLike,
    *,
    volume_ratios: Sequence[float] = VOLUME_RATIOS,
    **settings: float,
) -> QuasiHarmonicCrystal:
    """Return free energies and volumes at no pressure from the modes at several volumes.

    The crystal is scaled with everything in it: neither its shape nor the atoms in its cell are relaxed at each volume.
    Free energies with the energy at rest are fitted by a polynomial in V^(-2/3) at each temperature.

    Parameters
    ----------
    atoms
        A periodic crystal at its minimum of the energy.
    evaluate
        Energies and forces.
    temperatures_K
        (T,) not negative.
    volume_ratios
        Volumes over that of the crystal. Those at which it is not dynamically stable are left out.
    **settings
        Of `phonons_of`.

    Raises
    ------
    AnalysisError
        The crystal is dynamically stable at fewer than `LEAST_VOLUMES` volumes.
    EnvironmentProblemError
        phonopy is not installed.
    """
    temperatures = _checked_temperatures(temperatures_K)
    ratios = np.sort(np.asarray(volume_ratios, dtype=float))
    found = [phonons_of(_scaled(atoms, ratio), evaluate, **settings) for ratio in ratios]
    kept = [place for place, one in enumerate(found) if one.dynamically_stable]
    if len(kept) < LEAST_VOLUMES:
        raise AnalysisError(
            f"{atoms.get_chemical_formula()} is dynamically stable at {len(kept)} of {len(ratios)} volumes between "
            f"{ratios[0]:g} and {ratios[-1]:g} of its own; a curve of the free energy needs {LEAST_VOLUMES}"
        )
    stable = [found[place] for place in kept]
    volumes = np.array([one.volume_A3_per_atom for one in stable])
    free = np.array([one.energy_eV_per_atom + one.free_energy_eV_per_atom(temperatures) for one in stable])
    least, at, error = _minima(volumes, free)
    return QuasiHarmonicCrystal(
        temperatures_K=temperatures,
        free_energy_eV_per_atom=least,
        volume_A3_per_atom=at,
        inside=np.isfinite(at),
        volumes_A3_per_atom=volumes,
        fit_error_eV_per_atom=error,
        phonons=found[int(np.argmin(abs(ratios - 1)))],
    )


def _minima(volumes: FloatArray, free_energies: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return the least values (T,) of curves (V, T), where they are, and the largest distance from the curves."""
    from numpy.polynomial import Polynomial

    x = volumes ** (-2 / 3)
    degree = min(LARGEST_DEGREE, len(volumes) - 2)
    values = np.full(free_energies.shape[1], np.nan)
    places, errors = values.copy(), []
    for t, energies in enumerate(free_energies.T):
        curve = Polynomial.fit(x, energies, degree)
        errors.append(abs(curve(x) - energies).max())
        level = curve.deriv().roots()
        level = level[abs(level.imag) < 1e-12].real
        inside = level[(level > x.min()) & (level < x.max()) & (curve.deriv(2)(level) > 0)]
        if len(inside):
            places[t] = inside[curve(inside).argmin()]
            values[t] = curve(places[t])
    return values, places ** (-3 / 2), float(max(errors, default=0.0))


def _primitive(atoms: Atoms) -> tuple[Atoms, FloatArray]:
    """Return the primitive cell with short vectors, in the orientation of the crystal, and its masses in amu."""
    import spglib
    from ase import Atoms
    from ase.geometry import minkowski_reduce

    kinds = list(dict.fromkeys(zip(atoms.numbers.tolist(), atoms.get_masses().tolist(), strict=True)))
    labels = [kinds.index(one) + 1 for one in zip(atoms.numbers.tolist(), atoms.get_masses().tolist(), strict=True)]
    cell = (atoms.cell.array, atoms.get_scaled_positions(), labels)
    try:
        found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SYMMETRY_TOLERANCE_A)
    except spglib.SpglibError:
        found = None
    lattice, positions, labels = cell if found is None else found
    primitive = Atoms([kinds[one - 1][0] for one in labels], scaled_positions=positions, cell=lattice, pbc=True)
    reduced = minkowski_reduce(primitive.cell)[0]
    primitive.set_cell(reduced * np.sign(np.linalg.det(reduced)))  # right-handed
    primitive.wrap()
    return primitive, np.array([kinds[one - 1][1] for one in labels])


def _multiples(cell: FloatArray, least_A: float) -> NDArray[np.int64]:
    """Return how often to repeat a reduced cell so that no lattice vector is shorter than a length."""
    steps = np.array([one for one in product((-1, 0, 1), repeat=3) if any(one)])
    lengths = np.linalg.norm(cell, axis=1)
    multiples: NDArray[np.int64] = np.maximum(1, np.ceil(least_A / lengths - 1e-6)).astype(np.int64)
    while True:
        lengths = np.linalg.norm(steps @ (multiples[:, None] * cell), axis=1)
        shortest = int(lengths.argmin())
        if lengths[shortest] > least_A - 1e-6:
            return multiples
        multiples[np.flatnonzero(steps[shortest])] += 1


def _phonopy(primitive: Atoms, masses: FloatArray, multiples: NDArray[np.int64]) -> Any:
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ModuleNotFoundError:
        raise EnvironmentProblemError("vibrations need phonopy: pip install 'mlip-autopipe[phonons]'") from None
    cell = PhonopyAtoms(
        symbols=primitive.get_chemical_symbols(),
        cell=primitive.cell.array,
        scaled_positions=primitive.get_scaled_positions(),
        masses=masses,
    )
    with warnings.catch_warnings():
        # the supercell may have less symmetry than the crystal: then more atoms are displaced
        warnings.filterwarnings("ignore", message="(?i).*point group symmetries")
        return Phonopy(cell, np.diag(multiples), primitive_matrix=np.eye(3), symprec=SYMMETRY_TOLERANCE_A)


def _points(numbers: ArrayLike, shift: float) -> FloatArray:
    """Return a mesh of wave vectors in units of the reciprocal vectors; without a shift the first is Gamma."""
    axes = [(np.arange(n) + shift) / n for n in np.asarray(numbers)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _frequencies_THz(crystal: Any, points: FloatArray) -> FloatArray:
    crystal.run_qpoints(points)
    return np.asarray(crystal.get_qpoints_dict()["frequencies"], dtype=np.float64)


def _scaled(atoms: Atoms, ratio: float) -> Atoms:
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell.array * ratio ** (1 / 3), scale_atoms=True)
    return scaled


def _checked_temperatures(temperatures_K: ArrayLike) -> FloatArray:
    temperatures = np.asarray(temperatures_K, dtype=float)
    if temperatures.ndim != 1 or not np.isfinite(temperatures).all() or (temperatures < 0).any():
        raise InvalidInputError("temperatures must be a list of finite numbers that are not negative")
    return temperatures
