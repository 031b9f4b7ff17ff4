"""Whether the end of a stream says that it is one: the last words of the APIs that have any.

A stream that is cut cleanly looks whole on the wire; that its last word is missing is all there is to see.
"""

from typing import Final

KEPT: Final = 2048
"""Bytes that are kept of each of the two latest reads of a body: the last event of every API here fits into them."""

_WORDS: Final[tuple[tuple[bytes, tuple[bytes, ...]], ...]] = (
    (b"data:", (b"[DONE]",)),  # OpenAI's chat completions, and whoever speaks like them
    (b'"finish_reason":', (b'"',)),  # the same without [DONE]; null until then
    (
        b'"type":',
        (
            b'"response.completed"',  # OpenAI's responses
            b'"response.incomplete"',
            b'"response.failed"',
            b'"message_stop"',  # Anthropic
            b'"message-end"',  # Cohere
            b'"RUN_FINISHED"',  # AG-UI
            b'"RUN_ERROR"',
            b'"finish"',  # Vercel's AI SDK
        ),
    ),
    (b'"finishReason":', (b'"',)),  # Gemini, Vertex AI
    (b'"done":', (b"true",)),  # Ollama
    (b'"event":', (b'"message_end"',)),  # Dify
    (b"event:", (b"end\n", b"done\n", b"end\r\n", b"done\r\n")),  # LangServe and others
)
"""What names a word, and the words. Inside a string of JSON the quotes are escaped, so what a model writes about these
words is none of them."""

_SPACE: Final = (b" ", b"\t")


def has_last_word(end: bytes) -> bool:
    """Whether this end of an event-stream, or of lines of JSON, has a last word in it. JSON and event-streams allow
    white space after a colon.

    Every stream ends with this. To see that bytes are nowhere takes a hundredth of the time of a pattern, so a name is
    looked at only where one of its words is there as well. (`in` asks bytes for a number first, which is an exception.)
    """
    for name, words in _WORDS:
        if end.find(name) < 0 or not any(end.find(word) >= 0 for word in words):
            continue
        at = end.rfind(name)
        while at >= 0:
            value = at + len(name)
            while end[value : value + 1] in _SPACE:
                value += 1
            if end.startswith(words, value):
                return True
            at = end.rfind(name, 0, at)
    return False
