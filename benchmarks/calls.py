"""`python -m benchmarks.calls`: the instructions of a request, a stream, chunks and a log line, call by call.

callgrind counts what `make bench-check` counts, and by whom: for each function of the relay how often it is called, and
what it and all that it calls take. Only a compiled relay has functions that it can tell apart.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.instructions import SCENES
from unbuffer.compiled import YES_OR_NO

SHOWN = ("request", "stream of three events", "event of an event-stream", "chunk of 64 KiB", "log line")
LEAST = 0.02
"""Share of the scene below which a function is not shown."""

_NAMED = re.compile(r"(fn|cfn|ob|cob)=\((\d+)\)(?: (.*))?")
_OURS = re.compile(r"CPyDef_(\w+?)___(\w+)")


@dataclass
class Profile:
    """What one run took: calls and instructions by function, with all that it calls; its own; and by shared object."""

    calls: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    own: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)


def _read(text: str) -> Profile:
    """callgrind's file, without source lines (`--dump-line=no`): blocks of a function, in them its own cost and,
    after each line `calls=`, the cost of a callee."""
    profile = Profile()
    names: dict[tuple[str, str], str] = {}
    function = callee = library = ""
    calls = 0
    for line in text.splitlines():
        if named := _NAMED.match(line):
            kind, number, name = named.groups()
            key = (kind[-2:], number)
            names.setdefault(key, name)
            if kind == "fn":
                function = names[key]
            elif kind == "cfn":
                callee = names[key]
            elif kind == "ob":
                library = names[key]
        elif line.startswith("calls="):
            calls = int(line[6:].split()[0])
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            cost = int(line.split()[1])
            if calls:
                profile.calls[callee] += calls
                profile.whole[callee] += cost
                calls = 0
            else:
                profile.own[function] += cost
                profile.objects[Path(library).name] += cost
    return profile


def _profile(scene: str, count: int) -> Profile:
    with tempfile.NamedTemporaryFile("r") as out:
        counter = ("valgrind", "--tool=callgrind", "--dump-line=no", f"--callgrind-out-file={out.name}")
        play = (sys.executable, "-m", "benchmarks.instructions", "--play", scene, str(count))
        subprocess.run([*counter, *play], env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, check=True)
        return _read(Path(out.name).read_text())


def _show(scene: str, once: Profile, more: Profile, times: int) -> None:
    """Print what one takes: the difference of two runs, of which the second does so many more."""
    total = (sum(more.own.values()) - sum(once.own.values())) / times
    print(f"\n## {scene}: {total:,.0f}\n\n| | calls | instructions | its own |\n|---|---:|---:|---:|")
    rows = []
    for symbol, whole in more.whole.items():
        each = (whole - once.whole[symbol]) / times
        calls = (more.calls[symbol] - once.calls[symbol]) / times
        if (named := _OURS.match(symbol)) and each >= LEAST * total and calls >= 0.05:
            name = f"{named[1]}.{named[2].replace('___', '.')}"
            own = (more.own[symbol] - once.own[symbol]) / times
            rows.append((each, f"| `{name}` | {calls:.1f} | {each:,.0f} | {own:,.0f} |"))
    for _, row in sorted(rows, reverse=True):
        print(row)
    shares = Counter({name: (more.objects[name] - once.objects[name]) / times / total for name in more.objects})
    print("\n" + ", ".join(f"{name} {share:.0%}" for name, share in shares.most_common() if share >= LEAST))


def main() -> int:
    """Print the tables; returns 2 if nothing can be counted here."""
    if YES_OR_NO == "no":
        print(
            "benchmarks.calls: the relay is not compiled, so that its functions are all the interpreter's",
            file=sys.stderr,
        )
        return 2
    scenes = sys.argv[1:] or SHOWN
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        jobs = {}
        for scene in scenes:
            few, many = 20, 20 + SCENES[scene][0] // 4
            jobs[scene] = workers.submit(_profile, scene, few), workers.submit(_profile, scene, many), many - few
        try:
            for scene, (once, more, times) in jobs.items():
                _show(scene, once.result(), more.result(), times)
        except FileNotFoundError:
            print("benchmarks.calls: valgrind is not installed, nothing was counted", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
