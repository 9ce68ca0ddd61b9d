"""The standings of a tournament as tables for terminals, as Markdown, CSV and a picture. Knows what standings hold; decides nothing."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from sparring.envs.views import one_line

from ..storage.folder import write_text, writing
from .tables import plain_table, rate

MOST_PAIRS = 12
"""Rows of tables of pairs that are shown on a terminal."""
LEFT_OUT = ("without_rule_breaks", "without_blunders")
"""Ratings that stand beside those of all games."""
MOST_CYCLES = 5
"""Intransitive triads that are named."""


class Sheet(NamedTuple):
    """A table. note: what its numbers mean."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def sheets(results: Mapping[str, Any]) -> list[Sheet]:
    """What a person wants to know of a tournament, the most important first."""
    made = []
    if "ratings" in results:
        made.append(_ladder(results))
        made.append(_tests("Neighbours on the ladder, by their games against the same others", results["neighbours"]))
        made.append(_tests("Head to head, both roles", results["head_to_head"]))
    rows = [
        (m["player"], m["role"], _counts(m["lost_by"]), _counts(m["won_by"]), str(m["void"] or "-"))
        for m in results["mistakes"]
        if m["lost_by"] or m["won_by"] or m["void"]
    ]
    made.append(Sheet("Games that ended by a mistake", ("player", "as", "lost by its own", "won by another's", "void"), rows))
    made.append(_cost(results["cost"]))
    pairs = [(e["player"], e["role"], e["opponent"], *(str(e[n]) for n in ("wins", "losses", "ties")), rate(e)) for e in results["pairs"]]
    made.append(Sheet("Games between two players", ("player", "as", "against", "won", "lost", "tied", "rate"), pairs))
    return [sheet for sheet in made if sheet.rows]


def _ladder(results: Mapping[str, Any]) -> Sheet:
    every = results["ratings"]["all"]
    cells = {(e["player"], e["role"]): e for e in results["players"]}
    others = [{(r["player"], r["role"]): r for r in results["ratings"][name]["ladder"]} for name in LEFT_OUT]
    rows = []
    for rating in every["ladder"]:
        who = rating["player"], rating["role"]
        counts = [str(rating[key]) for key in ("wins", "losses", "ties")]
        without = [strength(ladder[who]) if who in ladder else "no game" for ladder in others]
        rows.append((*who, *counts, rate(cells[who]), strength(rating), *without))
    note = (
        "strength: in Elo points, zero the mean of the rated players in a role, \u00b1 half of a 95 % interval over words; then without "
        "games lost by breaking a rule, and without those and wrong guesses."
    )
    if every["even"] is not None:
        roles = list(dict.fromkeys(rating["role"] for rating in every["ladder"]))
        first, tie, second = every["even"]
        note += f" Equal players: {roles[0]} wins {first:.1%}, nobody {tie:.1%}, {roles[-1]} wins {second:.1%}."
    note += "".join(f" Note: {text}." for text in every["notes"])
    return Sheet("Ladder", ("player", "as", "won", "lost", "tied", "rate", "strength", "no rule breaks", "no blunders"), rows, note)


def strength(rating: Mapping[str, Any]) -> str:
    """A strength with half of its interval, or why there is none."""
    estimate = rating["strength"]
    if estimate is None:
        return str(rating["bound"])
    half = "" if estimate["low"] is None else f" \u00b1 {(estimate['high'] - estimate['low']) / 2:.0f}"
    return f"{estimate['value']:+.0f}{half}"


def _tests(title: str, compared: Sequence[Mapping[str, Any]]) -> Sheet:
    rows = []
    for c in compared:
        half = "" if c["low"] is None else f" \u00b1 {(c['high'] - c['low']) / 2:.3f}"
        words = f"{c['words_better']} : {c['words_worse']}"
        rows.append((c["player"], c["other"], c["role"] or "both", f"{c['difference']:+.3f}{half}", words, f"{c['p_holm']:.3g}"))
    note = "Difference in points a game, paired by word and seed. p: exact McNemar test over words, adjusted for all rows (Holm)."
    return Sheet(title, ("player", "other", "as", "difference", "words", "p"), rows, note)


def _cost(cost: Sequence[Mapping[str, Any]]) -> Sheet:
    rows = []
    for entry in cost:
        per = entry["tokens"] / entry["games"] if entry["games"] else 0
        seconds = "-" if entry["seconds"] is None else f"{entry['seconds']:,.1f}"
        rows.append((entry["player"], str(entry["games"]), f"{entry['tokens']:,}", f"{per:.1f}", seconds))
    return Sheet("Cost", ("player", "games", "tokens", "tokens a game", "seconds"), rows)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "-"


def cycle_lines(results: Mapping[str, Any]) -> list[str]:
    """Whether one ladder can hold the players, in sentences."""
    found = results.get("cycles")
    if not found or not found["triads"]:
        return []
    lines = [f"{len(found['cyclic'])} of {found['triads']} triads of players are intransitive ({found['share']:.0%})."]
    lines += [f"{a} beats {b}, {b} beats {c}, {c} beats {a}." for a, b, c in found["cyclic"][:MOST_CYCLES]]
    if found["lottery"]:
        lines.append("Maximal lottery: " + ", ".join(f"{player} {share:.0%}" for player, share in found["lottery"].items()) + ".")
    return lines


def show_standings(results: Mapping[str, Any], console: Console) -> None:
    """The standings on a terminal, without long tables of pairs."""
    for sheet in sheets(results):
        if sheet.title.startswith(("Games between", "Head to head")) and len(sheet.rows) > MOST_PAIRS:
            continue
        table = plain_table(sheet.title, sheet.columns, [tuple(map(one_line, row)) for row in sheet.rows], gap=1)
        if sheet.note:
            table.caption, table.caption_justify = sheet.note, "left"
        console.print(table)
        console.print()
    for line in cycle_lines(results):
        console.print(one_line(line))


def markdown(results: Mapping[str, Any]) -> str:
    """The standings as Markdown; names are escaped."""
    played = results["tournament"]
    lines = ["# Tournament", "", _cell(played_line(played, results)), ""]
    for sheet in sheets(results):
        rows = [sheet.columns, tuple("---" for _ in sheet.columns), *(tuple(map(_cell, row)) for row in sheet.rows)]
        lines += [f"## {sheet.title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
        lines += [_cell(sheet.note), ""] if sheet.note else []
    return "\n".join([*lines, *map(_cell, cycle_lines(results))]).rstrip() + "\n"


def played_line(played: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """What was played, in a sentence."""
    void = f", {results['void']} void" if results["void"] else ""
    options = played["options"]
    return (
        f"{results['games']} games{void} of {played['planned']} between {len(played['players'])} players: {played['game']['name']}, "
        f"{options['games']} per pair and role about {played['words']['count']} words ({options['words'] or 'everyday'}), "
        f"seed {options['seed']}, temperature {options['temperature']:g}."
    )


def _cell(text: str) -> str:
    plain = one_line(text)
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|~$" else char for char in plain)


CSV_COLUMNS = (
    *("player", "role", "games", "wins", "losses", "ties", "void", "win_rate", "win_rate_low", "win_rate_high"),
    *("strength", "strength_low", "strength_high", "bound", "strength_without_rule_breaks", "strength_without_blunders"),
    *("tokens", "seconds"),
)


def comma_separated(results: Mapping[str, Any]) -> str:
    """One line for each player and role. tokens and seconds are the player's in both roles."""
    strengths = {(name, r["player"], r["role"]): r for name, of in results.get("ratings", {}).items() for r in of["ladder"]}
    costs = {entry["player"]: entry for entry in results["cost"]}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for cell in results["players"]:
        player, role = cell["player"], cell["role"]
        ratings = [strengths.get((name, player, role)) or {} for name in ("all", *LEFT_OUT)]
        estimates = [rating.get("strength") or {} for rating in ratings]
        counts = [cell[name] for name in ("games", "wins", "losses", "ties", "void", "win_rate", "low", "high")]
        numbers = [estimates[0].get(name) for name in ("value", "low", "high")]
        without = [estimate.get("value") for estimate in estimates[1:]]
        writer.writerow(
            [player, role, *counts, *numbers, ratings[0].get("bound"), *without, costs[player]["tokens"], costs[player]["seconds"]]
        )
    return text.getvalue()


def draw_ladder(results: Mapping[str, Any], path: Path) -> None:
    """A picture of the strengths with their intervals, one panel a role. Draws nothing where no strength is known."""
    from matplotlib.figure import Figure

    ladder = results["ratings"]["all"]["ladder"]
    roles = list(dict.fromkeys(rating["role"] for rating in ladder))
    if not any(rating["strength"] for rating in ladder):
        path.unlink(missing_ok=True)
        return
    most = max(sum(rating["role"] == role for rating in ladder) for role in roles)
    figure = Figure(figsize=(4.6 * len(roles), 0.9 + 0.3 * most), layout="constrained")
    for axes, role in zip(figure.subplots(1, len(roles), squeeze=False)[0], roles, strict=True):
        rated = [rating for rating in ladder if rating["role"] == role][::-1]
        names = [_label(rating["player"]) for rating in rated]
        axes.set_yticks(range(len(rated)), names)
        axes.set_ylim(-0.6, len(rated) - 0.4)
        axes.axvline(0, color="#bbbbbb", linewidth=0.8)
        for place, rating in enumerate(rated):
            estimate = rating["strength"]
            if estimate is None:
                axes.text(0, place, f" {rating['bound']}", va="center", fontsize=8, color="#666666")
                continue
            if estimate["low"] is not None:
                axes.plot([estimate["low"], estimate["high"]], [place, place], color="#4269d0")
            axes.plot([estimate["value"]], [place], marker="o", color="#4269d0")
        axes.set_xlabel(f"strength as {role} (Elo points)")
        axes.spines[["top", "right"]].set_visible(False)
    with writing(path) as aside:
        figure.savefig(aside, format="png", dpi=120, metadata={"Software": None})


def _label(name: str) -> str:
    """A name as a picture can show it, its end where it is long."""
    return one_line(name)[-40:].encode("ascii", "replace").decode().replace("$", r"\$")


def write_standings(results: Mapping[str, Any], folder: Path) -> None:
    """results.csv, results.md and ladder.png."""
    write_text(folder / "results.csv", comma_separated(results))
    write_text(folder / "results.md", markdown(results))
    if "ratings" in results:
        draw_ladder(results, folder / "ladder.png")
