"""openai: the words of a chat completion at each URL."""

import sys

import openai

for url in sys.argv[1:]:
    with openai.OpenAI(api_key="none", base_url=url, max_retries=0) as client:
        words = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "count"}], stream=True)
        for chunk in words:
            print(chunk.choices[0].delta.content)
