"""Pictures of a run's page for the documentation: the browser of its games, and its charts.

    python -m sparring.benchmarks.picture runs/quickstart --out docs/pictures

Needs the extra browser, and Chromium (Debian's package chromium). The games shown are chosen by a rule: the
first game of the last round that ended with the secret word uttered and whose word was played in another
round too, beside the first game about it there.
"""

import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from sparring.selfplay.cli.options import positional
from sparring.selfplay.report.report import write_report
from sparring.selfplay.storage.folder import RunFolder, writing
from sparring.selfplay.storage.game_files import StoredGame, Unreadable, game_files, read_games

from .command import command

COLOURS = 256
"""Colours of a picture: a page has few, and its file is half as large."""
MARGIN = 16
"""Pixels around what is drawn."""


@dataclass(frozen=True)
class PictureConfig:
    """What is drawn."""

    run: Path
    """A run folder; its page is written anew."""
    out: Path = Path("docs/pictures")
    """The folder of the pictures: games.png and learning.png."""
    width: int = 1120
    """Pixels of the window."""
    dark: bool = False
    """Light or dark."""
    json: bool = False
    """Taken as by every command."""


def chosen(run: Path) -> tuple[StoredGame, StoredGame | None]:
    """The games of the picture, see above; where there are none such, the last round's first game alone.
    Raises ValueError for a run without games."""
    games = list(read_games(game_files(run), Unreadable()))
    if not games:
        raise ValueError(f"{run} has no games that can be read")
    last = games[-1].file.round
    for game in games:
        if game.file.round == last and game.episode.outcome.reason == "uttered":
            for other in games:
                if other.file.round != last and other.episode.task.secret == game.episode.task.secret:
                    return other, game
    return next(game for game in games if game.file.round == last), None


def address(games: tuple[StoredGame, StoredGame | None]) -> str:
    """What stands behind the page's name for these games to be read."""
    keys = [f"{game.file.name}:{game.episode.record['id']}" for game in games if game is not None]
    return "#" + urlencode(dict(zip(("game", "beside"), keys, strict=False)))


def main(config: PictureConfig) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ValueError("pictures need the extra browser: pip install -e '.[browser]' in the checkout") from error
    if chromium is None:
        raise ValueError("pictures need Chromium; on Debian: apt-get install chromium")
    RunFolder.open(config.run)
    games = chosen(config.run)
    page_file = write_report(config.run).resolve()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.getuid() == 0 else [])
        page = browser.new_page(viewport={"width": config.width, "height": 720}, color_scheme="dark" if config.dark else "light")
        page.goto(page_file.as_uri() + address(games))
        page.wait_for_selector("#games[data-ready]")
        for name, place in (("games", "#games"), ("learning", "#rounds")):
            if page.locator(place).count():
                page.add_style_tag(content=f"{place} {{ padding: {MARGIN}px; }} {place} h2 {{ margin-top: 0; }}")
                _save(page.locator(place).screenshot(), config.out / f"{name}.png")
        browser.close()


def _save(picture: bytes, path: Path) -> None:
    few: Any = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    with writing(path) as aside:
        few.save(aside, format="png", optimize=True)
    print(f"wrote {path} ({path.stat().st_size / 1024:.0f} KiB)")


if __name__ == "__main__":
    command("picture", positional(PictureConfig), main, __doc__)
