"""A trained model as a plain transformers folder, with a card that says what it is and where it comes from."""

import json
import shutil
from pathlib import Path
from typing import Any

from sparring.agents.language_model import LanguageModel, load_language_model, quiet_if
from sparring.agents.names import checkpoint_rounds, is_model, model_card, model_place
from sparring.agents.player_card import PlayerCard

README = """---
library_name: transformers
pipeline_tag: text-generation
tags: [sparring, self-play, adversarial-taboo]
---

# {title}

A causal language model of {parameters:,} parameters ({architecture}), exported from `{spec}` by sparring:
language models that learn by playing language games against themselves.

{history}
Load it with plain transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
```

or give its folder to sparring as a player. `player.json` holds the prompts it was trained with{world}.
"""

RUN = """It was trained from `{model}` by {rounds} rounds of {games_per_round} games of {game}
(objective `{objective}`, seed {seed}).

| round {round} against | seat | words | win rate | 95 % interval | games |
|---|---|---|---|---|---|
{rows}

"""


def export(spec: str, folder: Path, *, dtype: str | None = None) -> Path:
    """Writes the model of a name to a new or empty folder: weights, tokenizer, chat template, README.

    dtype: of the weights written, None as they are stored. Raises ValueError for a name without weights and for a folder in use.
    """
    if not is_model(spec):
        raise ValueError(f"{spec} has no weights to export; name a model, as in RUN@latest")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is no empty folder; choose a new one")
    place = model_place(spec)
    model = load_language_model(place, name=spec, device="cpu", dtype=dtype or "auto")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        write_model(model, model_card(spec), aside)
        (aside / "README.md").write_text(readme(spec, model, folder.name), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def write_model(model: LanguageModel, card: PlayerCard, folder: Path) -> None:
    """A model, its tokenizer and its card as a plain transformers folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_if(True):
        model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    card.save(folder)


def readme(spec: str, model: LanguageModel, folder: str) -> str:
    """The model card, in Markdown."""
    card = model_card(spec)
    return README.format(
        title=folder,
        parameters=sum(p.numel() for p in model.model.parameters()),
        architecture=type(model.model).__name__,
        spec=Path(spec).name if "/" in spec and not spec.startswith("hf:") else spec,
        history=_history(spec),
        folder=folder,
        world="; it speaks the small English of the everyday world" if card.everyday else "",
    )


def _history(spec: str) -> str:
    """What its run's summary says of the model; nothing where there is no run, or where it has not ended."""
    run, _, which = spec.rpartition("@")
    path = Path(run) / "summary.json"
    if not run or not path.is_file():
        return ""
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    number = checkpoint_rounds(Path(run))[-1] if which == "latest" else int(which)
    cells = [c for c in summary["strength"] if c["round"] == number and c["win_rate"] is not None]
    if not cells:
        return ""
    rows = "\n".join(
        f"| {c['opponent']} | {c['seat']} | {c['words']} | {c['win_rate']:.3f} | {c['low']:.3f} to {c['high']:.3f} | {c['games']} |"
        for c in cells
    )
    return RUN.format(**{**summary["run"], "rounds": number}, round=number, rows=rows)
