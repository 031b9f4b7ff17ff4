"""`python -m benchmarks`: choose, measure round by round, report.

Exit codes: 0 everything was measured, 1 something failed, 2 usage, 128 + n ended by signal n.
"""

import argparse
import os
import platform
import resource
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from benchmarks.measure import Bench, Failed, build_streamload, measure
from benchmarks.proxies import PEERS, UNBUFFER, Proxy, unbuffer
from benchmarks.report import scene_table, targets_table
from benchmarks.samples import Sample
from benchmarks.scenes import SCENES, Scene

_DIRECT = "direct"
_FILES = 16384
"""Open files: two for each of 5,000 streams, and what the peers' configurations set aside."""
_AROUND = 0.5
"""Seconds that starting and ending the processes of a measurement takes, about."""


def main() -> int:
    """Run the benchmarks; returns the exit code."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        return _compare(options)
    except Failed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1


def _compare(options: argparse.Namespace) -> int:
    scenes = [scene for scene in SCENES if scene.name in options.scenes]
    ours = {"unbuffer": unbuffer(options.unbuffer), **dict(options.beside)}
    proxies = _installed(ours, options.peers)
    proxy_core, load_core = _two_cores()
    _allow_files()
    with tempfile.TemporaryDirectory(prefix="unbuffer-bench-") as directory:
        streamload = build_streamload(Path(directory))
        os.sched_setaffinity(0, {load_core})  # This program, too, stays away from the proxy.
        bench = Bench(Path(directory), streamload, proxy_core, load_core, options.seconds, options.access_log == "on")
        about = _about(options, proxies)
        print("".join(f"- {name}: {value}\n" for name, value in about.items()), flush=True)
        took = sum(scene.warm_up + options.seconds + _AROUND for scene in scenes)
        print(f"this takes about {took * options.rounds * len(proxies) / 60:.0f} minutes", file=sys.stderr)
        samples = {scene.name: _rounds(bench, scene, proxies, options.rounds) for scene in scenes}
    print(targets_table(samples))
    if options.json:
        text = msgspec.json.encode({"about": about, "samples": samples})
        options.json.write_bytes(msgspec.json.format(text) + b"\n")
    failed = (None in rounds for by_proxy in samples.values() for rounds in by_proxy.values())
    return int(any(failed))


def _rounds(
    bench: Bench, scene: Scene, proxies: Mapping[str, Proxy | None], rounds: int
) -> dict[str, list[Sample | None]]:
    """Measure a scene, the proxies taking turns, and print its table; a measurement that failed is None."""
    part = {name: proxy for name, proxy in proxies.items() if _takes_part(scene, name, proxy)}
    samples: dict[str, list[Sample | None]] = {name: [] for name in part}
    for number in range(1, rounds + 1):
        for name, proxy in part.items():
            print(f"{scene.name}, round {number} of {rounds}: {name}", file=sys.stderr)
            try:
                samples[name].append(measure(bench, scene, proxy))
            except (Failed, OSError) as error:  # OSError: such as the files of a process that has ended.
                samples[name].append(None)
                print(f"{scene.name}, round {number}: {name} failed: {error}", file=sys.stderr)
    print(scene_table(scene, samples), flush=True)
    return samples


def _takes_part(scene: Scene, name: str, proxy: Proxy | None) -> bool:
    if proxy is None:
        return not (scene.tls or scene.alone)
    return proxy.takes_part(scene) and (name == "unbuffer" or not scene.alone)


def _installed(ours: Mapping[str, Proxy], peers: list[str]) -> dict[str, Proxy | None]:
    """The proxies to measure by name, None being the direct line; peers that are missing are told and left out."""
    for name, build in ours.items():
        if not build.program:
            raise Failed(f"{name}: there is no program {build.command[0]}")
    proxies: dict[str, Proxy | None] = {_DIRECT: None} if _DIRECT in peers else {}
    proxies |= ours
    for peer in PEERS:
        if peer.name in peers and peer.program:
            proxies[peer.name] = peer
        elif peer.name in peers:
            print(f"{peer.name} is not installed and is left out; to install it: {peer.install}", file=sys.stderr)
    return proxies


def _two_cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failed("two cores are needed, one for the proxy and one for the load; this process may use one")
    return cores[0], cores[1]


def _allow_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < _FILES:
        raise Failed(f"{_FILES} open files are needed, the hard limit is {hard}: raise it (ulimit -Hn {_FILES})")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _about(options: argparse.Namespace, proxies: Mapping[str, Proxy | None]) -> dict[str, str]:
    """What a reader needs to know to repeat the run."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in info if line.startswith("model name")), platform.machine())
    about = {
        "machine": f"{model}, {os.cpu_count()} cores, Linux {platform.release()}",
        "Python": platform.python_version(),
        "mitigations": _mitigations(),
        "run": f"{options.rounds} rounds, windows of {options.seconds:g} s, access logs {options.access_log}",
    }
    for name, proxy in proxies.items():
        if proxy:
            about[name] = proxy.installed_version() if proxy in PEERS else shlex.join(proxy.command)
    return about


def _mitigations() -> str:
    """What the kernel does against faults of the processor: it makes system calls dear."""
    found = sorted(Path("/sys/devices/system/cpu/vulnerabilities").glob("*"))
    states = {path.name: path.read_text().strip() for path in found}
    told = (f"{name}: {state}" for name, state in states.items() if state != "Not affected")
    return "; ".join(told) or "none"


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    # Once is enough: what was started is being ended, and a second Ctrl-C must not interrupt that.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="unbuffer beside its peers.")
    scenes = [scene.name for scene in SCENES]
    peers = [_DIRECT, *(peer.name for peer in PEERS)]
    parser.add_argument("--scenes", type=_some_of(scenes), default=scenes, help=f"of {','.join(scenes)}")
    parser.add_argument("--peers", type=_some_of(peers), default=peers, help=f"of {','.join(peers)}")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a window; default 4")
    parser.add_argument(
        "--unbuffer",
        metavar="COMMAND",
        default=UNBUFFER,
        help="how to start unbuffer; {upstream} and {listen} are replaced by ports",
    )
    parser.add_argument(
        "--beside",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="measure another build of unbuffer as a peer, such as the one before a change",
    )
    parser.add_argument(
        "--access-log",
        choices=("on", "off"),
        default="on",
        help="of unbuffer and its peers, into a pipe that is read; default on, as everybody is shipped",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all samples to this file")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    return options


def _named(text: str) -> tuple[str, Proxy]:
    name, equals, command = text.partition("=")
    if not equals or name in ("unbuffer", _DIRECT, *(peer.name for peer in PEERS)) or not command.split():
        raise argparse.ArgumentTypeError("want a name of its own and a command: before='/path/to/unbuffer serve …'")
    return name, unbuffer(command, name)


def _some_of(names: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in names:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; choose from {','.join(names)}")
        return chosen

    return parse


sys.exit(main())
