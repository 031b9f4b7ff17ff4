#!/usr/bin/env bash
# How large the C source is that mypyc writes for many modules that are compiled as one.
#
# mypy 2.4.1 with mypyc (PyPI), setuptools 80.9.0: 10, 40 and 80 modules, each of the same two lines, are translated; no
# C compiler runs. Needs python3 (3.11 or newer) and the registry.
#
# Guessed: the C source grows as the modules do: eight times as many, eight times as large.
# Seen:    it grows with the square. Each module begins eight columns further to the right than the one before, so the
#          lines of the last of 80 begin at column 650. 10 modules make 142 kB, 57 % of it spaces, and 80 make
#          5.1 MB, 90 % of it spaces. Of a package of 84 modules 52 of 65 MB were spaces.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check 'mypy[mypyc]==2.4.1' setuptools==80.9.0

cat >translate.py <<'PY'
import shutil
import sys
from pathlib import Path

from mypyc.build import mypycify

names = [f"module{number}.py" for number in range(int(sys.argv[1]))]
for name in names:
    Path(name).write_text("def one_more(x: int) -> int:\n    return x + 1\n")
shutil.rmtree("build", ignore_errors=True)
mypycify(["--config-file=", *names])
(source,) = Path("build").glob("__native_*.c")
lines = source.read_text().splitlines()
spaces = [len(line) - len(line.lstrip(" ")) for line in lines]
print(len(names), source.stat().st_size // 1000, 100 * sum(spaces) // source.stat().st_size, max(spaces))
PY

echo "modules, kB of C, % of it spaces in front, deepest column"
for modules in 10 40 80; do venv/bin/python translate.py "$modules" 2>/dev/null | tail -1; done | tee seen
awk '{ size[$1] = $2; column[$1] = $4; share[$1] = $3 }
     END { exit !(size[80] > 20 * size[10] && column[80] > 600 && column[10] < 120 && share[80] > 85) }' seen
