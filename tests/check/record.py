"""Records what a check sees, for test_recorded.py: `python -m tests.check.record NAME VARIANT[,VARIANT...] URL ...`.

Beside the first request only these variants are asked; `-` = none. What the response said is not in the file.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from unbuffer.check import run, variants
from unbuffer.check.command import wanted_of
from unbuffer.check.evidence import noted
from unbuffer.check.observation import dumps
from unbuffer.check.options import add_options
from unbuffer.check.variants import Variant

FOLDER = Path(__file__).parent / "recorded"


def main(name: str, kept: str, arguments: list[str]) -> None:
    names = kept.split(",")

    def others(probe: bool, http2: bool, several: int) -> Iterator[tuple[Variant, ...]]:
        for group in variants.others(probe, http2, several):
            if some := tuple(variant for variant in group if variant.name in names):
                yield some

    setattr(run, "others", others)  # noqa: B010 - mypy takes it for no attribute of that module
    parser = argparse.ArgumentParser()
    add_options(parser)
    check = run.Check(wanted_of(parser.parse_args(arguments)), print)
    asyncio.run(check.run())
    seen = [replace(one, fields=noted(one), url=f"http://{name.partition('-')[0]}/") for one in check.kept]
    (FOLDER / f"{name}.json").write_text(dumps(seen).replace("}, {", "},\n{") + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
