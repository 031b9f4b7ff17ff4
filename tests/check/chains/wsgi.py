"""The same answers by WSGI."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from tests.check.chains.models import TYPES, event, steps


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """/model as app.py has it."""
    query: dict[str, list[str]] = parse_qs(environ.get("QUERY_STRING", ""))

    def get(name: str, default: str) -> str:
        return query.get(name, [default])[0]

    kind = get("kind", "sse")
    start_response("200 OK", [("Content-Type", TYPES[kind])])

    def written() -> Iterator[bytes]:
        number = 0
        for pause, several in steps(get("made", "tokens"), float(get("first", "0.3")), float(get("last", "2"))):
            time.sleep(pause)
            for _ in range(several):
                yield event(kind, number)
                number += 1

    return written()
