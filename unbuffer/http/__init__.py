"""HTTP/1.1 as pure functions of bytes: no sockets, no event loop."""
