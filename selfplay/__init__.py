"""Self-play training: from games to better weights.

    from sparring.selfplay import train, resume, play, tournament, collect, evaluate, TrainConfig, preset

Names are imported when they are first used, so that `import sparring.selfplay` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config.config import TrainConfig
    from .config.presets import preset
    from .data.collect import collect
    from .data.play import play
    from .evaluation.tournament import tournament
    from .evaluation.win_rates import win_rates as evaluate
    from .run.train import resume, train

__all__ = ["TrainConfig", "collect", "evaluate", "play", "preset", "resume", "tournament", "train"]

_PLACES = {
    "TrainConfig": ("config.config", "TrainConfig"),
    "collect": ("data.collect", "collect"),
    "evaluate": ("evaluation.win_rates", "win_rates"),
    "play": ("data.play", "play"),
    "preset": ("config.presets", "preset"),
    "resume": ("run.train", "resume"),
    "tournament": ("evaluation.tournament", "tournament"),
    "train": ("run.train", "train"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sparring")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, member = _PLACES[name]
    return getattr(import_module(f".{module}", __name__), member)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
