"""Addresses to listen on and the URL of the upstream: every accepted form, and what the refusals say."""

import re

import pytest

from unbuffer.settings.addresses import ADDRESS_PATTERN, UPSTREAM_PATTERN
from unbuffer.settings.load import TCPAddress, UnixAddress, UpstreamTarget, parse_address, parse_upstream

ADDRESSES: list[tuple[str, TCPAddress | UnixAddress]] = [
    ("127.0.0.1:8080", TCPAddress("127.0.0.1", 8080)),
    ("localhost:80", TCPAddress("localhost", 80)),
    ("my_app-1.internal:80", TCPAddress("my_app-1.internal", 80)),
    ("[::1]:8080", TCPAddress("::1", 8080)),
    ("[fe80::1%eth0]:8080", TCPAddress("fe80::1%eth0", 8080)),
    (":8080", TCPAddress("", 8080)),
    ("127.0.0.1:0", TCPAddress("127.0.0.1", 0)),
    ("0.0.0.0:65535", TCPAddress("0.0.0.0", 65535)),
    ("unix:/run/unbuffer.sock", UnixAddress("/run/unbuffer.sock")),
    ("unix:/run/a b,c@d.sock", UnixAddress("/run/a b,c@d.sock")),
]

UPSTREAMS = [
    ("http://127.0.0.1:8000", UpstreamTarget(False, "127.0.0.1", 8000, "", "127.0.0.1:8000")),
    ("http://app", UpstreamTarget(False, "app", 80, "", "app:80")),
    ("https://example.com", UpstreamTarget(True, "example.com", 443, "", "example.com:443")),
    ("https://example.com:8443/", UpstreamTarget(True, "example.com", 8443, "", "example.com:8443")),
    ("http://[::1]:8000", UpstreamTarget(False, "::1", 8000, "", "[::1]:8000")),
    ("unix:/run/app.sock", UpstreamTarget(False, "", 0, "/run/app.sock", "unix:/run/app.sock")),
    ("unix:///run/app.sock", UpstreamTarget(False, "", 0, "/run/app.sock", "unix:/run/app.sock")),
]


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_an_address_is_read_and_shown_as_written(text: str, address: TCPAddress | UnixAddress) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert re.search(ADDRESS_PATTERN, text)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://app", "app"),
        ("http://app:80", "app"),
        ("http://app:443", "app:443"),
        ("https://app:443", "app"),
        ("https://app:80", "app:80"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:80", "[::1]"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("unix:/run/app.sock", "localhost"),
    ],
)
def test_the_host_field_of_an_upstream_has_no_port_that_the_scheme_has(url: str, host: str) -> None:
    assert parse_upstream(url).host_field == host


def test_three_slashes_of_a_unix_address_are_one() -> None:
    assert parse_address("unix:///run/unbuffer.sock") == UnixAddress("/run/unbuffer.sock")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("8080", 'write ":8080" for all interfaces or "127.0.0.1:8080" for this machine'),
        ("127.0.0.1", "the port is missing"),
        ("", "the port is missing"),
        ("*:8080", 'write ":8080" for all interfaces'),
        ("::1:8080", "an IPv6 address stands in brackets, as in [::1]:8080"),
        ("[::1", "it is a host name or an IP address, a colon and a port number"),
        ("[::g]:80", "it is a host name or an IP address, a colon and a port number"),
        ("[:::1]:80", "':::1'"),
        ("1.2.3:80", "Expected 4 octets in '1.2.3'"),
        ("256.0.0.1:80", "'256.0.0.1'"),
        ("host:", "it is a host name or an IP address, a colon and a port number"),
        ("host:http", "it is a host name or an IP address, a colon and a port number"),
        ("ho st:80", "it is a host name or an IP address, a colon and a port number"),
        ("host:65536", "the highest port is 65535"),
        ("http://127.0.0.1:80", "an address has no scheme"),
        ("unix:run/unbuffer.sock", "the path of the socket is absolute, as in unix:/run/app.sock"),
        ("unix://run/unbuffer.sock", "the path of the socket is absolute, as in unix:/run/app.sock"),
        ("unix:", "the path of the socket is absolute, as in unix:/run/app.sock"),
        ("unix:/a\0b", "the path of the socket is absolute, as in unix:/run/app.sock"),
        ("unix:/" + "x" * 107, "the path of a socket has 107 bytes at the most"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^want an address such as 127\.0\.0\.1:8080, got ") as caught:
        parse_address(text)
    assert why in str(caught.value).partition("; ")[2]


def test_the_longest_path_that_a_socket_can_have_is_accepted() -> None:
    path = "/" + "x" * 106
    assert parse_address(f"unix:{path}") == UnixAddress(path)


@pytest.mark.parametrize(("url", "target"), UPSTREAMS)
def test_an_upstream_is_read(url: str, target: UpstreamTarget) -> None:
    assert parse_upstream(url) == target
    assert re.search(UPSTREAM_PATTERN, url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "it begins with http://, https:// or unix:/"),
        ("127.0.0.1:8000", "it begins with http://, https:// or unix:/"),
        ("ftp://app", "it begins with http://, https:// or unix:/"),
        ("http:/app", "it begins with http://, https:// or unix:/"),
        ("http://", "the host is missing"),
        ("http://:8000", "the host is missing"),
        ("http://app:0", "port 0 cannot be connected to"),
        ("http://app:65536", "the highest port is 65535"),
        ("http://::1:80", "an IPv6 address stands in brackets, as in [::1]:8080"),
        ("http://app/v1", "nothing follows the port: targets are forwarded exactly as received"),
        ("http://app//", "nothing follows the port: targets are forwarded exactly as received"),
        ("http://app?a=b", "nothing follows the port: targets are forwarded exactly as received"),
        ("http://app#a", "nothing follows the port: targets are forwarded exactly as received"),
        ("http://app\n", "it is a host name or an IP address, a colon and a port number"),
        ("http://me@app", "no user name or password: requests carry the client's own Authorization"),
        ("unix:app.sock", "the path of the socket is absolute, as in unix:/run/app.sock"),
    ],
)
def test_what_is_no_upstream_is_refused_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^want a URL such as http://127\.0\.0\.1:8000, got ") as caught:
        parse_upstream(url)
    assert why in str(caught.value).partition("; ")[2]


@pytest.mark.parametrize(
    "url", ["http://me:hunter2@app", "ftp://me:hunter2@app", "http://me:hun/ter2@x:hunter2@app/", "http://hunter2@a"]
)
def test_a_refused_url_is_quoted_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"://\*\*\*@") as caught:
        parse_upstream(url)
    assert "ter2" not in str(caught.value)
