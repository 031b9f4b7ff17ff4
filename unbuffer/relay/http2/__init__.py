"""HTTP/2 towards clients (RFC 9113), imported when the first client speaks it: h2 and what it brings take memory."""
