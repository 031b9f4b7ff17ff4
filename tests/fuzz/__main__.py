"""`make fuzz`: looks for inputs that break a target, guided by the coverage of unbuffer's code (atheris, libFuzzer).

What breaks a target is kept in tests/fuzz/crashes/ and is a test from then on. The corpus grows in build/fuzz/.
"""

import argparse
import importlib
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

TARGETS = ("downstream", "http2", "upstream")
CRASHES = Path(__file__).parent / "crashes"
CORPUS = Path("build/fuzz")


def main() -> int:
    """Run each target in a process of its own, side by side: libFuzzer does not return."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    parser.add_argument("--target", choices=TARGETS, help="this one, in this process")
    arguments = parser.parse_args()
    if arguments.target:
        fuzz(arguments.target, arguments.seconds)
    own = [sys.executable, "-m", "tests.fuzz", "--seconds", str(arguments.seconds)]
    running = [subprocess.Popen([*own, "--target", target]) for target in TARGETS]
    exits = [process.wait() for process in running]
    return int(any(exits))


def fuzz(name: str, seconds: int) -> None:
    """Run one target; ends the process."""
    try:
        import atheris
    except ImportError:
        sys.exit("make fuzz: atheris is not installed (for Python 3.11 it is to be had); nothing was fuzzed")
    # llhttp is C and gives no coverage; h11, which reads the same messages, does.
    with atheris.instrument_imports(include=["unbuffer", "h11"]):
        target = importlib.import_module(f"tests.fuzz.{name}")
    from tests.fuzz.stage import LONGEST, write_script

    corpus, crashes = CORPUS / name, CRASHES / name
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    for number, stream in enumerate(target.seeds()):
        seed = write_script(stream, number % 32, [(len(stream) // 2, number % 4)])
        (corpus / sha256(seed).hexdigest()).write_bytes(seed)
    words = CORPUS / f"{name}.dict"
    coded = ["".join(rf"\x{byte:02x}" for byte in word) for word in WORDS]
    words.write_text("".join(f'"{word}"\n' for word in coded))
    bounds = [f"-max_total_time={seconds}", f"-max_len={LONGEST + 64}", "-timeout=20", "-rss_limit_mb=2048"]
    places = [f"-dict={words}", f"-artifact_prefix={crashes}/", str(corpus)]
    atheris.Setup([sys.argv[0], "-print_final_stats=1", *bounds, *places], target.run)
    atheris.Fuzz()


WORDS = (
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\r\n", b"\0", b" ", b"\t", b": ", b"0\r\n\r\n", b"1\r\nx\r\n"),
    *b", ; * GET HEAD POST OPTIONS http://b HTTP/1.1 HTTP/1.0 200 103 204 304 Host: Content-Length: Trailer:".split(),
    *b"Transfer-Encoding: chunked Connection: close keep-alive Upgrade: TE: trailers Expect: 100-continue".split(),
    *b"Content-Encoding: gzip Content-Type: text/event-stream Cache-Control: ETag:".split(),
)
"""What messages are made of. llhttp compares them out of the fuzzer's sight."""

if __name__ == "__main__":
    sys.exit(main())
