"""unbuffer beside its peers, in one run: `python -m benchmarks` (benchmarks/README.md says how to read it)."""
