"""`unbuffer demo`: the same stream direct and through unbuffer, side by side, and what to try next.

Whatever happens, no child outlives the show.
"""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack

import aiohttp

from unbuffer.demo import servers
from unbuffer.demo.processes import Server, ServerFailed
from unbuffer.demo.race import Lane, Question, race
from unbuffer.demo.screen import Screen, standard_output

CHAT = Question(
    "/gzip/v1/chat/completions",
    {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "Why stream?"}]},
)
PLAIN_TEXT = Question("/text")


def main(once: bool) -> int:
    """Show the streams; then, unless `once`, keep the servers for the user's own attempts until Ctrl-C.

    Returns the exit code: 0; 1 when something failed, which standard error tells, or when a show with `once` was
    interrupted.
    """
    try:
        ended = asyncio.run(_until_stopped(once))
    except ServerFailed as error:
        print(f"unbuffer demo: {error}", file=sys.stderr)
        return 1
    except (aiohttp.ClientError, TimeoutError) as error:
        print(f"unbuffer demo: a stream broke: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0 if ended or not once else 1


async def _until_stopped(once: bool) -> bool:
    """Run the show. Returns whether it came to its end by itself, and not by a signal."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    show = asyncio.create_task(_show(once, standard_output()))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({show, stopped}, return_when=asyncio.FIRST_COMPLETED)
    by_itself = show.done()
    stopped.cancel()
    show.cancel()
    await asyncio.wait({show, stopped})
    if not show.cancelled():
        show.result()
    return by_itself


async def _show(once: bool, screen: Screen) -> None:
    screen.say("Starting the app under uvicorn, and unbuffer in front of it.")
    async with servers.the_app() as app:
        direct = f"http://127.0.0.1:{app.ready[1]}"
        async with servers.unbuffer(direct) as (unbuffer, admin):
            through = f"http://127.0.0.1:{unbuffer.ready[1]}"
            screen.verbatim(f"""
What is measured meanwhile, for people and for Prometheus:
  {admin}/streams
  {admin}/metrics""")
            await _unless_one_ends(_scenes(once, screen, direct, through), app, unbuffer)


async def _unless_one_ends(work: Coroutine[None, None, None], *needed: Server) -> None:
    """Run `work` to its end. Raises ServerFailed when one of the servers ends before."""
    task = asyncio.create_task(work)
    failures = {asyncio.create_task(server.failure()) for server in needed}
    try:
        done, _ = await asyncio.wait({task, *failures}, return_when=asyncio.FIRST_COMPLETED)
        for failure in failures & done:
            raise failure.result()
        task.result()
    finally:
        for running in (task, *failures):
            running.cancel()
        await asyncio.wait({task, *failures})


async def _scenes(once: bool, screen: Screen, direct: str, through: str) -> None:
    screen.heading("POST /gzip/v1/chat/completions: the app compresses and holds its output.")
    await race(CHAT, (Lane("direct", direct), Lane("through unbuffer", through)), screen)
    async with AsyncExitStack() as front:
        nginx = await _nginx_scene(screen, front, direct, through)
        if not once:
            _what_next(screen, direct, through, nginx)
        _on_your_own(screen)
        if not once:
            await asyncio.Event().wait()


async def _nginx_scene(screen: Screen, front: AsyncExitStack, direct: str, through: str) -> tuple[str, str] | None:
    """The race behind nginx. Returns nginx's two URLs, which `front` keeps alive; None where it does not run."""
    program = servers.nginx_program()
    if program is None:
        return None
    screen.heading("GET /text: a stock nginx in front of the app, and in front of unbuffer.")
    screen.say(
        "uvicorn runs with h11 here, its parser without the extra `standard`. With httptools it answers HTTP/1.0 in "
        "chunks, and then nginx 1.22 passes them on by itself."
    )
    try:
        urls = await front.enter_async_context(servers.nginx(program, (direct, through)))
    except ServerFailed as error:
        # The show needs no nginx, and this one is the user's own, of any version.
        screen.verbatim(f"Left out: {error}")
        return None
    await race(PLAIN_TEXT, (Lane("nginx, app", urls[0]), Lane("nginx, unbuffer, app", urls[1])), screen)
    return urls


def _what_next(screen: Screen, direct: str, through: str, nginx: tuple[str, str] | None) -> None:
    check = f"{sys.executable} -m unbuffer check"
    screen.heading("Try next. Ctrl-C ends the demo.")
    screen.verbatim(f"""
All paths of the app:
  {direct}/  direct
  {through}/  through unbuffer

The compressed stream, in one lump and token by token:
  curl -N --compressed {direct}/gzip/text
  curl -N --compressed {through}/gzip/text

Who holds the stream? The application's own, and the probe of unbuffer:
  {check} {direct}/gzip/text
  {check} {through}/_unbuffer/probe

text/plain in Chromium, which shows nothing before 1,024 bytes, and the first token with nosniff:
  {direct}/text?delay=0.3  direct
  {through}/text?delay=0.3  through unbuffer

POST with query parameters, and an OpenAI-compatible stream:
  curl -N -X POST '{through}/text?prompt=Hello!&delay=0.3'
  curl -N {through}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "demo", "stream": true, "messages": []}}'

A WebSocket (type a line), and an upload of 100 MB:
  {sys.executable} -m websockets ws://{through.removeprefix("http://")}/ws
  head -c 100000000 /dev/zero | curl -X POST -T - {through}/upload""")
    if nginx is not None:
        screen.verbatim(f"""
Behind nginx, without unbuffer and with it:
  curl -N {nginx[0]}/text
  curl -N {nginx[1]}/text
  {check} {nginx[0]}/text --direct {direct}/text""")


def _on_your_own(screen: Screen) -> None:
    screen.verbatim(f"""
Then on an application of your own, say on port 8000:
  1. {sys.executable} -m unbuffer serve --upstream http://127.0.0.1:8000
  2. open http://127.0.0.1:4198/streams, and the application at http://127.0.0.1:8080
  3. {sys.executable} -m unbuffer check http://127.0.0.1:8080/PATH --direct http://127.0.0.1:8000/PATH""")
