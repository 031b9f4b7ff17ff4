"""Files that settings name: what nobody can read, or would have to wait for, is a line of the report."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.settings.conftest import Problems
from unbuffer.settings.load import SettingsError, load


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """For root every file is readable: be somebody else for as long as this lasts."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


NO_FILE = "it is no regular file"
KINDS = ["fifo", "device", "socket", "directory", "closed", "failing"]


def place(kind: str, path: Path) -> str:
    """Something of this kind at the path, or one that is always there. Returns its name."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        return os.devnull
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path.name)
    elif kind == "directory":
        path.mkdir()
    elif kind == "closed":
        path.touch(0o000)
    else:
        return "/proc/self/mem"  # open to this process, but nothing is at its beginning
    return path.name


REASONS = {
    "fifo": NO_FILE,
    "device": NO_FILE,
    "socket": "No such device or address",
    "directory": "Is a directory",
    "closed": "Permission denied",
    "failing": "Input/output error",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_settings_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = place(kind, tmp_path / "odd")
    user = somebody() if kind == "closed" else contextlib.nullcontext()
    with user, pytest.raises(SettingsError) as caught:
        load(name, {}, {})
    assert str(caught.value) == f"{name}: cannot be read: {REASONS[kind]}"


@pytest.mark.parametrize("path", ["authorization.tokens_file", "listen.tls.certificate", "upstream.tls.ca"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_a_setting_names(
    problems: Problems, kind: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = place(kind, tmp_path / "odd")
    flags: dict[str, str | list[str]] = {path: name, "upstream.url": "https://localhost"}
    if path.startswith("authorization"):
        flags["authorization.required"] = "true"
    with somebody() if kind == "closed" else contextlib.nullcontext():
        (problem,) = (line for line in problems(flags=flags) if line.startswith(f"flag {path}"))
    assert problem == f'flag {path}: cannot read "{name}": {REASONS[kind]}'
