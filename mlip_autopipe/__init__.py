"""From a few lines of YAML to a materials property with an error bar."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mlip-autopipe")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
