import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from mlip_autopipe.analysis.cell_mapping import map_onto
from mlip_autopipe.analysis.common_neighbours import surroundings
from mlip_autopipe.analysis.parent_lattice import ParentThresholds, bain_path, judge_relaxation, parent_of
from mlip_autopipe.errors import InvalidInputError

BAIN = np.diag([1, 1, -2]) * np.log(2) / 6
"""fcc to bcc at the same volume: c/a of the fcc cube becomes 1/sqrt(2)."""


def crystal(name, symbols, matrix):
    """Return a decorated supercell of a lattice of copper."""
    cell = make_supercell(bulk("Cu", name, a={"fcc": 3.7, "bcc": 2.95, "hcp": 2.6}[name]), matrix)
    cell.symbols = symbols
    return cell


L1_0 = crystal("fcc", "AuCu", [[0, 0, 1], [-1, 1, 0], [1, 1, -1]])
CELLS = {
    "L1_0": L1_0,
    "five of fcc": crystal("fcc", "Au2Cu3", [[1, 0, 0], [0, 1, 0], [2, 1, 5]]),
    "cube of fcc": crystal("fcc", "AuCu3", [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]),
    "six of bcc": crystal("bcc", "Au2Cu4", [[1, 0, 0], [0, 2, 0], [1, 1, 3]]),
    "B2": crystal("bcc", "AuCu", [[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    "hcp": crystal("hcp", "AuCu3", [[1, 0, 0], [0, 2, 0], [0, 0, 1]]),
    "copper": bulk("Cu"),
}


def relaxed(atoms, strain=None, rattle_A=0.0, seed=0):
    """Return the crystal under a logarithmic strain, its atoms moved by up to a distance."""
    moved = atoms.copy()
    moved.set_cell(moved.cell.array @ expm(np.zeros((3, 3)) if strain is None else strain), scale_atoms=True)
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(len(moved), 3))
    moved.positions += rattle_A * steps / np.linalg.norm(steps, axis=1, keepdims=True)
    return moved


def disguised(atoms, seed):
    """Return the same crystal turned (also inside out), shifted, in other vectors, and its atoms in another order."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(3, dtype=int)
    for _ in range(4):
        i, j = rng.permutation(3)[:2]
        step = np.eye(3, dtype=int)
        step[i, j] = rng.integers(-2, 3)
        matrix = step @ matrix
    matrix = matrix[rng.permutation(3)] * rng.choice([-1, 1])
    turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    cell = matrix @ atoms.cell.array @ turn
    positions = atoms.positions @ turn + rng.uniform(-5, 5, 3) + rng.integers(-2, 3, (len(atoms), 3)) @ cell
    order = rng.permutation(len(atoms))
    return Atoms(atoms.numbers[order], positions[order], cell=cell, pbc=True)


@st.composite
def small_strains(draw, largest=0.05):
    values = draw(st.lists(st.floats(-largest, largest), min_size=6, max_size=6))
    tensor = np.zeros((3, 3))
    tensor[np.triu_indices(3)] = values
    return (tensor + tensor.T) / 2


@given(
    name=st.sampled_from(sorted(CELLS)),
    strain=small_strains(),
    rattle_A=st.floats(0, 0.25),
    seeds=st.tuples(*[st.integers(0, 2**31)] * 3),
)
@settings(max_examples=40, deadline=None)
def test_the_verdict_is_that_of_the_crystal_and_not_of_how_it_is_written(name, strain, rattle_A, seeds):
    ideal = CELLS[name]
    moved = relaxed(ideal, strain, rattle_A, seeds[0])
    plain, other = (
        judge_relaxation(ideal, moved),
        judge_relaxation(disguised(ideal, seeds[1]), disguised(moved, seeds[2])),
    )
    for quantity in ("largest_displacement", "rms_displacement", "anisotropic_strain", "volumetric_strain"):
        assert getattr(other, quantity) == pytest.approx(getattr(plain, quantity), abs=1e-7), quantity
    assert other.bain_path == pytest.approx(plain.bain_path, abs=1e-7) if plain.bain_path is not None else True
    assert (other.parent, other.became, other.dissociated) == (plain.parent, plain.became, plain.dissociated)
    # the numbers are those of the strain and the steps that were made
    values = np.linalg.eigvalsh(strain)
    assert plain.anisotropic_strain == pytest.approx(np.ptp(values), abs=1e-7)
    assert plain.volumetric_strain == pytest.approx(np.exp(values.sum()) - 1)
    if len(ideal) == 1:
        assert plain.largest_displacement == pytest.approx(0, abs=1e-9)


@given(
    name=st.sampled_from(sorted(CELLS)),
    strain=small_strains(0.015),
    rattle_A=st.floats(0, 0.15),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_a_slightly_relaxed_structure_is_intact(name, strain, rattle_A, seed):
    found = judge_relaxation(CELLS[name], relaxed(CELLS[name], strain, rattle_A, seed))
    assert found.intact
    assert not found.dissociated
    assert found.became is None
    assert found.reason.startswith("Every atom sits within 0.")
    assert found.largest_displacement <= 2 * rattle_A / 2.5 * 1.05 + 1e-9


def test_displacements_are_those_of_the_sites_they_belong_to():
    ideal = CELLS["cube of fcc"]
    moved = ideal.copy()
    moved.positions[2] += [0.4, 0, 0]
    mapping = map_onto(ideal, moved[[3, 1, 0, 2]])
    expected = np.zeros((4, 3))
    expected[2, 0] = 0.4
    expected -= expected.mean(axis=0)
    lengths = np.linalg.norm(mapping.displacements_A, axis=1)
    assert sorted(lengths) == pytest.approx(sorted(np.linalg.norm(expected, axis=1)))
    assert mapping.largest_displacement == pytest.approx(0.3 / (3.7 / np.sqrt(2)))
    assert mapping.rms_displacement == pytest.approx(np.sqrt((0.3**2 + 3 * 0.1**2) / 4) / (3.7 / np.sqrt(2)))
    assert mapping.stretch == pytest.approx(np.eye(3), abs=1e-9)


@pytest.mark.parametrize("name", ["L1_0", "five of fcc", "cube of fcc", "copper"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_fcc_that_became_bcc(name, axis):
    strain = np.roll(np.roll(BAIN, axis, 0), axis, 1)
    found = judge_relaxation(CELLS[name], disguised(relaxed(CELLS[name], strain, 0.02), 5))
    assert not found.intact
    assert found.became == "bcc"
    assert found.bain_path == pytest.approx(1, abs=1e-6)
    assert found.anisotropic_strain == pytest.approx(np.log(2) / 2)
    assert found.reason.startswith("It left its fcc lattice: it turned from fcc into bcc")


@pytest.mark.parametrize("name", ["six of bcc", "B2"])
def test_bcc_that_became_fcc(name):
    found = judge_relaxation(CELLS[name], relaxed(CELLS[name], -BAIN))
    assert (found.parent, found.became) == ("bcc", "fcc")
    assert found.bain_path == pytest.approx(1)


def test_the_bain_path_is_half_way_where_it_is_flagged():
    for part, became in ((0.3, None), (0.48, None), (0.52, "bcc"), (0.9, "bcc")):
        found = judge_relaxation(L1_0, relaxed(L1_0, part * BAIN))
        assert found.became == became, part
        assert found.bain_path == pytest.approx(part)
    # as much strain along a cube's diagonal leads elsewhere
    turn = Rotation.align_vectors([[1, 1, 1]], [[0, 0, 1]])[0].as_matrix()
    assert abs(bain_path(turn @ BAIN @ turn.T, np.eye(3), "fcc")) < 1e-9
    assert bain_path(-BAIN, np.eye(3), "bcc") == pytest.approx(1)


def test_tetragonal_order_stays_on_its_lattice():
    # CuAu has c/a = 0.926 of its cube (doi:10.1016/j.commatsci.2017.01.017: AB_tP2_123_a_d)
    ratio = np.log(3.67 / (2.80 * np.sqrt(2)))
    found = judge_relaxation(L1_0, relaxed(L1_0, np.diag([-ratio, -ratio, 2 * ratio]) / 3))
    assert found.intact
    assert 0 < found.bain_path < 0.35


def test_burgers_path_from_bcc_to_hcp():
    # (110) planes of bcc become the close-packed ones, and every second is shifted (doi:10.1016/S0031-8914(34)80244-3)
    hcp = bulk("Ti", "hcp", a=2.95, covera=np.sqrt(8 / 3))
    a = hcp.get_volume() ** (1 / 3)
    vectors = a * np.array([[0.5, -0.5, 0.5], [-0.5, 0.5, 0.5], [1, 1, 0]])
    bcc = Atoms("Ti2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=vectors, pbc=True)
    found = judge_relaxation(bcc, hcp)
    assert (found.parent, found.became, found.intact) == ("bcc", "hcp", False)
    assert found.largest_displacement == pytest.approx(np.sqrt(2) / 12 / (np.sqrt(3) / 2))


def test_swapped_atoms_are_far_from_their_sites():
    ideal = crystal("fcc", "Au2Cu2", [[1, 0, 0], [0, 1, 0], [0, 0, 4]])
    other = ideal.copy()
    other.symbols = "AuCuAuCu"
    found = judge_relaxation(ideal, other)
    assert not found.intact
    assert found.largest_displacement > 0.3
    assert "nearest-neighbour distances away from its site" in found.reason


def test_what_fell_apart():
    ideal = CELLS["cube of fcc"]
    blown = relaxed(ideal, np.eye(3) * np.log(1.45) / 3)
    found = judge_relaxation(ideal, blown)
    assert (found.dissociated, found.intact, found.became) == (True, False, None)
    assert found.reason == "It fell apart: the volume grew by 45 %."
    slab = ideal.copy()
    slab.set_cell(slab.cell.array * np.array([1, 1, 3]), scale_atoms=False)
    assert judge_relaxation(ideal, slab).dissociated
    # a gas in a cell that hardly grew: one atom has left its neighbours
    lone = bulk("Cu", a=3.7).repeat((3, 3, 3))
    far = relaxed(lone, np.eye(3) * np.log(1.3) / 3)
    far = far[[k for k in range(27) if k != 13]] + Atoms("Cu", [far.positions[13]])
    keep = judge_relaxation(lone, far, ParentThresholds(isolation=1.05))
    assert keep.dissociated
    assert keep.reason.startswith("It fell apart: 27 of 27 atoms have no neighbour within 1.05 times")


def test_volume_alone():
    found = judge_relaxation(L1_0, relaxed(L1_0, np.eye(3) * np.log(0.7) / 3))
    assert not found.intact
    assert not found.dissociated
    assert found.reason == "It is strained too far from its fcc lattice: its volume changed by -30 %."
    assert judge_relaxation(L1_0, relaxed(L1_0, np.eye(3) * np.log(1.2) / 3)).intact


def test_structures_without_a_parent_are_compared_with_themselves():
    rutile_like = Atoms(
        "TiO2", scaled_positions=[[0, 0, 0], [0.3, 0.3, 0.2], [0.7, 0.6, 0.8]], cell=[4, 4.5, 5], pbc=True
    )
    found = judge_relaxation(rutile_like, disguised(relaxed(rutile_like, np.diag([0.05, 0.05, -0.1]), 0.05), 2))
    assert found.intact
    assert (found.parent, found.bain_path, found.became) == (None, None, None)
    assert not judge_relaxation(rutile_like, relaxed(rutile_like, np.diag([0.15, 0.1, -0.15]))).intact


def test_parents_and_their_axes():
    for name in ("fcc", "bcc", "hcp"):
        assert parent_of(bulk("Cu", name, a=3.0))[0] == name
    for name, atoms in CELLS.items():
        parent, axes = parent_of(disguised(atoms, 8))
        assert parent == ("hcp" if name == "hcp" else "bcc" if name in ("B2", "six of bcc") else "fcc")
        if parent != "hcp":
            assert axes @ axes.T == pytest.approx(np.eye(3), abs=1e-6)
    assert parent_of(bulk("Si"))[0] is None
    assert parent_of(relaxed(L1_0, np.diag([0.01, 0, 0])))[0] is None


@given(name=st.sampled_from(["fcc", "bcc", "hcp"]), strain=small_strains(0.02), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_surroundings_are_known_under_strain_and_displacements(name, strain, seed):
    cell = bulk("Cu", name, a=3.0).repeat((2, 2, 2))
    assert set(surroundings(relaxed(cell, strain, 0.05, seed))) == {name}


def test_surroundings_of_other_crystals():
    assert set(surroundings(bulk("Si"))) == {"other"}
    assert set(surroundings(bulk("Po", "sc", a=3.3))) == {"other"}
    # double hexagonal close packing: every second layer each
    a, c = 3.0, 2 * 3.0 * np.sqrt(8 / 3)
    sites = [[0, 0, 0], [1 / 3, 2 / 3, 0.25], [0, 0, 0.5], [2 / 3, 1 / 3, 0.75]]
    dhcp = Atoms("La4", scaled_positions=sites, cell=[a, a, c, 90, 90, 120], pbc=True)
    assert sorted(surroundings(dhcp)) == ["fcc", "fcc", "hcp", "hcp"]


def test_cells_that_cannot_be_compared():
    with pytest.raises(
        InvalidInputError, match=r"the ideal cell \(AuCu\) and the relaxed one \(Au2\) hold different atoms"
    ):
        judge_relaxation(L1_0, Atoms("Au2", L1_0.positions, cell=L1_0.cell, pbc=True))


def test_a_cell_that_cannot_be_mapped():
    ideal = bulk("Cu", a=3.6)
    needle = Atoms("Cu", cell=[2.0, 2.0, 2.9], pbc=True)
    found = judge_relaxation(ideal, needle, ParentThresholds(isolation=9))
    assert not found.intact
    flat = Atoms("Cu", cell=[1.2, 3.1, 3.1], pbc=True)
    found = judge_relaxation(ideal, flat)
    assert found.largest_displacement == np.inf
    assert found.reason.endswith("its cell cannot be mapped onto the ideal one.")
