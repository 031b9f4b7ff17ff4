"""No secret leaves the process: not by the admin port, a log line, a metric, or an error."""

import re
import signal
from pathlib import Path

from tests.peers import Peer, connect, soon
from tests.server.conftest import Files, Sidecar, Start, Upstream, fetch

FIRST, SECOND, OF_ROUTE = "first-token-opensesame", "second-token-opensesame", "routes-token-opensesame"
WRONG, QUERY, COOKIE = "wrong-token-opensesame", "query-token-opensesame", "cookie-opensesame"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def start(command: Start, directory: Path, upstream: Upstream, key: str) -> Sidecar:
    """unbuffer with a secret in every place that takes one."""
    await upstream.start()
    (directory / "tokens").write_text(f"{SECOND}\n")
    (directory / "of_route").write_text(f"{OF_ROUTE}\n")
    (directory / "unbuffer.yaml").write_text(f"""\
listen: {{address: "127.0.0.1:0", tls: {{certificate: {key}}}}}
admin: 127.0.0.1:0
upstream: http://127.0.0.1:{upstream.port}
log: {{level: debug}}
credentials: {{query: auth_key}}
authorization: {{required: true, tokens_file: tokens}}
routes:
  - {{name: own, prefix: /own, authorization: {{tokens_file: of_route}}}}
""")
    arguments = ("serve", "-c", "unbuffer.yaml")
    return await command(*arguments, env={"UNBUFFER_AUTHORIZATION__TOKENS": FIRST, "PYTHONASYNCIODEBUG": "1"})


async def ask(client: Peer, target: str, *lines: str) -> None:
    await client.send("\r\n".join((f"GET {target} HTTP/1.1", "Host: a", *lines, "", "")).encode())


def shows_no_secret(text: str, key: str) -> None:
    assert "opensesame" not in text
    assert "PRIVATE KEY" not in text
    for line in Path(key).read_text().splitlines():
        assert line not in text


async def admin_answers(port: int, key: str) -> None:
    """Every path by every method, as a web page would ask: no secret, and nothing that lets a page read it."""
    index = await fetch(port, b"/")
    paths = {"".join(both) for both in re.findall(r"^(/\S*)|also as (/\S+)", index.decode(), re.MULTILINE)}
    assert {"/metrics", "/livez", "/healthz", "/readyz"} <= paths
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "TRACE", "POST"):
        for path in ("/", "/nothing", "/readyz?verbose", *sorted(paths)):
            peer = await connect(port)
            lines = ("Origin: http://evil.example", f"Authorization: Bearer {FIRST}", f"Cookie: {COOKIE}")
            await peer.send(
                "\r\n".join(
                    (f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *lines, "", "")
                ).encode()
            )
            answer = await peer.rest()
            await peer.close()
            assert answer.startswith(b"HTTP/1.1 ")
            assert b"\r\naccess-control-" not in answer.lower(), answer
            shows_no_secret(answer.decode(), key)


async def test_no_secret_leaves_the_process(command: Start, upstream: Upstream, files: Files, tmp_path: Path) -> None:
    key = files.issue("localhost")
    sidecar = await start(command, tmp_path, upstream, key)
    admin = int(await sidecar.says(r"admin on http://127\.0\.0\.1:(\d+)$"))
    port = await sidecar.port(scheme="https")
    client = await sidecar.client("localhost", port, files.client())

    answers = []
    for target, lines in (
        ("/", [f"Authorization: Bearer {WRONG}"]),
        (f"/?auth_key={QUERY}", []),
        (f"/?auth_key={QUERY}&auth_key={QUERY}", []),
        (f"/?auth_key={QUERY}%0A", []),
        (f"/?auth_key={FIRST}", [f"Authorization: Bearer {FIRST}"]),
        (f"/own?token={FIRST}", [f"Authorization: Bearer {FIRST}"]),
    ):
        await ask(client, target, *lines, f"Cookie: {COOKIE}")
        head = await client.head()
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        answers.append(head + await client.read(length))
    assert [answer[9:12] for answer in answers] == [b"401", b"401", b"400", b"400", b"400", b"401"]

    upstreams: list[Peer] = []
    for target, token in (("/?a&auth_key=" + FIRST, ""), ("/", SECOND), ("/own", OF_ROUTE)):
        await ask(client, target, *([f"Authorization: Bearer {token}"] if token else []))
        peer = upstreams[0] if upstreams else await upstream.accept()
        upstreams.append(peer)
        assert b"opensesame" not in await peer.head()
        await peer.send(EMPTY)
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")

    (tmp_path / "tokens").write_text(f"{SECOND} {SECOND}\n")
    sidecar.signal(signal.SIGHUP)
    await sidecar.says("reload failed")
    # An answer that cannot be read, and one that is cut.
    await ask(client, f"/?auth_key={FIRST}&key={FIRST}")
    await upstreams[0].head()
    await upstreams[0].send(f"Set-Cookie: {COOKIE}\r\n\r\n".encode())
    answers.append(await client.head())
    assert answers[-1].startswith(b"HTTP/1.1 502 ")

    await admin_answers(admin, key)
    await sidecar.close_clients()
    sidecar.signal(signal.SIGTERM)
    assert sidecar.process.stdout is not None
    log = (await soon(sidecar.process.stdout.read())).decode()
    assert await sidecar.exit() == 0
    assert log.count("\n") == 10
    for text in (*(answer.decode() for answer in answers), log, sidecar.errors):
        shows_no_secret(text, key)


async def test_the_settings_are_printed_without_secrets(command: Start, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(SECOND)
    (tmp_path / "unbuffer.yaml").write_text("authorization: {required: true, tokens_file: tokens}\n")
    config = await command("config", "unbuffer.yaml", env={"UNBUFFER_AUTHORIZATION__TOKENS": FIRST})
    printed, _ = await soon(config.process.communicate())
    assert b"  - '***'\n" in printed
    assert b"opensesame" not in printed


async def test_a_file_without_a_token_is_78_with_its_place(command: Start, tmp_path: Path) -> None:
    (tmp_path / "unbuffer.yaml").write_text("authorization:\n  required: true\n  tokens_file: tokens\n")
    for content, why in (
        (None, 'cannot read "tokens": No such file or directory'),
        ("# none yet\n", "tokens has no token in it"),
    ):
        if content is not None:
            (tmp_path / "tokens").write_text(content)
        serve = await command("serve", "-c", "unbuffer.yaml")
        assert await serve.exit() == 78
        assert serve.errors == f"unbuffer.yaml:3 authorization.tokens_file: {why}\n"


async def test_a_reload_rotates_the_tokens(command: Start, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(FIRST)
    options = ("--set", "authorization.required=true", "--set", "authorization.tokens_file=tokens")
    addresses = ("--upstream", f"unix:{tmp_path}/nobody.sock", "--listen", "127.0.0.1:0", "--admin", "off")
    sidecar = await command("serve", *addresses, *options)
    client = await sidecar.client("127.0.0.1", await sidecar.port())
    await sidecar.says("upstream unix")

    async def statuses() -> list[bytes]:
        found = []
        for token in (FIRST, SECOND):
            await ask(client, "/", f"Authorization: Bearer {token}")
            head = await client.head()
            await client.read(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
            found.append(head[9:12])
        return found

    # Whoever gets in learns that there is no application.
    assert await statuses() == [b"503", b"401"]
    (tmp_path / "tokens").write_text(SECOND)
    sidecar.signal(signal.SIGHUP)
    await sidecar.says("reloaded")
    assert await statuses() == [b"401", b"503"]
    await sidecar.end()
