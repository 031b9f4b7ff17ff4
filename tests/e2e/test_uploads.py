"""Request bodies: long ones, of known and of unknown length, forms, and the client that asks before it sends."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests import local
from tests.e2e.processes import running
from tests.e2e.stack import Stack
from tests.peers import PATIENCE

pytestmark = pytest.mark.process

PART = bytes(range(256)) * 256
PARTS = 320
SIZE = len(PART) * PARTS
"""20 MiB."""


@pytest.fixture(scope="module")
def digest() -> str:
    return hashlib.sha256(PART * PARTS).hexdigest()


def parts() -> Iterator[bytes]:
    for _ in range(PARTS):
        yield PART


def test_a_long_body_of_known_length_arrives_whole(each_stack: Stack, digest: str) -> None:
    url = each_stack.url + "/upload"
    seen = local.post(url, content=PART * PARTS).raise_for_status().json()

    assert (seen["size"], seen["sha256"]) == (SIZE, digest)
    assert seen["content-length"] == str(SIZE)


def test_a_long_body_of_unknown_length_arrives_whole(each_stack: Stack, digest: str) -> None:
    url = each_stack.url + "/upload"
    seen = local.post(url, content=parts()).raise_for_status().json()

    assert (seen["size"], seen["sha256"]) == (SIZE, digest)
    assert seen["content-length"] is None


def test_a_multipart_form_arrives_as_it_was_made(stack: Stack) -> None:
    fields = {"file": ("picture.png", PART, "image/png")}
    form = requests.Request("POST", f"{stack.url}/upload", data={"title": "a name"}, files=fields).prepare()
    assert isinstance(form.body, bytes)
    with requests.Session() as session:
        seen = session.send(form, timeout=PATIENCE).json()

    assert seen["sha256"] == hashlib.sha256(form.body).hexdigest()
    assert seen["content-type"] == form.headers["Content-Type"]


# curl sends the body without an answer after this many seconds: more than a test ever waits, so that it never does.
EXPECT = ("curl", "-sS", "-v", "--noproxy", "*", "-H", "Expect: 100-continue", "--expect100-timeout", "600")


def test_a_client_that_asks_first_is_told_to_continue(stack: Stack, tmp_path: Path, digest: str) -> None:
    file = tmp_path / "body"
    file.write_bytes(PART * PARTS)
    with running(*EXPECT, "-T", str(file), f"{stack.url}/upload") as curl:
        assert curl.exit_code() == 0

    assert any("< HTTP/1.1 100 Continue" in line for line in curl.err.all())
    assert digest in curl.out.all()[0]


def test_a_client_that_asks_first_is_spared_a_body_that_is_refused(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(PART)
    with running(*EXPECT, "-T", str(file), "-w", "%{http_code} %{size_upload}", f"{stack.url}/refuse") as curl:
        assert curl.exit_code() == 0

    assert curl.out.all() == ["too large for me", "413 0"]
