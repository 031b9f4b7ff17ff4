"""One connection's state machine and header compression: the h2 library, told what it needs to know and no more.

h2 makes connection errors of what RFC 9113 calls stream errors, and ends for good where a GOAWAY passes. So of three
things it never hears: of the limit of concurrent streams (we count), of the content of heads (section 8 is
`heads.py`) and of GOAWAY. DATA that does not end a stream is framed by ourselves, in `output.py`, and h2 is told by
its windows, which stay the only ones.
"""

from typing import Final, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, RequestReceived, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Decoder, HPACKError, OversizedHeaderListError
from hyperframe.frame import GoAwayFrame, SettingsFrame

from unbuffer.http.request import HTTP2_PREFACE, Fields
from unbuffer.relay.http2.budget import SETTINGS
from unbuffer.settings.model import Limits

WINDOW: Final = 262144
"""Bytes of one stream that a client may send before the upstream has taken any: as much as a read of HTTP/1.1 brings.
The connection's window has room for all streams, so that one whose upstream takes nothing holds up no other."""

_CLOSED_STREAMS: Final = 256
"""Streams of which h2 remembers how they ended, for frames that cross: 65,536 of them would take megabytes."""

_TABLE: Final = 4096
"""Bytes of the tables of header compression, each way; a client that offers more memory does not get it."""

_KNOWN: Final = frozenset((1, 2, 3, 4, 5, 6, 8))
"""Settings that h2 hears of: of any other (they are to be ignored) it would keep a queue for each, 65,536 at worst."""


class CompressionError(ProtocolError):
    """A header block that cannot be decoded (RFC 9113, section 4.3)."""

    error_code = ErrorCodes.COMPRESSION_ERROR


class _HeadDecoder(Decoder):
    """Decodes heads into an envelope that h2 passes on unread: one field with the list in place of its value."""

    def decode(self, data: bytes, raw: bool = False) -> Fields:  # type: ignore[override]
        try:
            fields = super().decode(data, raw=True)
        except OversizedHeaderListError:
            raise
        except HPACKError as error:
            raise CompressionError(str(error)) from error
        return [(b"", fields)]  # type: ignore[list-item]


class _Connection(H2Connection):
    MAX_CLOSED_STREAMS = _CLOSED_STREAMS


class Session:
    """The connection as h2 sees it; `take` has what is to be sent.

    connection: h2's own, for its windows. greeting: what a server says first.
    """

    __slots__ = ("connection", "greeting")

    def __init__(self, limits: Limits) -> None:
        config = H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.connection = connection = _Connection(config)
        told = {
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.http2_streams,
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.head,
            SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
        }
        connection.local_settings = Settings(
            client=False, initial_values={**told, SettingCodes.MAX_CONCURRENT_STREAMS: 2**31 - 1}
        )
        decoder = connection.decoder = _HeadDecoder()
        # A head that is too large has an answer (431). One that is out of all proportion ends the connection.
        decoder.max_header_list_size = 2 * limits.head + 64 * limits.headers
        connection.initiate_connection()
        connection.clear_outbound_data_buffer()
        connection.increment_flow_control_window(limits.http2_streams * WINDOW)
        connection.receive_data(HTTP2_PREFACE)
        self.greeting: bytes = (
            SettingsFrame(0, settings={int(code): value for code, value in told.items()}).serialize()
            + connection.data_to_send()
        )

    def receive(self, frame: bytes) -> list[Event]:
        """One frame of the client's. Raises h2's ProtocolError."""
        return self.connection.receive_data(_heard(frame) if frame[3] == SETTINGS else frame)

    def take(self) -> bytes:
        """What is to be sent now."""
        return self.connection.data_to_send()

    @staticmethod
    def fields(event: RequestReceived | TrailersReceived) -> Fields:
        """What is in the envelope; see `_HeadDecoder`."""
        return cast(Fields, event.headers[0][1])

    @staticmethod
    def why(event: StreamReset) -> str:
        """The name of an error code, or its number."""
        code = event.error_code
        return code.name if isinstance(code, ErrorCodes) else f"0x{code:x}"

    @property
    def latest(self) -> int:
        """The highest number of a stream that the client has opened."""
        return self.connection.highest_inbound_stream_id

    def headers(self, stream_id: int, fields: Fields, end: bool) -> None:
        """Send a field section; end: with it the stream ends."""
        self.connection.send_headers(stream_id, fields, end)

    def last(self, stream_id: int, data: memoryview) -> None:
        """Send the last bytes of a stream, which may be none; they fit into its window."""
        self.connection.send_data(stream_id, bytes(data), True)

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream before its end."""
        self.connection.reset_stream(stream_id, code)

    def taken(self, stream_id: int, size: int) -> None:
        """Bytes of a stream, with their padding, have gone on: its window, and the connection's, open again."""
        self.connection.acknowledge_received_data(size, stream_id)

    def settle(self) -> None:
        """No stream is left: have h2 forget those that it knew."""
        _ = self.connection.open_inbound_streams


def goaway(last: int, code: int) -> bytes:
    """A GOAWAY frame. last: the highest stream that was, or will be, answered."""
    return GoAwayFrame(0, last_stream_id=last, error_code=code).serialize()


def _heard(frame: bytes) -> bytes:
    """A SETTINGS frame without what h2 does not have to know."""
    payload = frame[9:]
    if len(payload) % 6 or not payload:
        return frame
    kept = b""
    for start in range(0, len(payload), 6):
        code = int.from_bytes(payload[start : start + 2], "big")
        if code == SettingCodes.HEADER_TABLE_SIZE:
            value = min(int.from_bytes(payload[start + 2 : start + 6], "big"), _TABLE)
            kept += payload[start : start + 2] + value.to_bytes(4, "big")
        elif code in _KNOWN:
            kept += payload[start : start + 6]
    return len(kept).to_bytes(3, "big") + frame[3:9] + kept
