"""Why the process cannot serve."""


class StartError(Exception):
    """An address, a certificate or a command cannot be used; the text says which and why. code: for the exit."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code
