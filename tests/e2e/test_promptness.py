"""Every kind of stream under every server, in lock-step: an event is asked for when the one before it has arrived.

Whatever holds an event back on its way brings these tests to a stop.
"""

import pytest

from tests import local
from tests.e2e.app import KINDS
from tests.e2e.stack import Stack

pytestmark = pytest.mark.process

EVENTS = {
    "sse": "data: event {}\n\n",
    "sse-starlette": "data: event {}\r\n\r\n",
    "ndjson": '{{"event": {}}}\n',
    "text": "event {}\n",
    "synchronous": "event {}\n",
    "compressed": "event {}\n",
}


def test_every_kind_of_stream_is_tried() -> None:
    assert EVENTS.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", EVENTS)
def test_each_event_arrives_before_the_next_one_exists(each_stack: Stack, kind: str) -> None:
    gate = each_stack.gate()
    body = b""
    with local.stream("GET", each_stack.url + gate.path(kind)) as response:
        parts = response.iter_raw()
        for number in range(5):
            expected = "".join(EVENTS[kind].format(n) for n in range(number + 1)).encode()
            while len(body) < len(expected):
                body += next(parts)
            assert body == expected
            gate.next() if number < 4 else gate.end()
        assert b"".join(parts) == b""

    assert response.status_code == 200
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert response.headers.get_list("x-accel-buffering") == ["no"]
    assert "content-encoding" not in response.headers
