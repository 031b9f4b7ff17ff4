"""The last words of the APIs that have one, and what is none."""

import pytest

from unbuffer.http.last_word import has_last_word


@pytest.mark.parametrize(
    "end",
    [
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
        b"data: [DONE]\r\n\r\n",
        b"data:[DONE]\n\n",
        b'data: {"choices": [{"finish_reason": "length"}]}\n\ndata: {"choices": [], "usage": {}}\n\n',
        b'event: message_stop\ndata: {"type": "message_stop"}\n\n',
        b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n',
        b'data: {"candidates": [{"finishReason": "MAX_TOKENS"}],"usageMetadata": {}}\r\n\r\n',
        b'{"model":"m","message":{"content":""},"done_reason":"stop","done":true}\n',
        b'data: {"type":"RUN_FINISHED","runId":"1"}\n\n',
        b"event: end\n\n",
        b"event: end\r\n\r\n",
        b"data: [DONE]\n\n: ping\n\n",
    ],
)
def test_the_last_words(end: bytes) -> None:
    assert has_last_word(end)


@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"data: token\n\n",
        b'data: {"choices":[{"delta":{"content":"[DONE]"},"finish_reason":null}]}\n\n',
        b'{"message":{"content":"a"},"done":false}\n',
        # A model that writes about them.
        b'data: {"delta":"\\"finishReason\\":\\"STOP\\" and {\\"type\\":\\"message_stop\\"}"}\n\n',
        b'data: {"delta":"data: [DONE"}\n\n',
        b"data: [DON",
        b"event: ending\ndata: a\n\n",
    ],
)
def test_what_is_none(end: bytes) -> None:
    assert not has_last_word(end)
