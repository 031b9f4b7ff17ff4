"""Who may read a file with tokens."""

import os
from pathlib import Path

import pytest

from unbuffer.settings.load import load
from unbuffer.settings.problems import Problem


def warned(path: str | None, **flags: str) -> list[Problem]:
    said: list[Problem] = []
    required: dict[str, str | list[str]] = {"authorization.required": "true"}
    load(path, {}, required | {f"authorization.{name}": text for name, text in flags.items()}, warn=said.append)
    return said


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o644, 1), (0o611, 0)])
def test_whoever_may_read_the_tokens_besides_their_owner(tmp_path: Path, mode: int, warnings: int) -> None:
    file = tmp_path / "tokens"
    file.write_text("abc\n")
    file.chmod(mode)
    assert len(warned(None, tokens_file=str(file))) == warnings


def test_a_group_may_read_what_another_user_owns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes (fsGroup) and systemd hand secrets over in this way: nobody here could close them further."""
    file = tmp_path / "tokens"
    file.write_text("abc\n")
    file.chmod(0o440)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert warned(None, tokens_file=str(file)) == []
    file.chmod(0o444)
    assert len(warned(None, tokens_file=str(file))) == 1


@pytest.mark.parametrize(("tokens", "warnings"), [("[abc]", 1), ("[]", 0)])
def test_a_settings_file_counts_only_with_tokens_in_it(tmp_path: Path, tokens: str, warnings: int) -> None:
    closed, file = tmp_path / "tokens", tmp_path / "unbuffer.yaml"
    closed.write_text("abc\n")
    closed.chmod(0o600)
    file.write_text(f"authorization: {{tokens: {tokens}}}\n")
    file.chmod(0o644)
    assert len(warned(str(file), tokens_file=str(closed))) == warnings
    assert warned(str(file), tokens_file=str(closed), tokens="def") == []
