"""The help of `sparring train`, in two tiers: what people change, and every setting."""

from dataclasses import field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, get_type_hints

from ..config.config import TrainConfig
from .options import parse, switches, with_values

COMMON = (
    *("model", "game", "words", "rounds", "games_per_round", "method", "role", "opponent", "temperature", "max_new_tokens"),
    *("seed", "out", "device", "learner.lr", "learner.lora_rank", "learner.kl"),
)
"""The settings that --help shows; --help-all shows all."""
DESCRIPTION = """Self-play training. A setting that is not given is that of the preset.

Examples:
  sparring train --preset full --seed 1 --out runs/full-1
  sparring train --model ./my-model --words words.txt --rounds 3 --learner.lr 1e-6
  sparring train --print-config > mine.yaml; sparring train --config mine.yaml --learner.lr 1e-4
  sparring train --resume runs/full-1 --rounds 20
"""


def show_help(program: str, start: type, *, every: bool) -> None:
    """Prints the help and ends the process. start: the options that are no settings. every: all settings instead of the common ones."""
    import tyro

    unnamed = tyro.conf.arg(name="")
    settings = with_values(_documented(TrainConfig, None if every else COMMON))
    parts = [("start", Annotated[switches(_documented(start)), unnamed]), ("settings", Annotated[settings, unnamed])]
    parse(make_dataclass("Train", parts), program, ["--help"], description=DESCRIPTION)


def _documented(kind: type, names: tuple[str, ...] | None = None) -> type:
    """The dataclass with the docstrings of its fields as help texts, each a paragraph, which tyro would leave cut into lines.

    names: the fields that are shown, dotted where they are those of a nested dataclass; None: all.
    """
    import docstring_parser
    import tyro

    texts = {each.arg_name: " ".join((each.description or "").split()) for each in docstring_parser.parse_from_object(kind).params}
    hints: dict[str, Any] = get_type_hints(kind)
    changed = []
    for each in fields(kind):
        inner = names and tuple(name.removeprefix(f"{each.name}.") for name in names if name.startswith(f"{each.name}."))
        hint = hints[each.name]
        if inner == () and names is not None and each.name not in names:
            changed.append((each.name, Annotated[hint, tyro.conf.Suppress], each))
        elif isinstance(hint, type) and is_dataclass(hint):
            part: Any = _documented(hint, inner)
            changed.append((each.name, part, field(default_factory=part)))
        else:
            absent = "" if each.default in (None, False) else None  # what a switch is without being given needs no words
            about = tyro.conf.arg(help=texts[each.name], help_behavior_hint=absent)
            changed.append((each.name, Annotated[hint, about], each))
    return make_dataclass(kind.__name__, changed, bases=(kind,), frozen=True)
