"""The model as data: which settings there are, how each one is written, and the path that leads to it.

A path is the names of the sections and of the setting, joined by dots: `timeouts.silence`, `routes[0].name`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import Meta, ValidationError, convert
from msgspec.structs import FieldInfo
from msgspec.structs import fields as struct_fields

from unbuffer.settings.kinds import BEARER, Section
from unbuffer.settings.model import SHORT_FORMS, Admin, Listen, Settings
from unbuffer.settings.problems import quote
from unbuffer.settings.values import FORMS, Form, choice

_FORM_OF_TYPE: dict[Any, str] = {bool: "switch", int: "count", str: "text"}
# The type `Address` cannot say that one may be `off` and the other `systemd`.
_FORM_OF_FIELD: dict[tuple[type[Section], str], str] = {
    (Admin, "address"): "address or off",
    (Listen, "address"): "address or systemd",
}

PATTERNS = {
    r"^[^\r\n]{0,256}$": "one line of text, at most 256 characters",
    r"^[^\x00-\x1f\x7f]{1,64}$": "the type of an event such as ping, at most 64 characters",
    "^/": "a path that begins with /",
    "^(off|/[!-~]*)$": "a path such as /openapi.json, or off",
    r"^(off|env|https?://[^\s/?#@]+(/[^\s?#@]*)?)$": "a URL such as http://127.0.0.1:4318, off, or env",
    r"^[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+$": "an origin such as https://app.example, without a path",
    r"^[^\s\x00-\x1f\x7f]{0,256}$": "the name of a user, without spaces",
    r"^[^\x00-\x1f\x7f]{0,1024}$": "one line of text, at most 1024 characters",
    r"^[!-~]{0,128}$": "at most 128 letters, digits and signs of ASCII, without spaces",
    "^[A-Z-]+$": "a method in capital letters such as GET",
    "^[A-Za-z0-9-]{1,64}$": "the name of a header field such as Authorization",
    "^[A-Za-z0-9-]{0,64}$": "the name of an authentication scheme such as Bearer, or nothing",
    "^[A-Za-z0-9._~-]{0,64}$": "the name of a query parameter such as auth_key, or nothing",
    f"^{BEARER}$": "a token of letters, digits and -._~+/ that may end with =",
    r"^/[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$": "a path such as /_unbuffer/probe, of letters, digits and ._~-",
    "^[A-Za-z0-9][A-Za-z0-9_.:/{}-]{0,63}$": (
        "a name of at most 64 letters, digits and _.:/{}- that begins with a letter or digit"
    ),
}
"""What each pattern of the model asks for, in words."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a section, or a list of such values.

    type: of one value, with its bounds, without the tuple of a list and the None of an optional setting.
    wanted: what a message asks for, with the bounds.
    secret: the value is never shown.
    required: there is no default.
    """

    name: str
    type: Any
    form: Form
    wanted: str
    many: bool
    secret: bool
    required: bool
    default: Any

    def parse(self, text: str) -> Any:
        """The value of one text. Raises ValueError with a whole sentence."""
        try:
            return convert(self.form.parse(text), self.type)
        except (ValueError, ValidationError) as error:
            if self.secret:
                raise ValueError(f"want {self.wanted}; the value is secret and not shown") from None
            if isinstance(error, ValidationError):
                raise ValueError(f"want {self.wanted}, got {quote(text)}") from None
            raise

    def show(self, value: Any) -> Any:
        """One value as the plain data that YAML writes; `***` for a secret."""
        return "***" if self.secret and value else self.form.show(value)


@dataclass(frozen=True, slots=True)
class Block:
    """A section inside a section, or a list of them."""

    name: str
    section: type[Section]
    many: bool


@cache
def fields(section: type[Section]) -> Mapping[str, Setting | Block]:
    """The fields of a section by name, in the model's order."""
    return {info.name: _field(section, info) for info in struct_fields(section)}


def every_setting(section: type[Section] = Settings, path: str = "") -> Iterator[tuple[str, Setting]]:
    """Path and shape of every setting, without those of a list of sections: they have no fixed path."""
    for field in fields(section).values():
        here = join(path, field.name)
        if isinstance(field, Setting):
            yield here, field
        elif not field.many:
            yield from every_setting(field.section, here)


def long_form(path: str) -> str:
    """The path of the setting that this path means: `listen` is short for `listen.address`."""
    return f"{path}.{SHORT_FORMS[path]}" if path in SHORT_FORMS else path


def join(path: str, name: str) -> str:
    """The path of a field in the section at this path; "" is the top."""
    return f"{path}.{name}" if path else name


def _field(section: type[Section], info: FieldInfo) -> Setting | Block:
    kind, many = _one(info.type)
    metas: tuple[Meta, ...] = ()
    base = kind
    if get_origin(kind) is Annotated:
        base, metas = kind.__origin__, kind.__metadata__
    if isinstance(base, type) and issubclass(base, Section):
        return Block(info.name, base, many)
    extra = {key: value for meta in metas for key, value in (meta.extra or {}).items()}
    form = _form(base, _FORM_OF_FIELD.get((section, info.name)) or extra.get("form"))
    return Setting(
        name=info.name,
        type=kind,
        form=form,
        wanted=_wanted(form, metas),
        many=many,
        secret=extra.get("secret", False),
        required=info.required,
        default=info.default,
    )


def _one(kind: Any) -> tuple[Any, bool]:
    """The type of one value, and whether there may be many."""
    if NoneType in get_args(kind):
        kind = next(arg for arg in get_args(kind) if arg is not NoneType)
    if get_origin(kind) is tuple:
        return get_args(kind)[0], True
    return kind, False


def _form(base: Any, name: str | None) -> Form:
    if get_origin(base) is Literal and name is None:
        return choice(get_args(base))
    return FORMS[name or _FORM_OF_TYPE[base]]


def _wanted(form: Form, metas: tuple[Meta, ...]) -> str:
    for meta in metas:
        if meta.pattern is not None:
            return PATTERNS[meta.pattern]
        if meta.le is not None:
            return f"{form.wanted}, from {form.show(meta.ge)} to {form.show(meta.le)}"
        if meta.ge:
            return f"{form.wanted}, at least {form.show(meta.ge)}"
    return form.wanted
