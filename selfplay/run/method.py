"""What a training method is: how a round collects experience, rewards it, assigns credit, and which loss
learns from it.

The loop knows methods by this alone. A method is made by a function `method(config)` in a file of its own:
`methods/NAME.py` here, an entry point of the group `sparring.methods` in another package, or any file, named
as FILE.py:FUNCTION.
"""

import difflib
import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Literal

from ..config.config import TrainConfig
from ..learner.loss import Loss
from ..learner.portions import Split, whole_step
from ..objectives.credit import Credit, Experience
from ..objectives.returns import Reward, shuffled
from ..runtime.distributed import Ranks
from ..runtime.progress import Progress
from ..storage.folder import RunFolder
from .league import League
from .session import Session

METHODS = "sparring.selfplay.methods"
"""The folder of the methods that come with the package; it stands above this module and is looked up by name."""
Reference = Literal["none", "initial", "behaviour"]
"""Whose log-probabilities the examples need: nobody's, those of the frozen model of round 0, or those of
the weights that played."""


@dataclass(frozen=True)
class Round:
    """A round about to be collected. number: from 1. seed: the only source of randomness."""

    session: Session
    number: int
    seed: int
    folder: RunFolder
    ranks: Ranks
    progress: Progress
    league: League | None = None

    @property
    def config(self) -> TrainConfig:
        return self.session.config


@dataclass(frozen=True)
class Method:
    """One way to learn from a round.

    collect: plays games, or gathers examples otherwise. reward: returns of the episodes. credit: training
    samples or pairs, and the state (running baselines) for the next round. loss: of these examples.
    reference: see `Reference`; a KL penalty of the loss to the initial model is computed by the learner
    itself. split: how the learner cuts an optimiser step. baseline: whether the method is itself what others
    are compared with, so that a run of it has no further control. per_round: whether optimiser and
    learning-rate schedule begin anew in every round.
    """

    name: str
    collect: Callable[[Round], Experience]
    reward: Reward
    credit: Credit
    loss: Loss
    reference: Reference = "none"
    split: Split = whole_step
    baseline: bool = False
    per_round: bool = False

    @property
    def frozen_model(self) -> bool:
        """Whether it needs the frozen model of round 0 during an update."""
        return self.reference == "initial" and (self.loss.kl > 0 or self.loss.unit == "pair")


Factory = Callable[[TrainConfig], Method]


def method_of(config: TrainConfig) -> Method:
    """The method that a configuration names. Raises ValueError for an unknown name, an option that the
    method does not have, or settings that it cannot work with."""
    name = config.method
    inner = re.fullmatch(r"shuffled\((.+)\)", name)
    if inner or name == "shuffled":
        return shuffled_reward(method_of(replace(config, method=inner[1] if inner else "group")))
    return find_method(name)(config)


def shuffled_reward(method: Method) -> Method:
    """A negative control: the same method with returns dealt out at random among the games of a round."""
    return replace(method, name=f"shuffled({method.name})", reward=shuffled(method.reward))


def find_method(name: str) -> Factory:
    """The function that makes a method. Raises ValueError, naming the nearest one, for a name that nobody
    knows."""
    path, colon, function = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path), function)
    if name in built_in():
        factory: Factory = importlib.import_module(f"{METHODS}.{name.replace('-', '_')}").method
        return factory
    others = {point.name: point for point in entry_points(group="sparring.methods")}
    if name in others:
        loaded: Factory = others[name].load()
        return loaded
    names = [*built_in(), *others]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown method {name!r}; {hint}known: {', '.join(names)}, shuffled(METHOD), FILE.py:FUNCTION")


def built_in() -> list[str]:
    """The names of the methods that come with the package."""
    package = importlib.import_module(METHODS)
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(package.__path__))


def _from_file(path: Path, function: str) -> Factory:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a method of your own is named as FILE.py:FUNCTION")
    loader = SourceFileLoader(f"sparring_method_{path.stem}", str(path))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    factory: Factory | None = getattr(module, function, None)
    if not callable(factory):
        raise ValueError(f"{path} has no function {function!r} that makes a method")
    return factory
