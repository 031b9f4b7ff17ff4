"""google-genai: the words of a model of Vertex AI at each URL."""

import sys

from google.genai import Client
from google.genai.types import HttpOptions
from google.oauth2.credentials import Credentials

where = {"project": "p", "location": "l", "credentials": Credentials("none")}
for url in sys.argv[1:]:
    with Client(vertexai=True, **where, http_options=HttpOptions(base_url=url)) as client:
        for answer in client.models.generate_content_stream(model="m", contents="count"):
            print(answer.text)
