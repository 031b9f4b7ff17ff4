#!/usr/bin/env bash
# What mypyc makes of an attribute that is called `_thread`, the usual name for a thread that a class keeps to itself.
#
# mypy 2.4.1 with mypyc (PyPI), setuptools 80.9.0, gcc 12.2: two classes, the same but for the name of one attribute, are
# compiled one after the other. Needs python3 (3.11 or newer) with its headers, a C compiler and the registry.
#
# Guessed: both compile; the name of a Python attribute is none of the C compiler's business.
# Seen:    `_worker` compiles. `_thread` is `__thread` in the C structure (an underscore is put in front), a keyword of gcc
#          for thread-local storage, and the C compiler stops with "expected identifier or '(' before '__thread'".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check 'mypy[mypyc]==2.4.1' setuptools==80.9.0

class_with() {
    cat <<PY
class Keeper:
    def __init__(self) -> None:
        self.$1 = 1
PY
}

for name in _worker _thread; do
    class_with "$name" >"keeper$name.py"
    if venv/bin/mypyc "keeper$name.py" >"log$name" 2>&1; then echo "$name: compiles"; else echo "$name: does not compile"; fi
done | tee seen
grep -o "before .__thread." log_thread | sort -u
printf '_worker: compiles\n_thread: does not compile\n' | diff - seen
grep -q "before .__thread" log_thread
venv/bin/python -c 'import keeper_worker; assert not keeper_worker.__file__.endswith(".py")'
