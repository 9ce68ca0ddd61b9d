"""Where a round's metrics go besides metrics.jsonl: TensorBoard, or another of the trackers that accelerate knows, by name.

TensorBoard's events lie in the run folder; every other tracker keeps its data where its own settings say.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from accelerate import tracking
from accelerate.utils import LoggerType

from ..config.checks import near
from ..config.yaml_io import flat
from .episodes import record, transcript
from .folder import RunFolder

TENSORBOARD = "tensorboard"
PROJECT = "sparring"
"""What trackers that keep runs by project file a run under."""
RUN_NAME = {"clearml": "task_name", "mlflow": "run_name", "swanlab": "experiment_name", "trackio": "name", "wandb": "name"}
"""How trackers call the option that names a run."""

Log = Callable[[int, Mapping[str, float], Mapping[str, str]], None]
"""Writes down the numbers and the texts of a round."""


def trackers(setting: str) -> list[str]:
    """The names of a setting, several with commas. Raises ValueError for one that accelerate does not know or that is not installed."""
    own = [name for name in tracking.LOGGER_TYPE_TO_CLASS if name not in set(map(str, LoggerType))]
    installed = sorted([*map(str, tracking.get_available_trackers()), *own])
    names = list(dict.fromkeys(setting.split(",")))
    for name in names:
        if name not in tracking.LOGGER_TYPE_TO_CLASS:
            raise ValueError(f"unknown tracker {name!r}; {near(name, tracking.LOGGER_TYPE_TO_CLASS)}; installed: {', '.join(installed)}")
        if name not in installed:
            raise ValueError(f"tracker {name} is not installed; installed: {', '.join(installed)}")
    return names


@contextmanager
def tracked(setting: str, folder: RunFolder, config: Any, *, first: int, say: Callable[[str], None]) -> Iterator[Log]:
    """Inside, the trackers of a setting take what is logged. config: the run's dataclass, for those that show settings. first: the round
    that comes next; what TensorBoard was told of it and of later ones is void.

    A tracker that fails later is left out from then on, and it is said: a run does not end with somebody's server. TensorBoard's files are
    the run's own, and raise. Raises ValueError for a tracker that cannot be started.
    """
    used: list[Any] = []

    def trying(tracker: Any, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            if tracker.name == TENSORBOARD:
                raise
            used.remove(tracker)
            say(f"tracker {tracker.name} is left out from now on: {error}")

    def log(step: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        for tracker in list(used):
            # Numbers are what all trackers take; text only TensorBoard shows as such.
            told = {**values, **texts} if tracker.name == TENSORBOARD else dict(values)
            trying(tracker, partial(tracker.log, told, step=step))

    try:
        for name in trackers(setting):
            used.append(_started(name, folder, config, first))
        yield log
    finally:
        for tracker in list(used):
            trying(tracker, tracker.finish)


def _started(name: str, folder: RunFolder, config: Any, first: int) -> Any:
    made = tracking.LOGGER_TYPE_TO_CLASS[name]
    if name == TENSORBOARD:
        board = made(folder.tensorboard.name, folder.path, purge_step=first)
        board.start()
        return board
    place = (folder.path,) if made.requires_logging_directory else ()
    tracker = made(PROJECT, *place, **({RUN_NAME[name]: folder.path.name} if name in RUN_NAME else {}))
    try:
        tracker.start()
        tracker.store_init_configuration(flat(config))
    except Exception as error:
        raise ValueError(f"tracker {name} cannot be started: {error}") from error
    return tracker


def as_text(episodes: Sequence[Any], count: int = 3) -> str:
    """The first games by number as TensorBoard shows text: a block of code in Markdown, in which nothing that players said is markup."""
    told = "\n\n".join(transcript(record(p)) for p in episodes[:count])
    return "".join(f"    {line}\n" for line in told.split("\n"))
