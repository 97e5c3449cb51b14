"""The command ``layerwise``."""

import signal
import sys

from ._layerwise import command


def main() -> None:
    """Runs the command with what was typed, and ends with its exit code."""
    # The command answers Ctrl-C itself.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(command(["layerwise", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
