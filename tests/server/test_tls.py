"""TLS on both sides: streams pass in lock-step, a cut one is seen as cut, and a wrong certificate names its cause."""

import asyncio
import re
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.peers import GET10, LAST, PATIENCE, Peer, soon
from tests.server.conftest import GET, UNTIL_CLOSE, Files, Sidecar, Start, Upstream, finish, relays, stream

pytestmark = pytest.mark.process

NAME = "upstream.tls.server_name=localhost"
HERE = ("--listen", "127.0.0.1:0", "--admin", "off")


async def start_listener(serve: Start, upstream: Upstream, files: Files, *settings: str) -> tuple[Sidecar, int]:
    """A sidecar with a certificate for localhost, and its port."""
    await upstream.start()
    certificate = f"listen.tls.certificate={files.issue('localhost')}"
    sidecar = await serve(*HERE, "--upstream", f"http://127.0.0.1:{upstream.port}", *set_each(certificate, *settings))
    return sidecar, await sidecar.port(scheme="https")


def set_each(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


# -- the client's side


async def test_streams_pass_in_lock_step(serve: Start, upstream: Upstream, files: Files) -> None:
    sidecar, port = await start_listener(serve, upstream, files)
    client = await sidecar.client("localhost", port, files.client())

    for _ in range(2):
        peer = await stream(client, upstream)
        await relays(peer, client, b"data: second\n\n")
        await finish(peer, client)
        await peer.close()

    await sidecar.end()


async def test_the_upstream_learns_that_the_client_came_over_tls(
    serve: Start, upstream: Upstream, files: Files
) -> None:
    sidecar, port = await start_listener(serve, upstream, files)
    client = await sidecar.client("localhost", port, files.client())

    await client.send(GET)

    assert b"\r\nX-Forwarded-Proto: https\r\n" in await (await upstream.accept()).head()


@pytest.mark.parametrize("http2", ["true", "false"])
async def test_http_2_is_offered_and_no_client_certificate_asked_for(
    serve: Start, upstream: Upstream, files: Files, http2: str
) -> None:
    sidecar, port = await start_listener(serve, upstream, files, f"listen.http2={http2}")
    context = files.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    # A client that has a certificate and would give it.
    context.load_cert_chain(files.issue("client.example"))

    client = await sidecar.client("localhost", port, context)

    agreed = client.writer.get_extra_info("ssl_object").selected_alpn_protocol()
    assert agreed == ("h2" if http2 == "true" else "http/1.1")
    # HTTP/1.1 is served to whoever speaks it all the same.
    peer = await stream(client, upstream)
    await finish(peer, client)
    await sidecar.end()


async def test_the_key_may_stand_in_a_file_of_its_own(
    serve: Start, upstream: Upstream, files: Files, tmp_path: Path, authority: trustme.CA
) -> None:
    await upstream.start()
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    sidecar = await serve(
        *(*HERE, "--upstream", f"http://127.0.0.1:{upstream.port}"),
        *set_each(f"listen.tls.certificate={certificate}", f"listen.tls.key={key}"),
    )
    client = await sidecar.client("localhost", await sidecar.port(scheme="https"), files.client())

    await finish(await stream(client, upstream), client)

    await sidecar.end()


def old_client(port: int, context: ssl.SSLContext, confirm: socket.socket) -> bytes:
    """Reads an HTTP/1.0 answer until its end; raises where that end is no clean one. A byte tells that data came."""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as secure,
    ):
        secure.sendall(GET10)
        answer = b""
        while data := secure.recv(65536):
            answer += data
            if answer.endswith(b"data: first\n\n"):
                confirm.send(b"x")
        return answer


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "whole"])
async def test_a_body_that_ends_with_the_connection_shows_whether_it_is_whole(
    serve: Start, upstream: Upstream, files: Files, cut: bool
) -> None:
    sidecar, port = await start_listener(serve, upstream, files)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        client = asyncio.create_task(asyncio.to_thread(old_client, port, files.client(), theirs))
        peer = await upstream.accept()
        await peer.head()
        chunked = UNTIL_CLOSE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        await peer.send(chunked + b"d\r\ndata: first\n\n\r\n")
        await asyncio.get_running_loop().sock_recv(ours, 1)
        if cut:
            await peer.close()
            # A reset, or an end without close_notify (RFC 8446, section 6.1).
            with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
                await client
        else:
            await peer.send(LAST)
            assert (await client).endswith(b"\r\n\r\ndata: first\n\n")
    assert (await sidecar.record())["unbuffer.outcome"] == ("upstream_disconnect" if cut else "completed")
    await sidecar.end()


async def test_a_stream_is_finished_in_a_drain(serve: Start, upstream: Upstream, files: Files) -> None:
    sidecar, port = await start_listener(serve, upstream, files)
    idle = await sidecar.client("localhost", port, files.client())
    client = await sidecar.client("localhost", port, files.client())
    peer = await stream(client, upstream)

    sidecar.signal(signal.SIGTERM)
    assert await idle.rest() == b""
    await relays(peer, client, b"data: second\n\n")
    await finish(peer, client)

    assert await client.rest() == b""
    assert await sidecar.exit() == 0


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.1\r\nHost: app\r\n\r\n", b"\x16\x03\x01", b""])
async def test_a_client_that_does_not_speak_tls_harms_nobody(
    serve: Start, upstream: Upstream, files: Files, hello: bytes
) -> None:
    sidecar, port = await start_listener(serve, upstream, files)
    plain = await sidecar.client("127.0.0.1", port)
    await plain.send(hello)
    plain.eof()
    await plain.ended()

    client = await sidecar.client("localhost", port, files.client())
    await finish(await stream(client, upstream), client)

    await sidecar.end()


# -- certificates that cannot be used


@pytest.fixture
def broken(tmp_path: Path, files: Files, authority: trustme.CA) -> dict[str, str]:
    """Files that are there and are of no use."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    issued = authority.issue_cert("localhost")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    contents = {
        "junk": b"not a certificate\n",
        "certificate": issued.cert_chain_pems[0].bytes(),
        "locked": key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"password")
        ),
        "other": authority.issue_cert("localhost").private_key_pem.bytes(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in contents}


@pytest.mark.parametrize(
    ("certificate", "key"),
    [("junk", ""), ("certificate", ""), ("certificate", "junk"), ("certificate", "other"), ("certificate", "locked")],
)
async def test_a_certificate_that_cannot_be_used_is_one_line(
    command: Start, broken: dict[str, str], certificate: str, key: str
) -> None:
    settings = [f"listen.tls.certificate={broken[certificate]}"] + ([f"listen.tls.key={broken[key]}"] if key else [])
    sidecar = await command("serve", *HERE, *set_each(*settings))

    assert await sidecar.exit() == 1
    files = f"{broken[certificate]} and {broken[key]}" if key else broken[certificate]
    assert re.search(rf"^unbuffer: listen\.tls: cannot use {files}: .+\n\Z", sidecar.errors, re.MULTILINE)


async def test_authorities_that_cannot_be_used_are_one_line(command: Start, broken: dict[str, str]) -> None:
    sidecar = await command(
        "serve", *HERE, "--upstream", "https://localhost", *set_each(f"upstream.tls.ca={broken['junk']}")
    )

    assert await sidecar.exit() == 1
    assert re.search(rf"^unbuffer: upstream\.tls: cannot use {broken['junk']}: .+\n\Z", sidecar.errors, re.MULTILINE)


@pytest.mark.parametrize("path", ["listen.tls.certificate", "upstream.tls.ca", "upstream.tls.certificate"])
async def test_a_file_that_is_missing_is_a_problem_of_the_settings(command: Start, path: str) -> None:
    sidecar = await command("serve", *HERE, "--upstream", "https://localhost", *set_each(f"{path}=/no/such.pem"))

    assert await sidecar.exit() == 78
    assert sidecar.errors == f'flag {path}: cannot read "/no/such.pem": No such file or directory\n'


# -- the upstream's side


async def ask(serve: Start, upstream: Upstream, host: str, *settings: str) -> tuple[Sidecar, Peer]:
    """A sidecar in front of an upstream that speaks TLS, and a client that has sent a request."""
    sidecar = await serve(*HERE, "--upstream", f"https://{host}:{upstream.port}", *set_each(*settings))
    client = await sidecar.client("127.0.0.1", await sidecar.port())
    await client.send(GET)
    return sidecar, client


async def answers(upstream: Upstream, client: Peer) -> Peer:
    """The upstream answers the request in lock-step; its side of the connection."""
    peer = await upstream.accept()
    await peer.head()
    await peer.send(UNTIL_CLOSE[:-2] + b"Content-Length: 4\r\n\r\n")
    await client.head()
    for data in (b"la", b"st"):
        await relays(peer, client, data, chunked=False)
    return peer


async def refused(sidecar: Sidecar, client: Peer) -> dict[str, Any]:
    """The client is told of a TLS failure; the log's line."""
    answer = await client.head()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"\r\nProxy-Status: unbuffer; error=tls_" in answer
    record = await sidecar.record()
    assert (record["unbuffer.outcome"], record["http.response.status_code"]) == ("upstream_tls_error", 502)
    return record


async def test_an_upstream_whose_authority_is_known(serve: Start, upstream: Upstream, files: Files) -> None:
    await upstream.start_tls(files.server("localhost"))
    sidecar, client = await ask(serve, upstream, "localhost", f"upstream.tls.ca={files.ca}")

    peer = await answers(upstream, client)

    assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() is None, "the server offered none"
    await sidecar.end()


async def test_http_1_1_is_offered_to_the_upstream(serve: Start, upstream: Upstream, files: Files) -> None:
    context = files.server("localhost")
    context.set_alpn_protocols(["h2", "http/1.1"])
    await upstream.start_tls(context)
    sidecar, client = await ask(serve, upstream, "localhost", f"upstream.tls.ca={files.ca}")

    peer = await answers(upstream, client)

    assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    await sidecar.end()


async def test_an_authority_that_nobody_told_of(serve: Start, upstream: Upstream, files: Files, tmp_path: Path) -> None:
    await upstream.start_tls(files.server("localhost"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    sidecar, client = await ask(serve, upstream, "localhost", f"upstream.tls.ca={tmp_path / 'other.pem'}")

    record = await refused(sidecar, client)

    assert "CERTIFICATE_VERIFY_FAILED" in record["unbuffer.detail"]
    await sidecar.end()


async def test_the_systems_authorities_are_asked_without_a_file(serve: Start, upstream: Upstream, files: Files) -> None:
    await upstream.start_tls(files.server("localhost"))
    sidecar, client = await ask(serve, upstream, "localhost")

    await refused(sidecar, client)

    await sidecar.end()


async def test_a_certificate_for_another_name(serve: Start, upstream: Upstream, files: Files) -> None:
    await upstream.start_tls(files.server("app.example"))
    sidecar, client = await ask(serve, upstream, "localhost", f"upstream.tls.ca={files.ca}")

    record = await refused(sidecar, client)

    assert "localhost" in record["unbuffer.detail"]
    await sidecar.end()


async def test_the_name_to_ask_for_and_to_check_can_be_set(serve: Start, upstream: Upstream, files: Files) -> None:
    context = files.server("app.example")
    asked: list[str | None] = []
    context.sni_callback = lambda _secure, name, _context: asked.append(name)
    await upstream.start_tls(context)
    settings = (f"upstream.tls.ca={files.ca}", "upstream.tls.server_name=app.example")
    sidecar, client = await ask(serve, upstream, "127.0.0.1", *settings)

    await answers(upstream, client)

    assert asked == ["app.example"]
    await sidecar.end()


async def test_an_upstream_is_not_checked_when_told_so(serve: Start, upstream: Upstream, files: Files) -> None:
    await upstream.start_tls(files.server("app.example"))
    sidecar, client = await ask(serve, upstream, "localhost", "upstream.tls.verify=false")

    await answers(upstream, client)

    await sidecar.end()


def picky(files: Files) -> ssl.SSLContext:
    """For a server that wants to see a certificate."""
    context = files.server("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files.ca)
    return context


async def test_the_upstream_gets_the_certificate_that_it_asks_for(
    serve: Start, upstream: Upstream, files: Files
) -> None:
    await upstream.start_tls(picky(files))
    settings = (f"upstream.tls.ca={files.ca}", f"upstream.tls.certificate={files.issue('unbuffer.example')}")
    sidecar, client = await ask(serve, upstream, "localhost", *settings)

    peer = await answers(upstream, client)

    shown = peer.writer.get_extra_info("ssl_object").getpeercert()
    assert ("DNS", "unbuffer.example") in shown["subjectAltName"]
    await sidecar.end()


def refuse(listener: socket.socket, context: ssl.SSLContext) -> str:
    """Take the first connection that says anything and look at its certificate; why it is refused. Unlike asyncio's
    streams this sends the alert that names the reason. Who says nothing only looks whether somebody listens."""
    while True:
        accepted, _ = listener.accept()
        accepted.settimeout(PATIENCE)
        if accepted.recv(1, socket.MSG_PEEK):
            break
        accepted.close()
    with accepted, pytest.raises(ssl.SSLError) as refusal:
        context.wrap_socket(accepted, server_side=True)
    return str(refusal.value.reason)


async def test_an_upstream_that_asks_for_a_certificate_and_gets_none(
    serve: Start, upstream: Upstream, files: Files
) -> None:
    context = picky(files)
    # With TLS 1.3 the client's handshake is over before its certificate is looked at (RFC 8446, section 4.4.2.4).
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        upstream.port = listener.getsockname()[1]
        refusal = asyncio.create_task(asyncio.to_thread(refuse, listener, context))
        sidecar, client = await ask(serve, upstream, "127.0.0.1", f"upstream.tls.ca={files.ca}", NAME)

        record = await refused(sidecar, client)

        assert await soon(refusal) == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert "ALERT" in record["unbuffer.detail"]
    await sidecar.end()


async def test_with_tls_1_3_the_refusal_comes_in_place_of_the_answer(
    serve: Start, upstream: Upstream, files: Files
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        upstream.port = listener.getsockname()[1]
        refusal = asyncio.create_task(asyncio.to_thread(refuse, listener, picky(files)))
        sidecar, client = await ask(serve, upstream, "127.0.0.1", f"upstream.tls.ca={files.ca}", NAME)

        assert (await client.head()).startswith(b"HTTP/1.1 502 ")

        assert await soon(refusal) == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert (await sidecar.record())["unbuffer.outcome"] == "upstream_disconnect"
    await sidecar.end()


async def test_an_upstream_that_speaks_no_tls(serve: Start, upstream: Upstream, files: Files) -> None:
    await upstream.start()
    sidecar, client = await ask(serve, upstream, "localhost", f"upstream.tls.ca={files.ca}")
    peer = await upstream.accept()

    await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    await refused(sidecar, client)
    await sidecar.end()
