"""langchain-openai: the words of a chat model at each URL."""

import sys

from langchain_openai import ChatOpenAI

for url in sys.argv[1:]:
    model = ChatOpenAI(model="m", api_key="none", base_url=url, max_retries=0)
    for message in model.stream("count"):
        if message.content:
            print(message.content)
