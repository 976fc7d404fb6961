"""Compare rules of calibration on the ratios |dF| / u of fresh labels that runs of the hidden-truth benchmark stored.

For every run the factor after n fresh labels is applied to the next one, as the loop does. Needs the file that
`benchmarks/otf_hidden_truth.py --json FILE` writes.

    python benchmarks/calibration_rules.py FILE ...
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from mlip_autopipe.potentials.calibration import GAUSSIAN_RATIO, LARGEST_LEVEL, LEVEL

FIRST = 4
"""Fresh labels before the first one that is judged; with the seeds, it is about the tenth label of a run."""
RULES: dict[str, tuple[float, float | None]] = {
    "as it is": (LARGEST_LEVEL, None),
    "at most 95 %": (0.95, None),
    "at most 95 %, half-life of 4 labels": (0.95, 4.0),
}
"""Largest conformal level, and after how many labels one counts half."""


def quantile(entries: list[np.ndarray], largest: float, half_life: float | None) -> float:
    """Return the ratio below which the next label's should lie."""
    n = len(entries)
    ages = np.arange(n)[::-1]
    weights = np.ones(n) if half_life is None else 0.5 ** (ages / half_life)
    ratios = np.concatenate(entries)
    share = np.concatenate([np.full(len(one), w / len(one)) for one, w in zip(entries, weights, strict=True)])
    order = np.argsort(ratios)
    level = min(LEVEL * (1 + 1 / n), largest)
    place = int(np.searchsorted(np.cumsum(share[order]) / weights.sum(), level - 1e-12))
    return max(float(ratios[order][min(place, len(ratios) - 1)]), GAUSSIAN_RATIO)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    runs: dict[tuple[str, int], list[np.ndarray]] = {}
    for file in parser.parse_args().files:
        for line in file.read_text().splitlines():
            one = json.loads(line)
            runs.setdefault((one["system"], one["seed"]), [np.array(r) for r in one["calibration_ratios"]])
    for name, (largest, half_life) in RULES.items():
        covered: dict[str, list[float]] = defaultdict(list)
        for (system, _), entries in runs.items():
            for n in range(FIRST, len(entries)):
                limit = quantile(entries[:n], largest, half_life)
                covered[system].append(float((entries[n] <= limit).mean()))
        shown = ", ".join(f"{system} {100 * np.mean(found):.1f} ({len(found)})" for system, found in covered.items())
        print(f"{name}: {shown}")


if __name__ == "__main__":
    main()
