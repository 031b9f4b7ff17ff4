"""openai: the words of a chat completion."""

import sys

import openai

with openai.OpenAI(api_key="none", base_url=sys.argv[1], max_retries=0) as client:
    words = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "count"}], stream=True)
    for chunk in words:
        print(chunk.choices[0].delta.content)
