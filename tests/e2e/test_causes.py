"""Real servers and a real compressor keep the head of a stream: the likeliest cause is the one that is there."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest

from tests import local
from tests.e2e.stack import App, granian, gunicorn, hypercorn, unbuffer, uvicorn
from unbuffer.observe.causes import Cause

pytestmark = pytest.mark.process

APPLICATION = "tests.observe.app:app"
ASGI, UVICORN_WORKER = "gunicorn -k asgi", "gunicorn -k uvicorn_worker.UvicornWorker"

TRIES = 5
"""On a machine that has no time for it a head that comes at once may be as late as one that was withheld."""

# What a path does: /withheld waits for its first item before it responds, the others respond at once and wait then.
FIRST_ITEM = ("/withheld", Cause.FIRST_ITEM)
COMPRESSED = ("/gzip/late/text", Cause.COMPRESSION)
CASES: dict[str, list[tuple[str, Cause | None]]] = {
    "uvicorn": [FIRST_ITEM, COMPRESSED, ("/late/events", None), ("/late/text", None), ("/gzip/late/events", None)],
    "hypercorn": [FIRST_ITEM, COMPRESSED, ("/late/events", None), ("/late/text", None)],
    UVICORN_WORKER: [FIRST_ITEM, COMPRESSED, ("/late/events", None), ("/late/text", None)],
    # Its heads of event-streams go out at once, those of all else with the first piece of the body.
    "granian": [FIRST_ITEM, ("/late/events", None), ("/late/text", Cause.APPLICATION_SERVER)],
    ASGI: [("/late/events", Cause.APPLICATION_SERVER), ("/late/text", Cause.APPLICATION_SERVER)],
}


def servers(directory: Path) -> dict[str, Callable[[], AbstractContextManager[App]]]:
    return {
        "uvicorn": lambda: uvicorn(application=APPLICATION),
        "hypercorn": lambda: hypercorn(APPLICATION),
        "granian": lambda: granian(directory, APPLICATION),
        ASGI: lambda: gunicorn("asgi", APPLICATION),
        UVICORN_WORKER: lambda: gunicorn("uvicorn_worker.UvicornWorker", APPLICATION),
    }


@pytest.mark.parametrize("server", CASES)
def test_the_likeliest_cause_is_the_one_that_is_there(server: str, tmp_path: Path) -> None:
    with servers(tmp_path)[server]() as app:
        for path, cause in CASES[server]:
            expected = ("streamed", None) if cause is None else ("headers_withheld", cause)
            # A sidecar for each: what the head says is enough.
            with unbuffer(app.url) as proxy:
                for number in range(1, TRIES + 1):
                    local.get(f"{proxy.url}{path}").raise_for_status()
                    line = proxy.lines(path, number)[-1]
                    seen = line["unbuffer.verdict"], line.get("unbuffer.cause")
                    if seen == expected:
                        break
                assert (path, *seen) == (path, *expected)


def test_what_other_routes_do_tells_whose_fault_it_is_and_the_live_page_is_told(tmp_path: Path) -> None:
    """The server lets heads go, as another stream has shown: what waits is this route's own doing."""
    file = tmp_path / "unbuffer.yaml"
    file.write_text("routes: [{name: late, prefix: /late}, {name: withheld, prefix: /withheld}]\n")
    with uvicorn(application=APPLICATION) as app, unbuffer(app.url, "-c", str(file)) as proxy:
        for path in ("/late/events", "/withheld"):
            local.get(f"{proxy.url}{path}").raise_for_status()
            proxy.lines(path)
        page = local.stream("GET", f"{proxy.admin}/streams/updates")
        with page as response:
            news = next(line for line in response.iter_lines() if '"ended"' in line)
    (row,) = [row for row in msgspec.json.decode(news.removeprefix("data: "))["ended"] if row["path"] == "/withheld"]
    assert (row["verdict"], row["causes"]) == ("headers_withheld", [Cause.FIRST_ITEM])
