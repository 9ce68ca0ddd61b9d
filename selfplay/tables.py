"""Results as tables for a terminal of 80 columns. Knows what summaries hold; decides nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sparring.agents.names import shell_path

from .measuring import FROZEN
from .report import endings_table, strength_table
from .summary import Summary


def show_summary(summary: Summary, console: Console) -> None:
    """The end of a run."""
    rows = []
    for row in strength_table(summary.data):
        before = row["before"]
        rows.append((before["opponent"], before["seat"], before["words"], *(rate(row[name]) for name in ("before", "after", "control"))))
    if rows:
        title = "Games won (95 % Wilson interval; imitation: the frozen model of round 0)"
        console.print(_table(title, ("against", "as", "words", "before", "after", "control"), rows))
        console.print()
        console.print(endings(summary.data))
    for name, result in summary.data["evaluations"].items():
        console.print()
        console.print(evaluation_table(name, result))
    for note in summary.data["notes"]:
        console.print(f"Note: {note}")
    console.print(f"\nReport: {summary.folder / 'report.html'}")
    folder = shell_path(summary.folder)
    console.print("Next:   " + "\n        ".join(step.replace("RUN", folder) for step in summary.data["next_steps"]))


def endings(data: Mapping[str, Any]) -> Table:
    """How games against the frozen first model ended, by seat."""
    kinds = ("before", "after", "control")
    rows = [
        (row["seat"], row["what"], *("-" if row[kind] is None else _short(row[kind], ".3f") for kind in kinds))
        for row in endings_table(data)
        if row["opponent"] == FROZEN
    ]
    return _table("How games against the frozen model ended (shares of games, or of hints)", ("as", "ended", *kinds), rows)


def evaluation_table(name: str, result: Mapping[str, Any]) -> Table:
    """An evaluation by task: the best baseline, before, after, and the paired differences of after and of a control from before, where they
    are known."""
    rows = []
    for task, before in result["before"].items():
        after = _short(result["after"][task]["score"], ".3f") if "after" in result else "-"
        guess = _short(before["baseline"], ".3f") if "baseline" in before else "-"
        differences = [_difference(result[kind][task]) if kind in result else "-" for kind in ("difference", "control_difference")]
        rows.append((task, str(before["n"]), guess, _short(before["score"], ".3f"), after, *differences))
    title = f"{name} test (guess: the best baseline; paired difference, half of its 95 % interval)"
    return _table(title, ("task", "n", "guess", "before", "after", "difference", "control's"), rows, gap=1)


def tournament_table(title: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    """Games of players, over all opponents or against one."""
    rows = [(e["player"], e["seat"], e["opponent"], *(str(e[n]) for n in ("wins", "losses", "ties")), rate(e)) for e in entries]
    return _table(f"{title}: games won (95 % Wilson interval)", ("player", "as", "against", "won", "lost", "tied", "rate"), rows)


def rate(entry: Mapping[str, Any] | None) -> str:
    """A share of games won with its interval; a dash where nothing was counted."""
    if entry is None or entry["win_rate"] is None:
        return "-"
    return f"{_short(entry['win_rate'], '.3f')} {_short(entry['low'], '.2f')}-{_short(entry['high'], '.2f')}"


def _difference(found: Mapping[str, float]) -> str:
    return f"{_short(found['mean'], '+.3f')} ±{_short((found['high'] - found['low']) / 2, '.3f')}"


def _short(number: float, form: str) -> str:
    """Without the zero before the point, which a narrow table has no room for."""
    return format(number, form).replace("0.", ".", 1) if abs(number) < 1 else format(number, form)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], gap: int = 2) -> Table:
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, padding=(0, gap, 0, 0), title_style="bold", header_style="dim"
    )
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
