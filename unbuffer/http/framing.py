"""Where a body ends: the rules of RFC 9112, section 6, decided once for each message.

A framing is one integer: a length in bytes, or CHUNKED, or UNTIL_CLOSE. What is ambiguous raises `FramingError`: two
recipients that read one message differently are how requests are smuggled.
"""

from collections.abc import Sequence
from typing import Final

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

LAST_CHUNK: Final = b"0\r\n\r\n"


class FramingError(Exception):
    """The message's length cannot be known safely. `status` is what a server answers to such a request."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def request_framing(http11: bool, lengths: Sequence[bytes], codings: Sequence[bytes]) -> int:
    """How long a request's body is, by the values of its Content-Length and Transfer-Encoding fields.

    The steps are those of RFC 9112, section 6.3; what section 11.2 leaves to the recipient is refused.
    """
    if codings:
        if not http11:
            raise FramingError(400, "Transfer-Encoding in an HTTP/1.0 request")
        if lengths:
            raise FramingError(400, "both Content-Length and Transfer-Encoding")
        # In any case (RFC 9112, section 7): Apple's NSURLConnection writes `Chunked`. What goes up is written anew.
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise FramingError(501, "a Transfer-Encoding other than chunked")
        return CHUNKED
    return _content_length(lengths) if lengths else 0


def response_framing(
    status: int, head_request: bool, http11: bool, lengths: Sequence[bytes], codings: Sequence[bytes]
) -> int:
    """How long a response's body is (RFC 9112, section 6.3)."""
    if head_request or status < 200 or status in (204, 304):
        return 0
    if codings:
        if lengths:
            raise FramingError(502, "both Content-Length and Transfer-Encoding")
        if len(codings) == 1 and codings[0].lower() == b"identity":
            # RFC 2616 knew it as no coding at all. The final coding is not chunked: section 6.3, item 4.
            return UNTIL_CLOSE
        if not http11:
            raise FramingError(502, "Transfer-Encoding in an HTTP/1.0 response")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise FramingError(502, "a Transfer-Encoding other than chunked")
        return CHUNKED
    return _content_length(lengths) if lengths else UNTIL_CLOSE


def _content_length(values: Sequence[bytes]) -> int:
    # Equal repetitions may be merged (RFC 9110, section 8.6); refusing them is allowed as well and leaves no doubt.
    if len(values) > 1:
        raise FramingError(400, "more than one Content-Length")
    # 18 digits stay below 2**63, which every recipient can hold.
    length = number(values[0]) if len(values[0]) <= 18 else -1
    if length < 0:
        raise FramingError(400, "a Content-Length that is not a number")
    return length


def number(digits: bytes) -> int:
    """What decimal digits stand for; -1 = it is something else. (Compiled, a quarter of what `int` takes.)"""
    value = 0 if digits else -1
    for digit in digits:
        if not 0x30 <= digit <= 0x39:
            return -1
        value = value * 10 + digit - 0x30
    return value


def next_stop(data: bytes, start: int) -> int:
    """The offset after the next empty line of `data` from `start` on; its length where there is none.

    A head and a chunked body end after an empty line, nowhere else, and llhttp does not tell where a message ended:
    fed from stop to stop, it can be asked. A line end that begins a read may be the second half of an empty line.
    """
    if start:
        stop = data.find(b"\n\r\n", start - 1)
    elif data[:1] in b"\r\n":
        return data.find(b"\n") + 1 or len(data)
    else:
        stop = data.find(b"\n\r\n")
    return stop + 3 if stop >= 0 else len(data)


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding (RFC 9112, section 7.1). `data` must not be empty: that would be the end."""
    return b"%x\r\n%b\r\n" % (len(data), data)
