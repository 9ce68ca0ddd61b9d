"""Results as tables for a terminal of 80 columns. Knows what summaries hold; decides nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ..storage.summary import INITIAL, Summary, commands
from .run_page import endings_table, win_rate_table

NAMES = ("player", "against", "other", "task")
"""Columns that are folded, never cut, where a terminal is too narrow."""


def show_summary(summary: Summary, console: Console) -> None:
    """The end of a run."""
    rows = []
    for row in win_rate_table(summary.data):
        before = row["before"]
        rows.append((before["opponent"], before["role"], before["words"], *(rate(row[name]) for name in ("before", "after", "control"))))
    if rows:
        title = "Games won (95 % Wilson interval; initial: the frozen model of round 0)"
        console.print(plain_table(title, ("against", "as", "words", "before", "after", "control"), rows))
        console.print()
        console.print(endings(summary.data))
    for name, result in summary.data["evaluations"].items():
        console.print()
        console.print(evaluation_table(name, result))
    for note in summary.data["notes"]:
        console.print(f"Note: {note}")
    console.print(f"\nReport: {summary.folder / 'report.html'}")
    console.print("Next:   " + "\n        ".join(commands(summary.data, summary.folder)))


def endings(data: Mapping[str, Any]) -> Table:
    """How games against the frozen first model ended, by role."""
    kinds = ("before", "after", "control")
    rows = [
        (row["role"], row["what"], *("-" if row[kind] is None else f"{row[kind]:.3f}" for kind in kinds))
        for row in endings_table(data)
        if row["opponent"] == INITIAL
    ]
    return plain_table("How games against the frozen model ended (shares of games, or of hints)", ("as", "ended", *kinds), rows)


def evaluation_table(name: str, result: Mapping[str, Any], columns: Sequence[str] = ("first", "last")) -> Table:
    """An evaluation by task: the best baseline, the scores of the models that are compared, and the paired differences of the second and of
    a control from the first, where they are known. columns: what the models are called; the first and the last of a run."""
    tasks, kinds = result["before"], [kind for kind in ("before", "after") if kind in result]
    differences = [kind for kind in ("difference", "control_difference") if kind in result]
    rows = []
    for task, before in tasks.items():
        guess = f"{before['baseline']:.3f}" if "baseline" in before else "-"
        scores = [f"{result[kind][task]['score']:.3f}" for kind in kinds]
        rows.append((task, guess, *scores, *(difference(result[kind][task]) for kind in differences)))
    sizes = sorted({before["n"] for before in tasks.values()})
    title = f"{name} test: {len(tasks)} tasks, {'-'.join(map(str, sizes))} questions each (guess: the best of four ways to answer blindly)"
    heads = {"difference": "difference", "control_difference": "control's"}
    table = plain_table(title, ("task", "guess", *columns[: len(kinds)], *(heads[kind] for kind in differences)), rows, gap=1)
    if differences:
        table.caption = (
            "Differences are paired, question by question. \u00b1 is half of a 95 % interval over the questions of a task, clustered by "
            f"word: it says nothing of other training seeds, and with {len(tasks)} tasks tested about one in twenty exceeds it by chance."
        )
        table.caption_justify = "left"
    return table


def difference(paired: Mapping[str, float]) -> str:
    """A paired difference with half of its interval; where every question was answered alike there is neither."""
    if paired["low"] == paired["high"]:
        return "no difference" if paired["mean"] == 0 else f"{paired['mean']:+.3f}"
    return f"{paired['mean']:+.3f} \u00b1 {(paired['high'] - paired['low']) / 2:.3f}"


def of_gibberish(players: Sequence[Mapping[str, Any]]) -> str | None:
    """Why the player `random` may win many games as an attacker, with its own numbers; None where it did not play so."""
    for entry in players:
        wrong = entry["reasons"].get("declared_wrong", 0)
        if entry["player"] == "random" and entry["role"] == "attacker" and wrong:
            return (
                f"random attacks by gibberish: {wrong / entry['games']:.0%} of these games ended because the defender declared a wrong "
                "word, which loses. Its rate shows how defenders guess without hints; it is no skill of random's."
            )
    return None


def rate(entry: Mapping[str, Any] | None) -> str:
    """A share of games won with its interval; a dash where nothing was counted."""
    if entry is None or entry["win_rate"] is None:
        return "-"
    return f"{entry['win_rate']:.3f} {entry['low']:.2f}-{entry['high']:.2f}"


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], gap: int = 2) -> Table:
    """A table without lines, whose columns are `gap` blanks apart."""
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, padding=(0, gap, 0, 0), title_style="bold", header_style="dim"
    )
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in NAMES)
    for row in rows:
        table.add_row(*row)
    return table
