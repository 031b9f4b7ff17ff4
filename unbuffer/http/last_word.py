"""Whether the end of a stream says that it is one: the last words of the APIs that have any.

A stream that is cut cleanly looks whole on the wire; that its last word is missing is all there is to see.
"""

from typing import Final

KEPT: Final = 2048
"""Bytes that are kept of each of the two latest reads of a body: the last event of every API here fits into them."""

_WORDS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("data:", ("[DONE]",)),  # OpenAI's chat completions, and whoever speaks like them
    ('"finish_reason":', ('"',)),  # the same without [DONE]; null until then
    (
        '"type":',
        (
            '"response.completed"',  # OpenAI's responses
            '"response.incomplete"',
            '"response.failed"',
            '"message_stop"',  # Anthropic
            '"message-end"',  # Cohere
            '"RUN_FINISHED"',  # AG-UI
            '"RUN_ERROR"',
            '"finish"',  # Vercel's AI SDK
        ),
    ),
    ('"finishReason":', ('"',)),  # Gemini, Vertex AI
    ('"done":', ("true",)),  # Ollama
    ('"event":', ('"message_end"',)),  # Dify
    ("event:", ("end\n", "done\n", "end\r\n", "done\r\n")),  # LangServe and others
)
"""What names a word, and the words. Inside a string of JSON the quotes are escaped, so what a model writes about these
words is none of them."""

_SPACE: Final = (" ", "\t")


def has_last_word(end: bytes) -> bool:
    """Whether this end of an event-stream, or of lines of JSON, has a last word in it. JSON and event-streams allow
    white space after a colon.

    Every stream ends with this. To see that something is nowhere in a text takes a hundredth of the time of a pattern,
    so a name is looked at only where one of its words is there as well. (In bytes it would take five times as long:
    `find` parses its arguments, and `in` asks for a number first, which is an exception.)
    """
    text = end.decode("latin-1")
    for name, words in _WORDS:
        if name not in text or not any(word in text for word in words):
            continue
        at = text.rfind(name)
        while at >= 0:
            value = at + len(name)
            while text[value : value + 1] in _SPACE:
                value += 1
            if text[value:].startswith(words):
                return True
            at = text.rfind(name, 0, at)
    return False
