"""httpx-sse: the events of each URL."""

import sys

import httpx
import httpx_sse

for url in sys.argv[1:]:
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            print(event.data)
