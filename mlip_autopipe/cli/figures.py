"""Figures of property documents (PNG)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from mlip_autopipe.errors import EnvironmentProblemError

VOIGT_LABELS = ("xx", "yy", "zz", "yz", "xz", "xy")


def plot_elastic(document: dict[str, Any], path: Path) -> Path:
    """Draw an elastic document: stresses against the fit, and Young's modulus by direction.

    Parameters
    ----------
    document
        Dump of an `ElasticDocument`.
    path
        PNG file to write, as a whole or not at all.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2, projection="polar")
    _draw_parity(left, document)
    _draw_young(right, np.array(document["elastic_tensor_GPa"]))
    constants = ", ".join(
        f"{name} = {e['value']:.2f} ± {e['stderr']:.2f}"
        for name, e in list(document["independent_constants_GPa"].items())[:6]
    )
    figure.suptitle(f"{document['formula']} ({document['space_group']}): {constants} GPa{remark(document)}")
    return save_figure(figure, path, document["run_id"])


def remark(document: dict[str, Any]) -> str:
    """Return what a title must say about the state of a document."""
    words = {"done": "", "not_enough_evidence": "  [not enough evidence]"}
    return words.get(document["state"], "  [a physics gate failed]")


def save_figure(figure: Any, path: Path, run_id: str) -> Path:
    """Write a matplotlib figure as PNG, as a whole or not at all, and close it.

    Raises
    ------
    EnvironmentProblemError
        The file cannot be written.
    """
    import matplotlib.pyplot as plt

    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(scratch, dpi=150, format="png")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise EnvironmentProblemError(
            f"{path} cannot be written ({error.strerror}); the result is safe in the database: afterwards "
            f"`mlip-auto results {run_id} --out DIR` draws it again"
        ) from None
    finally:
        plt.close(figure)
    return path


def young_modulus(tensor: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return Young's modulus along unit vectors.

    Parameters
    ----------
    tensor
        (6, 6) stiffness, Voigt.
    directions
        (n, 3) unit vectors.

    Returns
    -------
    numpy.ndarray
        (n,), in the tensor's unit: 1 / (n_i n_j S_ijkl n_k n_l).
    """
    x, y, z = directions.T
    # a uniaxial unit stress along n, in Voigt form; the work conjugate strain needs no extra factors
    stress = np.array([x * x, y * y, z * z, y * z, x * z, x * y])
    compliance: np.ndarray = np.linalg.inv(tensor)
    modulus: np.ndarray = 1.0 / np.einsum("in,ij,jn->n", stress, compliance, stress)
    return modulus


def _draw_parity(axes: Any, document: dict[str, Any]) -> None:
    strains, measured = np.array(document["strains"]), np.array(document["stresses_GPa"])
    fitted = strains @ np.array(document["elastic_tensor_GPa"]).T + np.array(document["residual_stress_GPa"])
    for component, label in enumerate(VOIGT_LABELS):
        axes.plot(fitted[:, component], measured[:, component], "o", ms=5, label=label)
    limit = 1.08 * max(abs(measured).max(), abs(fitted).max(), 1e-9)
    axes.plot([-limit, limit], [-limit, limit], "k-", lw=0.8, zorder=0)
    axes.set(xlabel="stress of the linear fit (GPa)", ylabel="stress measured (GPa)")
    axes.set_title("Stress of the strained cells")
    axes.legend(title="component", fontsize="small")
    axes.set_aspect("equal")


def _draw_young(axes: Any, tensor: np.ndarray) -> None:
    angle = np.linspace(0, 2 * np.pi, 361)
    c, s, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    planes = {"xy": (c, s, zero), "xz": (c, zero, s), "x=y": (c / np.sqrt(2), c / np.sqrt(2), s)}
    for (name, components), style in zip(planes.items(), ("-", "--", "-."), strict=True):
        axes.plot(angle, young_modulus(tensor, np.stack(components, axis=1)), style, label=f"plane {name}")
    axes.set_title("Young's modulus by direction (GPa)")
    axes.legend(fontsize="small", loc="lower right", bbox_to_anchor=(1.25, -0.08))
