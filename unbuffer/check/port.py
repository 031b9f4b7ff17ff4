"""What a port speaks that did not answer as its URL has it, so that the user need not guess."""

import asyncio
from dataclasses import replace

from unbuffer.check.messages import FIRST_WORDS
from unbuffer.check.observation import printable
from unbuffer.check.target import Target
from unbuffer.check.wire import TlsError, UnreachableError, Way, connect
from unbuffer.http.request import HTTP2_PREFACE

PATIENCE = 3.0
"""Seconds for each attempt."""

_ASK = "OPTIONS * HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n"
"""Asks the server itself, and nothing of an application (RFC 9110, section 9.3.7)."""

_PREFACE = HTTP2_PREFACE + b"\0\0\0\x04\0\0\0\0\0"
"""HTTP/2 with prior knowledge, and empty settings (RFC 9113, section 3.4)."""

_TLS = (b"\x15\x03", b"\x16\x03")
"""How records of alerts and of handshakes begin (RFC 8446, section 5.1)."""

_SPEAKERS = (
    (b"SSH-", "SSH"),
    (b"220", "a greeting of SMTP or FTP"),
    (b"-", "an error of Redis or Valkey"),
    (b"* OK", "IMAP"),
    (b"+OK", "POP3"),
)


async def spoken(target: Target, way: Way) -> str:
    """What the port of this URL speaks instead, and what to try; empty = that is not known."""
    if way.proxy is not None:
        return ""
    if target.tls:
        words = await _first_words(replace(target, scheme="http"), way, _ASK.format(target.authority).encode("ascii"))
        if words.startswith(b"HTTP/"):
            return f"the port speaks HTTP without TLS: try {_other(target, 'http')}"
        return f"without TLS {what_came(words)}" if words else ""
    if await _takes_tls(target, way):
        return f"the port speaks TLS: try {_other(target, 'https')}"
    if _is_http2(await _first_words(target, way, _PREFACE)):
        return "the port speaks HTTP/2 alone, without TLS (h2c), which is not asked here: check the hop in front of it"
    return ""


def what_came(data: bytes) -> str:
    """The beginning of what came in place of HTTP/1.1, in printable characters, and who speaks so."""
    line = data[:FIRST_WORDS].partition(b"\n")[0].rstrip(b"\r")
    who = "a record of TLS" if data.startswith(_TLS) else "HTTP/2" if _is_http2(data) else ""
    who = who or next((name for begin, name in _SPEAKERS if data.startswith(begin)), "")
    return f'it says "{printable(line.decode("latin-1"))}"' + (f" ({who})" if who else "")


def _other(target: Target, scheme: str) -> str:
    return replace(target, scheme=scheme).shown


def _is_http2(data: bytes) -> bool:
    """Whether it begins with the settings, or the farewell, of an HTTP/2 connection (RFC 9113, sections 6.5, 6.8)."""
    return len(data) >= 9 and data[3] in (4, 7) and data[:2] == b"\0\0" and data[5:9] == b"\0\0\0\0"


def tells(words: bytes) -> bool:
    """Whether this is enough to know who speaks."""
    return len(words) >= FIRST_WORDS or b"\n" in words or words.startswith(_TLS) or _is_http2(words)


async def _takes_tls(target: Target, way: Way) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            wire = await connect(replace(target, scheme="https"), replace(way, insecure=True), ("h2", "http/1.1"))
    except TlsError as error:
        return error.refused
    except (UnreachableError, TimeoutError):
        return False
    await wire.close()
    return True


async def _first_words(target: Target, way: Way, question: bytes) -> bytes:
    """What comes in answer to this, in clear text, up to its first line."""
    words = b""
    try:
        async with asyncio.timeout(PATIENCE):
            wire = await connect(target, way, ())
            try:
                wire.transport.write(question)
                while not tells(words) and (read := await wire.read()) is not None:
                    words += read[1]
            finally:
                await wire.close()
    except (UnreachableError, TimeoutError):
        pass
    return words
