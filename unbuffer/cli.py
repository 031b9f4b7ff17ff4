"""The command line: arguments in, exit code out.

Exit codes: 0 done or drained, 1 failure at run time, 2 usage, 69 something needed is not installed, 78 bad settings
(sysexits.h), 128 + n ended at once by a second signal n. `unbuffer exec` gives the code of its application, 126 or 127
where that cannot be run.

What a command needs is imported when it runs: a health check must not load a server.
"""

import argparse
import os
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING

from unbuffer import __version__
from unbuffer.check.options import add_options, with_json_data
from unbuffer.compiled import YES_OR_NO
from unbuffer.server.errors import EX_CONFIG, EX_FAILURE
from unbuffer.settings.problems import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unbuffer.server.advice import Read
    from unbuffer.settings.model import Settings


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _open_standard_files()
    given = sys.argv[1:] if argv is None else argv
    # Not left to argparse: what stands after the first -- is the application's, every later -- included.
    own, app = given, []
    if given[:1] == ["exec"] and "--" in given:
        at = given.index("--")
        own, app = given[:at], given[at + 1 :]
    elif given[:1] == ["check"]:
        own = with_json_data(given)
    arguments = _parsed(own, app)
    try:
        command: str = arguments.command
        if command == "serve":
            return _run(arguments, partial(_settings, arguments, None))
        if command == "exec":
            return _exec(arguments, app)
        if command in ("healthcheck", "drain", "reload"):
            return _ask(arguments)
        if command == "check":
            from unbuffer.check.command import check

            return check(arguments)
        if command == "demo":
            from unbuffer.demo.command import demo

            return demo(arguments.once)
        from unbuffer.settings.dump import dump

        print(dump(_settings(arguments, warn=_warn)), end="", flush=True)
        return 0
    except BrokenPipeError:
        # `unbuffer config | head`: enough was read. The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG


def _parsed(own: list[str], app: list[str]) -> argparse.Namespace:
    """The arguments, those of the application apart; what is wrong with them is told with the usage of the command."""
    arguments, unknown = _parser().parse_known_args(own)
    parser: argparse.ArgumentParser = arguments.parser
    if arguments.command == "exec" and not app:
        words = [word for word in unknown if not word.startswith("-")]
        at = own.index(words[0]) if words else len(own)
        line = shlex.join(["unbuffer", *own[:at], "--"])
        parser.error(f"the application's command stands after --, as in: {line} {shlex.join(own[at:]) or 'COMMAND'}")
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.file and arguments.config:
        parser.error(f"two settings files, {arguments.config} and {arguments.file}: give one")
    return arguments


def _open_standard_files() -> None:
    """Open what the caller closed: libuv aborts the process when a socket gets the number 0, 1 or 2."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - stays open


def _run(arguments: argparse.Namespace, read: "Read", app: "Sequence[str]" = ()) -> int:
    from unbuffer.server.errors import StartError
    from unbuffer.server.process import run
    from unbuffer.settings.load import settings_file

    try:
        return run(read, settings_file(_file(arguments), os.environ), app)
    except StartError as error:
        print(f"unbuffer: {error}", file=sys.stderr)
        return error.code


def _exec(arguments: argparse.Namespace, app: list[str]) -> int:
    import tempfile

    # Mode 0700: nobody else reaches the application past unbuffer.
    with tempfile.TemporaryDirectory(prefix="unbuffer-") as folder:
        return _run(arguments, partial(_settings, arguments, f"unix:{folder}/app.sock"), app)


def _ask(arguments: argparse.Namespace) -> int:
    from unbuffer.server.admin_client import AdminClient, AskError

    advice = ""
    try:
        address = _admin_address(arguments)
        if address is None:
            from unbuffer.settings.model import Admin

            address, advice = Admin().address, "; name it with --admin ADDRESS or -c FILE"
        admin = AdminClient(address)
        if arguments.command == "drain":
            status, text = admin.ask("POST", "/drain")
            if status == 200 and arguments.wait:
                admin.wait_until_gone()
        elif arguments.command == "reload":
            status, text = admin.ask("POST", "/reload")
        else:
            status, text = admin.ask("GET", "/readyz" if arguments.ready else "/livez")
    except (AskError, SettingsError, ValueError) as error:
        print(f"unbuffer: {error}{advice}", file=sys.stderr)
        return EX_FAILURE
    # A settings report has a line for each mistake; a health check's log has one for each check.
    print(text.rstrip() if arguments.command == "reload" else "; ".join(text.splitlines()))
    return 0 if status == 200 else EX_FAILURE


def _admin_address(arguments: argparse.Namespace) -> str | None:
    """Where the admin port is; None where nobody says.

    A settings file is read only where one is named: reading YAML takes its time.
    """
    given: str | None = arguments.admin or os.environ.get("UNBUFFER_ADMIN") or os.environ.get("UNBUFFER_ADMIN__ADDRESS")
    if given:
        return given
    if arguments.config or os.environ.get("UNBUFFER_CONFIG"):
        from unbuffer.settings.load import admin_address

        return admin_address(_file(arguments), os.environ, _flags(arguments))
    return None


def _settings(
    arguments: argparse.Namespace,
    upstream: str | None = None,
    warn: "Callable[[Problem], object] | None" = None,
) -> "Settings":
    from unbuffer.settings.load import load

    return load(_file(arguments), os.environ, _flags(arguments), upstream, warn)


def _flags(arguments: argparse.Namespace) -> dict[str, str | list[str]]:
    flags: dict[str, str | list[str]] = {}
    for name in ("upstream", "listen", "admin"):
        if getattr(arguments, name, None):
            flags[name] = getattr(arguments, name)
    for text in arguments.set:
        path, equals, value = text.partition("=")
        if not equals:
            raise SettingsError([Problem(f"flag --set {text}", "want KEY=VALUE, such as timeouts.silence=30s")])
        flags[path] = value
    return flags


def _file(arguments: argparse.Namespace) -> str | None:
    file: str | None = arguments.config or arguments.file
    return file


def _warn(problem: Problem) -> None:
    print(f"warning: {problem}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unbuffer",
        description="A reverse-proxy sidecar that un-buffers streams: every chunk leaves the moment it arrives.",
    )
    parser.add_argument("--version", action="version", version=f"unbuffer {__version__} (compiled: {YES_OR_NO})")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="relay requests to the upstream")
    serve.add_argument("--upstream", metavar="URL", help="default http://127.0.0.1:8000; unix:/path works, too")
    _add_file(serve)
    _add_serving(serve)

    run = commands.add_parser(
        "exec",
        help="run the application as a child and relay requests to it",
        usage="unbuffer exec [OPTIONS] -- COMMAND [ARGUMENT ...]",
        description="Run the application and relay requests to it. In the command, {socket} stands for the path of the "
        "Unix socket that it is to listen on, or {port} for the port of --upstream. The environment has them as well: "
        "UNBUFFER_UPSTREAM_SOCKET, or UNBUFFER_UPSTREAM_PORT and PORT.",
    )
    run.add_argument("--upstream", metavar="URL", help="default a Unix socket in a private folder")
    _add_serving(run)

    config = commands.add_parser("config", help="check settings and print the effective ones")
    _add_file(config)
    _add_config(config)
    _add_set(config)

    _add_check(
        commands.add_parser(
            "check",
            help="measure how a stream arrives, and name the hop that holds it",
            description="Measure how a stream arrives at a socket, and name the hop that holds it.",
        )
    )

    check = commands.add_parser("healthcheck", help="ask a running unbuffer whether it is well; exit code 0 or 1")
    check.add_argument("--ready", action="store_true", help="whether it is ready for requests, too")
    _add_asking(check)

    drain = commands.add_parser("drain", help="begin the graceful end of a running unbuffer")
    drain.add_argument("--wait", action="store_true", help="return when the process is gone")
    _add_asking(drain)

    reload = commands.add_parser("reload", help="have a running unbuffer read its settings again")
    _add_asking(reload)

    demo = commands.add_parser("demo", help="show the difference on an embedded FastAPI app")
    demo.add_argument("--once", action="store_true", help="show it and exit")
    demo.set_defaults(file=None, config=None)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser


def _add_serving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="ADDR", action="append", help="default 127.0.0.1:8080 (or PORT); may be repeated"
    )
    parser.add_argument("--admin", metavar="ADDR", help="default 127.0.0.1:4198; off = no admin port")
    _add_config(parser)
    _add_set(parser)


def _add_asking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--admin", metavar="ADDR", help="of its admin port; default 127.0.0.1:4198 (or UNBUFFER_ADMIN)")
    _add_config(parser)
    parser.set_defaults(set=[])


def _add_check(parser: argparse.ArgumentParser) -> None:
    add_options(parser)
    parser.set_defaults(file=None, config=None)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="the same as --config FILE")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", metavar="FILE", help="YAML file (or UNBUFFER_CONFIG)")
    parser.set_defaults(file=None)


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any setting, such as timeouts.silence=30s"
    )
