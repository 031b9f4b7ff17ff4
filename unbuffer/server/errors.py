"""Why the process cannot serve, and the exit codes of every command."""

from typing import Final

EX_FAILURE: Final = 1
"""At run time."""

EX_USAGE: Final = 2
"""As argparse has it."""

EX_UNAVAILABLE: Final = 69
EX_CONFIG: Final = 78
"""Something is not installed; bad settings (sysexits.h)."""

EX_NOT_EXECUTABLE: Final = 126
EX_NOT_FOUND: Final = 127
"""For a command that cannot be run, as of sh, env and nohup (POSIX)."""


class StartError(Exception):
    """An address, a certificate or a command cannot be used; the text says which and why. code: for the exit."""

    def __init__(self, text: str, code: int = EX_FAILURE) -> None:
        super().__init__(text)
        self.code = code
