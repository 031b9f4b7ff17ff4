"""What is allowed and yet hardly meant is a warning, once: at the start, or at the reload that brings it."""

import signal
from pathlib import Path

import pytest

from tests.server.conftest import Sidecar, Start, Upstream
from unbuffer.relay.dial import Dialer
from unbuffer.server.advice import Advice
from unbuffer.server.upstream_check import UpstreamCheck
from unbuffer.settings.model import Settings
from unbuffer.settings.model import Upstream as UpstreamSettings

pytestmark = pytest.mark.process


async def started(command: Start, *arguments: str, name: str = "serve") -> Sidecar:
    """A process that has said all there is to say at its start but for the upstream."""
    sidecar = await command(name, "--listen", "127.0.0.1:0", "--admin", "off", *arguments)
    await sidecar.says("upstream (http|unix)")
    return sidecar


async def reloaded(sidecar: Sidecar) -> None:
    """Read the settings again, until they are in force."""
    sidecar.signal(signal.SIGHUP)
    await sidecar.says("reloaded: ")


def warnings(sidecar: Sidecar) -> list[str]:
    """The warnings of a process that has ended."""
    return [line.partition(" WARNING ")[2] for line in sidecar.errors.splitlines() if " WARNING " in line]


TODO = "requests fail until it is there; start it, or name another one with --upstream (upstream.url)"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1", r"cannot connect to 127\.0\.0\.1:1: Connection refused"),
        ("unix:/no/such.sock", r"cannot connect to unix:/no/such\.sock: No such file or directory"),
        ("http://name.invalid", r"cannot resolve name\.invalid:80: .+"),
    ],
)
async def test_an_upstream_that_is_not_there_is_said_with_what_to_do(command: Start, url: str, why: str) -> None:
    sidecar = await started(command, "--upstream", url)
    await sidecar.says(rf"WARNING {why}: requests fail until it is there; start it, or name another")
    await sidecar.end()
    (warning,) = warnings(sidecar)
    assert warning.endswith(TODO)


async def test_after_a_reload_only_a_new_upstream_is_looked_at(
    command: Start, upstream: Upstream, tmp_path: Path
) -> None:
    await upstream.start()
    file = tmp_path / "unbuffer.yaml"
    file.write_text(f"upstream: http://127.0.0.1:{upstream.port}\n")
    sidecar = await started(command, "unbuffer.yaml")
    file.write_text("upstream: http://127.0.0.1:1\n")
    await reloaded(sidecar)
    await sidecar.says("cannot connect to 127.0.0.1:1")
    file.write_text("upstream: http://127.0.0.1:1\nlimits: {streams: 7}\n")
    await reloaded(sidecar)
    file.write_text("upstream: unix:/no/such.sock\n")
    await reloaded(sidecar)
    await sidecar.says("cannot connect to unix:/no/such.sock")
    await sidecar.end()
    assert len(warnings(sidecar)) == 2


async def test_the_application_of_exec_may_take_its_time(command: Start) -> None:
    sidecar = await started(command, "--", "sh", "-c", "exec sleep 60 # {socket}", name="exec")
    await sidecar.end()
    assert warnings(sidecar) == []


async def test_the_application_of_exec_that_listens_nowhere_is_said_in_the_end(
    caplog: pytest.LogCaptureFixture, upstream: Upstream
) -> None:
    async def said(url: str) -> list[str]:
        caplog.clear()
        settings = Settings(upstream=UpstreamSettings(url=url))
        await Advice(lambda _: settings).ask_child(UpstreamCheck(Dialer(settings)), 0.0)
        return caplog.messages

    (message,) = await said("unix:/no/such.sock")
    assert message.startswith("cannot connect to unix:/no/such.sock: No such file or directory, and the application")
    assert "{socket}" in message
    await upstream.start()
    assert await said(f"http://127.0.0.1:{upstream.port}") == []


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        (
            (),
            "the command says nothing of where to listen: give it {socket}, unless the application reads"
            " UNBUFFER_UPSTREAM_SOCKET by itself",
        ),
        (
            ("--upstream", "http://127.0.0.1:9"),
            "the command says nothing of where to listen: give it {port}, unless the application reads PORT by itself",
        ),
    ],
)
async def test_a_command_without_a_place_for_the_address_is_told(
    command: Start, options: tuple[str, ...], warning: str
) -> None:
    sidecar = await started(command, *options, "--", "sleep", "60", name="exec")
    await sidecar.end()
    assert warnings(sidecar) == [warning]


async def test_files_with_tokens_that_others_may_read_are_named_once(command: Start, tmp_path: Path) -> None:
    file, tokens, own = tmp_path / "unbuffer.yaml", tmp_path / "tokens", tmp_path / "my tokens"
    content = """\
authorization: {required: true, tokens: [abc], tokens_file: tokens}
routes:
  - {name: a, prefix: /a, authorization: {tokens_file: my tokens}}
"""
    for path, text, mode in ((file, content, 0o640), (tokens, "def\n", 0o604), (own, "ghi\n", 0o600)):
        path.write_text(text)
        path.chmod(mode)
    sidecar = await started(command, "unbuffer.yaml", "--upstream", "unix:/no/such.sock")
    await sidecar.says("such.sock: .+: requests fail")
    await reloaded(sidecar)
    own.chmod(0o644)
    await reloaded(sidecar)
    tokens.chmod(0o600)
    await reloaded(sidecar)
    tokens.chmod(0o666)
    await reloaded(sidecar)
    await sidecar.end()
    said = [line for line in warnings(sidecar) if "others on this machine may read" in line]
    assert said == [
        'unbuffer.yaml:1 authorization.tokens: others on this machine may read "unbuffer.yaml" (mode 0640): chmod 600'
        " unbuffer.yaml",
        'unbuffer.yaml:1 authorization.tokens_file: others on this machine may read "tokens" (mode 0604): chmod 600'
        " tokens",
        'unbuffer.yaml:3 routes[0].authorization.tokens_file: others on this machine may read "my tokens" (mode 0644):'
        " chmod 600 'my tokens'",
        'unbuffer.yaml:1 authorization.tokens_file: others on this machine may read "tokens" (mode 0666): chmod 600'
        " tokens",
    ]


async def test_a_route_that_is_hidden_by_a_reload_is_said_once(command: Start, tmp_path: Path) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text("routes:\n  - {name: chat, prefix: /chat}\n")
    sidecar = await started(command, "unbuffer.yaml", "--upstream", "unix:/no/such.sock")
    file.write_text("routes:\n  - {name: all, prefix: /}\n  - {name: chat, prefix: /chat}\n")
    for _ in range(2):
        await reloaded(sidecar)
    await sidecar.end()
    assert [line for line in warnings(sidecar) if "routes" in line] == [
        'unbuffer.yaml:3 routes[1]: the route "chat" gets no request: "all" (routes[0]) takes them all before it; put'
        " it further up"
    ]
