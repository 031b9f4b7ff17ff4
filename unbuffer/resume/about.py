"""What another process must know of a stream, and how it ended, as the text that is stored."""

import json

from unbuffer.resume.store import About, End


def pack(about: About, process: bytes) -> bytes:
    """With the name of the process that serves it."""
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in about.fields]
    credentials = [name.decode("latin-1") for name in about.credentials]
    method, reason = about.method.decode("latin-1"), about.reason.decode("latin-1")
    plain = [1, process.decode(), method, about.digest.hex(), credentials, about.window, about.size, reason, fields]
    return json.dumps(plain, separators=(",", ":")).encode()


def unpack(name: bytes, text: bytes) -> tuple[About, bytes]:
    """The other way round, for the stream of this name. Raises ValueError for what another version has written."""
    try:
        version, process, method, digest, credentials, window, size, reason, fields = json.loads(text)
        if version != 1:
            raise ValueError(f"version {version}")
        about = About(
            name=name,
            method=method.encode("latin-1"),
            digest=bytes.fromhex(digest),
            credentials=tuple(one.encode("latin-1") for one in credentials),
            window=float(window),
            size=int(size),
            reason=reason.encode("latin-1"),
            fields=[(one.encode("latin-1"), value.encode("latin-1")) for one, value in fields],
        )
        return about, process.encode()
    except (TypeError, AttributeError) as error:  # JSON, but of other things
        raise ValueError(str(error)) from None


def pack_end(end: End) -> bytes:
    """See `unpack_end`."""
    return json.dumps([end.outcome, end.detail, end.explained]).encode()


def unpack_end(text: bytes) -> End:
    """How a stream ended."""
    outcome, detail, explained = json.loads(text)
    return End(outcome, detail, explained)
