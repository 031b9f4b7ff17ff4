"""How long `unbuffer serve` takes to listen, and what memory it has then.

    python -m benchmarks.startup [--runs 20] [-- COMMAND ...]

Medians of processes that are started one after the other. `CPU` is of the same time and hardly depends on what else the
machine does; `anonymous` is memory of this process alone, `resident` counts the shared pages of its libraries too.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

MIB = 1024  # of /proc's KiB
SERVE = [sys.executable, "-m", "unbuffer", "serve"]
ADDRESSES = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", "http://127.0.0.1:9"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Start-up time and memory of unbuffer serve.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("command", nargs="*", default=SERVE, help="what starts it, without addresses")
    arguments = parser.parse_args()
    runs = [measure([*arguments.command, *ADDRESSES]) for _ in range(arguments.runs)]
    for name, unit in (("ready", "s"), ("CPU", "s"), ("resident", "MiB"), ("anonymous", "MiB")):
        values = sorted(run[name] for run in runs)
        print(f"{name:<10}{statistics.median(values):8.3g} {unit:<4} ({values[0]:.3g} to {values[-1]:.3g})")


def measure(command: list[str]) -> dict[str, float]:
    """One start, up to the line that is the last of it."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if ": upstream http" in line:
                break
        else:
            sys.exit(f"it ended with exit code {process.wait()}")
        ready = time.monotonic() - started
        proc = Path(f"/proc/{process.pid}")
        # After the name, which may hold spaces, utime and stime are the 12th and 13th field (proc(5)).
        ticks = proc.joinpath("stat").read_text().rpartition(")")[2].split()[11:13]
        status = dict(re.findall(r"^(\w+):\s+(\d+) kB$", proc.joinpath("status").read_text(), re.MULTILINE))
    finally:
        process.terminate()
        process.communicate()
    return {
        "ready": ready,
        "CPU": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        "resident": int(status["VmRSS"]) / MIB,
        "anonymous": int(status["RssAnon"]) / MIB,
    }


if __name__ == "__main__":
    main()
