"""How streams are made that nobody holds: with the pauses of models, tools and networks."""

import random
from collections.abc import Iterator
from itertools import count

Step = tuple[float, int]
"""Seconds of a pause, and how many events are written after it, in one go."""


def steps(name: str, first: float, last: float) -> Iterator[Step]:
    """The steps of a stream that begins after `first` seconds and takes `last` in all. Raises KeyError."""
    yield first, 1
    passed = first
    for pause, events in _MADE[name]():
        passed += pause
        if passed > last:
            return
        yield pause, events


def _tokens() -> Iterator[Step]:
    while True:
        yield random.lognormvariate(-3.6, 0.4), 1


def _even() -> Iterator[Step]:
    while True:
        yield 0.03, 1


def _thoughts() -> Iterator[Step]:
    for number in count():
        yield (0.6 if number % 25 == 20 else random.lognormvariate(-3.6, 0.4)), 1


def _tools() -> Iterator[Step]:
    for number in count():
        yield (0.5, 25) if number % 30 == 25 else (random.lognormvariate(-3.6, 0.4), 1)


def _speculative() -> Iterator[Step]:
    while True:
        yield random.gauss(0.12, 0.004), random.randint(2, 5)


def _ticks() -> Iterator[Step]:
    while True:
        yield 0.7, 1


def _news() -> Iterator[Step]:
    while True:
        yield random.expovariate(1 / 0.7), 1


def _fast() -> Iterator[Step]:
    while True:
        yield 0.001, 1


_MADE = {
    "tokens": _tokens,
    "even": _even,
    "thoughts": _thoughts,
    "tools": _tools,
    "speculative": _speculative,
    "fast": _fast,
    "ticks": _ticks,
    "news": _news,
}

TYPES = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain; charset=utf-8"}
WORDS = ("the", "stream", "that", "arrives", "is", "one", "nobody", "held", "on", "its", "way", "to", "you")


def event(kind: str, number: int) -> bytes:
    """One of them, as chat completions have it; of text, a word."""
    word = WORDS[number % len(WORDS)]
    if kind == "text":
        return f"{word} ".encode()
    text = (
        '{"id":"chatcmpl-1f6e3c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":'
        f'{{"content":" {word}"}},"finish_reason":null}}]}}'
    )
    return f"data: {text}\n\n".encode() if kind == "sse" else f"{text}\n".encode()
