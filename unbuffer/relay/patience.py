"""How long a client, and the stream on its connection, is waited for. Nothing here acts."""

from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay.client import Client
from unbuffer.relay.policy import Policy
from unbuffer.settings.model import Timeouts

LINGER = 5.0
"""Seconds without a read after which a connection that is being closed is given up. Until then what a client still
sends after an early answer is read and dropped: a close with unread bytes resets the connection and can take the answer
with it, and many a client reads nothing before it has sent everything. nginx's lingering_timeout is 5 s as well."""

LINGER_TOTAL = 30.0
"""Seconds that this may last in all, however much still comes: nginx's lingering_time."""

CROSSING = 1.0
"""Seconds without a request after which a drain closes a connection. One that is on its way already would be lost, and
a POST is sent again by no load balancer. So neither a new connection is closed at once nor one whose last response has
promised that it stays: what comes in this time is answered, and told that the connection ends."""

READ_FIRST = 0.1
"""Seconds between the last bytes of a stream and its break, where they are not to be lost with it. Chromium drops what
it has received but not yet handed to the page when the connection breaks (without a pause one error event in fifteen
was lost), and Chromium and curl drop the DATA of HTTP/2 that they read together with a reset."""

Deadline = tuple[float, Outcome, str]
"""A time, the outcome of a stream that has come to it, and the detail."""

Look = tuple[float, bool]
"""When to look again, 0.0 for never, and whether the wait is over: then the connection is given up."""


def sooner(one: float, other: float) -> float:
    """Of two times to look again, 0.0 for never."""
    return min(one, other) if one and other else one or other


def request_wait(timeouts: Timeouts, idle: bool, closing: bool) -> float:
    """Seconds that a connection waits for a request, or, where a part of its head has come, for the rest; 0 = for ever.

    idle: nothing of it has come. closing: as `Clients` has it.
    """
    if not idle:
        return timeouts.request_head
    return CROSSING if closing else timeouts.keep_alive


class Stall:
    """The wait for a client to take what was written to it. One that takes little by little is not given up."""

    __slots__ = ("_since", "_waiting")

    def __init__(self, now: float, waiting: int) -> None:
        """waiting: bytes that it has not taken."""
        self._since = now
        self._waiting = waiting

    def look(self, now: float, waiting: int, seconds: float) -> Look:
        """seconds: how long it may take nothing; 0 = for ever."""
        if not seconds:
            return 0.0, False
        if waiting < self._waiting:
            self._since = now
        self._waiting = waiting
        due = self._since + seconds
        return due, due <= now


class Closing:
    """The wait of a connection that is being closed, for its client to take what was written and to leave.

    read_at: time of the latest read.
    """

    __slots__ = ("_stall", "_until", "read_at")

    def __init__(self, now: float, waiting: int) -> None:
        self.read_at = now
        self._until = now + LINGER_TOTAL
        self._stall = Stall(now, waiting)

    def look(self, now: float, waiting: int, stall_seconds: float) -> Look:
        """While the client takes something it may go on."""
        if waiting:
            self.read_at = now
            self._until = now + LINGER_TOTAL
            due, over = self._stall.look(now, waiting, stall_seconds)
            return due or now + LINGER, over
        due = min(self.read_at + LINGER, self._until)
        return due, due <= now


def deadlines(
    policy: Policy, record: Record, request_over: bool, client: Client, silent_since: float, now: float
) -> list[Deadline]:
    """What a stream has to keep to as it stands. Where several have passed, the first one counts.

    silent_since: since when the upstream has said nothing.
    """
    found: list[Deadline] = []
    seconds = policy.request_body_timeout
    if not request_over and seconds:
        # While the upstream takes nothing it is not the client that is silent.
        since = now if client.reading_paused else client.read_at
        found.append((since + seconds, Outcome.REQUEST_BODY_TIMEOUT, ""))
        if policy.body_rate and not record.head_at:
            # Every byte moves this deadline on. Apache's MinRate counts so, too.
            begun = now if client.reading_paused else max(record.started, client.resumed_at)
            due = begun + seconds + record.bytes_up / policy.body_rate
            found.append((due, Outcome.REQUEST_BODY_TIMEOUT, "limits.body_rate"))
    if not record.head_at:
        if policy.response_head_timeout and record.sent_at:
            found.append((record.sent_at + policy.response_head_timeout, Outcome.RESPONSE_HEAD_TIMEOUT, ""))
    elif policy.silence_timeout and record.kind != "upgrade":
        found.append((silent_since + policy.silence_timeout, Outcome.SILENCE_TIMEOUT, ""))
    return found
