"""The W3C trace context goes up as it came, valid or not; what is valid is noted."""

import pytest

from tests.relay.conftest import Relay

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)


@pytest.mark.parametrize(
    "lines",
    [
        b"traceparent: " + VALID,
        b"TRACEPARENT: " + VALID,
        b"traceparent: " + VALID + b"\r\ntracestate: congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
        b"tracestate: a=1\r\nX: y\r\nTraceState:\r\ntracestate: b=2,,\tc=3",
        b"traceparent: 00-%b-%b-01" % (b"0" * 32, SPAN),
        b"traceparent: ff-%b-%b-01" % (TRACE, SPAN),
        b"traceparent: nonsense, \x80\xff",
        b"traceparent:",
        b"traceparent: " + VALID + b"\r\ntraceparent: " + VALID,
        b"baggage: userId=alice,serverNode=DF%2028",
    ],
)
async def test_it_goes_up_byte_for_byte(relay: Relay, lines: bytes) -> None:
    await relay.start()
    _, _, head = await relay.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\nAccept: */*\r\n\r\n")
    sent = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines.split(b"\r\n"))]
    got = [(name, value[1:]) for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[2:])]
    assert got[: len(sent) + 1] == [*sent, (b"Accept", b"*/*")]
    assert sum(name.lower() in (b"traceparent", b"tracestate") for name, _ in got) == sum(
        name.lower() in (b"traceparent", b"tracestate") for name, _ in sent
    )


@pytest.mark.parametrize(
    ("lines", "noted"),
    [
        (b"traceparent: " + VALID, True),
        (b"traceparent: 00-%b-%b-00" % (TRACE, SPAN), True),
        (b"traceparent: cc-%b-%b-01-more" % (TRACE, SPAN), True),
        (b"traceparent: 00-%b-%b-01-more" % (TRACE, SPAN), False),
        (b"traceparent: ff-%b-%b-01" % (TRACE, SPAN), False),
        (b"traceparent: 00-%b-%b-01" % (b"0" * 32, SPAN), False),
        (b"traceparent: 00-%b-%b-01" % (TRACE, b"0" * 16), False),
        (b"traceparent: 00-%b-%b-1" % (TRACE, SPAN), False),
        (b"traceparent: 00-%b-%b-01" % (TRACE.upper(), SPAN), False),
        (b"traceparent: " + VALID + b"\r\ntraceparent: " + VALID, False),
        (b"traceparent:\r\ntraceparent: " + VALID, True),
        (b"tracestate: a=1", False),
    ],
)
async def test_what_is_valid_is_noted(relay: Relay, lines: bytes, noted: bool) -> None:
    await relay.start()
    client, _, _ = await relay.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n")
    client.reset()
    record = await relay.record()
    assert record.trace == (TRACE.decode() if noted else "")
    assert bool(record.parent) is noted
    if noted:
        assert record.parent.startswith(SPAN.decode() + "-")
        assert len(record.parent) == 19
