"""unbuffer: a reverse-proxy sidecar that un-buffers streams.

The nouns of the whole program:

downstream  the side of the client; upstream: the side of the application.
stream      one request with its answer, or a tunnel after 101.
exchange    the code's name for a stream while it runs: the place where both sides meet.
head, body  of a message; a chunk is what one read of a body brought.
gap         the time between two chunks; a silence is a long one, of the upstream.
stall       time spent waiting for a reader.
relay delay the time from the read of a chunk to the accepted write of the same bytes.
outcome     how a stream ended: one name in the code, the log and the metrics.
route       a named class of requests with settings of its own.
drain       the graceful end of the process: no new work, running streams may finish.
"""

__version__ = "0.0.0"  # of a source tree: what is built has the version of its tag (setup.py)
