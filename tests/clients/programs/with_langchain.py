"""langchain-openai: the words of a chat model."""

import sys

from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="m", api_key="none", base_url=sys.argv[1], max_retries=0)
for message in model.stream("count"):
    if message.content:
        print(message.content)
