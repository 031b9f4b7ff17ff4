"""`python -m benchmarks.hops`: what the sidecar says of streams that real programs hold, and of those that nobody does.

The chains of tests/check/chains stand behind a sidecar; each is asked a few times, and the log says what was seen.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.check.chains import proxies
from tests.check.chains.proxies import LUA, MissingError
from tests.check.chains.table import CLEAN, Chain, nginx, nginx_131, relayed
from tests.e2e.stack import unbuffer


@dataclass(frozen=True, slots=True)
class Shape:
    """A chain and what the log should say of it. verdicts: any of these is right, and empty is none; causes: the first
    cause is one of these. together: streams at the same time."""

    chain: Chain
    verdicts: tuple[str, ...]
    causes: tuple[str, ...] = ()
    together: int = 1
    has_word: bool = True


SSE = "/model?last=4&first=0.3"
LONG = "/model?last=7&first=0.3"
TEXT = "/model?kind=text&last=3"
NDJSON = "/model?kind=ndjson&last=4"

HOP = ("proxy", "hop_or_application", "block_size", "timer")
APP = ("hop_or_application", "middleware", "compression", "made_at_once")
SERVER = ("application_server", "hop_or_application")

_OLD = "proxy_http_version 1.0; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"


def _chain(name: str, path: str, *hops: Any, server: str = "uvicorn", neighbour: bool = False) -> Chain:
    return Chain(name, hops=hops, server=server, path=path, neighbour=neighbour)


LUMP = ("lump",)
BURSTS = ("bursts",)
HEAD = ("headers_withheld",)
WHOLE = ("whole",)
CUT = ("cut",)

SHAPES = (
    # -- held to the end
    *(Shape(_chain(f"lighttpd as it comes, {kind}", path, proxies.lighttpd), LUMP, HOP)
      for kind, path in (("SSE", SSE), ("NDJSON", NDJSON))),
    *(Shape(_chain(f"Varnish without do_stream, {kind}", path, partial(
        proxies.varnish, directives="set beresp.do_stream = false;")), LUMP, HOP)
      for kind, path in (("SSE", SSE), ("NDJSON", NDJSON))),
    Shape(_chain("Traefik, buffering", SSE, partial(proxies.traefik, buffering="maxResponseBodyBytes: 10000000")),
          LUMP, HOP),
    Shape(_chain("Envoy, Lua that reads the body", SSE, partial(proxies.envoy, filters=LUA)), LUMP, HOP),
    Shape(_chain("Node, responseInterceptor", SSE, partial(proxies.node, mode="interceptor")), LUMP, HOP),
    Shape(_chain("Caddy, response_buffers", SSE, partial(proxies.caddy, proxy="response_buffers 1MiB")), LUMP, HOP),
    *(Shape(_chain(f"a collecting middleware, {kind}", "/collecting" + path), LUMP, APP)
      for kind, path in (("SSE", SSE), ("NDJSON", NDJSON))),
    Shape(_chain("nginx, HTTP/1.0, a short answer", "/model?last=1.0&first=0.8", nginx(_OLD), server="uvicorn on h11"),
          LUMP, HOP),
    Shape(_chain("two hops that hold", SSE, proxies.lighttpd, partial(
        proxies.traefik, buffering="maxResponseBodyBytes: 10000000")), LUMP, HOP),
    # -- steps
    *(Shape(_chain(f"nginx 1.22, HTTP/1.0, {server}, {kind}", path, nginx(_OLD), server=server), BURSTS, HOP)
      for server, kind, path in (("uvicorn on h11", "SSE", SSE), ("granian", "SSE", SSE),
                                 ("hypercorn", "NDJSON", NDJSON))),
    *(Shape(_chain(f"nginx 1.31, HTTP/1.0, {server}", SSE, nginx_131(_OLD), server=server), BURSTS, HOP)
      for server in ("hypercorn", "gunicorn -k asgi")),
    Shape(_chain("two nginx in a row", SSE, nginx(_OLD), nginx_131(_OLD), server="uvicorn on h11"), BURSTS, HOP),
    Shape(_chain("a program that reads 8 KiB", SSE, relayed("--read", "8192")), BURSTS, HOP),
    Shape(_chain("a program that reads 8 KiB, longer", LONG, relayed("--read", "8192")), BURSTS, HOP),
    Shape(_chain("a program that reads 4 KiB", SSE, relayed("--read", "4096")), BURSTS, HOP),
    Shape(_chain("a program that reads 1 KiB", SSE, relayed("--read", "1024")), BURSTS, HOP),
    # -- timers
    Shape(_chain("HAProxy as it comes", SSE, proxies.haproxy), BURSTS, HOP),
    Shape(_chain("HAProxy as it comes, even pace", SSE + "&made=even", proxies.haproxy), BURSTS, HOP),
    Shape(_chain("Apache, RATE_LIMIT", SSE, partial(
        proxies.apache, modules=("ratelimit",), options="flushpackets=on",
        directives="<Location />\nSetOutputFilter RATE_LIMIT\nSetEnv rate-limit 40\n</Location>")), BURSTS, HOP),
    Shape(_chain("a program that ticks each 250 ms", SSE, relayed("--tick", "0.25")), BURSTS, HOP),
    # -- the head
    Shape(_chain("Starlette's GZipMiddleware on NDJSON", "/gzip/model?kind=ndjson&first=0.9"), HEAD, ("compression",)),
    Shape(_chain("Starlette's GZipMiddleware on text", "/gzip/model?kind=text&first=0.9"), HEAD, ("compression",)),
    Shape(_chain("gunicorn -k asgi", "/model?first=0.9", server="gunicorn -k asgi"), HEAD, SERVER),
    Shape(_chain("gunicorn -k gthread", "/model?first=0.9", server="gunicorn -k gthread"), HEAD, SERVER),
    Shape(_chain("granian, text", "/model?kind=text&first=0.9", server="granian"), HEAD, SERVER),
    Shape(_chain("an application that awaits its first item", "/awaits-first?first=0.9"), HEAD,
          ("first_item", "hop_or_application")),
    Shape(_chain("nginx, HTTP/1.0, uvicorn", "/model?first=0.9", nginx(_OLD)), HEAD, HOP),
    # -- cuts: the outcome says so
    Shape(_chain("Envoy, route time-out of 3 s", "/model?last=8", partial(proxies.envoy, route="timeout: 3s")), CUT),
    Shape(_chain("Envoy, idle time-out of 2 s", "/falls-silent", partial(
        proxies.envoy, manager="stream_idle_timeout: 2s")), CUT),
    Shape(_chain("HAProxy, time-out of the server 3 s", "/falls-silent", partial(
        proxies.haproxy, directives="option http-no-delay\n    timeout server 3s")), CUT),
    Shape(_chain("nginx, proxy_read_timeout 3 s", "/falls-silent", nginx(
        "proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 3s;")), CUT),
    Shape(_chain("an application that dies", "/breaks/_unbuffer/probe?count=30"), CUT),
    # -- what had no word
    Shape(_chain("lighttpd as it comes, text", TEXT, proxies.lighttpd), WHOLE, HOP, has_word=False),
    Shape(_chain("a collecting middleware, text, with a length", "/collected/_unbuffer/probe?type=plain"),
          WHOLE, APP, has_word=False),
    Shape(_chain("HAProxy, wait-for-body 4k", SSE, partial(
        proxies.haproxy, directives="option http-no-delay\n    http-response wait-for-body time 30s at-least 4k")),
        ("first_bytes_held",), HOP, has_word=False),
    Shape(_chain("Caddy, response_buffers 4KiB", SSE, partial(proxies.caddy, proxy="response_buffers 4KiB")),
          ("first_bytes_held",), HOP, has_word=False),
    Shape(_chain("time.sleep in an async generator", "/blocking?made=even&last=1.5"), ("blocked_loop",),
          ("blocking_call",), together=3, has_word=False),
    Shape(_chain("time.sleep in an async generator, two streams", "/blocking?made=tokens&last=1.5"),
          ("blocked_loop",), ("blocking_call",), together=2, has_word=False),
    Shape(_chain("gunicorn -k sync", "/model?first=0.1&last=1.5", server="gunicorn -k sync"), ("blocked_loop",),
          ("blocking_call",), together=2, has_word=False),
    Shape(_chain("a neighbour that blocks the loop", "/model?made=even&last=5", neighbour=True), ("blocked_loop",),
          ("blocking_call",), together=3, has_word=False),
)  # fmt: skip
"""What holds, and what the verdict of the sidecar in front of it should be."""


def _asked(url: str, path: str, times: int, together: int) -> list[dict[str, Any]]:
    """The lines of the log, of so many streams one after the other, each in front of the others that run with it."""
    place, _, query = path.partition("?")
    with unbuffer(url) as proxy:
        timeout = httpx.Timeout(30.0)

        def get(number: int) -> None:
            with suppress(httpx.HTTPError):
                httpx.get(f"{proxy.url}{place}?{query}&n={number}", trust_env=False, timeout=timeout)

        with ThreadPoolExecutor(together) as pool:
            for _ in range(times):
                list(pool.map(get, range(together)))
        return proxy.lines(place, times * together)


def run(shape: Shape, times: int) -> list[dict[str, Any]]:
    """What the log says. Raises MissingError."""
    with ExitStack() as stack:
        url = stack.enter_context(replace(shape.chain, path="").started())
        return _asked(url, shape.chain.path, times, shape.together)


def _said(line: dict[str, Any]) -> tuple[str, str, str]:
    """The verdict, what it was seen by, and the first cause; a stream that was cut is a cut."""
    outcome = line["unbuffer.outcome"]
    verdict = line.get("unbuffer.verdict", "none") if outcome == "completed" else "cut"
    return verdict, line.get("unbuffer.seen", ""), line.get("unbuffer.cause", "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each chain; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hops", description=__doc__)
    parser.add_argument("--streams", type=int, default=3, help="of each chain that holds; default 3, 0 = none")
    parser.add_argument("--clean", type=int, default=0, help="of each that holds nothing; default 0")
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--log", type=Path, help="the lines of the log, as JSON")
    options = parser.parse_args(arguments)
    shapes = [shape for shape in SHAPES if options.only in shape.chain.name and options.streams]
    clean = [
        Shape(chain, (), together=3 if "for all" in chain.name else 1, has_word=True)
        for chain in CLEAN
        if options.only in chain.name and options.clean
    ]
    paths = [
        replace(s, chain=replace(s.chain, path="/model?last=1.8")) if "probe" in s.chain.path else s for s in clean
    ]

    def tried(shape: Shape) -> tuple[Shape, list[dict[str, Any]] | str]:
        try:
            return shape, run(shape, options.streams if shape.verdicts else options.clean)
        except (MissingError, AssertionError) as error:
            return shape, str(error)

    named, sums, advice, false, streams, kept = Counter[bool](), Counter[bool](), [0, 0], 0, 0, {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for shape, lines in pool.map(tried, (*shapes, *paths)):
            if isinstance(lines, str):
                print(f"      {shape.chain.name}: {lines}", flush=True)
                continue
            kept[shape.chain.name] = lines
            said = [_said(line) for line in lines]
            verdicts = Counter(verdict for verdict, _, _ in said)
            if not shape.verdicts:
                wrong = sum(verdict not in ("streamed", "short", "none") for verdict, _, _ in said)
                false, streams = false + wrong, streams + len(said)
                print(f"{'ok   ' if not wrong else 'WRONG'} {shape.chain.name}: {dict(verdicts)}", flush=True)
                continue
            good = [one for one in said if one[0] in shape.verdicts]
            # Of several at once the first one has nothing to wait for.
            right = len(good) >= (len(said) if shape.together == 1 else options.streams) * 0.6
            sums[shape.has_word] += 1
            named[shape.has_word] += right
            advised = bool(shape.causes) and bool(good) and good[-1][2] in shape.causes
            if shape.causes:
                advice[0] += advised
                advice[1] += 1
            print(
                f"{'ok   ' if right else 'WRONG'} {'ok   ' if advised or not shape.causes else 'ADVICE'} "
                f"{shape.chain.name}: {dict(verdicts)} {sorted({one[1:] for one in said})}",
                flush=True,
            )
    if options.log:
        options.log.write_text(json.dumps(kept))
    print(
        f"{named[True]} of {sums[True]} chains with a word, {named[False]} of {sums[False]} without one before; ",
        end="",
    )
    print(f"advice right in {advice[0]} of {advice[1]}; {false} false accusations in {streams} clean streams")
    return 0


if __name__ == "__main__":
    sys.exit(main())
