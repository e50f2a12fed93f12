"""The program `tinymlops`: it imports little until it can handle Ctrl-C properly."""

import sys

from tinymlops_cli.interrupts import INTERRUPTED, tell_interrupt

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from tinymlops_cli.app import run

        run()
    except KeyboardInterrupt:
        tell_interrupt(sys.argv[1:])
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
