"""The command `unbuffer`, and `python -m unbuffer` for hosts where another package's command is called unbuffer too.

Nothing is imported before Ctrl-C is looked after: what a command needs takes a fraction of a second, and more where
it is read from a slow disk.
"""

import sys


def main() -> int:
    """Run the command; returns the exit code."""
    try:
        from unbuffer.cli import main as command

        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
