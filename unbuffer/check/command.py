"""The command line of `unbuffer check`.

Exit codes: 0 everything streams, 1 something is buffered, cut, damaged or withheld, 2 usage, 3 there was no stream to
judge (unreachable, an error, too short), 130 interrupted.
"""

import argparse
import asyncio
import re
import sys
from datetime import datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from unbuffer.check.diagnosis import Diagnosis, diagnose
from unbuffer.check.formats import as_annotations, as_json, as_junit, as_lines
from unbuffer.check.measure import Asking
from unbuffer.check.page import as_page
from unbuffer.check.run import Check, Wanted
from unbuffer.check.signatures import Level
from unbuffer.check.target import Target, UsageError, target_of
from unbuffer.check.terminal import Terminal
from unbuffer.check.wire import Way
from unbuffer.http.tokens import TCHAR
from unbuffer.settings.values import parse_duration

_TOKEN = re.compile(TCHAR.decode() + "+")

STREAMED, BUFFERED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


def check(arguments: argparse.Namespace) -> int:
    """Run it, report, and return the exit code."""
    try:
        wanted = wanted_of(arguments)
    except UsageError as error:
        print(f"unbuffer check: {error}", file=sys.stderr)
        return USAGE
    quiet = (arguments.json or arguments.ci) and not sys.stderr.isatty()
    run = Check(wanted, (lambda _: None) if quiet else partial(print, file=sys.stderr, flush=True))
    interrupted = False
    try:
        asyncio.run(run.run())
    except KeyboardInterrupt:
        interrupted = True
    except UsageError as error:
        print(f"unbuffer check: {error}", file=sys.stderr)
        return USAGE
    diagnosis = diagnose(run.kept, run.noticed, one_way=bool(arguments.direct))
    try:
        _report(arguments, diagnosis)
    except OSError as error:
        print(f"unbuffer check: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return USAGE
    if interrupted:
        print("unbuffer check: interrupted; this is what was known by then", file=sys.stderr)
        return INTERRUPTED
    return exit_code(diagnosis)


def exit_code(diagnosis: Diagnosis) -> int:
    """That of a whole run."""
    levels = [diagnosis.worst(view) for view in diagnosis.views]
    if Level.BUFFERED in levels:
        return BUFFERED
    return UNREACHABLE if Level.ERROR in levels else STREAMED


def _report(arguments: argparse.Namespace, diagnosis: Diagnosis) -> None:
    if arguments.json:
        print(as_json(diagnosis))
    elif arguments.ci:
        print(as_lines(diagnosis))
    else:
        terminal = Terminal.of(sys.stdout)
        terminal.report(diagnosis)
        terminal.shown(diagnosis)
    if arguments.github and (text := as_annotations(diagnosis)):
        print(text)
    if arguments.html:
        made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        Path(arguments.html).write_text(as_page(diagnosis, made), "utf-8")
    if arguments.junit:
        Path(arguments.junit).write_text(as_junit(diagnosis), "utf-8")


def wanted_of(arguments: argparse.Namespace) -> Wanted:
    """What the arguments ask for. Raises UsageError."""
    if not arguments.urls:
        raise UsageError(
            "name the URL of a stream, such as https://app.example/chat or https://app.example/_unbuffer/probe"
        )
    if arguments.direct and len(arguments.urls) > 1:
        raise UsageError("--direct: name one URL, and points of the same way by --direct; others one after the other")
    if arguments.json and arguments.github:
        raise UsageError(
            "--json with --github: both go to standard output, and the annotations would break the JSON; "
            "--junit and --html write files beside either"
        )
    if arguments.several < 1 or arguments.several > 32:
        raise UsageError("--several: want 1 to 32")
    targets = list(dict.fromkeys(target_of(url) for url in (*arguments.urls, *arguments.direct)))
    patience = _seconds("--patience", arguments.patience) if arguments.patience else 0.0
    fields = [_field(text) for text in arguments.header]
    body = _data(arguments.data or arguments.json_data or "")
    if body and "content-type" not in {name.lower() for name, _ in fields}:
        kind = "application/json" if arguments.json_data else "application/x-www-form-urlencoded"
        fields.append(("Content-Type", kind))
    asking = Asking(
        way=Way(
            insecure=arguments.insecure,
            resolve=dict(map(_resolve, arguments.resolve)),
            unix_socket=arguments.unix_socket,
            proxy=_proxy(arguments.proxy) if arguments.proxy else None,
        ),
        method=_method(arguments.method) if arguments.method else "POST" if body else "GET",
        fields=tuple(fields),
        body=body,
        patience=patience or 30.0,
        enough=_seconds("--enough", arguments.enough),
        show=arguments.show,
    )
    return Wanted(
        targets=_distinct(targets),
        asking=asking,
        probe=arguments.probe,
        quick=arguments.quick,
        several=arguments.several,
        patience=patience,
        follow=arguments.location,
    )


def _distinct(targets: list[Target]) -> list[Target]:
    shown = [target.shown for target in targets]
    if len(set(shown)) < len(shown):
        raise UsageError("two URLs differ in their query only, which is not shown: check one after the other")
    return targets


def _seconds(name: str, text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    if seconds <= 0:
        raise UsageError(f"{name}: want more than nothing")
    return seconds


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name.strip()) or any(character in text for character in "\r\n"):
        raise UsageError(f"--header: want 'NAME: VALUE', got {text.partition(':')[0]!r}")
    return name.strip(), value.strip()


def _data(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode()
    try:
        return sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {text[1:]}: {error.strerror}") from None


def _resolve(text: str) -> tuple[tuple[str, int], str]:
    host, _, rest = text.partition(":")
    port, _, address = rest.partition(":")
    address = address.strip("[]")
    try:
        ip_address(address)
    except ValueError:
        address = ""
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or not address:
        raise UsageError(f"--resolve: want HOST:PORT:ADDRESS with an IP address, got {text!r}")
    return (host.lower(), int(port)), address


def _proxy(url: str) -> Target:
    scheme, colon, _ = url.partition("://")
    if colon and scheme.lower() != "http":
        raise UsageError(f"--proxy: want an http:// proxy, got {scheme}://; neither TLS to the proxy itself nor SOCKS")
    return target_of(url)


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise UsageError(f"--method: want a method such as POST, got {text!r}")
    return text.upper()
