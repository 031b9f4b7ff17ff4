#!/usr/bin/env bash
# What becomes of a constant tuple of floats when mypyc compiles the module.
#
# mypy 2.4.1 with mypyc (PyPI), setuptools 80.9.0, gcc 12.2: a module with three constants that are `Final` is compiled,
# and each is read by a function of the module. Needs python3 (3.11 or newer) with its headers, a C compiler and the
# registry.
#
# Guessed: all three are read as in Python; a tuple of floats is as good a constant as a tuple of integers.
# Seen:    the tuple of floats raises NameError: value for final name "PACES" was not set. The tuple of integers is read,
#          and so are the same floats where the declaration leaves their number open (tuple[float, ...]).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check 'mypy[mypyc]==2.4.1' setuptools==80.9.0

cat >constants.py <<'PY'
from typing import Final

PACES: Final = (0.5, 1.5)
STEPS: Final = (1, 2)
LOOSE: Final[tuple[float, ...]] = (0.5, 1.5)


def pace() -> float:
    return PACES[0]


def step() -> int:
    return STEPS[0]


def loose() -> float:
    return LOOSE[0]
PY
venv/bin/mypyc constants.py >log 2>&1 || { cat log; exit 1; }
cat >look.py <<'PY'
import constants

assert not constants.__file__.endswith(".py")
for name in ("pace", "step", "loose"):
    try:
        print(name, getattr(constants, name)())
    except NameError as error:
        print(name, "NameError:", error)
PY
venv/bin/python look.py | tee seen
diff - seen <<'TXT'
pace NameError: value for final name "PACES" was not set
step 1
loose 0.5
TXT
