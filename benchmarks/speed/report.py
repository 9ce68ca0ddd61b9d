"""How long the page of many games takes: to be written, to open in a browser, to be scrolled and searched.

    python -m sparring.benchmarks.speed.report --json

Scripted experts play the games, each of them anew. The page is written by a process of its own, as `sparring
report` does, whose memory is measured. The browser is Chromium without a window, drawing on the CPU (extra
browser, and Debian's package chromium); without it only writing is measured. A page has opened when its list
of games is filled and the first of them is shown.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.agents.names import resolve
from sparring.agents.rollout import play_all
from sparring.envs.core import make_game
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.words.lists import word_list
from sparring.selfplay.evaluation.win_rates import schedule
from sparring.selfplay.storage.episodes import write_episodes
from sparring.selfplay.storage.folder import to_json, write_text
from sparring.selfplay.storage.provenance import provenance

from ..command import command, say

BATCH = 1000
FRAME = 1 / 60
"""Seconds between two frames of a usual screen."""
_SCROLL = """async (frames) => {
  const list = document.getElementById("list"), times = [];
  let last = performance.now();
  for (let i = 0; i < frames; i++) {
    list.scrollTop += 300;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}"""
_SEARCH = """async (text) => {
  const field = document.getElementById("filter-text"), status = document.getElementById("status");
  const before = status.textContent, waiting = () => status.textContent === before || !status.textContent.includes("games");
  field.value = text;
  const began = performance.now();
  field.dispatchEvent(new Event("input"));
  while (waiting()) await new Promise((done) => setTimeout(done, 1));
  return performance.now() - began;
}"""


@dataclass(frozen=True)
class ReportSpeedConfig:
    """What is measured."""

    games: int = 20_000
    """Games in the page; above 20,000 the page holds a sample."""
    repeats: int = 5
    """How often the page is opened; figures are medians."""
    frames: int = 300
    """Frames that are scrolled by 300 pixels each."""
    seed: int = 0
    """Decides words and what is said."""
    out: Path | None = None
    """A JSON file for the figures, beside being printed."""
    json: bool = False
    """Print one JSON object."""


def measure(config: ReportSpeedConfig) -> dict[str, Any]:
    """The figures. Raises ValueError for numbers below 1."""
    if min(config.games, config.repeats, config.frames) < 1:
        numbers = f"{config.games}, {config.repeats} and {config.frames}"
        raise ValueError(f"games, repeats and frames must be at least 1, got {numbers}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        size = prepare(folder, config)
        written = write(folder)
        opened = browse(folder / "report.html", config)
        written["page_bytes"] = (folder / "report.html").stat().st_size
    return {
        "games": config.games,
        "games_bytes": size,
        "write": written,
        "browser": opened,
        "provenance": provenance(config.seed),
    }


def prepare(folder: Path, config: ReportSpeedConfig) -> int:
    """A tournament's folder with games of scripted experts; bytes of its files of games."""
    game, words = make_game("AdversarialTaboo"), word_list("everyday")
    agents = {role: resolve("scripted", role=role) for role in game.roles}
    write_text(folder / "results.json", to_json({"players": []}))
    for number, first in enumerate(range(0, config.games, BATCH)):
        matches = schedule(agents, game, words, min(BATCH, config.games - first), config.seed + number, f"{number}/")
        write_episodes(folder / "games" / f"{number:03d}.jsonl.gz", play_all(list(matches)))
    return sum(file.stat().st_size for file in (folder / "games").iterdir())


def write(folder: Path) -> dict[str, Any]:
    """Seconds of `sparring report`, its start included, and the most memory that it held."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "sparring", "report", str(folder)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"sparring report ended with status {process.returncode}")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
    }


def browse(page: Path, config: ReportSpeedConfig) -> dict[str, Any] | None:
    """Seconds until the page has opened, between two frames while it is scrolled, of a key, and of a search;
    None without a browser."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    opened, frames, keys, searches = [], [], [], []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.getuid() == 0 else [])
        for _ in range(config.repeats):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            began = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_selector("#games[data-ready]")
            opened.append(time.perf_counter() - began)
            tab.evaluate("document.getElementById('games').scrollIntoView()")
            frames += tab.evaluate(_SCROLL, config.frames)
            began = time.perf_counter()
            for _ in range(20):
                tab.keyboard.press("j")
            keys.append((time.perf_counter() - began) / 20)
            searches.append(tab.evaluate(_SEARCH, "kind of"))
            tab.close()
        version = browser.version
        browser.close()
    frames.sort()
    return {
        "chromium": version,
        "open_seconds": statistics.median(opened),
        "open_seconds_most": max(opened),
        "frame_seconds": statistics.median(frames) / 1000,
        "frame_seconds_99": frames[int(0.99 * len(frames))] / 1000,
        "late_frames": sum(time > 2000 * FRAME for time in frames) / len(frames),
        "key_seconds": statistics.median(keys),
        "search_seconds": statistics.median(searches) / 1000,
    }


def show(found: dict[str, Any]) -> None:
    written, browser = found["write"], found["browser"]
    print(f"{found['games']:,} games ({found['games_bytes'] / 2**20:.1f} MiB)")
    seconds, memory = written["seconds"], written["peak_bytes"] / 2**20
    print(f"written in {seconds:.1f} s ({written['cpu_seconds']:.1f} s of CPU) with {memory:.0f} MiB")
    print(f"the page has {written['page_bytes'] / 2**20:.1f} MiB")
    if browser is None:
        print("no browser: install the extra browser and Chromium to measure opening and scrolling")
        return
    most = f"most {browser['open_seconds_most']:.2f} s"
    print(f"Chromium {browser['chromium']}: opened in {browser['open_seconds']:.2f} s ({most})")
    names = ("frame_seconds", "frame_seconds_99", "key_seconds", "search_seconds")
    usual, slow, key, search = (1000 * browser[name] for name in names)
    print(f"scrolling: {usual:.1f} ms a frame, {slow:.1f} ms in the slowest 1 %, {browser['late_frames']:.1%} late")
    print(f"a key: {key:.0f} ms; a search: {search:.0f} ms (120 ms of it waiting)")


def main(config: ReportSpeedConfig) -> None:
    say(measure(config), show, as_json=config.json, file=config.out)


if __name__ == "__main__":
    command("speed.report", ReportSpeedConfig, main, __doc__)
