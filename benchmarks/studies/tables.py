"""The tables and pages of the study: of its result, as Markdown. Knows nothing of how it was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparring.selfplay.objectives.spag import NAMES as CORRECTIONS

CONTROLS = ("expert", "winning-expert", "shuffled")
"""Arms that self-play is compared with."""
TITLES = {
    "group": "group-relative",
    "spag": "SPAG",
    "expert": "experts",
    "winning-expert": "winning experts",
    "shuffled": "shuffled reward",
    "published": "SPAG as published",
    **{arm: arm.replace("-", " ") for arm in CORRECTIONS},
    "corrected": "all mended",
}
"""How tables name the arms, in their order."""
SHOWN = {
    "win/initial/defender/rl": "games won as defender, words met in self-play",
    "win/initial/defender/heldout": "games won as defender, words never played",
    "win/initial/defender/sft": "games won as defender, words of the experts' games",
    "win/initial/attacker/rl": "games won as attacker, words met in self-play",
    "win/initial/attacker/heldout": "games won as attacker, words never played",
    "uttered/initial/attacker/all": "games in which the attacker had the word uttered",
    "uttered/initial/defender/all": "games in which the defender was caught so",
    "tie/initial/attacker/all": "ties, as attacker",
    "tie/initial/defender/all": "ties, as defender",
    "win/scripted/defender/all": "against scripted players: won as defender",
    "win/scripted/attacker/all": "against scripted players: won as attacker",
    "everyday/inference-4/rl": "four-hint inference, words met in self-play",
    "everyday/inference-4/heldout": "four-hint inference, words never played",
    "everyday/inference-4/sft": "four-hint inference, words of the experts' games",
    "everyday/facts/yes_no": "yes/no questions about facts",
    "everyday/facts/recall": "recall of facts",
    "everyday/heldout-words/choose": "reasoning, words held out (choose)",
    "everyday/heldout-words/bigger": "reasoning, words held out (bigger)",
    "everyday/heldout-words/both": "reasoning, words held out (both)",
    "everyday/heldout-formats/choose_two_facts": "two facts at once, a format held out",
    "truth/initial/attacker/all": "true hints, as attacker",
}
"""What the tables of docs/results.md show, of all that was measured."""
BRIEF = {
    "win/initial/defender/rl": "win rate as defender, words met in self-play only",
    "win/initial/defender/heldout": "win rate as defender, held-out words",
    "win/initial/attacker/rl": "win rate as attacker, words met in self-play only",
    "everyday/inference-4/rl": "naming a word after four hints, words met in self-play only",
    "everyday/heldout-words/choose": "reasoning test, held-out words",
}
"""What the README's table shows."""
RARE = ("foul/", "silent/", "overlong/")
"""Outcomes that the page leaves out where they hardly ever happened."""
PAGE = """# The study

What `python -m sparring.benchmarks.studies.study` measured ({settings}; {seeds} training seeds). Each figure is a mean over
seeds, ± half of its 95 % interval. A seed decides everything after the base model: SFT, words drawn, games, updates and evaluation.

A row is named by what is measured, the opponent, the role and the group of words: `win/initial/defender/heldout` is the share of games that
the trained model won as defender against the frozen model from which self-play began, on held-out words. There are three groups of words:
`sft` are the secret words of the experts' games, `rl` are secret words in self-play only, and `heldout` are secret words in neither. The
texts of the base model, some of which are mixed into every update of every arm, contain conversations and plain games about all words.

`tie/`, `uttered/` and the like are shares of games; `truth/` is the share of true hints among those that can be checked. Rows `everyday/`
are scores of the everyday reasoning test. Answers without knowledge score between 0.25 and 0.57 on its tasks (`sparring bench` shows these
baselines; inference from hints has none).
{controls}
## After training

{values}

## Gain over the initial model, paired by seed

{gains}

## What {beyond}, paired by seed

{difference}
"""
OF_CONTROLS = """
Controls that are trained on expert games see games about the `sft` words only. The control with shuffled rewards plays about the same words
as self-play.
"""


def tables(result: Mapping[str, Any]) -> tuple[str, str]:
    """The tables of docs/results.md: what was measured before and after, and the paired differences of the first arm from the controls.
    Means over seeds with half their 95 % intervals.
    """
    shown = {label: result["table"][name] for name, label in SHOWN.items() if name in result["table"]}
    return _values(shown), _beyond(shown)


def brief_table(result: Mapping[str, Any]) -> str:
    """The README's table: a few rows before and after self-play, beside the control that did best at each, with the paired difference from
    it. Means over seeds with half their 95 % intervals."""
    rows = {}
    for name, label in BRIEF.items():
        row = result["table"][name]
        best = max((arm for arm in CONTROLS if arm in row), key=lambda arm: row[arm]["after"]["mean"])
        control = f"{_short(row[best]['after']['mean'])} ({TITLES[best]})"
        self_play = row["group"]
        rows[label] = [
            _short(row["before"]["mean"]),
            _short(self_play["after"]["mean"]),
            control,
            _interval(self_play[f"beyond {best}"]),
        ]
    return _markdown(["", "before", "self-play", "best control", "self-play beyond it"], rows)


def page(result: Mapping[str, Any]) -> str:
    """docs/study.md: every measurement by its name in the result."""
    table = {name: row for name, row in result["table"].items() if not name.startswith(RARE) or row["before"]["mean"] >= 0.001}
    gains = {name: [_interval(row[arm]["gain"]) for arm in _arms(table)] for name, row in table.items()}
    head = _markdown(["", *(TITLES[arm] for arm in _arms(table))], gains)
    first = TITLES[_arms(table)[0]]
    told = {name: result["settings"][name] for name in ("game", "rounds", "games", "questions", "sft_mix_weight")}
    return PAGE.format(
        seeds=len(result["seeds"]),
        settings=", ".join(f"{name} {value}" for name, value in told.items()),
        values=_values(table),
        gains=head,
        difference=_beyond(table),
        controls=OF_CONTROLS if set(_arms(table)) & set(CONTROLS) else "",
        beyond="each mended error brings" if first == TITLES["published"] else f"{first} brings beyond the controls",
    )


def _arms(table: Mapping[str, Any]) -> list[str]:
    return [arm for arm in TITLES if arm in next(iter(table.values()))]


def _values(table: Mapping[str, Any]) -> str:
    arms = _arms(table)
    rows = {name: [_short(row["before"]["mean"]), *(_interval(row[arm]["after"]) for arm in arms)] for name, row in table.items()}
    return _markdown(["", "before", *(TITLES[arm] for arm in arms)], rows)


def _beyond(table: Mapping[str, Any]) -> str:
    first, *others = _arms(table)
    if first == "published":
        against = {name: [_interval(row[arm]["beyond published"]) for arm in others] for name, row in table.items()}
        return _markdown(["beyond SPAG as published", *(TITLES[arm] for arm in others)], against)
    controls = [arm for arm in others if arm in CONTROLS]
    rows = {name: [_interval(row[first][f"beyond {control}"]) for control in controls] for name, row in table.items()}
    return _markdown([f"{TITLES[first]} beyond", *(TITLES[arm] for arm in controls)], rows)


def _markdown(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([label, *cells] for label, cells in rows.items())]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _interval(mean: Mapping[str, Any]) -> str:
    low, middle, high = (mean[name] for name in ("low", "mean", "high"))
    return _short(middle) if low is None else f"{_short(middle)} ± {_short((high - low) / 2)}"


def _short(share: float) -> str:
    """A share to three places; what rounds to zero has no sign."""
    return f"{round(share, 3) + 0.0:.3f}"
