"""What resumable streams cost under load: off, kept in memory, and kept in a store as well, in turns.

`python -m benchmarks.resume_load`: the loads of the scenes `paced` (20,000 chunks a second) and `heavy` (40,000) of
`python -m benchmarks`, unbuffer alone on the first core, all else on the second, the server of the store included.
What that takes there delays source and sink as well, so `--store-nice 19` has it run when they have nothing to do.
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.measure import Bench, Failed, build_streamload, free_port, measure
from benchmarks.processes import running
from benchmarks.proxies import UNBUFFER, Proxy, unbuffer
from benchmarks.report import ratios
from benchmarks.samples import Sample
from benchmarks.scenes import SCENES, Measure, Scene

_SCENES: Mapping[str, Sequence[str]] = {"paced": ("off", "memory", "store"), "heavy": ("off", "memory")}
_COMPARED = ("CPU µs per chunk", "delay p50 µs", "delay p99 µs")
_KEPT = {"UNBUFFER_RESUME__WINDOW": "2m"}
_SERVER = "redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no"


def _variant(name: str, command: str, port: int) -> Proxy:
    """unbuffer without resumption, with it in memory, or with the store at this port as well."""
    environment = {
        "off": {},
        "memory": _KEPT,
        "store": {**_KEPT, "UNBUFFER_RESUME__STORE__URL": f"redis://127.0.0.1:{port}"},
    }
    return replace(unbuffer(command, name), environment=environment[name])


def _measured(bench: Bench, scene: Scene, name: str, options: argparse.Namespace) -> Sample:
    port = free_port()
    load = scene if name == "off" else replace(scene, options=scene.options + " -i", warm_up=2.0)
    with ExitStack() as started:
        if name == "store":
            command = ["nice", "-n", str(options.store_nice), *shlex.split(options.store.format(port=port))]
            log = started.enter_context((bench.directory / "store.log").open("a"))
            started.enter_context(running(command, bench.load_core, log, log, {}))
        return measure(bench, load, _variant(name, options.unbuffer, port))


def _table(measures: Sequence[Measure], rounds: Mapping[str, Sequence[Sample]]) -> str:
    header = ["resume"]
    for each in measures:
        header += [each.title, "to off"] if each.title in _COMPARED else [each.title]
    rows = []
    for name, samples in rounds.items():
        row = [name]
        for each in measures:
            row.append(f"{median(map(each.of, samples)):,.{each.digits}f}")
            if each.title in _COMPARED:
                found = ratios(each, {"unbuffer": samples, "off": rounds["off"]}, "off")
                row.append("" if name == "off" else f"{median(found):.2f} ({min(found):.2f}..{max(found):.2f})")
        rows.append(row)
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> int:
    """Print a table for each load; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resume_load", description=__doc__)
    parser.add_argument("--scenes", default=",".join(_SCENES), help=f"of {','.join(_SCENES)}")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a window; default 4")
    parser.add_argument("--unbuffer", metavar="COMMAND", default=UNBUFFER, help="as in python -m benchmarks")
    parser.add_argument("--store", metavar="COMMAND", default=_SERVER, help="how to start the server, at {port}")
    parser.add_argument("--store-nice", type=int, default=0, help="its niceness; default 0")
    options = parser.parse_args()
    proxy_core, load_core = sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory(prefix="unbuffer-bench-") as directory:
        streamload = build_streamload(Path(directory))
        os.sched_setaffinity(0, {load_core})
        bench = Bench(Path(directory), streamload, proxy_core, load_core, options.seconds)
        for scene in SCENES:
            if scene.name not in options.scenes.split(","):
                continue
            rounds: dict[str, list[Sample]] = {name: [] for name in _SCENES[scene.name]}
            for _ in range(options.rounds):
                for name, samples in rounds.items():
                    try:
                        samples.append(_measured(bench, scene, name, options))
                    except Failed as error:
                        print(f"{scene.name}, {name}: {error}", file=sys.stderr)
                        return 1
            print(f"### {scene.name}\n\n{_table(scene.measures, rounds)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
