"""Cross-origin access (https://fetch.spec.whatwg.org/#http-cors-protocol) to what unbuffer itself answers.

An application says in each of its answers which pages of other origins may read it. For an answer that unbuffer makes
nobody has said so, and the page learns that something failed, but neither the status nor why.
"""

from typing import Final

from unbuffer.http.request import RequestHead

_EXPOSED: Final = b"Access-Control-Expose-Headers: Proxy-Status, Retry-After, WWW-Authenticate\r\n"


def answer_fields(request: RequestHead, origins: frozenset[bytes]) -> bytes:
    """The fields of an own answer. Nothing in it is anybody's secret: a page that sent credentials may read it too."""
    if not origins:
        return b""
    origin = _origin(request)
    if origin not in origins:
        return b"Vary: Origin\r\n"
    return (
        b"Vary: Origin\r\nAccess-Control-Allow-Origin: %b\r\nAccess-Control-Allow-Credentials: true\r\n" % origin
        + _EXPOSED
    )


def is_preflight(request: RequestHead, origins: frozenset[bytes]) -> bool:
    """Whether a browser asks, for a page of one of these origins, whether it may send the request itself. It never
    sends credentials along."""
    return (
        request.method == b"OPTIONS"
        and request.framing == 0
        and bool(_field(request, b"access-control-request-method"))
        and _origin(request) in origins
    )


def preflight_fields(request: RequestHead) -> bytes:
    """Of an answer that lets the request itself come, to be told the reason. It is forgotten at once."""
    method = _field(request, b"access-control-request-method")
    names = _field(request, b"access-control-request-headers")
    allowed = b"Access-Control-Allow-Headers: %b\r\n" % names if names else b""
    return b"Access-Control-Allow-Methods: %b\r\n%bAccess-Control-Max-Age: 0\r\n" % (method, allowed)


def _origin(request: RequestHead) -> bytes:
    return _field(request, b"origin")


def _field(request: RequestHead, wanted: bytes) -> bytes:
    """The value of a field; none where it came more than once."""
    values = [value for name, value in request.fields if name.lower() == wanted]
    return values[0] if len(values) == 1 else b""
