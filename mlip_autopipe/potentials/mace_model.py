"""MACE models as plain data, and back.

A model is stored as what its constructor needs (JSON) and its tensors, so that no file of ours is ever unpickled. The
models are those of mace-torch: doi:10.48550/arXiv.2206.07697.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.errors import PotentialFileError

ATOMIC_ENERGIES: Final = "atomic_energies_fn.atomic_energies"
"""Name of the tensor of atomic energies, shape (1, elements)."""

_UNPICKLE_ANYTHING = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
# reading a pickle runs its code, which may fail in many ways
_UNPICKLING_FAILURES = (
    pickle.UnpicklingError,
    OSError,
    EOFError,
    RuntimeError,
    LookupError,
    AttributeError,
    ImportError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, eq=False)
class ModelData:
    """One model.

    Attributes
    ----------
    architecture
        Arguments of its constructor, as JSON data.
    arrays
        Its parameters and buffers by name.
    """

    architecture: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, by atomic number."""
        from ase.data import chemical_symbols

        return tuple(chemical_symbols[z] for z in self.architecture["atomic_numbers"])

    @property
    def atomic_energies_eV(self) -> dict[str, float]:
        """Energy of an isolated atom per element."""
        values = np.atleast_2d(self.arrays[ATOMIC_ENERGIES])[0]
        return dict(zip(self.elements, map(float, values), strict=True))

    @property
    def is_finite(self) -> bool:
        """Whether all its numbers are finite."""
        return all(np.isfinite(array).all() for array in self.arrays.values())

    def with_atomic_energies(self, energies_eV: Mapping[str, float]) -> ModelData:
        """Return the same model with other energies of isolated atoms; elements without a new one keep theirs."""
        old = self.arrays[ATOMIC_ENERGIES]
        values = list((self.atomic_energies_eV | {e: x for e, x in energies_eV.items() if e in self.elements}).values())
        new = np.array(values, old.dtype).reshape(old.shape)
        return ModelData(self.architecture, self.arrays | {ATOMIC_ENERGIES: new})


def load_library() -> None:
    """Import mace-torch without its messages, and without its wish that torch unpickle whatever it is given."""
    if "mace.modules" in sys.modules:
        return
    before = os.environ.get(_UNPICKLE_ANYTHING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import mace.modules  # noqa: F401
    if before is None:
        os.environ.pop(_UNPICKLE_ANYTHING, None)


def describe(module: Any) -> ModelData:
    """Return a model of mace-torch as plain data.

    Raises
    ------
    PotentialFileError
        Not an ordinary energy model of one head.
    """
    load_library()
    from mace.modules import ScaleShiftMACE, gate_dict
    from mace.tools.scripts_utils import extract_config_mace_model

    if type(module) is not ScaleShiftMACE:
        raise PotentialFileError(
            f"the model is a {type(module).__name__}; only a ScaleShiftMACE can be used: what mace_run_train writes to "
            "NAME.model"
        )
    config = extract_config_mace_model(module)
    if config.pop("cueq_config", None) is not None:
        raise PotentialFileError("the model is laid out for cuEquivariance; convert it with mace_cueq_to_e3nn first")
    if len(config["heads"]) != 1:
        raise PotentialFileError(f"the model has the heads {', '.join(config['heads'])}; name one")
    config["gate"] = next(name for name, gate in gate_dict.items() if gate is config["gate"])
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
    return ModelData({key: _plain(value) for key, value in config.items()}, arrays)


def build(model: ModelData, dtype: str) -> Any:
    """Return the torch module of a model, on the CPU.

    Raises
    ------
    PotentialFileError
        The numbers do not belong to the architecture.
    """
    load_library()
    import torch
    from e3nn import o3
    from mace import modules

    config = dict(model.architecture)
    try:
        for key in ("interaction_cls", "interaction_cls_first"):
            config[key] = modules.interaction_classes[config[key]]
        config["readout_cls"] = modules.readout_classes[config["readout_cls"]]
        config["gate"] = modules.gate_dict[config["gate"]]
        for key in ("hidden_irreps", "edge_irreps", "MLP_irreps"):
            config[key] = None if config[key] is None else o3.Irreps(config[key])
        config["atomic_energies"] = np.array(config["atomic_energies"])
        with default_dtype(dtype), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = modules.ScaleShiftMACE(**config)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise PotentialFileError(f"the architecture of the MACE model is damaged: {error!r}") from error
    return fill(module.to(getattr(torch, dtype)).requires_grad_(False), model)


def fill(module: Any, model: ModelData) -> Any:
    """Copy the tensors of a model into a module of its architecture, and return it.

    Raises
    ------
    PotentialFileError
        They do not belong to it.
    """
    import torch

    try:
        module.load_state_dict({name: torch.tensor(array) for name, array in model.arrays.items()}, strict=True)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PotentialFileError(f"the tensors of the MACE model do not belong to it: {error}") from error
    return module


def read_model_file(path: Path, head: str | None = None) -> ModelData:
    """Return the model in a file that mace-torch wrote.

    Such a file is a pickle, which can run any program when it is read: read only files that you trust.

    Parameters
    ----------
    path
        What ``mace_run_train`` calls ``NAME.model``, or a published foundation model.
    head
        Which head, when it has several; the first that is not the one of pre-training by default.

    Raises
    ------
    InvalidInputError
        There is no such file or head.
    PotentialFileError
        The file holds no MACE model that can be used.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InvalidInputError(f"there is no MACE model file {path}; give the path of an existing file")
    load_library()
    import torch
    from mace.tools.scripts_utils import remove_pt_head

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.load(path, map_location="cpu", weights_only=False)
    except _UNPICKLING_FAILURES as error:
        raise PotentialFileError(f"{path} cannot be read as a MACE model: {error}") from error
    heads = list(getattr(module, "heads", None) or ["Default"])
    if head is not None and head not in heads:
        raise InvalidInputError(f"{path} has no head {head}; it has {', '.join(heads)}")
    if len(heads) > 1:
        with default_dtype("float64"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = remove_pt_head(module.double(), head)
    return describe(module)


def _plain(value: Any) -> Any:
    if isinstance(value, type):
        return value.__name__
    if hasattr(value, "tolist"):
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str | list | dict) else str(value)


@contextlib.contextmanager
def default_dtype(dtype: str) -> Iterator[None]:
    """Let torch make tensors of this dtype, by which mace-torch goes, and of the one before afterwards."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)
