"""An EMT that takes its time, so that a run can be interrupted in the middle; named by dotted path in inputs."""

import os
import time
from typing import Any

from ase.calculators.emt import EMT


class SlowEMT(EMT):
    """EMT with a pause before every calculation, which it also writes to the file in ``EMT_LOG``."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(0.7)
        with open(os.environ["EMT_LOG"], "a") as log:
            log.write("calculated\n")
        super().calculate(*args, **kwargs)
