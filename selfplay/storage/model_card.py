"""The model card (README.md) beside an exported model: what it came from, how it was trained, its win rates.

Everything that names or settings bring in is escaped, so that none of it becomes markup, and of paths only the last part is told.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparring.agents.models.language_model import LanguageModel
from sparring.agents.names import HUB, checkpoint_rounds, short_name
from sparring.agents.players.player_card import PlayerCard

from ..config.config import TrainConfig
from ..config.yaml_io import load

EMBEDDED = ("mini", "mini@imitation")
_MADE = " (sparring's embedded model; `sparring.selfplay.mini.make` makes it)"
_UNTOLD = ("out", "device", "concurrency", "keep_checkpoints")
"""Settings that change nothing of the model."""

CARD = """---
{front}---

# {title}

A causal language model of {parameters:,} parameters ({architecture}), exported from {spec} by sparring:
language models that learn by playing language games against themselves.

## Where it comes from

{origin}

License of the base: {license}.

{training}## Win rates

{win_rates}

## Use

Load it with plain transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({folder})
tokenizer = AutoTokenizer.from_pretrained({folder})
```

or give its folder to sparring as a player. `player.json` holds the prompts it was trained with{world}. It was trained
to win a game in which misleading can pay; what it says may be untrue.
"""


def write_card(spec: str, model: LanguageModel, card: PlayerCard, title: str) -> str:
    """The card of a model's name, in Markdown. title: the folder's name."""
    chain = list(_runs(spec))
    base = _base(spec, chain)
    embedded = base in EMBEDDED
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    front |= {"license": "apache-2.0" if embedded else "unknown", "tags": ["sparring", "self-play"]}
    if base.startswith(HUB):
        front["base_model"] = base.removeprefix(HUB)
    steps = [_origin(config, number) for _, number, config in reversed(chain)]
    return CARD.format(
        # JSON is YAML, on one line a key: no value can end the front matter.
        front="".join(f"{name}: {json.dumps(value)}\n" for name, value in front.items()),
        title=escaped(title),
        parameters=sum(p.numel() for p in model.model.parameters()),
        architecture=escaped(type(model.model).__name__),
        spec=code(short_name(spec)),
        origin="\n".join([f"- base: {code(short_name(base))}" + _MADE * embedded, *steps]),
        license="Apache-2.0, as sparring itself" if embedded else "unknown; see where the base comes from",
        training=_settings(chain[0][2]) if chain else "",
        win_rates=_win_rates(chain[0][0], chain[0][1]) if chain else "Not measured: the model was not exported from a run.",
        folder=json.dumps(title),
        world="; it speaks the small English of the everyday world" if card.everyday else "",
    )


def escaped(text: str) -> str:
    """Text that Markdown and HTML take as it is, on one line."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~$&-])", r"\\\1", plain)


def code(text: str) -> str:
    """Text as inline code, whatever backticks it holds; also within a table."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split()).replace("|", "\u2502")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", plain)), default=0))
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _runs(spec: str) -> Iterator[tuple[Path, int, TrainConfig]]:
    """The runs that a model went through, the last one first, as far as they can still be read: folder, round, configuration."""
    seen: set[Path] = set()
    while True:
        run, at, which = spec.rpartition("@")
        folder = Path(run)
        rounds = checkpoint_rounds(folder) if at else ()
        if not rounds or folder.resolve() in seen or not (which == "latest" or which.isdecimal()):
            return
        seen.add(folder.resolve())
        try:
            config = load(folder / "config.yaml", TrainConfig)
        except (ValueError, TypeError):
            return
        yield folder, rounds[-1] if which == "latest" else int(which), config
        spec = config.model


def _base(spec: str, chain: list[tuple[Path, int, TrainConfig]]) -> str:
    return chain[-1][2].model if chain else spec


def _origin(config: TrainConfig, number: int) -> str:
    """One run in a line."""
    parts = []
    if config.sft.steps:
        parts.append(f"{config.sft.steps} steps of SFT")
    if number:
        parts.append(f"{number} rounds of {config.games_per_round} games of {code(config.game)} (method {code(config.method)})")
    return f"- {', then '.join(parts) or 'nothing learnt'}; seed {config.seed}"


def _settings(config: TrainConfig) -> str:
    """What the last run was told otherwise than by default."""
    plain, default = _flat(config), _flat(TrainConfig())
    rows = [f"| {code(name)} | {code(_told(value))} |" for name, value in plain.items() if value != default[name]]
    told = ["| setting | value |", "|---|---|", *rows] if rows else ["The defaults."]
    return "\n".join(["## Settings", "", "Those of its last run that are not the defaults:" if rows else "", "", *told, "", ""])


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= _flat(value, f"{prefix}{field.name}.")
        elif field.name not in _UNTOLD:
            found[prefix + field.name] = value
    return found


def _told(value: Any) -> str:
    return short_name(str(value)) if isinstance(value, str | Path) else str(value)


def _win_rates(run: Path, number: int) -> str:
    """What the run's summary says of the model after this round."""
    cells: list[Mapping[str, Any]] = []
    path = run / "summary.json"
    if path.is_file():
        summary = json.loads(path.read_text(encoding="utf-8"))
        cells = [c for c in summary["win_rates"] if c["round"] == number and c["win_rate"] is not None]
    if not cells:
        return "Not measured."
    rows = [
        f"| {escaped(short_name(c['opponent']))} | {escaped(c['role'])} | {escaped(c['words'])} | {c['win_rate']:.3f} "
        f"| {c['low']:.3f} to {c['high']:.3f} | {c['games']} |"
        for c in cells
    ]
    head = ["| against | role | words | win rate | 95 % interval | games |", "|---|---|---|---|---|---|"]
    return "\n".join(["Games won after this round, with Wilson intervals (a tie is no win):", "", *head, *rows])
