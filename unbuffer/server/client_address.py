"""Whether the application's server tells it who the client is, on a Unix socket, where the peer has no address.

uvicorn and gunicorn's uvicorn workers take X-Forwarded-For from peers that FORWARDED_ALLOW_IPS names, and from a Unix
socket only where that is `*` (seen with uvicorn 0.54, gunicorn 27.0, uvicorn-worker 0.4). The others take it from
nobody, so the application itself has to read it (gunicorn's own asgi worker 27.0, granian 2.8, hypercorn 0.18).
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import PurePath

log = logging.getLogger("unbuffer")

TRUST = {"FORWARDED_ALLOW_IPS": "*"}
"""For the environment of an application on a socket that nobody but unbuffer connects to."""

_OPTION = "--forwarded-allow-ips"


def tell(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Say so where `request.client` would be None. environ: the application's."""
    if not any("{socket}" in argument for argument in command):
        return
    names = [PurePath(argument).name for argument in command]
    server = next((name for name in names if name in ("uvicorn", "gunicorn", "granian", "hypercorn")), "")
    if server in ("granian", "hypercorn") or (server == "gunicorn" and _worker(command) == "asgi"):
        log.info(
            "%s gives an application on a Unix socket no client address: wrap the application, as docs/life.md shows",
            server,
        )
    elif server and ("--no-proxy-headers" in command or "*" not in _trusted(command, environ)):
        log.warning("%s takes no client address from a Unix socket without %s '*'", server, _OPTION)


def _trusted(command: Sequence[str], environ: Mapping[str, str]) -> str:
    return _value(command, _OPTION) or environ.get("FORWARDED_ALLOW_IPS", "")


def _worker(command: Sequence[str]) -> str:
    return _value(command, "-k") or _value(command, "--worker-class")


def _value(command: Sequence[str], option: str) -> str:
    """What this option of a command is set to; "" = it is not there."""
    for index, argument in enumerate(command):
        name, equals, value = argument.partition("=")
        if name == option:
            return value if equals else "".join(command[index + 1 : index + 2])
    return ""
