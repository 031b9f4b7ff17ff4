"""The arguments of `unbuffer check`; nothing else is imported for them."""

import argparse
from collections.abc import Sequence


def add_options(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "urls", nargs="*", metavar="URL", help="http:// or https://; of a stream, or of unbuffer's probe"
    )
    parser.add_argument(
        "--direct", metavar="URL", action="append", default=[],
        help="the same stream at a point further in (sidecar, application): where the picture changes is the culprit",
    )  # fmt: skip
    add = parser.add_argument_group("the request, as with curl").add_argument
    add("-X", "--method", help="default GET, POST with data")
    add("-H", "--header", metavar="'NAME: VALUE'", action="append", default=[])
    add("-d", "--data", metavar="DATA", help="@FILE takes a file, @- standard input")
    add("--json-data", metavar="JSON", help="the same as JSON; --json followed by JSON means this, too")
    add("-k", "--insecure", action="store_true", help="take any certificate")
    add("-L", "--location", action="store_true", help="follow redirects")
    add("--resolve", metavar="HOST:PORT:ADDR", action="append", default=[])
    add("--unix-socket", metavar="PATH", default="")
    add("-x", "--proxy", metavar="URL", help="an HTTP proxy")
    add = parser.add_argument_group("what is asked").add_argument
    add("--quick", action="store_true", help="one request for each URL")
    add("--several", metavar="N", type=int, default=3, help="streams at once; default 3, 1 = none")
    add("--probe", action="store_true", help="the URL is a probe, although its path is not /_unbuffer/probe")
    add("--patience", metavar="TIME", help="how long a silence is waited for, default 30s; with a probe also made")
    add("--enough", metavar="TIME", default="10s", help="how long a stream of your own is watched; default 10s")
    add = parser.add_argument_group("the report").add_argument
    add("--json", action="store_true", help="as JSON on standard output")
    add("--html", metavar="FILE", help="as a page of its own")
    add("--junit", metavar="FILE", help="as XML for build servers")
    add("--github", action="store_true", help="with annotations of GitHub's actions")
    add("--ci", action="store_true", help="one line for each URL")
    add("--show", action="store_true", help="print what the stream says as well, with its times")


def with_json_data(arguments: Sequence[str]) -> list[str]:
    """`--json` before something that is JSON is curl's, and means data; else it means the report."""
    found = list(arguments)
    for at, argument in enumerate(found[:-1]):
        if argument == "--json" and found[at + 1][:1] in ("{", "[", '"', "@"):
            found[at] = "--json-data"
    return found
