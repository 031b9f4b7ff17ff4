"""How often is a stream said to lack its last word? Streams of many APIs, whole and cut, through the relay's own code.

    python -m benchmarks.last_words [streams of each sort]

Prints the table of docs/outcomes.md. Every stream comes in reads as networks cut them: an event each, several events in
one, or an event in pieces.
"""

import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.unwired import Unwired
from unbuffer.record import MISSING, UNKNOWN

CUT = 0.02
"""Share of the streams that end cleanly in the middle, as an application's exception may have it."""

Events = list[bytes]


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort of stream. make: all its events, for so many words of content."""

    name: str
    kind: str
    make: Callable[[random.Random, list[str]], Events]


def _data(*values: object) -> Events:
    return [b"data: %b\n\n" % json.dumps(value).encode() for value in values]


def _named(*values: Mapping[str, object]) -> Events:
    return [b"event: %b\ndata: %b\n\n" % (str(value["type"]).encode(), json.dumps(value).encode()) for value in values]


def _lines(*values: object) -> Events:
    return [json.dumps(value, separators=(",", ":")).encode() + b"\n" for value in values]


def _openai_chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def openai(_: random.Random, words: list[str]) -> Events:
    chunks = [_openai_chunk({"content": word}) for word in words]
    return [*_data(*chunks, _openai_chunk({}, "stop")), b"data: [DONE]\n\n"]


def openai_usage(_: random.Random, words: list[str]) -> Events:
    """Some servers send no [DONE], and the usage last."""
    chunks = [_openai_chunk({"content": word}) for word in words]
    usage = {"object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": len(words)}}
    return _data(*chunks, _openai_chunk({}, "length"), usage)


def responses(_: random.Random, words: list[str]) -> Events:
    deltas: list[dict[str, object]] = [{"type": "response.output_text.delta", "delta": word} for word in words]
    return _named(*deltas, {"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}})


def anthropic(_: random.Random, words: list[str]) -> Events:
    deltas: list[dict[str, object]] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words
    ]
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": len(words)}}
    return _named({"type": "message_start"}, *deltas, stop, {"type": "message_stop"})


def gemini(random: random.Random, words: list[str]) -> Events:
    """The reason stands in the midst of the last event, before up to a kilobyte of other things."""
    parts = [{"candidates": [{"content": {"parts": [{"text": word}], "role": "model"}}]} for word in words]
    last: dict[str, object] = {
        "candidates": [{"content": {"parts": [{"text": "."}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"totalTokenCount": len(words), "note": "x" * random.randrange(1000)},
        "modelVersion": "m",
    }
    return [event.replace(b"\n\n", b"\r\n\r\n") for event in _data(*parts, last)]


def ag_ui(_: random.Random, words: list[str]) -> Events:
    contents = [{"type": "TEXT_MESSAGE_CONTENT", "messageId": "1", "delta": word} for word in words]
    return _data({"type": "RUN_STARTED"}, *contents, {"type": "TEXT_MESSAGE_END"}, {"type": "RUN_FINISHED"})


def ollama(_: random.Random, words: list[str]) -> Events:
    parts = [{"model": "m", "message": {"role": "assistant", "content": word}, "done": False} for word in words]
    return _lines(*parts, {"model": "m", "message": {"content": ""}, "done_reason": "stop", "done": True})


def bare(_: random.Random, words: list[str]) -> Events:
    return [b"data: %b\n\n" % word.encode() for word in words]


def objects(_: random.Random, words: list[str]) -> Events:
    return _data(*({"token": word, "done": False} for word in words))


def rows(_: random.Random, words: list[str]) -> Events:
    return _lines(*({"row": number, "value": word} for number, word in enumerate(words)))


def at_times(random: random.Random, words: list[str]) -> Events:
    """An API whose streams have a last word in nine of ten cases, for good reasons."""
    return openai(random, words) if random.random() < 0.9 else bare(random, words)


def seldom_not(random: random.Random, words: list[str]) -> Events:
    """In 99 of 100 cases."""
    return openai(random, words) if random.random() < 0.99 else bare(random, words)


SORTS = (
    Sort("OpenAI, chat completions", "sse", openai),
    Sort("the same without `[DONE]`, the usage last", "sse", openai_usage),
    Sort("OpenAI, responses", "sse", responses),
    Sort("Anthropic, messages", "sse", anthropic),
    Sort("Gemini", "sse", gemini),
    Sort("AG-UI", "sse", ag_ui),
    Sort("Ollama", "ndjson", ollama),
    Sort("text in events, no last word", "sse", bare),
    Sort("JSON in events, no last word", "sse", objects),
    Sort("rows, no last word", "ndjson", rows),
    Sort("a last word in 90% of the streams", "sse", at_times),
    Sort("a last word in 99% of the streams", "sse", seldom_not),
)

TALK = (
    'a model writes one word after another [DONE] and some of them are about "finishReason":"STOP" or '
    '{"type":"message_stop"} or event: end because that is what somebody asked about'
)
WORDS = TALK.split()
"""What the streams talk about: their own last words among other things."""


def reads(random: random.Random, events: Events) -> Events:
    """The events as they are read: each alone, several at once, or in pieces."""
    found: Events = []
    for event in events:
        match random.randrange(4):
            case 0 if found:
                found[-1] += event
            case 1 if len(event) > 1:
                at = random.randrange(1, len(event))
                found += event[:at], event[at:]
            case _:
                found.append(event)
    return found


def tried(sort: Sort, count: int) -> tuple[int, int, int, int]:
    """Of so many streams: the whole ones, those of them that were accused; the cut ones, and those of them."""
    chance = random.Random(sort.name)
    whole = accused = cut = found = 0
    with Unwired() as relay:
        for number in range(count):
            events = sort.make(chance, [chance.choice(WORDS) + " " for _ in range(chance.randrange(2, 40))])
            is_cut = number >= 100 and chance.random() < CUT
            if is_cut:
                events = events[: chance.randrange(1, max(len(events) - 2, 2))]
            pieces = reads(chance, events)
            record = relay.play(sort.kind, 0.01, [(0.02 + 0.01 * at, piece) for at, piece in enumerate(pieces)])
            assert record.last_word != UNKNOWN
            missing = record.last_word == MISSING
            if is_cut:
                cut, found = cut + 1, found + missing
            else:
                whole, accused = whole + 1, accused + missing
    return whole, accused, cut, found


def main(count: int) -> None:
    """Print the table."""
    begun = time.monotonic()
    print("| streams | whole | of these marked | cut cleanly | of these marked |\n|---|---:|---:|---:|---:|")
    for sort in SORTS:
        whole, accused, cut, found = tried(sort, count)
        print(f"| {sort.name} | {whole:,} | {accused} | {cut} | {found} |")
    print(f"in {time.monotonic() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
