"""Responses as bytes, one entry each, and what becomes of them on their way to the client.

A section number stands for RFC 9112 unless it says otherwise. The limits are those of `LIMITS`.
"""

from tests.messages.requests import CHUNKED, LAST, LENGTH, UPGRADE, X, get
from tests.peers import DATE, chunk
from unbuffer.settings.model import Limits

LIMITS = Limits(head=2048, headers=20)

GET = get()
HEAD = GET.replace(b"GET", b"HEAD")
OLD = get(b"Connection: keep-alive", version=b"1.0")
TAKES_TRAILERS = get(b"TE: trailers")
ASKS = get(UPGRADE, b"Upgrade: x")


def reply(*lines: bytes, status: bytes = b"200 OK", version: bytes = b"1.1", body: bytes = b"") -> bytes:
    """A response with these field lines and these bytes after its head."""
    return b"\r\n".join([b"HTTP/%b %b" % (version, status), *lines]) + b"\r\n\r\n" + body


def seen(*lines: bytes, status: bytes = b"200 OK", framing: bytes = b"", body: bytes = b"") -> bytes:
    """What reaches the client: fields that were passed, then unbuffer's own, then the framing as it was rebuilt."""
    date = b"" if status.startswith(b"1") else DATE
    own = [
        *filter(None, [date]),
        b"X-Content-Type-Options: nosniff",
        b"X-Accel-Buffering: no",
        *filter(None, [framing]),
    ]
    return reply(*lines, *own, status=status, body=body)


def stream(*lines: bytes, framing: bytes = CHUNKED, body: bytes = X) -> bytes:
    """A body of unknown length as it reaches the client."""
    return seen(*lines, b"Cache-Control: no-transform", b"Incremental: ?1", framing=framing, body=body)


OK = reply(LENGTH, body=b"x")
SEEN = seen(framing=LENGTH, body=b"x")
EMPTY = b"Content-Length: 0"
SWITCHING = b"101 Switching Protocols"

# The connection carries the next exchange.
ACCEPTED = [
    ("a length", "6.2", GET, OK, SEEN),
    ("a length of 0", "6.2", GET, reply(EMPTY), seen(framing=EMPTY)),
    ("leading zeros", "6.2", GET, reply(b"Content-Length: 001", body=b"x"), SEEN),
    ("no reason", "4", GET, reply(LENGTH, status=b"200 ", body=b"x"), seen(status=b"200 ", framing=LENGTH, body=b"x")),
    (
        "no space either",
        "4",
        GET,
        reply(LENGTH, status=b"200", body=b"x"),
        seen(status=b"200 ", framing=LENGTH, body=b"x"),
    ),
    (
        "a reason beyond ASCII",
        "4",
        GET,
        reply(EMPTY, status=b"200 \xe4\t!"),
        seen(status=b"200 \xe4\t!", framing=EMPTY),
    ),
    ("a status of no class", "RFC 9110 15", GET, reply(EMPTY, status=b"999 x"), seen(status=b"999 x", framing=EMPTY)),
    ("chunked", "7.1", GET, reply(CHUNKED, body=X), stream()),
    ("Chunked", "7", GET, reply(b"Transfer-Encoding: Chunked \t", body=X), stream()),
    ("a space after a chunk size", "7.1", GET, reply(CHUNKED, body=b"1 \r\nx\r\n0 \r\n\r\n"), stream()),
    ("a space after the last size only", "7.1", GET, reply(CHUNKED, body=b"1\r\nx\r\n0  \r\n\r\n"), stream()),
    ("white space after a chunk size", "7.1", GET, reply(CHUNKED, body=b"1 \t \r\nx\r\n0\t\r\n\r\n"), stream()),
    ("a space before an extension", "7.1.1", GET, reply(CHUNKED, body=b"1 ;a=b\r\nx\r\n0\r\n\r\n"), stream()),
    (
        "spaces around extensions",
        "7.1.1",
        GET,
        reply(CHUNKED, body=b'1 ; a = "b ;\\"c" ;d \r\nx\r\n0 ; a\r\n\r\n'),
        stream(),
    ),
    (
        "content that looks like odd sizes",
        "7.1",
        GET,
        reply(CHUNKED, body=b"a ; a\r\n1 \r\n0 \r\n\r\n\r\n0 ; a\r\n\r\n"),
        stream(body=b"a\r\n1 \r\n0 \r\n\r\n\r\n0\r\n\r\n"),
    ),
    (
        "trailers after odd sizes",
        "7.1.2",
        TAKES_TRAILERS,
        reply(CHUNKED, body=b"1 ; a\r\nx\r\n0 ; a\r\nA: 1 ; b\r\n\r\n"),
        stream(body=b"1\r\nx\r\n0\r\nA: 1 ; b\r\n\r\n"),
    ),
    (
        "a space after a size in the middle",
        "7.1",
        GET,
        reply(CHUNKED, body=b"1\r\nx\r\n1 ; a = b\r\ny\r\n0\r\n\r\n"),
        stream(body=b"2\r\nxy\r\n0\r\n\r\n"),
    ),
    (
        "white space before the colon of a trailer",
        "5.1",
        TAKES_TRAILERS,
        reply(CHUNKED, body=b"1\r\nx\r\n0\r\nA : b\r\n\r\n"),
        stream(body=b"1\r\nx\r\n0\r\nA: b\r\n\r\n"),
    ),
    (
        "white space before a colon",
        "5.1",
        GET,
        reply(b"A : b : c", b"B\t \t:c", LENGTH, body=b"x"),
        seen(b"A: b : c", b"B: c", framing=LENGTH, body=b"x"),
    ),
    ("a space before a length's colon", "5.1", GET, reply(b"Content-Length : 1", body=b"x"), SEEN),
    ("a space before a coding's colon", "5.1", GET, reply(b"Transfer-Encoding : chunked", body=X), stream()),
    (
        "a space before the colon of an informational response",
        "5.1",
        GET,
        reply(b"A : b", status=b"103 E") + OK,
        reply(b"A: b", status=b"103 E") + SEEN,
    ),
    ("identity for HEAD", "6.3", HEAD, reply(b"Transfer-Encoding: identity"), seen()),
    ("leading zeros in a chunk size", "7.1", GET, reply(CHUNKED, body=b"0001\r\nx\r\n000\r\n\r\n"), stream()),
    ("chunk extensions", "7.1.1", GET, reply(CHUNKED, body=b'1;a="b;c"\r\nx\r\n0;d\r\n\r\n'), stream()),
    (
        "a body that looks like a last chunk",
        "7.1",
        GET,
        reply(CHUNKED, body=b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
        stream(body=b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
    ),
    (
        "trailers that nobody wants",
        "6.5.1",
        GET,
        reply(CHUNKED, b"Trailer: A", body=b"1\r\nx\r\n0\r\nA: b\r\n\r\n"),
        stream(),
    ),
    (
        "trailers",
        "7.1.2",
        TAKES_TRAILERS,
        reply(CHUNKED, body=b"1\r\nx\r\n0\r\nA: b\r\n\r\n"),
        stream(body=b"1\r\nx\r\n0\r\nA: b\r\n\r\n"),
    ),
    (
        "trailers that are header fields",
        "RFC 9110 6.5.1",
        TAKES_TRAILERS,
        reply(
            CHUNKED,
            body=b"1\r\nx\r\n0\r\nSet-Cookie: a\r\nLocation: /\r\nContent-Type: b\r\nTrailer: c\r\nA: b\r\n\r\n",
        ),
        stream(body=b"1\r\nx\r\n0\r\nA: b\r\n\r\n"),
    ),
    (
        "an upgrade in the trailers",
        "RFC 9110 6.5.1",
        TAKES_TRAILERS,
        reply(CHUNKED, body=b"1\r\nx\r\n0\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\n"),
        stream(),
    ),
    ("chunked for HEAD", "6.3", HEAD, reply(CHUNKED), seen()),
    ("a length for HEAD", "6.3", HEAD, reply(LENGTH), seen(framing=LENGTH)),
    ("204", "6.3", GET, reply(status=b"204 N"), seen(status=b"204 N")),
    ("204 with a length", "RFC 9110 8.6", GET, reply(LENGTH, status=b"204 N"), seen(status=b"204 N")),
    ("204 and chunked", "6.1", GET, reply(CHUNKED, status=b"204 N"), seen(status=b"204 N")),
    ("304 with a length", "6.3", GET, reply(LENGTH, status=b"304 N"), seen(status=b"304 N", framing=LENGTH)),
    ("304 and chunked", "6.3", GET, reply(CHUNKED, status=b"304 N"), seen(status=b"304 N")),
    ("100 Continue", "RFC 9110 15.2", GET, reply(status=b"100 C") + OK, reply(status=b"100 C") + SEEN),
    (
        "two informational responses",
        "RFC 8297 2",
        GET,
        reply(b"Link: a", status=b"103 E") * 2 + OK,
        reply(b"Link: a", status=b"103 E") * 2 + SEEN,
    ),
    (
        "an informational response with a length",
        "6.3",
        GET,
        reply(b"Content-Length: 9", b"A: b", status=b"103 E") + OK,
        reply(b"A: b", status=b"103 E") + SEEN,
    ),
    (
        "an informational response and chunked",
        "6.3",
        GET,
        reply(CHUNKED, status=b"102 P") + OK,
        reply(status=b"102 P") + SEEN,
    ),
    (
        "an informational response for HTTP/1.0",
        "RFC 9110 15.2",
        OLD,
        reply(status=b"103 E") + OK,
        seen(framing=LENGTH + b"\r\nConnection: keep-alive", body=b"x"),
    ),
    (
        "hop-by-hop fields",
        "RFC 9110 7.6.1",
        GET,
        reply(
            b"Connection: A, keep-alive",
            b"A: b",
            b"Keep-Alive: timeout=5",
            b"Upgrade: y",
            b"Proxy-Authenticate: z",
            LENGTH,
            body=b"x",
        ),
        SEEN,
    ),
    (
        "a length that Connection names",
        "RFC 9110 7.6.1",
        GET,
        reply(b"Connection: content-length", LENGTH, body=b"x"),
        SEEN,
    ),
    (
        "fields that unbuffer sets",
        "RFC 9110 5.3",
        GET,
        reply(b"X-Accel-Buffering: yes", b"x-content-type-options: a", LENGTH, body=b"x"),
        SEEN,
    ),
    (
        "repetitions, an empty value, odd bytes",
        "RFC 9110 5.5",
        GET,
        reply(b"A:\t1 ", b"a:", b"!#$%&'*+-.^_`|~: \x80\t\xff", LENGTH, body=b"x"),
        seen(b"A: 1", b"a: ", b"!#$%&'*+-.^_`|~: \x80\t\xff", framing=LENGTH, body=b"x"),
    ),
    ("an upgrade that is declined", "RFC 9110 7.8", ASKS, OK, SEEN),
    (
        "an upgrade that is required",
        "RFC 9110 15.5.22",
        GET,
        reply(b"Upgrade: y", LENGTH, status=b"426 U", body=b"x"),
        seen(status=b"426 U", framing=LENGTH + b"\r\nUpgrade: y\r\nConnection: Upgrade", body=b"x"),
    ),
]

# The connection ends after it: the response says so, or bytes came that nobody asked for.
LAST_OF_ITS_CONNECTION = [
    ("Connection: close", "9.6", GET, reply(LENGTH, b"Connection: a, Close", body=b"x"), SEEN),
    ("HTTP/1.0", "9.3", GET, reply(LENGTH, version=b"1.0", body=b"x"), SEEN),
    (
        "HTTP/1.0 that would stay",
        "C.2.2",
        GET,
        reply(LENGTH, b"Connection: keep-alive", version=b"1.0", body=b"x"),
        SEEN,
    ),
    ("two responses", "11.1", GET, OK + reply(LENGTH, body=b"y"), SEEN),
    ("a byte after a length", "6.3", GET, OK + b"y", SEEN),
    ("a line end after a length", "6.3", GET, OK + b"\r\n", SEEN),
    ("a body after a length of 0", "6.3", GET, reply(EMPTY, body=b"x"), seen(framing=EMPTY)),
    ("a byte after a last chunk", "7.1", GET, reply(CHUNKED, body=X + b"y"), stream()),
    ("a line end after a last chunk", "7.1", GET, reply(CHUNKED, body=X + b"\r\n"), stream()),
    ("a bare CR after a last chunk", "7.1", GET, reply(CHUNKED, body=X + b"\r"), stream()),
    ("a bare LF after a last chunk", "7.1", GET, reply(CHUNKED, body=X + b"\n"), stream()),
    ("a line end after trailers", "7.1.2", GET, reply(CHUNKED, body=X[:-2] + b"A: b\r\n\r\n\r\n"), stream()),
    ("a second last chunk", "7.1", GET, reply(CHUNKED, body=X + LAST), stream()),
    ("a response after a last chunk", "11.1", GET, reply(CHUNKED, body=X) + OK, stream()),
    ("a response after trailers", "11.1", GET, reply(CHUNKED, body=X[:-2] + b"A: b\r\n\r\n") + OK, stream()),
    ("a body for HEAD", "6.3", HEAD, OK, seen(framing=LENGTH)),
    ("chunks for HEAD", "6.3", HEAD, reply(CHUNKED, body=X), seen()),
    ("a body with 204", "6.3", GET, reply(LENGTH, status=b"204 N", body=b"x"), seen(status=b"204 N")),
    ("chunks with 204", "6.3", GET, reply(CHUNKED, status=b"204 N", body=X), seen(status=b"204 N")),
    ("a body with 304", "6.3", GET, reply(LENGTH, status=b"304 N", body=b"x"), seen(status=b"304 N", framing=LENGTH)),
    ("a response after 304", "11.1", GET, reply(status=b"304 N") + OK, seen(status=b"304 N")),
    ("100 Continue after the response", "RFC 9110 15.2", GET, OK + reply(status=b"100 C"), SEEN),
]

# The body ends with the connection.
UNTIL_CLOSE = [
    ("no framing", "6.3", GET, reply(body=b"x"), stream()),
    ("no framing in HTTP/1.0", "6.3", GET, reply(version=b"1.0", body=b"x"), stream()),
    ("identity", "6.3", GET, reply(b"Transfer-Encoding: identity", body=b"x"), stream()),
    ("Identity", "6.3", GET, reply(b"Transfer-Encoding: Identity ", body=b"x"), stream()),
    (
        "identity in HTTP/1.0",
        "6.3",
        GET,
        reply(b"Transfer-Encoding: identity", version=b"1.0", body=b"x"),
        stream(),
    ),
    (
        "identity and a body that looks chunked",
        "6.3",
        GET,
        reply(b"Transfer-Encoding: identity", body=X),
        stream(body=b"b\r\n%b\r\n0\r\n\r\n" % X),
    ),
    ("no framing and no body", "6.3", GET, reply(), stream(body=LAST)),
    (
        "a body that looks like a response",
        "6.3",
        GET,
        reply(body=OK),
        stream(body=chunk(OK) + chunk(b"")),
    ),
    ("no framing for HTTP/1.0", "6.3", OLD, reply(body=b"x"), stream(framing=b"Connection: close", body=b"x")),
]

REFUSED = [
    # -- the status line
    ("not HTTP", "4", GET, b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("a request", "4", GET, GET),
    ("HTTP/0.9", "4", GET, b"<html>hello</html>"),
    ("an ICY line", "4", GET, b"ICY 200 OK\r\n\r\n"),
    ("HTTP/2", "4", GET, b"HTTP/2 200 OK\r\n\r\n"),
    ("HTTP/2.0", "4", GET, reply(EMPTY, version=b"2.0")),
    ("HTTP/1.2", "4", GET, reply(EMPTY, version=b"1.2")),
    ("HTTP/0.9 with its name", "4", GET, reply(EMPTY, version=b"0.9")),
    ("HTTP/01.1", "4", GET, reply(EMPTY, version=b"01.1")),
    ("HTTP/1.10", "4", GET, reply(EMPTY, version=b"1.10")),
    ("http/1.1", "4", GET, b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a frame of HTTP/2", "4", GET, b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
    ("no status", "4", GET, b"HTTP/1.1 OK\r\n\r\n"),
    ("nothing but a version", "4", GET, b"HTTP/1.1\r\n\r\n"),
    ("a status of 2 digits", "4", GET, reply(EMPTY, status=b"20 OK")),
    ("a status of 4 digits", "4", GET, reply(EMPTY, status=b"2000 OK")),
    ("a status of 099", "4", GET, reply(EMPTY, status=b"099 Low")),
    ("a status of 000", "4", GET, reply(EMPTY, status=b"000 Low")),
    ("a signed status", "4", GET, reply(EMPTY, status=b"+20 OK")),
    ("a status with letters", "4", GET, reply(EMPTY, status=b"2xx OK")),
    ("a status with a fraction", "4", GET, reply(EMPTY, status=b"200.1 OK")),
    ("two spaces before the status", "4", GET, reply(EMPTY, status=b" 200 OK")),
    ("a tab before the status", "4", GET, b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("an empty line before the status line", "4", GET, b"\r\n" + OK),
    ("a space before the status line", "4", GET, b" " + OK),
    ("a NUL in the reason", "4", GET, reply(EMPTY, status=b"200 O\0K")),
    ("a control byte in the reason", "4", GET, reply(EMPTY, status=b"200 O\x1bK")),
    ("a bare CR in the reason", "2.2", GET, reply(EMPTY, status=b"200 O\rA: b")),
    ("a bare LF in the reason", "2.2", GET, reply(EMPTY, status=b"200 O\nA: b")),
    ("a bare LF after the status line", "2.2", GET, b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
    ("a reason without end", "RFC 9110 15.6.3", GET, b"HTTP/1.1 200 " + b"x" * 3000),
    # -- framing
    ("both framing fields", "6.1", GET, reply(LENGTH, CHUNKED, body=X)),
    ("both, the other way round", "6.1", GET, reply(CHUNKED, LENGTH, body=X)),
    ("both for HEAD", "6.1", HEAD, reply(CHUNKED, LENGTH)),
    ("two lengths", "6.3", GET, reply(LENGTH, b"Content-Length: 2", body=b"xy")),
    ("two equal lengths", "6.3", GET, reply(LENGTH, LENGTH, body=b"x")),
    ("a list of lengths", "6.3", GET, reply(b"Content-Length: 1, 2", body=b"xy")),
    ("a list of equal lengths", "6.3", GET, reply(b"Content-Length: 1,1", body=b"x")),
    ("two lengths for HEAD", "6.3", HEAD, reply(LENGTH, b"Content-Length: 2")),
    ("a signed length", "6.3", GET, reply(b"Content-Length: +1", body=b"x")),
    ("a negative length", "6.3", GET, reply(b"Content-Length: -1", body=b"x")),
    ("a hexadecimal length", "6.3", GET, reply(b"Content-Length: 0x1", body=b"x")),
    ("an empty length", "6.3", GET, reply(b"Content-Length:", body=b"x")),
    ("a length of 2**64 + 1", "6.3", GET, reply(b"Content-Length: 18446744073709551617", body=b"x")),
    ("gzip", "6.1", GET, reply(b"Transfer-Encoding: gzip", body=b"x")),
    ("gzip, then chunked", "6.1", GET, reply(b"Transfer-Encoding: gzip, chunked", body=X)),
    ("chunked, then gzip", "6.1", GET, reply(b"Transfer-Encoding: chunked, gzip", body=X)),
    ("chunked twice", "6.1", GET, reply(b"Transfer-Encoding: chunked, chunked", body=X)),
    ("chunked twice in two fields", "6.1", GET, reply(CHUNKED, CHUNKED, body=X)),
    ("identity beside a length", "6.1", GET, reply(b"Transfer-Encoding: identity", LENGTH, body=b"x")),
    ("identity, then chunked", "6.1", GET, reply(b"Transfer-Encoding: identity, chunked", body=X)),
    ("identity and chunked in two fields", "6.1", GET, reply(b"Transfer-Encoding: identity", CHUNKED, body=X)),
    ("both framing fields, one with a space", "6.1", GET, reply(b"Content-Length : 1", CHUNKED, body=X)),
    ("two lengths, one with a space", "6.3", GET, reply(b"Content-Length : 1", LENGTH, body=b"x")),
    ("almost chunked", "6.1", GET, reply(b"Transfer-Encoding: xchunked", body=X)),
    ("chunked after a vertical tab", "RFC 9110 5.5", GET, reply(b"Transfer-Encoding: \x0bchunked", body=X)),
    ("chunked in HTTP/1.0", "6.1", GET, reply(CHUNKED, version=b"1.0", body=X)),
    # -- field lines
    ("a folded value", "5.2", GET, reply(b"A: b\r\n c", EMPTY)),
    ("a value folded by a tab", "5.2", GET, reply(b"A: b\r\n\tc", EMPTY)),
    ("a space before the first name", "2.2", GET, reply(b" A: b", EMPTY)),
    ("two words before a colon", "5", GET, reply(b"A B : c", EMPTY)),
    ("a space and a folded value", "5.2", GET, reply(b"A : b\r\n c", EMPTY)),
    ("a space before a name and before its colon", "5.2", GET, reply(b" A : b", EMPTY)),
    ("a NUL before a colon", "RFC 9110 5.1", GET, reply(b"A \0: b", EMPTY)),
    ("a bare CR before a colon", "2.2", GET, reply(b"A \r: b", EMPTY)),
    ("a bare LF and a space before a colon", "2.2", GET, reply(b"A: b\nB : c", EMPTY)),
    ("a space in a name", "5", GET, reply(b"A B: c", EMPTY)),
    ("no name", "5", GET, reply(b": b", EMPTY)),
    ("no colon", "5", GET, reply(b"A", EMPTY)),
    ("a NUL in a name", "RFC 9110 5.1", GET, reply(b"A\0: b", EMPTY)),
    ("a byte beyond ASCII in a name", "RFC 9110 5.1", GET, reply(b"A\xe4: b", EMPTY)),
    ("a NUL in a value", "RFC 9110 5.5", GET, reply(b"A: b\0", EMPTY)),
    ("a control byte in a value", "RFC 9110 5.5", GET, reply(b"A: \x08b", EMPTY)),
    ("a bare CR in a value", "2.2", GET, reply(b"A: b\rSet-Cookie: c", EMPTY)),
    ("a bare LF in a value", "2.2", GET, reply(b"A: b\nSet-Cookie: c", EMPTY)),
    ("bare LFs for an empty line", "2.2", GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\n"),
    ("a bare CR in the empty line", "2.2", GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\r\n"),
    # -- sizes
    ("a head that is too large", "RFC 9110 15.6.3", GET, reply(*[b"A: " + b"b" * 200] * 11, EMPTY)),
    ("one field that is too large", "RFC 9110 15.6.3", GET, reply(b"A: " + b"b" * 2048, EMPTY)),
    ("a field without end", "RFC 9110 15.6.3", GET, b"HTTP/1.1 200 OK\r\nA: " + b"b" * 3000),
    ("too many fields", "RFC 9110 15.6.3", GET, reply(*[b"A: b"] * 20, EMPTY)),
    # -- informational responses
    ("101 that nobody asked for", "RFC 9110 15.2.2", GET, reply(UPGRADE, b"Upgrade: x", status=SWITCHING)),
    (
        "101 for h2c, which was not passed on",
        "RFC 9110 7.8",
        get(UPGRADE, b"Upgrade: h2c"),
        reply(UPGRADE, b"Upgrade: h2c", status=SWITCHING),
    ),
    (
        "101 for HTTP/1.0",
        "RFC 9110 7.8",
        get(UPGRADE, b"Upgrade: x", version=b"1.0"),
        reply(UPGRADE, b"Upgrade: x", status=SWITCHING),
    ),
    ("101 without a protocol", "RFC 9110 15.2.2", ASKS, reply(status=SWITCHING)),
    (
        "101 for a protocol that was not offered",
        "RFC 9110 7.8",
        ASKS,
        reply(UPGRADE, b"Upgrade: y", status=SWITCHING),
    ),
    ("101 for no protocol by name", "RFC 9110 7.8", ASKS, reply(UPGRADE, b"Upgrade: ,", status=SWITCHING)),
    ("a bad informational response", "6.3", GET, reply(b"A B: b", status=b"103 E") + OK),
]
