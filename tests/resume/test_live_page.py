"""What the live page is told of a stream that nobody read for a while, and of the client that came back to it."""

import asyncio
import time

from tests.peers import LAST, eventually
from tests.relay.conftest import Relay
from tests.resume.streams import GET, chunk, event, last_id
from tests.resume.test_coming_back import ON, back, begun, with_id
from unbuffer.observe.live import Live, Watcher
from unbuffer.observe.news import Chosen, Picture
from unbuffer.observe.recent import Recent
from unbuffer.record import Record


def chosen(live: Live, page: Watcher, record: Record) -> tuple[Chosen, Picture]:
    """What a page is told that chooses this stream, with all its picture."""
    page.chosen, page.pinned, page.marks = record, True, 0
    news = live.news(page, [], "ready", time.monotonic(), 0.0)
    assert news.chosen is not None
    assert news.chosen.picture is not None
    return news.chosen, news.chosen.picture


async def test_what_nobody_read_was_kept_and_who_came_back_was_given_it(relay: Relay) -> None:
    await relay.start(resume=ON)
    live = Live(relay.totals, Recent(), relay.plane.clients)
    page = live.watch(0, [])
    client, upstream, _, first = await begun(relay, GET + b"\r\n", event("1"))
    (record,) = relay.plane.clients.running()
    client.reset()
    await eventually(lambda: record.presence is not None and record.presence.readers == 0)
    await upstream.send(chunk(event("2")))
    await eventually(lambda: record.chunks == 2)

    def unread() -> list[int]:
        """Which chunks came when nobody read."""
        _, picture = chosen(live, page, record)
        times = [read for read, _, _ in picture.marks]
        return [n for n, at in enumerate(times, 1) if any(begin <= at < end for begin, end in picture.absences)]

    await asyncio.sleep(0.001)  # the page's times are of hundredths of a millisecond
    assert unread() == [2]
    again, _ = await back(relay, with_id(GET, last_id(first)))
    body = b""
    while b"data: 2\n" not in body:
        body += await again.chunk()
    assert unread() == [2]
    await upstream.send(chunk(event("3")))
    body += await again.chunk()
    (returned,) = {*relay.plane.clients.running()} - {record}
    told, picture = chosen(live, page, returned)
    row = told.row
    assert (row.replay, row.replayed, row.chunks, row.bytes) == (True, 1, 2, len(body))
    assert (row.readers, row.first is not None, row.gap is not None) == (1, True, True)
    assert [(late, size) for _, late, size in picture.marks] == [(0.0, size) for _, _, size in picture.marks]
    assert sum(size for _, _, size in picture.marks) == len(body)
    assert (picture.missed, picture.absences, unread()) == (0, [], [2])
    assert not chosen(live, page, record)[0].row.replay

    again.reset()
    await eventually(lambda: record.presence is not None and record.presence.readers == 0)
    await upstream.send(chunk(event("4")) + LAST)
    await eventually(lambda: record.outcome is not None)
    assert unread() == [2, 4]
    live.leave(page)
