"""`Settings` to the text of a file that loads to the same settings, with nothing secret in it."""

from unbuffer.settings.fields import Block, fields
from unbuffer.settings.kinds import Section


def dump(settings: Section) -> str:
    """YAML with every effective value, defaults included, in the file's own forms.

    Secrets and the user name and password of a URL are `***`.
    """
    import yaml  # not with the module: a process that serves writes none

    return yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True)


def _plain(section: Section) -> dict[str, object]:
    plain: dict[str, object] = {}
    for name, field in fields(type(section)).items():
        value = getattr(section, name)
        if value is None:
            # An optional setting that is not given; the file has no word for it.
            continue
        show = _plain if isinstance(field, Block) else field.show
        plain[name] = [show(one) for one in value] if field.many else show(value)
    return plain
