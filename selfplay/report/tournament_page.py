"""What the page of a tournament shows, of its results.json: strengths, who beat whom, how games ended, what
players cost. Knows no games.

Only what the file holds is shown: a tournament without ratings has a page without a ladder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..storage.sealed import read_json
from .charts import interval
from .run_page import flat_settings, provenance_facts
from .tournament import Sheet, cycle_lines, played_line, sheets

RESULTS = "results.json"
_NOTHING: Mapping[str, Any] = {"players": [], "pairs": [], "mistakes": [], "cost": []}


def read_results(path: Path) -> dict[str, Any]:
    """The results of a tournament's folder; of what the file does not hold there is nothing. Raises
    ValueError where it cannot be read."""
    return {**_NOTHING, **read_json(path / RESULTS)}


def tournament_page(results: Mapping[str, Any]) -> dict[str, Any]:
    """The values of tournament.html.jinja. Raises KeyError and its like where the results are not what a
    tournament writes."""
    about = results.get("tournament", {})
    provenance = about.get("provenance") or {}
    tables = [sheet for sheet in sheets(results) if not sheet.title.startswith("Games between")]
    ladder = next((sheet for sheet in tables if sheet.title == "Ladder"), None)
    return {
        "lead": played_line(about, results) if about else "",
        "facts": _facts(results, about, provenance),
        "ladder": ladder,
        "intervals": ladder_intervals(results) if ladder else [],
        "cycles": cycle_lines(results),
        "cross": cross_table(results["pairs"], ladder),
        "endings": ending_rows(results["players"]),
        "sheets": [sheet for sheet in tables if sheet is not ladder],
        "configuration": flat_settings({name: value for name, value in about.items() if name != "provenance"}),
        "provenance": flat_settings(provenance),
    }


def ladder_intervals(results: Mapping[str, Any]) -> list[Markup]:
    """Each strength of the ladder with its interval, drawn on one scale for all."""
    strengths = [rating["strength"] for rating in results["ratings"]["all"]["ladder"]]
    ends = [value for s in strengths if s for value in s.values() if value is not None]
    widest = max(map(abs, ends), default=1.0)
    return [interval(s["value"], s["low"], s["high"], -widest, widest) if s else Markup("") for s in strengths]


def cross_table(pairs: Sequence[Mapping[str, Any]], ladder: Sheet | None) -> dict[str, Any] | None:
    """Every player in the first role (rows) against every player in the second (columns): the entry of the
    pair, None where they did not meet; in the ladder's order. None where there are no games of two roles."""
    roles = list(dict.fromkeys(entry["role"] for entry in pairs))
    if len(roles) != 2:
        return None
    order = [row[0] for row in ladder.rows] if ladder else []
    players = list(dict.fromkeys([*order, *(entry["player"] for entry in pairs)]))
    cells = {(e["player"], e["opponent"]): e for e in pairs if e["role"] == roles[0] and e["games"]}
    return {
        "roles": roles,
        "players": players,
        "rows": [(one, [cells.get((one, other)) for other in players]) for one in players],
    }


def ending_rows(players: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the games of each player ended, in each role: the share of each reason, the most frequent first."""
    totals: dict[str, int] = {}
    for entry in players:
        for reason, count in entry["reasons"].items():
            totals[reason] = totals.get(reason, 0) + count
    reasons = sorted(totals, key=lambda reason: (-totals[reason], reason))
    rows = [(e["player"], e["role"], [e["reasons"].get(reason, 0) / e["games"] for reason in reasons]) for e in players if e["games"]]
    return {"reasons": reasons, "rows": rows}


def _facts(results: Mapping[str, Any], about: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    tokens = sum(entry["tokens"] for entry in results["cost"])
    seconds = sum(entry["seconds"] or 0.0 for entry in results["cost"])
    found = {
        "players": str(len(about["players"])) if "players" in about else None,
        "games": f"{results['games']:,}" if "games" in results else None,
        "words": f"{about['words']['count']:,}" if "words" in about else None,
        "tokens sampled": f"{tokens:,}" if tokens else None,
        "computing": f"{seconds:,.1f} s" if seconds else None,
        "judge": about.get("judge"),
    }
    return [*((name, value) for name, value in found.items() if value), *provenance_facts(provenance)]
