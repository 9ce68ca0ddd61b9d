"""Options of commands, parsed by tyro: what is wrong with them is said in one sentence."""

import inspect
import io
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ..config.checks import wrong_values

_NUMBERS = {
    r": invalid literal for int\(\) with base 10: (.*)": "a whole number",
    r": could not convert string to float: (.*)": "a number",
    r": no type matching \{None\}\|INT could be instantiated from \[(.*?)\]\..*": "a whole number",
    r": no type matching \{None\}\|FLOAT could be instantiated from \[(.*?)\]\..*": "a number",
}
"""What tyro says where a number is expected, and which."""


def parse(
    kind: Any,
    program: str,
    arguments: list[str] | None,
    default: Any = None,
    *,
    description: str | None = None,
    rest: bool = False,
) -> Any:
    """Options of a dataclass.

    program: its whole name. arguments: None for those of this process. rest: leave alone what the dataclass
    does not have, and return the options and a list of the other arguments; there is no --help then. Mappings
    are given as NAME=VALUE.

    Raises ValueError for options that cannot be read and for numbers that are NaN, infinite or out of range, SystemExit(0) after
    --help.
    """
    import tyro

    settings: dict[str, Any] = {
        "prog": program,
        "args": arguments,
        "description": inspect.cleandoc(description or _plain(kind).__doc__ or ""),
    }
    settings |= {"registry": _mappings(), "return_unknown_args": rest, "add_help": not rest}
    if default is not None:
        settings["default"] = default
    if not rest and {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        kind = documented(kind)
    box = io.StringIO()
    try:
        with redirect_stderr(box):
            parsed = tyro.cli(kind, **settings)
    except SystemExit as end:
        if not end.code:
            raise
        cause = end.__context__  # what the dataclass itself raised; all else is shown in a box alone
        raise ValueError(str(cause) if type(cause) is ValueError else f"{sentence(box.getvalue())} ({program} --help)") from None
    wrong = wrong_values(parsed[0] if rest else parsed)
    if wrong:
        raise ValueError("; ".join(wrong))
    return parsed


def _plain(kind: Any) -> Any:
    """The dataclass itself, without what says how tyro is to take it."""
    return kind.__origin__ if get_origin(kind) is Annotated else kind


def documented(kind: Any, names: tuple[str, ...] | None = None) -> Any:
    """The dataclass with the docstrings of its fields as help texts, each a paragraph, which tyro would leave
    cut into lines.

    names: the fields that are shown, dotted where they are those of a nested dataclass; None: all.
    """
    import docstring_parser
    import tyro

    if get_origin(kind) is Annotated:
        return Annotated[documented(kind.__origin__, names), *kind.__metadata__]
    texts: dict[str, str] = {}
    for base in (base for base in reversed(kind.__mro__) if is_dataclass(base)):
        texts |= {each.arg_name: " ".join((each.description or "").split()) for each in docstring_parser.parse_from_object(base).params}
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    changed = []
    for each in fields(kind):
        inner = names and tuple(name.removeprefix(f"{each.name}.") for name in names if name.startswith(f"{each.name}."))
        hint = hints[each.name]
        if get_origin(hint) is Annotated:
            changed.append((each.name, hint, each))
        elif inner == () and names is not None and each.name not in names:
            changed.append((each.name, Annotated[hint, tyro.conf.Suppress], each))
        elif isinstance(hint, type) and is_dataclass(hint):
            part: Any = documented(hint, inner)
            changed.append((each.name, part, field(default_factory=part)))
        else:
            absent = each.default is None or each.default is False or each.default_factory is dict  # which needs no words
            about = tyro.conf.arg(help=texts.get(each.name), help_behavior_hint="" if absent else None)
            changed.append((each.name, Annotated[hint, about], each))
    return make_dataclass(kind.__name__, changed, bases=(kind,), frozen=True)


def positional(kind: Any) -> Any:
    """Required fields as positional arguments."""
    import tyro

    marker: Any = tyro.conf.PositionalRequiredArgs
    return marker[kind]


def switches(kind: type) -> Any:
    """Truth values as switches without a value (--json)."""
    import tyro

    marker: Any = tyro.conf.FlagCreatePairsOff
    return marker[kind]


def with_values(kind: type) -> Any:
    """Truth values as options with a value (--compile True), as in a file of settings."""
    import tyro

    marker: Any = tyro.conf.FlagConversionOff
    return marker[kind]


def sentence(box: str) -> str:
    """The box in which tyro explains an error, as a sentence: what it says first, and the options that it
    thinks were meant."""
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]
    # Sections between rules. Where the output is not UTF-8, the title has a rule too, and there is no frame.
    sections = [[line for line in part.splitlines() if line] for part in re.split("^[─-]+$", "\n".join(lines), flags=re.MULTILINE)]
    said, *others = [section for section in sections if section]
    first = " ".join(said).removeprefix("Error parsing ").rstrip(".")
    for pattern, kind in _NUMBERS.items():
        first = re.sub(pattern, rf" must be {kind}, got \1", first)
    hints = [line for section in others if re.match("Perhaps you meant|Arguments similar", section[0]) for line in section]
    meant = dict.fromkeys(line.split()[0] for line in hints if line.startswith("--"))
    return f"{first}; perhaps you meant {' or '.join(meant)}" if meant else first


def _mappings() -> Any:
    """How tyro reads mappings of names to texts or numbers: as NAME=VALUE, "none" for None."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def mapping(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Mapping[str, Any]] | None:
        if info.type_origin is not Mapping:
            return None
        numbers = get_args(info.type)[1] is not str
        return PrimitiveConstructorSpec(
            nargs="*",
            metavar="[NAME=VALUE ...]",
            instance_from_str=lambda parts: dict(_pair(part, numbers) for part in parts),
            is_instance=lambda value: isinstance(value, Mapping),
            str_from_instance=lambda value: [f"{name}={'none' if one is None else one}" for name, one in value.items()],
        )

    return registry


def _pair(part: str, numbers: bool) -> tuple[str, Any]:
    match = re.fullmatch(r"([^=]+)=(.*)", part, re.DOTALL)
    if match is None:
        raise ValueError(f"give NAME=VALUE, got {part!r:.60}")
    if not numbers:
        return match[1], match[2]
    try:
        return match[1], None if match[2].lower() == "none" else float(match[2])
    except ValueError:
        raise ValueError(f"{match[1]} must be a number or none, got {match[2]!r:.60}") from None
