"""Complete files that a server sends compressed, unasked: what curl, tar and pip make of them through unbuffer.

nginx sends what lies compressed on its disk, with a length, and answers ranges of it.
"""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.balancers import free_port, hosts
from tests.e2e.processes import running
from tests.e2e.stack import unbuffer
from tests.peers import PATIENCE
from tests.programs import installed

pytestmark = pytest.mark.process

TEXT = b"".join(b"line %d of a text that can be compressed\n" % n for n in range(20_000))

BACKEND = b"""\
import pathlib

def prepare_metadata_for_build_wheel(folder, *_):
    info = pathlib.Path(folder, "tiny-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
    return info.name
"""
BUILD = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'

CONF = """\
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    root {folder};
    server {{
        listen {host}:{port};
        gzip_static always;
        default_type text/plain;
        # As httpd's "AddEncoding x-gzip .gz" has it, which was in its shipped configuration for long.
        location ~ \\.tar\\.gz$ {{
            default_type application/x-tar;
            add_header Content-Encoding gzip;
        }}
        location = /links/ {{ default_type text/html; try_files /links.html =404; gzip_static off; }}
    }}
}}
"""


def sdist() -> bytes:
    """A source distribution that builds with nothing but itself."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, data in (("backend.py", BACKEND), ("pyproject.toml", BUILD), ("text", TEXT)):
                member = tarfile.TarInfo(f"tiny-1.0/{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return file.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "text.gz").write_bytes(gzip.compress(TEXT, mtime=0))
    (folder / "tiny-1.0.tar.gz").write_bytes(sdist())
    (folder / "links.html").write_text('<a href="/tiny-1.0.tar.gz">tiny-1.0.tar.gz</a>')
    return folder


@pytest.fixture(scope="module")
def server(files: Path) -> Iterator[str]:
    (host,) = hosts(1)
    port = free_port(host)
    (files / "nginx.conf").write_text(CONF.format(folder=files, host=host, port=port))
    options = f"pid {files}/pid; error_log stderr; daemon off; master_process off;"
    with running(installed("nginx"), "-p", str(files), "-e", "stderr", "-c", "nginx.conf", "-g", options):
        url = f"http://{host}:{port}"
        tries = ("--retry", "100", "--retry-delay", "1", "--retry-connrefused", "-o", "/dev/null")
        assert curl(f"{url}/links/", *tries).returncode == 0
        yield url


def curl(url: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [installed("curl"), "-sS", "--fail", "--max-time", str(PATIENCE), *options, url]
    return subprocess.run(command, capture_output=True, check=False)


def test_a_tar_gz_is_the_file_that_lies_on_the_server(files: Path, server: str, tmp_path: Path) -> None:
    original = (files / "tiny-1.0.tar.gz").read_bytes()
    with unbuffer(server) as proxy:
        for url in (server, proxy.url):
            got = tmp_path / "got.tar.gz"
            assert curl(f"{url}/tiny-1.0.tar.gz", "-o", str(got)).returncode == 0
            assert got.read_bytes() == original
            listed = subprocess.run(["tar", "tzf", got], capture_output=True, check=True, text=True)
            assert "tiny-1.0/text" in listed.stdout

            digest = hashlib.sha256(original).hexdigest()
            (tmp_path / "requirements.txt").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
            options = ("--isolated", "--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-q")
            pip = [sys.executable, "-m", "pip", "download", *options, "--require-hashes", "-r", "requirements.txt"]
            subprocess.run([*pip, "--find-links", f"{url}/links/", "-d", "pips"], cwd=tmp_path, check=True)
            assert (tmp_path / "pips" / "tiny-1.0.tar.gz").read_bytes() == original
            (tmp_path / "pips" / "tiny-1.0.tar.gz").unlink()


def test_what_lies_compressed_on_the_server_stays_so_on_its_way(files: Path, server: str) -> None:
    with unbuffer(server) as proxy:
        assert curl(f"{proxy.url}/text").stdout == (files / "text.gz").read_bytes()
        assert curl(f"{proxy.url}/text", "--compressed").stdout == TEXT
    with unbuffer(server, "--set", "decode=always") as proxy:
        assert curl(f"{proxy.url}/text").stdout == TEXT


def test_curl_resumes_a_download_with_the_bytes_that_it_lacks(files: Path, server: str, tmp_path: Path) -> None:
    original = (files / "tiny-1.0.tar.gz").read_bytes()
    got = tmp_path / "got"
    with unbuffer(server) as proxy:
        for url in (server, proxy.url):
            got.write_bytes(original[:1000])
            assert curl(f"{url}/tiny-1.0.tar.gz", "-C", "-", "-o", str(got)).returncode == 0
            assert got.read_bytes() == original


@pytest.mark.parametrize("has", [1000, 500_000])
def test_curl_refuses_to_mix_decoded_and_coded_bytes(files: Path, server: str, tmp_path: Path, has: int) -> None:
    """Also where it has more of them than there are coded ones: 416 would be the news that all is there."""
    original = (files / "tiny-1.0.tar.gz").read_bytes()
    content = gzip.decompress(original)
    assert len(original) < 500_000 < len(content)
    got = tmp_path / "got"
    with unbuffer(server, "--set", "decode=always") as proxy:
        url = f"{proxy.url}/tiny-1.0.tar.gz"
        assert curl(url, "-o", str(got)).returncode == 0
        assert got.read_bytes() == content
        got.write_bytes(content[:has])
        assert curl(url, "-C", "-", "-o", str(got)).returncode == 33  # the server has no ranges
        assert got.read_bytes() == content[:has]

        head = curl(url, "-I").stdout
        assert b"\r\nAccept-Ranges: none\r\n" in head
        assert b"content-encoding" not in head.lower()
        assert b"content-length" not in head.lower()
        tag = head.partition(b"\r\nETag: ")[2].partition(b"\r\n")[0]
        assert tag.startswith(b'W/"')
        known = curl(url, "-i", "-H", f"If-None-Match: {tag.decode()}").stdout
        assert known.startswith(b"HTTP/1.1 304 ")
        assert b"\r\nETag: %b\r\n" % tag in known
