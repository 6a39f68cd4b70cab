"""The command line: ``inctrl``, and ``python -m inctrl``."""

from __future__ import annotations

import signal
import sys

from ._inctrl import run_cli


def main() -> int:
    """Runs the command that the arguments of the process name; the exit code."""
    # The interpreter would only note the interrupt, and a command that runs beside it would not end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_cli(["inctrl", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
