"""The command line: `tuneloop VERB`, a thin door to the functions of the same meaning."""

from tuneloop.cli.app import main

__all__ = ["main"]
