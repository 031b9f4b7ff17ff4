"""Which responses go out without their content codings, and what of their heads and trailers holds then.

GET, HEAD, 206, 304 and 416 of a resource tell one story: of what a client with this unbuffer in front of it gets.
"""

import re
from typing import Final

from unbuffer.http.coding import decodable
from unbuffer.http.request import Fields
from unbuffer.http.response import ResponseHead

# A digest of the content, or of the representation with its codings (RFC 9530, RFC 3230, RFC 1864): the client has
# neither of them.
OF_CODED_BYTES: Final = frozenset((b"content-encoding", b"content-digest", b"repr-digest", b"digest", b"content-md5"))
# What is packed by itself. A server that has such a file may call the way it is packed a coding of its content, as
# Apache's AddEncoding does; unpacked it would not be the file that its name and its checksum promise.
_PACKED: Final = frozenset(
    (
        b"application/gzip",
        b"application/x-gzip",
        b"application/x-tar",
        b"application/x-gtar",
        b"application/x-tgz",
        b"application/x-compressed",
        b"application/x-compressed-tar",
        b"application/zip",
        b"application/zstd",
        b"application/x-brotli",
    )
)
_TAG: Final = re.compile(rb'(?:W/)?"[^"]*"')
_FIRST: Final = re.compile(rb"bytes=([0-9]{1,18})-[0-9]*")
_UNSATISFIED: Final = re.compile(rb"bytes \*/([0-9]{1,18})")


def goes_out_decoded(head: ResponseHead, decode: str, head_request: bool) -> bool:
    """Whether the body is decoded; of a head alone (HEAD, 304), whether that of a GET with this head would be.

    decode: as the setting says, "streams", "always" or "never". A body of unknown length may be a stream; one with a
    length is complete where it was made, and its compressor holds nothing back, and so is a file. A head without a
    length, of a HEAD, is taken for that of a body without one; `leaves_open` says of which that is a guess.
    """
    if decode == "never" or head.status in (204, 206) or not decodable(head.codings):
        return False
    bodiless = head_request or head.status == 304
    length = head.length if bodiless else head.framing
    return bool(head.codings) and length != 0 and (decode == "always" or (length < 0 and not _stays(head)))


def leaves_open(head: ResponseHead, decode: str) -> bool:
    """Whether the head alone of what goes out decoded (HEAD, 304) may still be that of a GET that does not.

    A server need not say before a GET how it frames the body (RFC 9110, section 9.3.2): without Content-Length and
    Transfer-Encoding nobody knows. Then the head has what holds either way, which leaves no word for ranges.
    """
    return decode == "streams" and head.length < 0 and not value_of(head.fields, b"transfer-encoding")


def without_ranges(fields: Fields) -> Fields:
    """The fields without what they say of ranges."""
    return [(name, value) for name, value in fields if name.lower() != b"accept-ranges"]


def ranges_over_coded(head: ResponseHead, decode: str, asked: bytes) -> bool:
    """Whether the answer to this Range counts in bytes that the client does not have: it got them decoded.

    206: a part of coded bytes, where the whole goes out decoded. 416: the client has more bytes than there are coded
    ones; curl -C - takes that for a file that is complete.
    """
    if decode == "never":
        return False
    if head.status == 206:
        unknown = head.length < 0 or value_of(head.fields, b"content-range").endswith(b"/*")
        codings = head.codings
        return bool(codings) and decodable(codings) and (decode == "always" or (unknown and not _stays(head)))
    if decode != "always":
        return False  # complete files have their ranges as the server counts them
    first, total = _FIRST.fullmatch(asked), _UNSATISFIED.fullmatch(value_of(head.fields, b"content-range"))
    return first is not None and total is not None and int(first[1]) > int(total[1])


def is_of_decoded(head: ResponseHead, known: bytes) -> bool | None:
    """Whether this 304 speaks of a response that the client has decoded; None = it cannot be told from its
    If-None-Match, `known`.

    A 304 need not name codings, but the client has told: it has as weak what the upstream calls by a strong tag, and as
    strong what it has as it came. With another tag a cache would find nothing to renew (RFC 9111, section 4.3.4).
    """
    tag = value_of(head.fields, b"etag")
    tags = _TAG.findall(known)
    if not tag.startswith(b'"'):
        return None
    return False if tag in tags else True if b"W/" + tag in tags else None


def weak(tag: bytes) -> bytes:
    """The entity tag for the decoded body, which has other bytes (RFC 9110, section 8.8.1)."""
    return b"W/" + tag if tag.startswith(b'"') else tag


def without_coded(trailers: Fields) -> Fields:
    """The trailer fields that hold of a body which did not go out as it came."""
    return [
        (name, weak(value) if name.lower() == b"etag" else value)
        for name, value in trailers
        if name.lower() not in OF_CODED_BYTES
    ]


def announced(names: bytes) -> bytes:
    """The value of Trailer without the fields that `without_coded` takes out; empty = none is left."""
    kept = (name.strip(b" \t") for name in names.split(b","))
    return b", ".join(name for name in kept if name and name.lower() not in OF_CODED_BYTES)


def value_of(fields: Fields, wanted: bytes) -> bytes:
    """The values of all fields with this name, in lower case, as one list."""
    return b", ".join(value for name, value in fields if name.lower() == wanted)


def _stays(head: ResponseHead) -> bool:
    """Whether the body is a file, or the application says that it stays as it is (RFC 9111, section 5.2.2.6)."""
    return (
        value_of(head.fields, b"cache-control").lower().find(b"no-transform") >= 0
        or value_of(head.fields, b"content-disposition").lower().startswith(b"attachment")
        or value_of(head.fields, b"content-type").partition(b";")[0].strip(b" \t").lower() in _PACKED
    )
