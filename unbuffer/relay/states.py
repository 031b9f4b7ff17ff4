"""The states of a client's connection of HTTP/1.1, and its moves from each to the next. Sections are of RFC 9112."""

from typing import Final

# Plain numbers: in Python 3.11 an Enum's member costs six times as much.
IDLE: Final = 0
"""Nothing of a request has come; empty lines before one are nothing (2.2)."""
HEAD: Final = 1
"""A part of a head has come (2.1)."""
BODY: Final = 2
"""The head is whole, so its exchange runs, or was answered already; the body is not whole (6)."""
ANSWER: Final = 3
"""The request is whole, its response is not. What comes is the next request, which waits (9.3.2)."""
TUNNEL: Final = 4
"""After 101 every byte is that of another protocol (RFC 9110, section 7.8)."""
ENDING: Final = 5
"""It is being closed: what comes is read and dropped (9.6)."""
CLOSED: Final = 6

NAMES: Final[tuple[str, ...]] = ("idle", "head", "body", "answer", "tunnel", "ending", "closed")

# To ENDING leads, from everywhere, an error, a deadline or the end of the process; to CLOSED the loss of the
# connection, or its hand-over to HTTP/2.
_MOVES: Final[tuple[tuple[int, ...], ...]] = (
    # IDLE: a part of a head has come; a whole one, with a body to follow (6.3) or without.
    (HEAD, BODY, ANSWER, ENDING, CLOSED),
    # HEAD: its rest has come.
    (BODY, ANSWER, ENDING, CLOSED),
    # BODY: its end has come (6.3). After an answer before that end the connection is closed (9.3).
    (ANSWER, ENDING, CLOSED),
    # ANSWER: the response is whole, and the connection persists (9.3), or one side has said "close" (9.6); 101.
    (IDLE, TUNNEL, ENDING, CLOSED),
    # TUNNEL: both sides have said everything.
    (ENDING, CLOSED),
    # ENDING: the client has closed as well, or is given up.
    (CLOSED,),
    (),
)


_ALLOWED: Final[tuple[int, ...]] = tuple(sum(1 << to for to in moves) for moves in _MOVES)
"""The same in bits: each request moves twice."""


def moved(state: int, to: int) -> int:
    """The state to which a connection goes on. Raises RuntimeError for a move that the table does not have."""
    if not _ALLOWED[state] >> to & 1:
        raise RuntimeError(f"a connection in the state {NAMES[state]} cannot come to {NAMES[to]}")
    return to
