"""litellm: the words of a model of Gemini at each URL."""

import sys

import litellm  # type: ignore[import-not-found]

# It would print where to ask for help.
litellm.suppress_debug_info = True

question = {"model": "gemini/m", "messages": [{"role": "user", "content": "count"}], "stream": True}
for url in sys.argv[1:]:
    for chunk in litellm.completion(**question, api_base=url + "/models/m", api_key="none"):
        if word := chunk.choices[0].delta.content:
            print(word)
