"""What a reload must leave alone keeps its value; everything else is new."""

from unbuffer.settings.changes import keep
from unbuffer.settings.load import load
from unbuffer.settings.model import Settings


def settings(**flags: str) -> Settings:
    return load(None, {}, {path.replace("__", "."): text for path, text in flags.items()})


def test_kept_settings_have_their_old_values_and_are_named() -> None:
    old = settings(listen__backlog="5", log__format="text", drain__timeout="1s")
    new = settings(listen__backlog="6", log__format="json", drain__timeout="2s", listen__half_close="true")

    kept, changed = keep(old, new, ("listen.backlog", "log.format", "admin.address"))

    assert changed == ["listen.backlog", "log.format"]
    assert (kept.listen.backlog, kept.log.format) == (5, "text")
    assert (kept.drain.timeout, kept.listen.half_close) == (2.0, True)


def test_nothing_is_named_where_nothing_changed() -> None:
    new = settings(drain__timeout="2s")
    assert keep(settings(), new, ("listen.backlog", "listen.tls.certificate")) == (new, [])
