"""Whether the end of a stream says that it is one: the last words of the APIs that have any.

A stream that is cut cleanly looks whole on the wire; that its last word is missing is all there is to see.
"""

import re
from typing import Final

KEPT: Final = 2048
"""Bytes that are kept of each of the two latest reads of a body: the last event of every API here fits into them."""

_SPACE: Final = re.compile(rb"(?<=:)[ \t]+")

_WORDS: Final[tuple[bytes, ...]] = (
    b"data:[DONE]",  # OpenAI's chat completions, and whoever speaks like them
    b'"finish_reason":"',  # the same without [DONE]; null until then
    b'"type":"response.completed"',  # OpenAI's responses
    b'"type":"response.incomplete"',
    b'"type":"response.failed"',
    b'"type":"message_stop"',  # Anthropic
    b'"finishReason":"',  # Gemini, Vertex AI
    b'"type":"message-end"',  # Cohere
    b'"done":true',  # Ollama
    b'"type":"RUN_FINISHED"',  # AG-UI
    b'"type":"RUN_ERROR"',
    b'"type":"finish"',  # Vercel's AI SDK
    b'"event":"message_end"',  # Dify
    b"event:end\n",  # LangServe
    b"event:done\n",
)
"""Without the white space that JSON and event-streams allow after a colon. Inside a string of JSON the quotes are
escaped, so what a model writes about these words is none of them."""


def has_last_word(end: bytes) -> bool:
    """Whether this end of an event-stream, or of lines of JSON, has a last word in it."""
    end = _SPACE.sub(b"", end).replace(b"\r\n", b"\n")
    return any(word in end for word in _WORDS)
