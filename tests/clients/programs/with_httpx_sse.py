"""httpx-sse: the events of a URL."""

import sys

import httpx
import httpx_sse

with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", sys.argv[1]) as source:
    for event in source.iter_sse():
        print(event.data)
