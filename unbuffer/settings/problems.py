"""What is wrong with the settings, in words a person can act on: where it stands, what was wanted and found.

Nothing quoted here shows the user name or password of a URL.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

# Greedy up to the last "@": people write passwords with "@" and "/" although RFC 3986, section 3.2.1, forbids
# it. The path of a Unix socket may hold "@" and has no user.
_USER_INFO = re.compile(r"(?<!^unix)://.*@", re.DOTALL)

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend.

    where: `unbuffer.yaml:14 timeouts.silence`, `UNBUFFER_LISTEN`, `PORT` or `flag timeouts.silence`.
    """

    where: str
    message: str

    def __str__(self) -> str:
        """One line, whatever a file or a variable is called."""
        return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], f"{self.where}: {self.message}")


class SettingsError(Exception):
    """The settings cannot be used. `problems` has every reason; `str()` is one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = list(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def redact(text: str) -> str:
    """The text with `***` for the user name and password of a URL."""
    return _USER_INFO.sub("://***@", text)


def quote(text: str) -> str:
    """The text between double quotes, on one line, unprintable characters escaped, URLs redacted."""
    return f'"{repr(redact(text))[1:-1]}"'


def did_you_mean(word: str, known: Iterable[str], spelled: Callable[[str], str] = str) -> str:
    """The end of a message: the closest known word, spelled as its source does; empty if none is close."""
    from difflib import get_close_matches  # no process that serves needs it

    close = get_close_matches(word.lower(), known, n=1)
    return f'; did you mean "{spelled(close[0])}"?' if close else ""
