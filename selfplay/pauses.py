"""Updates that a signal stops between two of their steps: saved there, and gone on with when the run is resumed."""

from collections.abc import Mapping
from typing import Any

from . import checkpoint
from .interrupts import Interrupts
from .learner import Learner
from .progress import Progress
from .ranks import Ranks
from .run_folder import RunFolder


class Pauses:
    """Of one run. All processes are asked, and all stop at the same step."""

    def __init__(self, folder: RunFolder, interrupts: Interrupts, ranks: Ranks, progress: Progress) -> None:
        self.folder = folder
        self.interrupts = interrupts
        self.ranks = ranks
        self.progress = progress

    def after_step(self, number: int, learner: Learner, state: Mapping[str, Any]) -> None:
        """Where a signal asks for it, saves what the update of a round has come to and ends it by KeyboardInterrupt. state: what tells the
        update from others, and what its run has to know again (JSON)."""
        asked = next((sent for sent in self.ranks.gather(self.interrupts.received) if sent is not None), None)
        if asked is not None:
            self.interrupts.received = self.interrupts.received or asked
            trainer, whole = learner.state_dict(weights=True), {**state, "done": learner.so_far}
            self.ranks.from_main(lambda: checkpoint.save_update(self.folder.path, number, trainer, whole))
            raise KeyboardInterrupt

    def taken_up(self, number: int, about: Mapping[str, Any], learner: Learner) -> dict[str, Any]:
        """The state that `after_step` saved of this very update, after bringing the learner there; empty where there is none. about: what
        tells it from other updates."""
        folder = checkpoint.update_folder(self.folder.path, number)
        if not folder.is_dir():
            return {}
        try:
            trainer, state = checkpoint.load(folder)
        except ValueError as error:
            self.progress.say(f"{error}: the update of round {number} begins anew")
            return {}
        if any(state.get(name) != value for name, value in about.items()):
            return {}
        learner.load_state_dict(trainer)
        self.progress.say(f"the update of round {number} goes on after step {len(state['done']['norms'])}")
        return state
