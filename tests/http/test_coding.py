"""Content codings: the same content however the coded bytes are cut, at once, bounded, no false clean end."""

import contextlib
import gzip
import itertools
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator

import brotli
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.compiled import replaces
from unbuffer.http.coding import CodingError, Decoder, decodable, parse_codings

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
SKIPPABLE = struct.pack("<II", 0x184D2A50, 5) + b"hello"
FORMATS = ("gzip", "zlib", "raw deflate", "br", "zstd")
CODINGS = {"gzip": "gzip", "zlib": "deflate", "raw deflate": "deflate", "br": "br", "zstd": "zstd"}
TEXT = b"".join(b"data: token %d of a stream\n\n" % n for n in range(400))

formats = pytest.mark.parametrize("form", FORMATS)


def flushed(form: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What a server sends that flushes its compressor after every piece, and as the last item the end."""
    compress, flush, end = compressor(form)
    for piece in pieces:
        yield compress(piece) + flush()
    yield end()


def compressor(form: str) -> tuple[Callable[[bytes], bytes], Callable[[], bytes], Callable[[], bytes]]:
    if form == "br":
        br = brotli.Compressor(quality=3)
        return br.process, br.flush, br.finish
    if form == "zstd":
        options: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
        z = zstd.ZstdCompressor(options=options)
        return z.compress, lambda: z.flush(z.FLUSH_BLOCK), z.flush
    bits = {"gzip": 31, "zlib": 15, "raw deflate": -15}[form]
    deflate = zlib.compressobj(3, zlib.DEFLATED, bits)
    return deflate.compress, lambda: deflate.flush(zlib.Z_SYNC_FLUSH), deflate.flush


def encode(form: str, content: bytes) -> bytes:
    compress, _, end = compressor(form)
    return compress(content) + end()


def zeros(form: str, size: int) -> bytes:
    """`size` zeros, coded: a bomb. `size` is a multiple of 1 MiB."""
    compress, _, end = compressor(form)
    return b"".join(compress(bytes(MIB)) for _ in range(size // MIB)) + end()


def drain(decoder: Decoder, limit: int = 65536) -> bytes:
    return b"".join(iter(lambda: decoder.read(limit), b""))


def decode(codings: tuple[str, ...], chunks: Iterable[bytes], limit: int = 65536) -> bytes:
    decoder = Decoder(codings)
    content = bytearray()
    for chunk in chunks:
        decoder.feed(chunk)
        content += drain(decoder, limit)
    decoder.finish()
    return bytes(content)


def cut(data: bytes, points: Iterable[int]) -> list[bytes]:
    ends = sorted({point % (len(data) + 1) for point in points} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


# Content-Encoding


@pytest.mark.parametrize(
    ("value", "codings"),
    [
        (b"gzip", ("gzip",)),
        (b"X-GZip", ("gzip",)),
        (b"gzip, br", ("gzip", "br")),
        (b"deflate ,\tzstd", ("deflate", "zstd")),
        (b"identity", ()),
        (b"Identity, gzip", ("gzip",)),
        (b"", ()),
        (b" , ,, gzip,", ("gzip",)),
        (b"aws-chunked", ("aws-chunked",)),
        (b"\xff", ("\xff",)),
    ],
)
def test_codings_are_named_in_the_order_they_were_applied(value: bytes, codings: tuple[str, ...]) -> None:
    assert parse_codings(value) == codings


@pytest.mark.parametrize(
    ("codings", "answer"),
    [
        ((), True),
        (("gzip",), True),
        (("deflate", "br", "zstd"), True),
        (("gzip",) * 4, False),
        (("compress",), False),
        (("gzip", "aws-chunked"), False),
        (("x-gzip",), False),
    ],
)
def test_only_known_codings_in_short_chains_are_decodable(codings: tuple[str, ...], answer: bool) -> None:
    assert decodable(codings) is answer


def test_a_decoder_refuses_what_is_not_decodable() -> None:
    with pytest.raises(ValueError, match="gzip, compress"):
        Decoder(("gzip", "compress"))


# The same content, however it is cut


@formats
@given(
    pieces=st.lists(st.binary(max_size=300), max_size=8),
    repeat=st.integers(1, 200),
    points=st.lists(st.integers(0, 1 << 20), max_size=20),
    limit=st.integers(1, 70000),
)
def test_the_content_does_not_depend_on_the_chunks(
    form: str, pieces: list[bytes], repeat: int, points: list[int], limit: int
) -> None:
    pieces = [piece * repeat for piece in pieces]
    coded = b"".join(flushed(form, pieces))
    assert decode((CODINGS[form],), cut(coded, points), limit) == b"".join(pieces)


@formats
def test_bytes_may_come_one_by_one(form: str) -> None:
    coded = encode(form, TEXT)
    assert decode((CODINGS[form],), cut(coded, range(len(coded)))) == TEXT


@formats
def test_a_body_may_be_cut_in_two_anywhere(form: str) -> None:
    coded = encode(form, TEXT[:200])
    for point in range(len(coded) + 1):
        assert decode((CODINGS[form],), [coded[:point], coded[point:]]) == TEXT[:200]


@formats
def test_incompressible_content_comes_out_whole(form: str) -> None:
    content = random.Random(7).randbytes(MIB)
    assert decode((CODINGS[form],), [encode(form, content)]) == content


@pytest.mark.parametrize("codings", list(itertools.product(("gzip", "br", "zstd"), repeat=3)), ids="-".join)
def test_chains_are_undone_in_reverse(codings: tuple[str, ...]) -> None:
    # Seven random bits in each byte: zstd makes its largest compressed blocks, so stages wait longest.
    content = random.Random(7).randbytes(400_000).translate(bytes(range(128)) * 2)
    coded = content
    for coding in codings:
        coded = encode(coding, coded)
    assert decode(codings, cut(coded, range(0, len(coded), 50_000))) == content


def test_without_codings_bytes_pass_through() -> None:
    assert decode((), [TEXT, TEXT]) == TEXT + TEXT
    decoder = Decoder(())
    decoder.feed(TEXT)
    assert decoder.read(7) == TEXT[:7]


# At once


@formats
def test_what_a_flushed_chunk_carries_comes_out_of_it(form: str) -> None:
    pieces = [b"data: %d %s\n\n" % (n, b"x" * (n * n)) for n in range(120)] + [TEXT * 20]
    decoder = Decoder((CODINGS[form],))
    for piece, coded in zip(pieces, flushed(form, pieces), strict=False):
        decoder.feed(coded)
        assert drain(decoder) == piece


def test_a_chain_of_flushed_codings_keeps_nothing_back() -> None:
    pieces = [b"data: %d\n\n" % n for n in range(50)]
    decoder = Decoder(("gzip", "zstd", "br"))
    chain = flushed("br", flushed("zstd", flushed("gzip", pieces)))
    for piece, coded in zip(pieces, chain, strict=False):
        decoder.feed(coded)
        assert drain(decoder) == piece


# The end


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_without_bytes_is_complete(coding: str) -> None:
    assert decode((coding,), []) == b""
    assert decode((coding,), [b""]) == b""


@formats
def test_coded_emptiness_is_empty(form: str) -> None:
    assert decode((CODINGS[form],), [encode(form, b"")]) == b""


@formats
def test_a_truncated_body_is_noticed_wherever_it_stops(form: str) -> None:
    coded = encode(form, TEXT[:300])
    for size in range(1, len(coded)):
        decoder = Decoder((CODINGS[form],))
        decoder.feed(coded[:size])
        assert TEXT[:300].startswith(drain(decoder))
        with pytest.raises(CodingError, match="truncated"):
            decoder.finish()


def test_a_truncated_inner_coding_is_noticed() -> None:
    coded = encode("br", encode("gzip", TEXT)[:-1])
    with pytest.raises(CodingError, match="gzip: the body is truncated"):
        decode(("gzip", "br"), [coded])


@formats
def test_content_left_unread_is_not_a_clean_end(form: str) -> None:
    decoder = Decoder((CODINGS[form],))
    decoder.feed(encode(form, TEXT))
    decoder.read(1)
    with pytest.raises(CodingError):
        decoder.finish()


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_later_member_or_frame_left_unread_is_not_a_clean_end(form: str) -> None:
    decoder = Decoder((form,))
    decoder.feed(encode(form, b"one") + encode(form, b"two"))
    assert decoder.read() == b"one"
    with pytest.raises(CodingError):
        decoder.finish()


@formats
@pytest.mark.parametrize("garbage", [b"x", b"\r\n", b"garbage after the end", b"\0\0\0x"])
@pytest.mark.parametrize("apart", [True, False])
def test_garbage_after_the_end_is_damage(form: str, garbage: bytes, apart: bool) -> None:
    coded = encode(form, TEXT)
    chunks = [coded, garbage] if apart else [coded + garbage]
    with pytest.raises(CodingError):
        decode((CODINGS[form],), chunks)


# Damage


@formats
@given(
    place=st.integers(0, 1 << 20),
    flip=st.integers(1, 255),
    points=st.lists(st.integers(0, 1 << 20), max_size=5),
    limit=st.integers(1, 5000),
)
def test_damage_is_noticed_or_moot(form: str, place: int, flip: int, points: list[int], limit: int) -> None:
    coded = bytearray(encode(form, TEXT))
    coded[place % len(coded)] ^= flip
    try:
        content = decode((CODINGS[form],), cut(bytes(coded), points), limit)
    except CodingError:
        return
    # br, raw deflate and what a damaged head turns into raw deflate carry no checksum.
    assert content == TEXT or form not in ("gzip", "zstd")


@formats
@given(body=st.binary(min_size=1, max_size=400), points=st.lists(st.integers(0, 400), max_size=5))
@example(body=b"\x78", points=[])
@example(body=b"\x78\xbb\x00\x00\x00\x00", points=[])  # zlib that wants a dictionary
def test_arbitrary_bytes_raise_nothing_else(form: str, body: bytes, points: list[int]) -> None:
    for lead in (b"", encode(form, b"")[:10]):
        with contextlib.suppress(CodingError):
            decode((CODINGS[form],), cut(lead + body, points))


# Details of the formats


@given(
    contents=st.lists(st.binary(max_size=50), min_size=1, max_size=6),
    padding=st.integers(0, 40),
    points=st.lists(st.integers(0, 1000), max_size=10),
    limit=st.integers(1, 200),
)
def test_gzip_members_and_padding(contents: list[bytes], padding: int, points: list[int], limit: int) -> None:
    coded = b"".join(encode("gzip", content) + bytes(padding) for content in contents)
    assert decode(("gzip",), cut(coded, points), limit) == b"".join(contents)


def test_zeros_before_the_first_gzip_member_are_damage() -> None:
    with pytest.raises(CodingError, match="gzip: the body is damaged"):
        decode(("gzip",), [b"\0" + encode("gzip", TEXT)])


def test_gzip_padding_may_be_long() -> None:
    assert decode(("gzip",), [encode("gzip", TEXT), bytes(2 * MIB)]) == TEXT


def test_gzip_with_every_optional_field_is_read() -> None:
    coded = encode("gzip", TEXT)
    extra = struct.pack("<H", 5) + b"extra"
    head = coded[:3] + b"\x1e" + coded[4:10] + extra + b"name\0comment\0"
    crc = struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    assert decode(("gzip",), [head + crc + coded[10:]]) == TEXT


def test_a_truncated_later_gzip_member_is_noticed() -> None:
    with pytest.raises(CodingError, match="truncated"):
        decode(("gzip",), [encode("gzip", TEXT) + encode("gzip", TEXT)[:9]])


@pytest.mark.parametrize("bits", [*range(9, 16), *range(-15, -8)])
def test_zlib_and_raw_deflate_are_told_apart(bits: int) -> None:
    for level, content in itertools.product(range(10), (b"", b"a", TEXT)):
        deflate = zlib.compressobj(level, zlib.DEFLATED, bits)
        coded = deflate.compress(content) + deflate.flush()
        assert decode(("deflate",), [coded]) == content
        assert decode(("deflate",), cut(coded, range(6))) == content


@pytest.mark.parametrize("first", [0x18, 0x78, 0xF8])
def test_raw_deflate_may_pad_a_stored_block_with_ones(first: int) -> None:
    for size in range(1, 60):
        if first == 0xF8 or (first << 8 | size) % 31:  # else these are the very bytes of a zlib header
            stored = bytes([first]) + struct.pack("<HH", size, size ^ 0xFFFF) + TEXT[:size]
            assert decode(("deflate",), [stored + b"\x03\x00"]) == TEXT[:size]


@given(
    contents=st.lists(st.binary(max_size=50), max_size=6),
    points=st.lists(st.integers(0, 1000), max_size=10),
    limit=st.integers(1, 200),
)
def test_zstd_frames_and_skippable_frames(contents: list[bytes], points: list[int], limit: int) -> None:
    coded = SKIPPABLE + b"".join(encode("zstd", content) + SKIPPABLE for content in contents)
    assert decode(("zstd",), cut(coded, points), limit) == b"".join(contents)


def zstd_frame(descriptor: bytes, content: bytes) -> bytes:
    """A frame by hand (RFC 8878, section 3.1.1): its header from the descriptor on, then one raw block."""
    return struct.pack("<I", 0xFD2FB528) + descriptor + struct.pack("<I", len(content) << 3 | 1)[:3] + content


def test_zstd_windows_up_to_8_mib_are_accepted() -> None:
    assert decode(("zstd",), [zstd_frame(b"\x00\x68", b"hello")]) == b"hello"


@pytest.mark.parametrize(
    "descriptor",
    [
        pytest.param(b"\x00\x69", id="9 MiB"),
        pytest.param(b"\x00\xa8", id="2 GiB"),
        pytest.param(b"\x00\xff", id="3.75 TiB"),
        pytest.param(b"\xa0" + struct.pack("<I", 1 << 30), id="single segment of 1 GiB"),
    ],
)
def test_larger_zstd_windows_are_refused(descriptor: bytes) -> None:
    with pytest.raises(CodingError, match="memory"):
        decode(("zstd",), [zstd_frame(descriptor, b"hello")])


# Bounds


@formats
@pytest.mark.parametrize("limit", [1, 100, 16384, 65536, 1_000_000])
def test_a_read_never_gives_more_than_its_limit(form: str, limit: int) -> None:
    size = min(limit * 3, MIB)
    decoder = Decoder((CODINGS[form],))
    decoder.feed(encode(form, bytes(size)))
    pieces = list(iter(lambda: decoder.read(limit), b""))
    assert b"".join(pieces) == bytes(size)
    assert max(map(len, pieces)) <= limit


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_zlib_would_take_for_none_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        Decoder(("gzip",)).read(limit)


@pytest.mark.parametrize(
    "chain",
    [("gzip",), ("raw deflate",), ("br",), ("zstd",), ("gzip", "gzip"), ("zstd", "br", "gzip")],
    ids="-".join,
)
def test_a_bomb_comes_out_in_small_pieces(chain: tuple[str, ...]) -> None:
    size = 200 * MIB
    coded = zeros(chain[0], size)
    for form in chain[1:]:
        coded = encode(form, coded)
    decoder = Decoder(tuple(CODINGS[form] for form in chain))
    tracemalloc.start()
    try:
        decoder.feed(coded)
        total = 0
        while piece := decoder.read():
            assert len(piece) <= 65536
            total += len(piece)
        decoder.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == size
    assert peak < len(coded) + MIB


@pytest.mark.parametrize("filler", [bytes(MIB), gzip.compress(b"") * 50_000], ids=["zeros", "empty members"])
@pytest.mark.parametrize("outer", [("br",), ("br", "zstd")], ids="-".join)
def test_a_chain_that_unpacks_to_nothing_is_cut_short(filler: bytes, outer: tuple[str, ...]) -> None:
    compress, _, end = compressor("br")
    coded = compress(gzip.compress(b"hello")) + b"".join(compress(filler) for _ in range(100)) + end()
    for form in outer[1:]:
        coded = encode(form, coded)
    decoder = Decoder(("gzip", *outer))
    decoder.feed(coded)
    assert decoder.read() == b"hello"
    with pytest.raises(CodingError, match="no content"):
        decoder.read()


# Libraries


def test_libraries_are_imported_when_a_body_needs_them() -> None:
    script = """
import sys
from unbuffer.http.coding import Decoder, decodable
decodable(("br", "zstd"))
Decoder(("gzip", "deflate"))
print(sorted({"brotli", "backports.zstd", "compression.zstd"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@replaces
def test_a_missing_library_is_told_before_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    Decoder(("gzip",))
    with pytest.raises(ImportError, match="brotli"):
        Decoder(("br",))
