"""`reload: watch`: what changes on disk is in force, each change once and none of them half."""

import os
import shutil
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.peers import PATIENCE
from tests.server.conftest import Files, Start, Upstream, fetch, finish, stream
from tests.server.test_reload import Configured
from unbuffer.server.watch import AGAIN, Watch
from unbuffer.settings.model import Authorization, Listen, ListenTLS, Settings
from unbuffer.settings.route import Route, RouteAuthorization

QUICK = (
    "-c",
    "import sys; from unbuffer.server import watch; watch.EVERY = 0.1; from unbuffer.cli import main; sys.exit(main())",
)
"""The command, which looks ten times a second."""


def mount(folder: Path, number: int, **files: str) -> None:
    """Put files into a folder as the kubelet does: each is a link through `..data`, which is a link that is swapped."""
    data = folder / f"..2026_11_{number:02}"
    data.mkdir(parents=True)
    for name, text in files.items():
        (data / name).write_text(text)
    (folder / "..data_tmp").symlink_to(data.name)
    old = os.path.realpath(folder / "..data")
    os.replace(folder / "..data_tmp", folder / "..data")
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    if os.path.basename(old) != "..data":
        shutil.rmtree(old)


def replace(file: Path, text: str) -> None:
    """As editors do: another file takes its name, of the same size and with the same time of its contents."""
    other = file.with_name("other")
    other.write_text(text)
    shutil.copystat(file, other)
    os.replace(other, file)


def in_place(file: Path, text: str) -> None:
    """As `cp --preserve=timestamps` does."""
    before = file.stat()
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def lead(file: Path, to: str) -> None:
    """Put a link in its place."""
    file.unlink()
    file.symlink_to(to)


WAYS: dict[str, Callable[[Path], object]] = {
    "written": lambda folder: (folder / "settings").write_text("longer"),
    "in place, same size and time": lambda folder: in_place(folder / "settings", "new"),
    "another file, same size and time": lambda folder: replace(folder / "settings", "new"),
    "deleted": lambda folder: (folder / "settings").unlink(),
    "a link in its place": lambda folder: lead(folder / "settings", "tokens"),
    "the certificate": lambda folder: (folder / "certificate").write_text("new"),
    "the tokens": lambda folder: (folder / "tokens").unlink(),
    "the tokens of a route": lambda folder: replace(folder / "route", "new"),
    "made": lambda folder: (folder / "key").write_text("new"),
}


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """Of a settings file and of all that it names, of which one is missing. Nothing looks by itself."""
    for name in ("settings", "certificate", "tokens", "route"):
        (tmp_path / name).write_text("old")
    # The times of a file are those of the last tick of the kernel: what comes next is of another one.
    clock = tmp_path / "clock"
    clock.touch()
    while clock.stat().st_ctime_ns == (tmp_path / "route").stat().st_ctime_ns:
        clock.touch()
    watch = Watch(str(tmp_path / "settings"))
    watch.reading()
    watch.using(
        Settings(
            listen=Listen(tls=ListenTLS(certificate=f"{tmp_path}/certificate", key=f"{tmp_path}/key")),
            authorization=Authorization(tokens_file=f"{tmp_path}/tokens"),
            routes=(Route(name="all", prefix="/", authorization=RouteAuthorization(tokens_file=f"{tmp_path}/route")),),
        )
    )
    return watch


def reported(watch: Watch) -> bool:
    """Whether a look has something to report."""
    if news := watch.look():
        watch.report(*news)
    found = watch.changed.is_set()
    watch.changed.clear()
    return found


@pytest.mark.parametrize("way", WAYS)
async def test_every_change_of_every_file_is_reported_once(watch: Watch, tmp_path: Path, way: str) -> None:
    assert not any(reported(watch) for _ in range(3))
    WAYS[way](tmp_path)
    assert [reported(watch) for _ in range(4)] == [False, True, False, False]


async def test_a_file_that_is_being_written_is_left_alone(watch: Watch, tmp_path: Path) -> None:
    with (tmp_path / "settings").open("w") as file:
        for _ in range(5):
            file.write("a line\n")
            file.flush()
            assert not reported(watch)
    assert reported(watch)


async def test_what_is_there_again_before_anybody_has_read_it_is_no_change(watch: Watch, tmp_path: Path) -> None:
    os.rename(tmp_path / "settings", tmp_path / "away")
    assert not reported(watch)
    os.link(tmp_path / "tokens", tmp_path / "settings")
    assert not reported(watch)
    assert reported(watch), "it is another one"


async def test_who_has_asked_meanwhile_need_not_be_told(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("new one")
    assert not reported(watch)
    news = watch.look()
    assert news
    watch.reading()  # SIGHUP
    watch.report(*news)
    assert not any(reported(watch) for _ in range(3))


async def test_what_could_not_be_used_is_tried_again(watch: Watch) -> None:
    watch.failed = True
    assert [reported(watch) for _ in range(2 * AGAIN)] == ([False] * (AGAIN - 1) + [True]) * 2
    assert watch.again, "nothing new is to be told of it"
    watch.failed = False
    assert not any(reported(watch) for _ in range(2 * AGAIN))


@pytest.mark.process
async def test_a_config_map_that_is_swapped_is_in_force(
    command: Start, upstream: Upstream, files: Files, authority: trustme.CA, tmp_path: Path
) -> None:
    await upstream.start()
    folder = tmp_path / "etc"
    base = f"reload: watch\nupstream: {{url: 'http://127.0.0.1:{upstream.port}'}}\n"
    base += f"listen: {{tls: {{certificate: {folder}/tls.pem}}}}\n"

    def certificate() -> str:
        issued = authority.issue_cert("localhost")
        return issued.private_key_and_cert_chain_pem.bytes().decode()

    first, second = certificate(), certificate()
    mount(folder, 1, **{"unbuffer.yaml": base, "tls.pem": first})
    sidecar = await command(
        "serve", "-c", f"{folder}/unbuffer.yaml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", python=QUICK
    )
    admin = int(await sidecar.says(r"admin on http://127\.0\.0\.1:(\d+)"))
    configured = Configured(sidecar, folder / "unbuffer.yaml", admin, await sidecar.port(scheme="https"))
    client = await configured.client(files.client())
    running = await stream(client, upstream)

    # Nothing that can be used: told once, and the metric says so.
    mount(folder, 2, **{"unbuffer.yaml": base + "routs: []\n", "tls.pem": second})
    await sidecar.says(rf"changed: .*{folder}/unbuffer\.yaml")
    await sidecar.says("reload failed, the settings from before stay in force")
    await sidecar.says(r'unbuffer\.yaml:4: unknown key "routs"')
    assert await configured.sample("unbuffer_config_last_reload_successful") == 0

    mount(folder, 3, **{"unbuffer.yaml": base + "routes: [{name: all, prefix: /}]\n", "tls.pem": second})
    await sidecar.says("reloaded: upstream")
    assert await configured.sample("unbuffer_config_last_reload_successful") == 1
    assert b'route="all"' in await fetch(admin, b"/metrics")
    shown = await configured.client(files.client())
    assert ssl.DER_cert_to_PEM_cert(shown.writer.get_extra_info("ssl_object").getpeercert(True)).strip() in second
    await finish(running, client)

    # Half of a change, or a mistake: nobody means the default of every setting by it.
    os.truncate(folder / "unbuffer.yaml", 0)
    await sidecar.says(r"unbuffer\.yaml: empty; if that is meant, say so with `unbuffer reload`")
    assert b'route="all"' in await fetch(admin, b"/metrics")
    assert sidecar.errors.count("reload failed") == 2
    await sidecar.end()


@pytest.mark.process
async def test_the_settings_themselves_say_whether_they_are_watched(
    command: Start, upstream: Upstream, tmp_path: Path
) -> None:
    await upstream.start()
    tokens, file = tmp_path / "tokens", tmp_path / "unbuffer.yaml"
    tokens.write_text("one\n")
    base = f"upstream: http://127.0.0.1:{upstream.port}\nauthorization: {{required: true, tokens_file: {tokens}}}\n"
    file.write_text(base)
    sidecar = await command("serve", "-c", str(file), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", python=QUICK)
    admin = int(await sidecar.says(r"admin on http://127\.0\.0\.1:(\d+)"))
    configured = Configured(sidecar, file, admin, await sidecar.port())
    await configured.reload(base + "reload: watch\n")

    tokens.write_text("two\n")
    await sidecar.says(f"changed: {tokens}$")
    await sidecar.says("reloaded: upstream")
    await sidecar.end()


async def test_nobody_looks_where_the_settings_do_not_say_so(watch: Watch) -> None:
    def looking() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "watch"]

    watch.apply(Settings(reload="watch"))
    watch.apply(Settings(reload="watch"))
    (thread,) = looking()
    watch.apply(Settings())
    thread.join(PATIENCE)
    assert not looking()
