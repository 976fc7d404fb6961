"""The file of a potential: a JSON header and named arrays in one ``.npz``; equal content gives equal bytes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.errors import PotentialFileError

FORMAT: Final = "mlip-autopipe potential"
FORMAT_VERSION: Final = 1
_HEADER = "header"


def pack(backend: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of a header (JSON data) and arrays."""
    full = {"format": FORMAT, "format_version": FORMAT_VERSION, "backend": backend, **header}
    text = json.dumps(full, sort_keys=True, separators=(",", ":"), allow_nan=False)
    buffer = io.BytesIO()
    # numpy gives every member the same fixed date, so that the bytes depend on the content alone
    members: dict[str, Any] = {_HEADER: np.frombuffer(text.encode(), np.uint8)}
    np.savez(buffer, **members | {key: arrays[key] for key in sorted(arrays)})
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return header and arrays.

    Raises
    ------
    PotentialFileError
        The bytes are damaged, hold no potential, or one of a newer version.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files}
        header = json.loads(arrays.pop(_HEADER).tobytes().decode())
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise PotentialFileError(f"these bytes hold no potential, or a damaged one: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise PotentialFileError("these bytes hold no potential of this package")
    if header.get("format_version") != FORMAT_VERSION:
        raise PotentialFileError(
            f"the potential has format version {header.get('format_version')}, this program reads {FORMAT_VERSION}; "
            "update the program, or train again"
        )
    return header, arrays


def backend_of(data: bytes) -> str:
    """Return the name of the backend that wrote these bytes."""
    return str(unpack(data)[0].get("backend"))
