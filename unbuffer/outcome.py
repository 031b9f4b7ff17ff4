"""Every way a stream can end, each named once.

The name is the metric label, the value in the access log and the documentation's word. With it stands what an answer
made by unbuffer says: status and Proxy-Status error type (RFC 9209, section 2.3), and a sentence a person can act on.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final


@dataclass(frozen=True, slots=True)
class Ending:
    """What one outcome means.

    status: the code answered when the response head is not out yet; 0 where nobody is left to answer.
    error: the RFC 9209 error type; empty where Proxy-Status has nothing to report.
    text: one sentence for the person who sees the answer or the log line.
    """

    name: str
    status: int
    error: str
    text: str


class Outcome(Enum):
    """How a stream ended. The value of a member is its `Ending`.

    label: the outcome's name in metrics, logs and documentation.
    """

    label: str

    COMPLETED = Ending("completed", 0, "", "The response was relayed to its end.")
    UNTERMINATED = Ending(
        "unterminated", 0, "", "The stream ended cleanly, but without the terminal_marker of its route."
    )
    CLIENT_DISCONNECT = Ending("client_disconnect", 0, "", "The client left before the response was complete.")
    CLIENT_STALL_TIMEOUT = Ending(
        "client_stall_timeout",
        0,
        "connection_write_timeout",
        "The client read nothing for timeouts.client_stall.",
    )
    ABANDONED = Ending(
        "abandoned", 0, "", "The client left and nobody came back within resume.linger, so the upstream was cancelled."
    )
    CANCELLED = Ending("cancelled", 0, "", "The client cancelled its resumable stream by DELETE.")
    STREAM_UNKNOWN = Ending(
        "stream_unknown",
        404,
        "http_request_error",
        "This stream is not kept here any more, or belongs to other credentials: begin a new request.",
    )
    REQUEST_MALFORMED = Ending("request_malformed", 400, "http_request_error", "The request is not valid.")
    REQUEST_TOO_LARGE = Ending(
        "request_too_large", 413, "http_request_error", "The request is larger than the limits allow."
    )
    UNAUTHORIZED = Ending(
        "unauthorized", 401, "http_request_denied", "The request has no valid bearer token; see authorization."
    )
    REQUEST_HEAD_TIMEOUT = Ending(
        "request_head_timeout",
        408,
        "http_request_error",
        "The request head was not complete within timeouts.request_head.",
    )
    REQUEST_BODY_TIMEOUT = Ending(
        "request_body_timeout",
        408,
        "http_request_error",
        "The client sent nothing of the request body for timeouts.request_body, or less than limits.body_rate.",
    )
    REJECTED = Ending(
        "rejected",
        503,
        "connection_limit_reached",
        "A limit is reached: limits.streams, limits.connections or the open files of the process.",
    )
    UPSTREAM_REFUSED = Ending(
        "upstream_refused", 503, "connection_refused", "The upstream accepts no connections; is the application up?"
    )
    UPSTREAM_UNREACHABLE = Ending(
        "upstream_unreachable",
        502,
        "destination_ip_unroutable",
        "The upstream cannot be reached: no route or a failed connection.",
    )
    UPSTREAM_DNS_ERROR = Ending(
        "upstream_dns_error", 502, "dns_error", "The host name in upstream.url cannot be resolved."
    )
    UPSTREAM_TLS_ERROR = Ending(
        "upstream_tls_error",
        502,
        "tls_protocol_error",
        "The TLS handshake with the upstream failed; see upstream.tls.",
    )
    CONNECT_TIMEOUT = Ending(
        "connect_timeout",
        504,
        "connection_timeout",
        "The upstream did not accept a connection within timeouts.connect.",
    )
    RESPONSE_HEAD_TIMEOUT = Ending(
        "response_head_timeout",
        504,
        "http_response_timeout",
        "The upstream sent no response head within timeouts.response_head.",
    )
    SILENCE_TIMEOUT = Ending(
        "silence_timeout",
        504,
        "connection_read_timeout",
        "The upstream sent nothing of the response body but keep-alives for timeouts.silence.",
    )
    UPSTREAM_DISCONNECT = Ending(
        "upstream_disconnect",
        502,
        "connection_terminated",
        "The upstream closed the connection before the response was complete.",
    )
    UPSTREAM_PROTOCOL_ERROR = Ending(
        "upstream_protocol_error", 502, "http_protocol_error", "The upstream's response is not valid HTTP."
    )
    DECODE_ERROR = Ending(
        "decode_error",
        502,
        "http_response_content_coding",
        "The upstream's compressed body is damaged and cannot be decoded.",
    )
    DRAINING = Ending("draining", 503, "", "unbuffer is shutting down and drain.timeout has passed.")
    INTERNAL_ERROR = Ending("internal_error", 500, "proxy_internal_error", "unbuffer failed; the log has the details.")

    # Members are compared by identity; Enum's own hash is a call into Python, and outcomes are counted in dicts.
    __hash__ = object.__hash__


# No property, and not read from `value`: each would be a call into Python, at every end of a stream.
for outcome in Outcome:
    outcome.label = outcome.value.name


WHOLE: Final = (Outcome.COMPLETED, Outcome.UNTERMINATED)
"""The outcomes of what was relayed to its end."""

LEFT: Final = (Outcome.CLIENT_DISCONNECT, Outcome.ABANDONED, Outcome.CANCELLED)
"""The outcomes of what its client did not want to its end, or could not have."""

FINE: Final = frozenset(
    (
        Outcome.COMPLETED,
        Outcome.CLIENT_DISCONNECT,
        Outcome.CLIENT_STALL_TIMEOUT,
        Outcome.ABANDONED,
        Outcome.CANCELLED,
        Outcome.STREAM_UNKNOWN,
        Outcome.REQUEST_MALFORMED,
        Outcome.REQUEST_TOO_LARGE,
        Outcome.REQUEST_HEAD_TIMEOUT,
        Outcome.REQUEST_BODY_TIMEOUT,
        Outcome.UNAUTHORIZED,
        Outcome.DRAINING,
    )
)
"""The outcomes that are nobody's error, or the client's own. Whatever else there is, or comes to be, is an error."""
