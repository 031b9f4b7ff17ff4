"""The certificates in use: read at the start, and once more at a reload."""

import contextlib
import ssl
from collections.abc import Iterator

from unbuffer.server.errors import StartError
from unbuffer.settings.model import Listen, UpstreamTLS


def listen_context(listen: Listen) -> ssl.SSLContext | None:
    """For the listeners; None without a certificate. Raises StartError."""
    if not listen.tls.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    use(context, listen)
    return context


def use(context: ssl.SSLContext, listen: Listen) -> None:
    """Have the handshakes to come use this certificate, and offer these protocols. Raises StartError."""
    tls = listen.tls
    context.set_alpn_protocols(["h2", "http/1.1"] if listen.http2 else ["http/1.1"])
    with naming("listen.tls", tls.certificate, tls.key):
        # Without a password OpenSSL would ask the terminal for the one of an encrypted key.
        context.load_cert_chain(tls.certificate, tls.key or None, password="")


def naming_upstream(tls: UpstreamTLS) -> contextlib.AbstractContextManager[None]:
    """Around what reads the files of upstream.tls."""
    return naming("upstream.tls", tls.ca, tls.certificate, tls.key)


@contextlib.contextmanager
def naming(section: str, *files: str) -> Iterator[None]:
    """Name the files in the error when OpenSSL cannot use one: it does not say which."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise StartError(f"{section}: cannot use {' and '.join(filter(None, files))}: {error}") from None
