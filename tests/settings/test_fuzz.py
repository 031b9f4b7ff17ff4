"""Any document, any environment, any flag: settings, or a report. Never a traceback."""

import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from unbuffer.cli import main
from unbuffer.settings import document
from unbuffer.settings.dump import dump
from unbuffer.settings.fields import Block, Setting, every_setting, fields
from unbuffer.settings.kinds import Section
from unbuffer.settings.load import SettingsError, load
from unbuffer.settings.model import SHORT_FORMS, Settings
from unbuffer.settings.route import Route

CONFIG = Path(__file__).parents[2] / "config" / "unbuffer.yaml"
CHUNKS, MUTATIONS = 4, 250


def loads_or_reports(
    path: str | None, environ: dict[str, str] | None = None, flags: dict[str, str | list[str]] | None = None
) -> bool:
    """Whether it loads; if not, the report has a line that says something for each problem."""
    try:
        settings = load(path, environ or {}, flags or {}, warn=str)
    except SettingsError as error:
        lines = list(map(str, error.problems))
    else:
        dump(settings).encode()
        return True
    assert lines
    assert all(": " in line and len(line.splitlines()) == 1 for line in lines)
    return False


# -- documents that are nearly right

ODD: list[str | bytes] = [
    *(
        "*",
        "&a ",
        "*a",
        "<<: ",
        "~",
        "null",
        ".nan",
        ".inf",
        "1e999",
        "9" * 400,
        "0x10",
        "2001-12-14t21:59:43.10-05:00",
    ),
    *("!!python/object/apply:os.abort []", "!!binary a", "!x ", "- ", "? ", ": ", "[", "]", "{", "}", "|", "> ", "'"),
    *(
        '"',
        '"\\ud800"',
        '"\\0"',
        "%",
        "---\n",
        "...\n",
        "# ",
        "\n",
        " ",
        "\t",
        "\0",
        "\x1b",
        "\u2028",
        "\ufeff",
        "\u00e4",
    ),
    *(
        "-1",
        "10h",
        "999999h",
        "yes",
        "[]",
        "{}",
        "unix:/",
        "http://",
        "http://[",
        "systemd",
        "/",
        "..",
        "a//b",
        "@",
        "`",
    ),
    *(b"\xff", b"\xc3", b"\xed\xa0\x80"),
]


def whole_file() -> bytes:
    """config/unbuffer.yaml with its example of routes, without comments."""
    before, example = CONFIG.read_text("utf-8").split("# routes:")
    text = f"{before}routes:{re.sub('^# ', '', example, flags=re.MULTILINE)}"
    return re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).encode()


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The document with a few bytes or lines added, replaced, removed, repeated, moved or indented anew."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        lines = data.split(b"\n")
        at, line = rng.randrange(len(data)), rng.randrange(len(lines))
        odd = rng.choice(ODD)
        odd = odd if isinstance(odd, bytes) else odd.encode()
        match rng.choice((0, 1, 2, 3, 4, 4, 4, 4, 5)):
            case 0:
                data = data[:at] + odd + data[at + rng.choice((0, 0, 1, 10)) :]
                continue
            case 1:
                data = data[:at] + data[at + rng.randrange(1, 40) :]
                continue
            case 2:
                lines.insert(rng.randrange(len(lines)), lines[line])
            case 3:
                lines.insert(rng.randrange(len(lines)), lines.pop(line))
            case 4:
                lines[line] = lines[line].partition(b":")[0] + b": " + odd
            case 5:
                lines[line] = b" " * rng.randrange(6) + lines[line].strip()
        data = b"\n".join(lines)
    return data


def test_the_whole_file_loads(tmp_path: Path) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_bytes(whole_file())
    assert loads_or_reports(str(file))


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_a_thousand_mutations_of_the_file_load_or_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: str, chunk: int
) -> None:
    monkeypatch.setattr(document, "_LOADER", getattr(yaml, loader))
    # The one that is written in Python takes ten times as long.
    mutations = MUTATIONS if loader == "CSafeLoader" else MUTATIONS // 10
    file, data, loaded = tmp_path / "unbuffer.yaml", whole_file(), 0
    for number in range(chunk * mutations, (chunk + 1) * mutations):
        file.write_bytes(mutated(data, random.Random(number)))
        loaded += loads_or_reports(str(file))
    assert loaded < mutations, "nothing was wrong with any"


# -- trees of the right shape with anything in them

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=10)
    | st.sampled_from([*(odd for odd in ODD if isinstance(odd, str)), "/a", "GET", "30s", "1KiB", "127.0.0.1:1"])
)


def trees(section: type[Section]) -> st.SearchStrategy[Any]:
    """Blocks with some keys of this section, each with anything for a value."""
    values: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in fields(section).items():
        if isinstance(field, Block):
            inside = trees(field.section)
            values[name] = SCALARS | (st.lists(inside, max_size=3) if field.many else inside)
        else:
            values[name] = SCALARS | st.lists(SCALARS, max_size=3) | _right(field)
    return st.fixed_dictionaries({}, optional=values) | st.dictionaries(SCALARS, SCALARS, max_size=2)


def _right(setting: Setting) -> st.SearchStrategy[Any]:
    """The default, so that something is right now and then."""
    default = setting.default
    if setting.required or default in (None, ()):
        return st.nothing()
    return st.just([setting.show(one) for one in default] if setting.many else setting.show(default))


ROUTES = st.lists(trees(Route), max_size=4).map(lambda routes: {"routes": routes})


@given(trees(Settings) | ROUTES | SCALARS | st.recursive(SCALARS, st.lists))
def test_any_tree_loads_or_is_reported(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "tree.yaml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), "utf-8")
    loads_or_reports(str(file))


# -- the environment and flags

PATHS = sorted({*dict(every_setting()), *SHORT_FORMS})
TEXTS = st.text(max_size=20) | st.sampled_from([odd if isinstance(odd, str) else "\udcff" for odd in ODD])
NAMES = st.sampled_from([f"UNBUFFER_{path.upper().replace('.', '__')}" for path in PATHS])


@given(st.dictionaries(NAMES | st.just("PORT") | TEXTS.map("UNBUFFER_{}".format), TEXTS, max_size=4))
def test_any_environment_loads_or_is_reported(environ: dict[str, str]) -> None:
    loads_or_reports(None, environ)


@given(st.dictionaries(st.sampled_from(PATHS) | TEXTS, TEXTS | st.lists(TEXTS, max_size=3), max_size=4))
def test_any_flags_load_or_are_reported(flags: dict[str, str | list[str]]) -> None:
    loads_or_reports(None, None, flags)


# -- files

BAD_FILES = {
    "a directory": None,
    "not UTF-8": b"decode: \xff\n",
    "too large": b"#" * ((1 << 20) + 1),
    "a cycle": b"routes: &r\n  - *r\n",
    "a cycle in a route": b"routes:\n  - &r {name: a, prefix: /a, timeouts: *r}\n",
    "a merge key": b"log: &l {level: info}\nmetrics:\n  <<: *l\n",
    "nameless routes": b"routes:\n  - {prefix: /a}\n  - {prefix: /b}\n",
    "routes with wrong names": b"routes:\n  - {name: ' ', prefix: /a}\n  - {name: [], prefix: /b}\n",
    "deep nesting": b"routes: " + b"[" * 100_000,
    "deep blocks": b"".join(b" " * n + b"a:\n" for n in range(1000)),
    "a date": b"routes: [{name: 2001-01-01, prefix: 2001-01-01}]\n",
    "no number": b"limits: {body: .nan, streams: .inf, headers: 99999999999999999999999}\n",
    "more than listen(2) takes": b"listen: {backlog: 999999999999999}\n",
    "half a URL": b"tracing: {otlp: 'http://['}\n",
    "no port": b"tracing: {otlp: 'http://a:99999'}\n",
    "no host": b"upstream: {url: https://a, tls: {server_name: 'a b'}}\n",
    "a host without end": b"upstream: {url: https://a, tls: {server_name: " + b"a" * 64 + b"}}\n",
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_78_and_a_few_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.mkdir() if content is None else file.write_bytes(content)
    assert main(["config", str(file)]) == 78
    printed, report = capsys.readouterr()
    assert not printed
    assert 0 < report.count("\n") < 5
    assert all(line.startswith(str(file)) for line in report.splitlines())


TOKENS = [
    b"",
    b"\xff\xfe",
    b"\0",
    b"\xef\xbb\xbfabc\n",
    "abc\n".encode("utf-16"),
    b"a b\n",
    b"\x1b[2J\n",
    b"a" * (2 << 20),
]


@pytest.mark.parametrize("content", [*TOKENS, None])
def test_a_bad_file_of_tokens_is_reported_without_its_content(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "tokens"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(None, {}, {"authorization.required": "true", "authorization.tokens_file": str(file)})
    (problem,) = caught.value.problems
    assert str(file) in problem.message
    assert str(problem).isprintable()


def test_a_file_that_hardly_has_an_end_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.touch()
    os.truncate(file, 1 << 40)
    with pytest.raises(SettingsError, match="disk: cannot be read: more than 1MiB"):
        load(str(file), {}, {})


def test_a_name_that_no_file_can_have_is_reported() -> None:
    with pytest.raises(SettingsError, match=r"cannot be read: .*embedded null"):
        load(None, {"UNBUFFER_CONFIG": "a\0b"}, {})
