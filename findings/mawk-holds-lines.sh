#!/usr/bin/env bash
# Whether a filter behind `curl -N` passes on a line when it comes, if it is told to flush what it writes.
#
# mawk 1.3.4 20200120, which is Debian's awk, sed 4.9, grep 3.8 and jq 1.6 (Debian bookworm): one line of 12 bytes, nothing
# for 5 s, and then more lines, 4 KiB in all. Needs these four, and python3 (3.11 or newer).
#
# Guessed: all do. `fflush()` is to awk what `-u` is to sed, `--line-buffered` to grep and `--unbuffered` to jq.
# Seen:    all but mawk. It waits for 4 KiB, or for the end: it fills a buffer before it looks at the first line, so
#          there is nothing that `fflush()` could write. With `-W interactive` it passes the line on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >lines.py <<'PY'
import select
import subprocess
import sys

LINE = b'"one token"\n'
with subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:

    def passes_on(lines, seconds):
        program.stdin.write(LINE * lines)
        program.stdin.flush()
        return bool(select.select([program.stdout], [], [], seconds)[0])

    if passes_on(1, 5):
        print("at once")
    elif passes_on(4096 // len(LINE), 60):
        print("with 4 KiB")
    else:
        print("not with 4 KiB")
    program.stdin.close()
    program.stdout.read()
PY
mawk -W version 2>&1 | head -n 1
failed=0
expect() { # EXPECTED COMMAND...
  seen=$(python3 lines.py "${@:2}")
  printf '%-38s %s\n' "${*:2}" "$seen"
  [ "$1" = "$seen" ] || { echo "  it was: $1"; failed=1; }
}
expect "with 4 KiB" mawk '{ print; fflush() }'
expect "at once" mawk -W interactive '{ print }'
expect "at once" sed -u 's/token/word/'
expect "at once" grep --line-buffered token
expect "at once" jq --unbuffered .
exit "$failed"
