"""Pages as a real browser shows them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def seen_in_a_browser(url: str, folder: Path) -> str:
    """Return the page as a real browser has built it, scripts run."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine; `make test` installs it as root on Debian")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder / 'chromium'}"]
    flags += ["--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run([chromium, *flags, url], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout
