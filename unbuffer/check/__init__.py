"""`unbuffer check`: measures how a stream arrives, and names the hop that holds it."""
