"""What a finding means and what to change: one table, to be read and to be added to.

`diagnosis.py` decides which findings hold; docs/lump.md has a section for each, under the same name.
"""

from dataclasses import dataclass
from enum import StrEnum

from unbuffer.check.observation import Failure


class Level(StrEnum):
    """buffered: the stream is not what was sent. error: there is no stream to judge. note: worth to know."""

    BUFFERED = "buffered"
    ERROR = "error"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Signature:
    """meaning: what somebody on the way does. cures: what to change, the likeliest first. vendors: what to change at
    whom, where a field names him."""

    level: Level
    meaning: str
    cures: tuple[str, ...] = ()
    vendors: dict[str, str] | None = None


_UNHOLD = {
    "nginx": "nginx: `proxy_buffering off;` and `gzip off;` in the location of the stream, or send "
    "`X-Accel-Buffering: no` and see that no `proxy_ignore_headers` takes its effect away; `proxy_http_version 1.1;`.",
    "Caddy": "Caddy: take `response_buffers` away (and `flush_interval -1` in); leave streams out of `encode`.",
    "Traefik": "Traefik: take the middleware `buffering` from the router of the stream, and `compress` for its types.",
    "Varnish": "Varnish: `set beresp.do_stream = true;` and no `do_gzip` for streams, or `return (pipe)`.",
    "Envoy": "Envoy: no Lua or ext_proc filter that reads the body of streams; its compressor flushes.",
    "lighttpd": "lighttpd: `server.stream-response-body = 2`; its default 0 collects every response.",
    "Apache httpd": "Apache: `ProxyPass ... flushpackets=on`, no `RATE_LIMIT` and no filter that collects on streams.",
    "HAProxy": "HAProxy: no `http-response wait-for-body` on streams, and `option http-no-delay`.",
    "Google Frontend": "App Engine standard collects every response and cannot stream: move the service to App Engine "
    "flexible or Cloud Run (docs/app-engine-standard.md).",
    "Cloudflare": "Cloudflare: send `Cache-Control: no-transform`, `Content-Type: text/event-stream`; no feature that "
    "rewrites bodies on this path.",
    "CloudFront": "CloudFront: no compression for this behaviour, and no Lambda@Edge that reads the response.",
}
_BY_HAND = (
    "Put unbuffer directly in front of the application: it sends `X-Accel-Buffering: no`, `no-transform` and nosniff.",
    "Turn buffering and compression off for this path in every proxy, load balancer and CDN on the way.",
)

TABLE: dict[str, Signature] = {
    "held_to_the_end": Signature(
        Level.BUFFERED,
        "somebody collects the whole response before he passes any of it on",
        (*_BY_HAND, "In the application: no middleware that reads or compresses the response (BaseHTTPMiddleware is "
         "innocent; what awaits the body is not), and no event that is made only at the end."),
        _UNHOLD,
    ),
    "steps": Signature(
        Level.BUFFERED,
        "a buffer is passed on whenever it is full, and not before",
        (*_BY_HAND, "Whoever reads blocks of this size (`read(8192)`, `iter_content`) has to take what is there."),
        _UNHOLD,
    ),
    "beat": Signature(
        Level.BUFFERED,
        "a timer sends what has come since it last did",
        ("Shorten the flush interval of the hop, or have it flush after each write. HAProxy: `option http-no-delay` "
         "(some 200 ms without it); Apache: no `RATE_LIMIT` on streams.",),
        {**_UNHOLD, "HAProxy": "HAProxy: `option http-no-delay`; without it small writes wait for some 200 ms."},
    ),
    "first_bytes_held": Signature(
        Level.BUFFERED,
        "the beginning waits until there are so many bytes; what follows flows",
        ("Take the hop's wait for the beginning of a body away: HAProxy `http-response wait-for-body`, Caddy "
         "`response_buffers`; or fill the first event up (`sse.heartbeat_padding`, `sse.opening`).",),
        _UNHOLD,
    ),
    "held_irregularly": Signature(
        Level.BUFFERED,
        "events come late and several at a time, without a size or a beat that would tell why",
        (*_BY_HAND, "A line that is too slow, or a machine without time, looks so, too: ask again from nearby."),
        _UNHOLD,
    ),
    "head_withheld": Signature(
        Level.BUFFERED,
        "the response head waits for the first byte of the body: the client does not know that it was heard, and no "
        "heartbeat can be sent",
        ("In the application: return the StreamingResponse at once and wait for the first item inside its generator.",
         "Serve with uvicorn or hypercorn: gunicorn's `asgi` and `gthread` workers, and granian except for "
         "event-streams, keep the head.",
         "Leave streams out of compression: Starlette's GZipMiddleware, Caddy's `encode` and Traefik's `compress` keep "
         "the head; or send a first piece at once, such as an SSE comment (`sse.opening`)."),
        {"nginx": "nginx: `proxy_buffering off;`, or `X-Accel-Buffering: no` from behind it; with buffering the head "
         "waits for the first bytes of the body.",
         "Caddy": "Caddy: leave the type out of `encode`.",
         "Traefik": "Traefik: put the type into `excludedContentTypes` of `compress`."},
    ),
    "compression_holds": Signature(
        Level.BUFFERED,
        "it streams for clients that ask for no compression, and is held for browsers: a compressor without flush",
        ("Leave streams out of compression, in proxies and in middleware, or flush after each event.",
         "Send `Cache-Control: no-transform`, or put unbuffer in front of the application, which does."),
        {"nginx": "nginx: `gzip off;` in the location of the stream, or its type out of `gzip_types`; with `gzip` and "
         "`proxy_buffering` together it holds to the end.",
         "Varnish": "Varnish: no `beresp.do_gzip` for streams.",
         "Apache httpd": "Apache: `SetEnv no-gzip` for the path of the stream.",
         "Caddy": "Caddy: leave the type out of `encode`.",
         "Traefik": "Traefik: put the type into `excludedContentTypes` of `compress`."},
    ),
    "one_media_type": Signature(
        Level.BUFFERED,
        "a hop treats media types differently: its list of what streams has some of them only",
        ("Send event-streams as `text/event-stream`, which most lists have, or take the type into the hop's list.",
         "Turn off what chooses by type: compression, caching, image and script optimisers."),
        _UNHOLD,
    ),
    "one_method": Signature(
        Level.BUFFERED, "a hop treats methods differently: caches look at GET, some buffers at POST", _BY_HAND, _UNHOLD
    ),
    "one_http_version": Signature(
        Level.BUFFERED, "a hop treats HTTP/1.1 and HTTP/2 differently", _BY_HAND, _UNHOLD
    ),
    "heartbeats_swallowed": Signature(
        Level.BUFFERED,
        "comments do not come while data does: a hop passes data on alone, and idle time-outs strike",
        ("Send heartbeats as events with a name of their own, which such a hop passes on.",
         "Take the hop away that reads and rewrites event-streams (API gateways, SSE libraries in the middle)."),
    ),
    "cut": Signature(
        Level.BUFFERED,
        "the connection was cut inside the response",
        ("Raise the time-out of the hop; for an idle one, heartbeats keep the stream alive (`sse.heartbeat`).",
         "For a time-out of the whole, only its own setting helps: Envoy `timeout: 0s` of the route, Google "
         "`timeoutSec` of the backend."),
        {"nginx": "nginx: `proxy_read_timeout` (60 s by default) counts from byte to byte.",
         "Envoy": "Envoy: `timeout: 0s` of the route (15 s in all by default), `idle_timeout` (5 minutes of silence).",
         "HAProxy": "HAProxy: `timeout server` and `timeout tunnel` count silence.",
         "AWS ALB": "AWS ALB: `idle_timeout.timeout_seconds` (60 s by default) counts silence.",
         "Cloudflare": "Cloudflare gives up on an origin that is silent for 100 s or so; heartbeats help."},
    ),
    "damaged": Signature(
        Level.BUFFERED,
        "the body is not what its Content-Encoding says: browsers show an error in place of the rest, or of all",
        ("Whoever takes a coding off, or rewrites a body, has to change `Content-Encoding` as well; and nobody may "
         "compress twice under one name.",
         "Leave streams out of compression: `Cache-Control: no-transform`, or `Accept-Encoding: identity` towards the "
         "application, as unbuffer sends it."),
    ),
    "truncated": Signature(
        Level.BUFFERED,
        "it ended as if it were complete, and is not: the client cannot know that something is missing",
        ("Speak HTTP/1.1 to the upstream (nginx: `proxy_http_version 1.1;`): in HTTP/1.0 a cut and an end look alike.",
         "In the application: let the exception out of the generator instead of ending it; send a last word such as "
         "`data: [DONE]` and have unbuffer look for it (`terminal_marker`)."),
        {"nginx": "nginx: `proxy_http_version 1.1;`, so that it can tell a cut from an end."},
    ),
    "blocked_loop": Signature(
        Level.BUFFERED,
        "streams keep one another waiting: a blocked event loop, or a server that takes one request at a time",
        ("No blocking call in asynchronous code: `await asyncio.sleep`, an asynchronous client, or a plain generator, "
         "which Starlette runs in a thread.",
         "More workers or threads, where the server takes one request at a time (gunicorn's `sync` worker)."),
    ),
    "app_engine": Signature(
        Level.BUFFERED,
        "Google Frontend answers, and the whole came at once: App Engine standard collects every response, whatever "
        "its header says",
        (_UNHOLD["Google Frontend"],),
    ),
    "no_answer": Signature(Level.ERROR, "there was no HTTP response", ("`curl -v` of the URL shows how far it gets.",)),
    "silent": Signature(Level.ERROR, "nothing came for as long as was waited", ("Wait longer: --patience 90s.",)),
    "status": Signature(Level.ERROR, "the answer is no stream", ("`curl -i` of the URL shows what the answer says.",)),
    "redirect": Signature(
        Level.ERROR, "the answer is a redirect, which was not followed", ("Name the URL where the stream is.",)
    ),
    "no_probe": Signature(
        Level.ERROR, "what answers here is not unbuffer's probe",
        ("Switch it on in the sidecar: `probe: true`, or UNBUFFER_PROBE=true.",),
    ),
    "no_stream": Signature(
        Level.ERROR, "an ordinary answer with a Content-Length, at once: there is no stream to judge",
        ("Name a URL that streams; --method and --data as the application needs them.",),
    ),
    "too_quick": Signature(
        Level.NOTE, "it came at once, so that nothing held it; how it comes while it takes its time is not known",
        ("Ask for something that takes longer, or put the probe in front: `probe: true` and its path.",),
    ),
    "too_short": Signature(
        Level.ERROR, "too little came, after a wait, to tell who waited",
        ("Ask for a longer answer, or put the probe in front: `probe: true` and its path.",),
    ),
    "compressed": Signature(
        Level.NOTE, "the stream is compressed, and flushed as it should be",
        ("It costs its compressor memory for each stream; `Cache-Control: no-transform` asks hops to leave it.",),
    ),
    "http_1_0": Signature(
        Level.NOTE, "a hop speaks HTTP/1.0: the stream ends with its connection, and a cut looks the same",
        ("Find the hop that speaks 1.0 (nginx before 1.29.7: `proxy_http_version 1.1;`).",),
    ),
    "sniffable": Signature(
        Level.NOTE, "a browser that opens this page looks at its first 1,024 bytes before it shows any",
        ("Send `X-Content-Type-Options: nosniff`, as unbuffer does, or a type that is not sniffed.",),
    ),
    "no_transform_missing": Signature(
        Level.NOTE, "nothing forbids hops to compress the stream",
        ("Send `Cache-Control: no-transform`, as unbuffer does.",),
    ),
    "length_on_stream": Signature(
        Level.NOTE, "a Content-Length on a stream: somebody knew its end before its beginning was sent",
        ("Look for the middleware or hop that adds it: it has collected the body.",),
    ),
    "query_credentials": Signature(
        Level.NOTE, "the query seems to have a credential in it, and every log on the way has it, too",
        ("unbuffer can move it into a header field (`credentials`); fetch() can send one itself.",),
    ),
    "post_and_eventsource": Signature(
        Level.NOTE, "EventSource sends GET alone; a page needs fetch() for this one",
        ("Read `response.body` of fetch(), or use a library such as fetch-event-source.",),
    ),
    "proxy_environment": Signature(
        Level.NOTE, "the environment names a proxy, and this check went past it",
        ("To go through it as curl does: --proxy with its URL.",),
    ),
    "variant_failed": Signature(
        Level.NOTE, "a request of another kind got no stream, so that nothing is known of it",
        ("Nothing is wrong if it is meant to be so; if not, look for the hop that refuses this method, coding or "
         "version of HTTP.",),
    ),
    "uncoded": Signature(
        Level.NOTE, "the content could not be looked into",
        ("Ask for none: --header 'Accept-Encoding: identity'; it tells whether the coding is what holds.",),
    ),
    "silence_bounded": Signature(
        Level.NOTE, "a probe lasts 60 s at the most, so that limits of 60 s and more, idle or in all, were not met",
        ("Check a stream of the application's own that is silent for longer, and wait for it: --patience 90s "
         "--enough 90s.",),
    ),
    "http2_missing": Signature(
        Level.NOTE, "the server offers HTTP/2, which was not tried",
        ("That takes the library h2, which is installed with unbuffer: pip install h2",),
    ),
}  # fmt: skip
"""Every finding by its name."""

_BEHIND = (
    "The hop that answers did not get an answer itself: its error log says why, and --direct URL of what is behind it "
    "whether that streams.",
)
_REQUEST = ("Ask as the application's own clients do: --method, --data or --json, --header.",)

OF_A_FAILURE: dict[Failure, tuple[str, ...]] = {
    "": (),
    "name": (
        "Is the name right? `--resolve HOST:PORT:ADDRESS` goes past DNS.",
        "A name of Compose or Kubernetes is known inside its network only: run the check there.",
    ),
    "refused": (
        "Does anything listen there: is the port right, and is it published (`ports:` of Compose, `docker run -p`, "
        "`kubectl port-forward`)?",
        "A program that listens on 127.0.0.1 of its container or machine is reached from there only.",
    ),
    "timeout": ("A firewall or security group that drops packets looks so: try from a machine that is nearer to it.",),
    "network": (
        "Is there a way to this address: VPN, routes, IPv6? `--resolve HOST:PORT:ADDRESS` takes another address.",
    ),
    "socket": ("Is the path right, does a program listen on it, and may you write to it (`ls -l`)?",),
    "proxy": (
        "Is --proxy right, with what it asks for (http://USER:PASSWORD@HOST:PORT), and does it let CONNECT to this "
        "port through? Without --proxy the check goes straight to the server.",
    ),
    "certificate": (
        "Ask by a name that is in the certificate; `--resolve HOST:PORT:ADDRESS` leads that name anywhere.",
        "Of an authority of your own: SSL_CERT_FILE=ca.pem in the environment.",
    ),
    "tls": (
        "Is it the port that speaks TLS, and does it know this name? `openssl s_client -connect HOST:PORT -servername "
        "HOST` shows the handshake.",
    ),
    "closed": (
        "The server, or a hop in front of it, gave up before it answered: its error log says why (a worker that died, "
        "a time-out, a rule of a firewall).",
    ),
    "no_http": ("Is it the right port, and the right scheme?",),
}
"""What to do where there was no response, by why."""

OF_A_STATUS: dict[int, tuple[str, ...]] = {
    400: _REQUEST,
    401: ("Send the credential: --header 'Authorization: Bearer ...', or --header 'Cookie: ...'.",),
    403: (
        "Send the credential: --header 'Authorization: Bearer ...', or --header 'Cookie: ...'.",
        "A firewall may refuse what is no browser: --header 'User-Agent: ...' as browsers have it.",
    ),
    404: (
        "Ask for the path as clients do, with the prefix that a hop takes off; a probe needs `probe: true` in the "
        "sidecar, and is at `probe.path`.",
    ),
    405: ("Ask by a method that is allowed: --method, and --data or --json for POST.",),
    406: _REQUEST,
    415: _REQUEST,
    422: _REQUEST,
    429: ("Wait (`Retry-After` says how long), and ask less: --quick, or --several 1.",),
    500: ("The application failed: its log says why.",),
    501: (
        "Caddy with `response_buffers` refuses what says `Incremental`: take it away for streams. Others do not "
        "know the method: --method.",
    ),
    502: _BEHIND,
    503: _BEHIND,
    504: _BEHIND,
}
"""What to do where the answer is no stream, by its status."""

DEFAULTS = (
    (10, "Heroku's boot, API gateways"),
    (15, "the route time-out of Envoy and Istio, which counts the whole"),
    (20, "Azure Application Gateway"),
    (29, "AWS API Gateway"),
    (30, "the backend service of Google Cloud, which counts the whole, and of Heroku's and gunicorn's first byte"),
    (55, "Heroku between two bytes"),
    (60, "nginx's proxy_read_timeout, AWS ALB, Ingress NGINX, Apache's ProxyTimeout"),
    (100, "Cloudflare"),
    (120, "Cloudflare Enterprise, IIS"),
    (230, "Azure App Service"),
    (240, "Azure Load Balancer and Azure Front Door"),
    (300, "Envoy's stream_idle_timeout, Cloud Run"),
    (350, "AWS NLB"),
    (3600, "Cloud Run at the most"),
)
"""Seconds after which streams are cut, and who has that by default."""


def who_cuts_after(seconds: float) -> str:
    """Who has this time-out by default; empty = nobody that is known."""
    for default, who in DEFAULTS:
        if default - 0.5 <= seconds <= default * 1.02 + 1.2:  # Envoy's idle time-out strikes a second late
            return who
    return ""
