"""Metrics reach TensorBoard and whatever else accelerate can log to; what players said is text there, never markup."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from accelerate import tracking
from small_runs import Heard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sparring.agents.players.simple import FunctionAgent
from sparring.agents.rollout import Episode, Match, play_all
from sparring.envs.core import Task
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.run.train import train
from sparring.selfplay.storage.folder import RunFolder
from sparring.selfplay.storage.trackers import as_text, tracked, trackers

HOSTILE = "Is it <script>alert(1)</script>\n\n![a](http://example.org/a.png) <img src=x> **red**\r\n# big\x1b[2J?"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", "", {})


def games(*words: str) -> list[Episode]:
    game = AdversarialTaboo(max_turns=1)
    agents = dict.fromkeys(game.roles, FunctionAgent(lambda observation, rng: HOSTILE))
    return play_all([Match(word, game, Task(word, word, word, 0), agents, 0) for word in words])


def board(run: Path) -> EventAccumulator:
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return found


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


class Kept(tracking.GeneralTracker):
    """Keeps what it is told, and fails when told to."""

    name = "kept"
    requires_logging_directory = True
    made: "list[Kept]"
    fail = ""

    def __init__(self, project: str, place: Path) -> None:
        super().__init__()
        self.project, self.place, self.settings, self.logged, self.finished = project, place, {}, [], False
        self.made.append(self)

    @property
    def tracker(self) -> None:
        return None

    def start(self) -> None:
        self._act("start")

    def store_init_configuration(self, values: dict) -> None:
        self.settings = values

    def log(self, values: dict, step: int | None = None, **kwargs) -> None:
        self._act("log")
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True

    def _act(self, what: str) -> None:
        if self.fail == what:
            raise ConnectionError("the server is gone")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> type[Kept]:
    monkeypatch.setattr(Kept, "made", [], raising=False)
    monkeypatch.setattr(Kept, "fail", "")
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "kept", Kept)
    return Kept


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"unknown tracker 'wandB'; did you mean 'wandb'\? .*; installed: .*tensorboard"):
        train(TrainConfig(tracker="wandB", out=tmp_path / "run"))
    monkeypatch.setattr(tracking, "_available_trackers", ["tensorboard"])
    with pytest.raises(ValueError, match="tracker mlflow is not installed; installed: tensorboard"):
        train(TrainConfig(tracker="tensorboard,mlflow", out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_trackers_are_named_once_each(kept):
    assert trackers("kept,tensorboard,kept") == ["kept", "tensorboard"]


def test_a_tracker_gets_settings_and_numbers_and_tensorboard_texts_too(folder: RunFolder, kept):
    settings = TrainConfig(method_options={"drop_reasons": "foul,silent"})
    with tracked("tensorboard,kept", folder, settings, first=1, say=print) as log:
        log(1, {"kl": 0.5}, {"games": "said"})
        log(2, {"kl": 0.25}, {})
    (own,) = kept.made
    assert own.logged == [(1, {"kl": 0.5}), (2, {"kl": 0.25})]
    assert (own.project, own.place, own.finished) == ("sparring", folder.path, True)
    assert (
        own.settings["learner.lr"] == settings.learner.lr
        and own.settings["method_options.drop_reasons"] == "foul,silent"
        and own.settings["out"] is None
    )
    found = board(folder.path)
    assert [(event.step, event.value) for event in found.Scalars("kl")] == [(1, 0.5), (2, 0.25)]
    assert found.Tensors("games/text_summary")[0].tensor_proto.string_val == [b"said"]


def test_rounds_that_are_done_again_take_the_place_of_what_was_logged(folder: RunFolder):
    for value, first, last in ((1.0, 1, 3), (2.0, 2, 3)):
        with tracked("tensorboard", folder, TrainConfig(), first=first, say=print) as log:
            for number in range(first, last + 1):
                log(number, {"kl": value}, {})
    assert [(event.step, event.value) for event in board(folder.path).Scalars("kl")] == [(1, 1.0), (2, 2.0), (3, 2.0)]


def test_a_tracker_that_fails_is_left_out_and_a_run_does_not_begin_without_it(folder: RunFolder, kept):
    heard = Heard()
    with tracked("kept,tensorboard", folder, TrainConfig(), first=1, say=heard.say) as log:
        kept.fail = "log"
        log(1, {"kl": 0.5}, {})
        log(2, {"kl": 0.5}, {})
    assert heard.said == ["tracker kept is left out from now on: the server is gone"]
    assert len(board(folder.path).Scalars("kl")) == 2
    kept.fail = "start"
    with (
        pytest.raises(ValueError, match="tracker kept cannot be started: the server is gone"),
        tracked("kept", folder, TrainConfig(), first=1, say=heard.say),
    ):
        pass


@pytest.mark.filterwarnings("ignore:html5lib's sanitizer:DeprecationWarning")  # of TensorBoard's own copy
def test_what_players_said_is_text_in_tensorboard(folder: RunFolder):
    from tensorboard.plugin_util import markdown_to_safe_html

    episodes = games("lemon", "kite", "pen", "shoe")
    with tracked("tensorboard", folder, TrainConfig(), first=1, say=print) as log:
        log(1, {}, {"games": as_text(episodes)})
    (event,) = board(folder.path).Tensors("games/text_summary")
    shown = Tags(markdown_to_safe_html(event.tensor_proto.string_val[0]))
    assert shown.seen == {"pre", "code"}
    assert [line for line in shown.text.split("\n") if line.startswith("secret")] == [f"secret word: {w}" for w in ("lemon", "kite", "pen")]
    hostile = "![a](http://example.org/a.png) <img src=x> **red**\ufffd"
    assert f"  attacker: Is it <script>alert(1)</script>\n\n        {hostile}\n        # big\ufffd[2J?" in shown.text
    assert shown.text.count("  -- ") == 3


def test_a_round_of_nothing_shows_nothing():
    assert as_text([]).strip() == ""
