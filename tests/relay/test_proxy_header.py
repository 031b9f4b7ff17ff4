"""The PROXY protocol's header: read byte for byte as the specification has it, and nothing else taken for one."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import GET
from unbuffer.relay.proxy_header import ProxyHeader, ProxyHeaderError, read_proxy_header
from unbuffer.relay.trust import Origin, Trust
from unbuffer.settings.model import Listen, Settings, Upstream

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = bytes((192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB))
IPV6 = bytes.fromhex("20010db800000000000000000000000120010db8000000000000000000000002dc0401bb")
UNIX = b"/run/client.sock".ljust(108, b"\0") + b"/run/proxy.sock".ljust(108, b"\0")
AUTHORITY = b"\x02\x00\x0bexample.com"
CHECKSUM = b"\x03\x00\x04\xde\xad\xbe\xef"


def binary(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(block).to_bytes(2, "big") + block


def tls(flags: int, within: bytes = b"") -> bytes:
    """PP2_TYPE_SSL: these flags, a verdict on a certificate, and extensions within it."""
    return b"\x20" + (5 + len(within)).to_bytes(2, "big") + bytes((flags, 0, 0, 0, 1)) + within


VERSION = b"\x21\x00\x07TLSv1.3"

MAPPED = str(IPv6Address("::ffff:192.0.2.1"))  # ::ffff:c000:201 before Python 3.13

# As a header, whether it is local, and the client's address.
VALID = [
    # The example of section 2.1, and the longest lines of each kind.
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", False, "192.168.0.1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", False, "255.255.255.255"),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", False, "0.0.0.0"),
    (
        b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        False,
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ),
    (b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", False, "2001:db8::1"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", False, MAPPED),
    (b"PROXY UNKNOWN\r\n", False, ""),
    (
        b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        b" 65535 65535\r\n",
        False,
        "",
    ),
    (b"PROXY UNKNOWN \xff whatever stands here\r\n", False, ""),
    # Section 2.2.
    (binary(0x21, 0x11, IPV4), False, "192.0.2.1"),
    (binary(0x21, 0x21, IPV6), False, "2001:db8::1"),
    (binary(0x21, 0x11, IPV4 + AUTHORITY + CHECKSUM), False, "192.0.2.1"),
    (binary(0x21, 0x21, IPV6 + AUTHORITY), False, "2001:db8::1"),
    (binary(0x21, 0x31, UNIX), False, ""),
    (binary(0x21, 0x32, UNIX), False, ""),
    (binary(0x21, 0x12, IPV4), False, ""),
    (binary(0x21, 0x22, IPV6), False, ""),
    (binary(0x21, 0x00, b""), False, ""),
    (binary(0x21, 0x00, IPV4), False, ""),
    (binary(0x20, 0x00, b""), True, ""),
    (binary(0x20, 0x11, IPV4), True, ""),
    (binary(0x20, 0xFF, b"ignored"), True, ""),
    (binary(0x21, 0x11, IPV4.ljust(4096 - 16, b"\0")), False, "192.0.2.1"),
]

INVALID = [
    GET,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY UNKNOWN \nGET / HTTP/1.1\r\n",
    b"PROXY UNKNOWN \rGET / HTTP/1.1\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 99999 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
    b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.256 1 2\r\n",
    b"PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
    b"PROXY TCP6 :1 ::1 1 2\r\n",
    b"PROXY UNKNOWN".ljust(107, b" "),
    b"PROXY UNKNOWN".ljust(106, b" ") + b"\r\n",
    SIGNATURE + b"\x11\x11\x00\x0c" + IPV4,
    SIGNATURE + b"\x31\x11\x00\x0c" + IPV4,
    SIGNATURE + b"\x22\x11\x00\x0c" + IPV4,
    SIGNATURE + b"\x2f",
    b"\r\n\r\n\x00\r\nQUIT\r",
    b"\r\n\r\nGET",
    binary(0x21, 0x41, UNIX),
    binary(0x21, 0x13, IPV4),
    binary(0x21, 0x11, IPV4[:-1]),
    binary(0x21, 0x21, IPV6[:-1]),
    binary(0x21, 0x21, IPV4),
    binary(0x21, 0x11, IPV4 + b"\x20"),
    binary(0x21, 0x11, IPV4 + AUTHORITY[:-1]),
    binary(0x21, 0x11, IPV4 + tls(1)[:-1]),
    binary(0x21, 0x21, IPV6 + b"\x20\x00\x04\x01\0\0\0"),
    binary(0x21, 0x21, IPV6 + b"\x20\x00\x00"),
    binary(0x21, 0x11, IPV4 + tls(1) + tls(1)),
    binary(0x21, 0x11, IPV4 + tls(1) + tls(0)),
    SIGNATURE + b"\x21\x11" + (4096 - 15).to_bytes(2, "big"),
    SIGNATURE + b"\x20\x00\xff\xff",
]


@pytest.mark.parametrize(("data", "local", "address"), VALID)
def test_a_header_is_known_with_its_last_byte_and_not_before(data: bytes, local: bool, address: str) -> None:
    header = read_proxy_header(data)
    assert header is not None
    assert (header.size, header.local, header.address) == (len(data), local, address)
    assert [cut for cut in range(len(data)) if read_proxy_header(data[:cut]) is not None] == []


@pytest.mark.parametrize(
    ("data", "port", "tls"),
    [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", 443, None),
        (b"PROXY TCP6 ::1 ::2 443 65535\r\n", 65535, None),
        (b"PROXY UNKNOWN ::1 ::2 1 443\r\n", 0, None),
        (binary(0x21, 0x11, IPV4), 443, None),
        (binary(0x21, 0x21, IPV6), 443, None),
        (binary(0x21, 0x11, IPV4 + AUTHORITY + CHECKSUM), 443, None),
        (binary(0x21, 0x11, IPV4 + AUTHORITY + tls(1) + CHECKSUM), 443, True),
        (binary(0x21, 0x21, IPV6 + tls(7, VERSION)), 443, True),
        # Section 2.2.6: without the bit the client came in clear text, whatever else is said.
        (binary(0x21, 0x21, IPV6 + tls(0)), 443, False),
        (binary(0x21, 0x11, IPV4 + tls(6, VERSION)), 443, False),
        # Only TCP names a port of unbuffer's business; TLS is TLS.
        (binary(0x21, 0x31, UNIX + tls(1)), 0, True),
        (binary(0x21, 0x12, IPV4 + tls(1)), 0, True),
        # Where the extensions begin is not known, or the proxy speaks for itself.
        (binary(0x21, 0x00, tls(1)), 0, None),
        (binary(0x20, 0x11, IPV4 + tls(1)), 0, None),
    ],
)
def test_what_it_says_of_the_way_the_client_came(data: bytes, port: int, tls: bool | None) -> None:
    header = read_proxy_header(data)
    assert header is not None
    assert (header.port, header.tls) == (port, tls)


@pytest.mark.parametrize(
    ("header", "listen", "own", "secure"),
    [
        (ProxyHeader(0, False, "", 443, None), Listen(), False, False),
        (ProxyHeader(0, False, "", 443, None), Listen(), True, True),
        (ProxyHeader(0, False, "", 443, True), Listen(), False, True),
        (ProxyHeader(0, False, "", 443, False), Listen(), True, False),
        (ProxyHeader(0, False, "", 443, None), Listen(proxy_https_ports=(8443, 443)), False, True),
        (ProxyHeader(0, False, "", 80, None), Listen(proxy_https_ports=(8443, 443)), False, False),
        # What the header says of TLS is better known than what a port says.
        (ProxyHeader(0, False, "", 443, False), Listen(proxy_https_ports=(443,)), False, False),
        (ProxyHeader(0, False, "", 80, False), Listen(proxy_scheme="https"), False, True),
        (ProxyHeader(0, True, "", 0, None), Listen(proxy_scheme="https"), False, True),
        (ProxyHeader(0, False, "", 443, True), Listen(proxy_scheme="http"), True, False),
    ],
)
def test_the_scheme_is_the_clients(header: ProxyHeader, listen: Listen, own: bool, secure: bool) -> None:
    trust = Trust(Settings(listen=listen, upstream=Upstream(url="http://127.0.0.1:9")))
    assert trust.peer(Origin(("192.0.2.1", 5), own, header)).secure is secure


@pytest.mark.parametrize(("data", "local", "address"), VALID)
@pytest.mark.parametrize(
    "after", [b"GET / HTTP/1.1\r\n", b"\r\n\r\n\x00\r\nQUIT\n", b"PROXY UNKNOWN\r\n", b"\0" * 9000]
)
def test_what_stands_after_it_is_no_part_of_it(data: bytes, local: bool, address: str, after: bytes) -> None:
    assert read_proxy_header(data + after) == read_proxy_header(data)


@pytest.mark.parametrize("data", INVALID)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(data)


@pytest.mark.parametrize("data", [b"G", b"PR0", b"\r\r", b"\x16", b"PROXYT"])
def test_what_cannot_become_a_header_is_refused_at_its_first_wrong_byte(data: bytes) -> None:
    assert read_proxy_header(data[:-1]) is None
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(data)


@settings(deadline=None)
@given(st.sampled_from([data for data, _, _ in VALID if len(data) < 300]), st.data())
def test_a_damaged_header_raises_its_own_error_or_none(header: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(header) - 1))
    damaged = header[:at] + data.draw(st.binary(max_size=3)) + header[at + 1 :]
    try:
        found = read_proxy_header(damaged)
    except ProxyHeaderError:
        return
    assert found is None or found.size <= len(damaged)
