"""The version of the installed package, read once."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("clew")
except PackageNotFoundError:  # run from a folder that was never installed
    VERSION = "0"
