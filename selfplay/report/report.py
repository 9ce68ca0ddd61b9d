"""The report of a run or of a tournament as one HTML file: no network, every text of a model escaped, the
games to be read in it."""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sparring.agents.names import shell_path
from sparring.envs.views import printable

from ..storage import summary as summaries
from ..storage.folder import CONFIG, RunFolder, write_text
from ..storage.game_files import Unreadable, game_files
from ..storage.selection import agent_name
from .charts import interval
from .packed_games import PackedGames, pack
from .run_page import run_page
from .tournament_page import RESULTS, read_results, tournament_page

_PAGE = files("sparring.selfplay.report") / "page"


def write_report(path: Path, unreadable: Unreadable | None = None) -> Path:
    """Writes report.html of a run that has ended, or of a tournament, into its folder; its path. unreadable:
    told of lines of game files that are left out. Raises ValueError where the folder is neither, or its
    results cannot be read."""
    page = _tournament if (path / RESULTS).is_file() and not (path / CONFIG).is_file() else _run
    file = path / "report.html"
    write_text(file, page(path, unreadable or Unreadable()))
    return file


def _run(path: Path, unreadable: Unreadable) -> str:
    data = summaries.read(path).data
    folder = RunFolder.open(path)
    try:
        values = run_page(folder, data)
        steps = summaries.commands(data, path)
        return _html(
            "run",
            path,
            values,
            pack(game_files(path), unreadable) if folder.played() else None,
            "Round",
            steps,
        )
    except (KeyError, TypeError, AttributeError, IndexError, jinja2.UndefinedError) as error:
        raise ValueError(
            f"{folder.summary} is not what a run writes ({error!r}); sparring train --resume {shell_path(path)} writes it anew"
        ) from error


def _tournament(path: Path, unreadable: Unreadable) -> str:
    results = read_results(path)
    try:
        values = tournament_page(results)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{path / RESULTS} is not what a tournament writes ({error!r}); sparring tournament --out {shell_path(path)} writes it anew"
        ) from error
    try:
        games = pack(game_files(path), unreadable)
    except ValueError:
        games = None  # results may be passed on without their games
    steps = [f"sparring {command} {shell_path(path)}" for command in ("games", "tournament --out")] if games else []
    return _html("tournament", path, values, games, "File", steps)


def _html(
    template: str,
    path: Path,
    values: Mapping[str, Any],
    games: PackedGames | None,
    files_label: str,
    steps: list[str],
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sparring.selfplay.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["agent"] = agent_name
    environment.globals["interval"] = interval
    script = (_PAGE / "browser.js").read_text(encoding="utf-8")
    return environment.get_template(f"{template}.html.jinja").render(
        values,
        name=path.resolve().name,
        next_steps=steps,
        games=games,
        files_label=files_label,
        style=Markup((_PAGE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )
