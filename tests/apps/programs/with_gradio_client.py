"""gradio_client: says something in a chat. Arguments: its URL and what to say."""

import sys

from gradio_client import Client

for answer in Client(sys.argv[1], verbose=False).submit(sys.argv[2], api_name="/answer"):
    print(answer)
