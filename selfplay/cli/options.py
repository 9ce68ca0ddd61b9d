"""Options of commands, parsed by tyro: what is wrong with them is said in one sentence."""

import io
import re
from collections.abc import Mapping
from contextlib import redirect_stderr
from typing import Any, get_args

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

    program: its whole name. arguments: None for those of this process. rest: leave alone what the dataclass does not have, and
    return the options and a list of the other arguments; there is no --help then. Mappings are given as NAME=VALUE.

    Raises ValueError for options that cannot be read and for numbers that are NaN, infinite or out of range, SystemExit(0) after
    --help.
    """
    import tyro

    settings: dict[str, Any] = {"prog": program, "args": arguments, "description": description or getattr(kind, "__doc__", None)}
    settings |= {"registry": _mappings(), "return_unknown_args": rest, "add_help": not rest}
    if default is not None:
        settings["default"] = default
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


def positional(kind: Any) -> Any:
    """Required fields as positional arguments."""
    import tyro

    return tyro.conf.configure(tyro.conf.PositionalRequiredArgs)(kind)


def switches(kind: type) -> Any:
    """Truth values as switches without a value (--json)."""
    import tyro

    return tyro.conf.configure(tyro.conf.FlagCreatePairsOff)(kind)


def with_values(kind: type) -> Any:
    """Truth values as options with a value (--compile True), as in a file of settings."""
    import tyro

    return tyro.conf.configure(tyro.conf.FlagConversionOff)(kind)


def sentence(box: str) -> str:
    """The box in which tyro explains an error, as a sentence: what it says first, and the options that it thinks were meant."""
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
