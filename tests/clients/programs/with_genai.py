"""google-genai: the words of a model of Vertex AI."""

import sys

from google.genai import Client
from google.genai.types import HttpOptions
from google.oauth2.credentials import Credentials

options = HttpOptions(base_url=sys.argv[1])
where = {"project": "p", "location": "l", "credentials": Credentials("none")}
with Client(vertexai=True, **where, http_options=options) as client:
    for answer in client.models.generate_content_stream(model="m", contents="count"):
        print(answer.text)
