"""The summary of a run: what is in summary.json, put together from the run's own files. Equal runs give
equal bytes: no times, no paths."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.agents.names import shell_path

from .folder import RunFolder, read_lines, to_json, write_text
from .schema import SUMMARY, require_schema
from .sealed import read_json

if TYPE_CHECKING:
    from sparring.agents.models.language_model import LanguageModel

    from ..config.config import TrainConfig

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """Something to measure of a model before and after training.

    measure: its result. compare: the paired difference of two results (before, after). brief: what of a
    result belongs into the summary. All JSON.
    """

    name: str
    measure: "Callable[[LanguageModel], Result]"
    compare: Callable[[Result, Result], Result]
    brief: Callable[[Result], Result]


INITIAL = "initial"
"""How measurements name the frozen model of round 0, which self-play began from, as an opponent."""


@dataclass(frozen=True)
class Cell:
    """Games of one player in one role against one opponent on one group of words.

    opponent: its name; `INITIAL` is the frozen model of round 0, "scripted" the scripted players. words: sft
    (of the demonstrations), rl (met in self-play only), heldout (never played), list-1, list-2, ... or all of
    them. games: those that count, void ones apart. wins, losses, ties: of games; void: games that the
    infrastructure broke, counted nowhere else. win_rate and the bounds low and high of its 95 % Wilson
    interval: shares of games in [0, 1], a tie is no win; None without games. reasons: games by why they
    ended. truth: the share of the player's claims about the secret that are true; unparsed: the share of its
    sentences that could not be checked, as they are no sentences of the everyday world's English; both in [0,
    1], None in the role that makes no claims, and where truth is not known. mean_turns: utterances of the
    player per game; None without games.
    """

    opponent: str
    role: str
    words: str
    games: int
    wins: int
    losses: int
    ties: int
    void: int
    win_rate: float | None
    low: float | None
    high: float | None
    reasons: Mapping[str, int]
    truth: float | None
    unparsed: float | None
    mean_turns: float | None

    def record(self, round_number: int) -> dict[str, Any]:
        """The entry of summary.json."""
        return {"round": round_number, **asdict(self)}


@dataclass(frozen=True)
class Summary:
    """What a run came to. folder: the run. data: summary.json, whose keys are schema, run, win_rates,
    rounds, evaluations, control, notes, alarms and next_steps."""

    folder: Path
    data: Mapping[str, Any]

    def cells(self, round_number: int) -> list[Cell]:
        """What was measured of the model after a round, 0 for the first model; nothing for a round that
        was not measured."""
        return [_cell(entry) for entry in self.data["win_rates"] if entry["round"] == round_number]

    def cell(self, round_number: int, opponent: str, role: str, words: str = "all") -> Cell:
        """The cell of a round's model in a role against an opponent on a group of words, see `Cell`.
        Raises KeyError where it was not measured."""
        wanted = (opponent, role, words)
        for cell in self.cells(round_number):
            if (cell.opponent, cell.role, cell.words) == wanted:
                return cell
        raise KeyError(f"round {round_number} against {opponent} as {role} on {words} words was not measured")

    @property
    def control(self) -> list[Cell]:
        """What was measured of the control; nothing where the run has none."""
        return [_cell(entry) for entry in (self.data["control"] or {"win_rates": ()})["win_rates"]]

    @property
    def rounds(self) -> list[Mapping[str, Any]]:
        """The metrics of each round of self-play, in order (docs/metrics.md)."""
        return list(self.data["rounds"])

    @property
    def notes(self) -> list[str]:
        """What a reader should be told first, a sentence each."""
        return list(self.data["notes"])


def _cell(entry: Mapping[str, Any]) -> Cell:
    return Cell(**{name: value for name, value in entry.items() if name != "round"})


def summarise(
    folder: RunFolder,
    config: "TrainConfig",
    word_counts: Mapping[str, int],
    measured: Mapping[int, Mapping[str, Any]],
    control: Mapping[str, Any] | None,
    evaluations: Sequence["Evaluation"],
    alarms: Sequence[Mapping[str, Any]] = (),
) -> Summary:
    """Writes summary.json. measured: by round, {"win_rates": entries, "evaluations": {name: result}};
    control: the same of the control. alarms: that were raised, in order."""
    data = {
        "schema": SUMMARY,
        "run": {
            "model": config.model,
            "game": config.game,
            "role": config.role,
            "opponent": config.opponent,
            "method": config.method,
            "seed": config.seed,
            "rounds": config.rounds,
            "games_per_round": config.games_per_round,
            "sft_steps": config.sft.steps,
            "word_counts": dict(word_counts),
        },
        "win_rates": [entry for number in sorted(measured) for entry in measured[number]["win_rates"]],
        "rounds": [record for record in read_lines(folder.metrics) if record["round"] > 0],
        "evaluations": {
            e.name: _compared(e, measured[0], measured[max(measured)], control) for e in evaluations if e.name in measured[0]["evaluations"]
        },
        "control": control and {"arm": "expert", "win_rates": control["win_rates"]},
        "notes": notes(read_lines(folder.metrics), reasoning=bool(evaluations))
        + [f"alarm in round {alarm['round']}: {alarm['text']}" for alarm in alarms],
        "alarms": list(alarms),
        "next_steps": next_steps(config, reasoning=bool(evaluations)),
    }
    write_text(folder.summary, to_json(data))
    return Summary(folder.path, data)


def _compared(
    evaluation: "Evaluation", first: Mapping[str, Any], last: Mapping[str, Any], control: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Before and after, and the control's result, each with its paired difference from before."""
    before = first["evaluations"][evaluation.name]
    found: dict[str, Any] = {"before": evaluation.brief(before)}
    others = {"after": last if last is not first else None, "control": control}
    for name, other in others.items():
        if other is not None:
            result = other["evaluations"][evaluation.name]
            found[name] = evaluation.brief(result)
            found["difference" if name == "after" else f"{name}_difference"] = evaluation.compare(before, result)
    return found


def notes(records: Sequence[Mapping[str, Any]], *, reasoning: bool = True) -> list[str]:
    """What a reader of the run should be told first: rounds that could teach nothing, and that reasoning
    was not measured, if so."""
    played = [r for r in records if r.get("games")]
    found = [] if reasoning else ["no reasoning was measured in this run; sparring bench compares any two models"]
    for reason, text in (("silent", "nothing was said"), ("overlong", "an utterance did not end in time")):
        share = [r["reasons"].get(reason, 0) / r["games"] for r in played]
        if share and share[-1] >= 0.5:
            found.append(f"in {share[-1]:.0%} of the last round's games {text}: the model does not play this game yet: set sft.steps")
    if any(r.get("void") for r in played):
        found.append(f"{sum(r['void'] for r in played)} games were void (the infrastructure failed) and are counted nowhere")
    return found


def next_steps(config: "TrainConfig", *, reasoning: bool = True) -> list[str]:
    """Commands that make sense after a run; RUN stands for its folder, so that equal runs have equal
    summaries. reasoning: whether the run has measured it."""
    steps = ["sparring games RUN"]
    if config.rounds:
        steps.append("sparring tournament RUN@0 RUN@latest")
        if not reasoning:
            steps.append("sparring bench RUN@latest --against RUN@0")
        steps.append("sparring train --model RUN@latest")
    return steps


def commands(data: Mapping[str, Any], run: Path) -> list[str]:
    """The next steps of a summary for a run in this folder, as a shell takes them."""
    return [step.replace("RUN", shell_path(run)) for step in data["next_steps"]]


def read(path: Path) -> Summary:
    """The summary of a run folder. Raises ValueError where there is no run, or the run has none that can
    be read."""
    file = RunFolder.open(path).summary
    if not file.is_file():
        raise ValueError(f"{path} has no {file.name}: the run has not ended (sparring train --resume {shell_path(path)})")
    data = read_json(file)
    require_schema(data.get("schema"), SUMMARY, f"{file}")
    return Summary(path, data)
