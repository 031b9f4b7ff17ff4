"""The command line: arguments in, exit code out.

Exit codes: 0 done or drained, 1 failure at run time, 2 usage, 69 something needed is not installed, 78 bad settings
(sysexits.h), 128 + n ended at once by a second signal n.
"""

import argparse
import os
import sys

from unbuffer import __version__
from unbuffer.settings.load import SettingsError, dump, load
from unbuffer.settings.model import Settings
from unbuffer.settings.problems import Problem

EX_FAILURE = 1
EX_CONFIG = 78


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _open_standard_files()
    arguments = _parser().parse_args(argv)
    try:
        command: str = arguments.command
        if command == "serve":
            return _serve(_settings(arguments))
        if command == "demo":
            from unbuffer.demo.show import main as demo

            return demo(arguments.once)
        print(dump(_settings(arguments)), end="", flush=True)
        return 0
    except BrokenPipeError:
        # `unbuffer config | head`: enough was read. The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    except KeyboardInterrupt:
        return 130


def _open_standard_files() -> None:
    """Open what the caller closed: libuv aborts the process when a socket gets the number 0, 1 or 2."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - stays open


def _serve(settings: Settings) -> int:
    from unbuffer.server.worker import StartError, run

    try:
        return run(settings)
    except StartError as error:
        print(f"unbuffer: {error}", file=sys.stderr)
        return EX_FAILURE


def _settings(arguments: argparse.Namespace) -> Settings:
    flags: dict[str, str | list[str]] = {}
    for name in ("upstream", "listen", "admin"):
        if getattr(arguments, name, None):
            flags[name] = getattr(arguments, name)
    for text in arguments.set:
        path, equals, value = text.partition("=")
        if not equals:
            raise SettingsError([Problem(f"flag --set {text}", "want KEY=VALUE, such as timeouts.silence=30s")])
        flags[path] = value
    return load(arguments.config, os.environ, flags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unbuffer",
        description="A reverse-proxy sidecar that un-buffers streams: every chunk leaves the moment it arrives.",
    )
    parser.add_argument("--version", action="version", version=f"unbuffer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="relay requests to the upstream")
    serve.add_argument("--upstream", metavar="URL", help="default http://127.0.0.1:8000; unix:/path works, too")
    serve.add_argument(
        "--listen", metavar="ADDR", action="append", help="default 127.0.0.1:8080 (or PORT); may be repeated"
    )
    serve.add_argument("--admin", metavar="ADDR", help="default 127.0.0.1:4198; off = no admin port")
    serve.add_argument("-c", "--config", metavar="FILE", help="YAML file (or UNBUFFER_CONFIG)")
    _add_set(serve)

    config = commands.add_parser("config", help="check settings and print the effective ones")
    config.add_argument("config", nargs="?", metavar="FILE", help="YAML file (or UNBUFFER_CONFIG)")
    _add_set(config)

    demo = commands.add_parser("demo", help="show the difference on an embedded FastAPI app")
    demo.add_argument("--once", action="store_true", help="show it and exit")
    return parser


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any setting, such as timeouts.silence=30s"
    )
