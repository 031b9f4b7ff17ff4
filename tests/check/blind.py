"""`python -m tests.check.blind`: chains of real programs, chosen at random, and a check that sees the URL alone.

Of a chain that holds, the right cause has to be named and nothing else; of one that holds nothing, none. Needs nginx,
HAProxy, Apache, lighttpd and Varnish as Debian has them, `pip install waitress brotli-asgi`, and node's packages
(chains/proxies.py).
"""

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.check.chains.proxies import MissingError
from tests.check.chains.table import CLEAN, CULPRITS, Chain

LONGEST = 120.0
"""Seconds that a check may take."""

AT_ONCE = 4
"""Checks of one chain at the same time."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a check said of a chain. found: findings that are no notes; where: of the first one that is right."""

    chain: Chain
    found: tuple[str, ...]
    where: str
    said: str

    @property
    def right(self) -> bool:
        """Whether it was the cause, all of it, and the place as far as it can be known."""
        chain = self.chain
        if not chain.cause:
            return not self.found
        return (
            any(name in chain.cause for name in self.found)
            and set(self.found) <= {*chain.cause, *chain.also}
            and chain.who in self.where
            and chain.said in self.said
        )


def run(chain: Chain, times: int = 1) -> list[Run]:
    """Start it, check it so many times, AT_ONCE of them at a time. Raises MissingError."""
    with chain.started() as url, ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda _: _checked(chain, url), range(times)))


def _checked(chain: Chain, url: str) -> Run:
    command = [sys.executable, "-m", "unbuffer", "check", "--json", *chain.arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    if not done.stdout.startswith("{"):
        return Run(chain, ("no report",), "", done.stderr)
    (report,) = json.loads(done.stdout)["urls"]
    graves = [finding for finding in report["findings"] if finding["level"] != "note"]
    right: dict[str, str] = next((finding for finding in graves if finding["name"] in chain.cause), {})
    return Run(
        chain,
        tuple(finding["name"] for finding in graves),
        right.get("where", ""),
        right.get("said", "") or report["verdict"],
    )


def _tried(chain: Chain, times: int) -> list[Run] | str:
    try:
        return run(chain, times)
    except MissingError as error:
        return f"{chain.name}: not installed: {error}"
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return f"{chain.name}: {error}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each run, and the sum; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.check.blind", description=__doc__)
    parser.add_argument("--runs", type=int, default=24, help="chains that hold, chosen at random; default 24, -1 = all")
    parser.add_argument("--clean", type=int, default=0, help="how often each that holds nothing is tried; default 0")
    parser.add_argument("--seed", type=int, default=None, help="the same choice again")
    parser.add_argument("--only", default="", help="chains whose name has this in it")
    parser.add_argument("--jobs", type=int, default=3, help="at the same time; default 3")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args(arguments)
    seed = random.randrange(1 << 16) if options.seed is None else options.seed
    print(f"--seed {seed}", flush=True)
    chosen = random.Random(seed)
    chains = [chain for chain in CULPRITS if options.only in chain.name]
    if 0 <= options.runs < len(chains):
        chains = chosen.sample(chains, options.runs)
    clean = [chain for chain in CLEAN if options.only in chain.name and options.clean]
    seen: list[Run] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        times = [*(1 for _ in chains), *(options.clean for _ in clean)]
        for runs in pool.map(_tried, (*chains, *clean), times):
            if isinstance(runs, str):
                print(runs, flush=True)
                continue
            seen += runs
            for one in runs:
                mark, found = "ok   " if one.right else "WRONG", ", ".join(one.found) or "nothing"
                print(f"{mark} {one.chain.name}: {found}; {one.said}; {one.where}", flush=True)
    return _summed(seen, options.markdown)


def _summed(seen: Sequence[Run], file: Path | None) -> int:
    culprits = [one for one in seen if one.chain.cause]
    clean = [one for one in seen if not one.chain.cause]
    right = sum(one.right for one in culprits)
    accused = sum(not one.right for one in clean)
    print(f"{right} of {len(culprits)} causes named; {accused} of {len(clean)} clean runs accused")
    if file is not None:
        rows = [f"| {one.chain.name} | {', '.join(one.found)} | {one.said} | {one.where} |" for one in culprits]
        tried = Counter(one.chain.name for one in clean)
        wrong = Counter(one.chain.name for one in clean if not one.right)
        rows += ["", *(f"| {name} | {count} | {wrong[name]} |" for name, count in tried.items())]
        file.write_text("\n".join(rows) + "\n")
    return 0 if right >= len(culprits) * 21 / 24 and not accused else 1


if __name__ == "__main__":
    sys.exit(main())
