"""The page in a real browser: nothing that was said is run, filters mean what those of the command line do, every key and link works."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from game_lines import line, write_lines

from sparring.envs.views import printable
from sparring.selfplay.report.report import write_report
from sparring.selfplay.storage.game_files import Unreadable, game_files, read_games
from sparring.selfplay.storage.selection import Selection

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)><svg onload=alert(1)>",
    "{{ 7*7 }} ${7*7} &lt;b&gt; javascript:alert(1)",
    "\u202egnihton\u2066 \x1b[2J\x00 \u2028 \ud83c",
    '"><iframe src="http://127.0.0.1:1/"></iframe>',
    "\U0001f34b\U0001f34b It is a <b>lemon</b>, \u00e9?",
    "x" * 5000,
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def games() -> list[dict[str, Any]]:
    """240 games about ten words, by three agents, in every way to end; game 0 holds what is hostile."""
    made = []
    for n in range(240):
        winner = ("attacker", "defender", None)[n % 3]
        reason = "void" if n % 40 == 2 else ("uttered", "declared_right", "turn_limit")[n % 3]
        agents = (("mini", "scripted"), ("/runs/x@3", "mini"), ("scripted", "/runs/x@3"))[n // 3 % 3]
        said = (f"It is thing {n}.", "Hm." if n % 5 else "A KIND of fruit?")
        made.append(line(f"{n // 24}/{n}", *said, word=f"word{n % 10}", winner=winner, reason=reason, agents=agents))
    start = HOSTILE[6].index("lemon")
    made[0] = line(
        "<b>0</b>", *HOSTILE, word="<i>word</i>", agents=("<img src=x onerror=alert(1)>", "mini"), evidence=(6, start, start + 5)
    )
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("a <b>tournament")
    (made / "results.json").write_text(json.dumps({"players": []}))
    all_games = games()
    write_lines(made / "games" / "1.jsonl", all_games[:120])
    write_lines(made / "games" / "2.jsonl.gz", all_games[120:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparring.selfplay.report.packed_games.CHUNK", 50)  # the talk of these games comes in pieces
        write_report(made)
    return made


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[Any, list[str]]]:
    """A page of a browser, and what it complains about, asks or loads."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    seen: list[str] = []
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = browser.new_page()
        made.on("console", lambda message: seen.append(message.text))
        made.on("pageerror", lambda error: seen.append(str(error)))
        made.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
        made.on("request", lambda request: None if request.url.startswith("file:") else seen.append(request.url))
        yield made, seen
        browser.close()


@pytest.fixture
def page(watched: tuple[Any, list[str]], folder: Path) -> Iterator[Any]:
    """The page as it opens; every complaint, dialog and request is an error."""
    made, seen = watched
    seen.clear()
    made.set_viewport_size({"width": 1200, "height": 900})
    made.emulate_media(media="screen", color_scheme="light")
    yield opened(made, folder)
    assert seen == []


def opened(page: Any, folder: Path, address: str = "") -> Any:
    page.goto("about:blank")
    page.goto(f"{(folder / 'report.html').as_uri()}{address}")
    page.wait_for_selector("#games[data-ready]")
    return page


def test_what_is_hostile_is_shown_letter_by_letter(page: Any, folder: Path):
    opened(page, folder, "#word=<i>word</i>")
    assert page.locator(".says").all_text_contents() == [printable(text) for text in HOSTILE]
    assert page.locator("#panes mark").all_text_contents() == ["lemon"]
    assert page.locator("#panes h3").text_content() == "Secret word: <i>word</i>"
    assert "attacker: <img src=x onerror=alert(1)>" in page.locator("#panes .about").first.text_content()
    inside = "#panes script, #panes img, #panes svg, #panes iframe, #panes i, #list i, #list script, b:has-text('tournament')"
    assert page.locator(inside).count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a word of 5,000 letters is broken"


def test_filters_are_those_of_the_command_line(page: Any, folder: Path):
    stored = [game.episode.record for game in read_games(game_files(folder), Unreadable())]
    for wanted in (
        Selection(result="won"),
        Selection(result="lost", role="attacker"),
        Selection(agent="x@3", result="won"),
        Selection(agent="mini", role="defender", reason="turn_limit"),
        Selection(text="a kind of", role="defender"),
        Selection(text="a kind of", role="attacker"),
        Selection(word="word7", result="tied"),
        Selection(result="void"),
    ):
        expected = sum(bool(wanted.roles(game)) for game in stored)
        page.evaluate("address => { location.hash = address }", urlencode({k: v for k, v in vars(wanted).items() if v is not None}))
        status(page, f"{expected:,} of 240 games")


def status(page: Any, text: str) -> None:
    page.locator("#status", has_text=re.compile(f"^{text}$")).wait_for()


def test_controls_filter_and_the_address_follows(page: Any, folder: Path):
    page.select_option("#filter-result", label="tied")
    page.fill("#filter-text", "THING 5")
    status(page, "5 of 240 games")
    assert page.locator("#panes mark.hit").all_text_contents() == ["thing 5"]
    page.wait_for_url(lambda url: "text=" in url)
    address = page.evaluate("location.hash")
    assert "result=tied" in address and "text=THING+5" in address and "game=" in address
    shown = page.locator("#panes").inner_text()
    assert opened(page, folder, address).locator("#panes").inner_text() == shown
    page.click("#reset")
    status(page, "240 games")


def test_the_list_holds_only_the_rows_that_are_seen_and_scrolls_to_all(page: Any):
    assert page.locator(".row:visible").count() < 40
    page.evaluate("list = document.getElementById('list'); list.scrollTop = list.scrollHeight")
    page.wait_for_selector("[aria-posinset='240']")
    assert page.locator(".row:visible").count() < 40 and page.locator("[aria-posinset='1']:visible").count() == 0


def test_games_are_read_by_keys_and_by_clicks(page: Any):
    def reading(id: str) -> None:
        page.locator("#panes .about", has_text=f"game {id} ").wait_for()

    page.locator("[aria-posinset='3']").click()
    reading("0/2")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    reading("0/3")
    page.locator("#list").focus()
    page.keyboard.press("End")
    reading("9/239")
    selected = page.locator("[aria-selected='true']")
    assert selected.get_attribute("aria-posinset") == "240"
    assert page.locator("#list").get_attribute("aria-activedescendant") == selected.get_attribute("id")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    reading("0/1")
    page.keyboard.press("/")
    page.keyboard.type("jk c")
    assert page.locator("#filter-text").input_value() == "jk c", "keys are text where text is written"


def test_the_same_word_stands_side_by_side_and_has_a_permalink(page: Any, folder: Path):
    opened(page, folder, "#game=games/1:0/3")
    page.keyboard.press("c")
    page.locator(".pane").nth(1).wait_for()
    about = page.locator(".pane .about").all_text_contents()
    assert "games/1" in about[0] and "games/2" in about[1], "the other file"
    assert page.locator(".pane h3").all_text_contents() == ["Secret word: word3"] * 2
    address = page.locator("#permalink").get_attribute("href")
    assert opened(page, folder, address).locator(".pane .about").all_text_contents() == about
    page.select_option("#beside", index=1)
    page.locator(".pane .about", has_text="game 0/13 ").wait_for()
    assert page.locator(".pane").count() == 2
    page.keyboard.press("c")
    page.locator(".pane").nth(1).wait_for(state="detached")


def test_a_link_to_a_game_that_is_not_there_says_so(page: Any, folder: Path):
    opened(page, folder, "#game=games/1:nowhere")
    assert page.locator("#absent").is_visible()


def test_a_narrow_window_scrolls_down_alone_and_paper_holds_the_game_without_controls(page: Any):
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    assert page.locator("#list").bounding_box()["width"] <= 400
    page.emulate_media(media="print")
    assert page.locator(".pane").is_visible() and not page.locator("#list").is_visible() and not page.locator(".filters").is_visible()


def test_dark_is_dark(page: Any):
    def brightness() -> float:
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, back[4:-1].split(","))) / 3

    assert brightness() > 200
    page.emulate_media(color_scheme="dark")
    assert brightness() < 50
