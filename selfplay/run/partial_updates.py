"""Updates that a signal stops between two of their steps: saved there, and gone on with when the run is resumed."""

from collections.abc import Mapping
from typing import Any

from ..learner.learner import Learner
from ..runtime.distributed import Ranks
from ..runtime.interrupts import Interrupts
from ..runtime.progress import Progress
from ..storage import checkpoint
from ..storage.folder import RunFolder, remove


class PartialUpdates:
    """Of one run. All processes are asked, and all stop at the same step. An update is named by its round, or is the control's."""

    def __init__(self, folder: RunFolder, interrupts: Interrupts, ranks: Ranks, progress: Progress) -> None:
        self.folder = folder
        self.interrupts = interrupts
        self.ranks = ranks
        self.progress = progress

    def after_step(self, update: int | str, learner: Learner, state: Mapping[str, Any]) -> None:
        """Where a signal asks for it, saves what an update has come to and ends it by KeyboardInterrupt. state: what tells the update from
        others, and what its run has to know again (JSON)."""
        if self._asked():
            self.save(update, learner, state)
            raise KeyboardInterrupt

    def stop_if_asked(self) -> None:
        """Where a signal asks for it, ends a run that is not in an update, by KeyboardInterrupt."""
        if self._asked():
            raise KeyboardInterrupt

    def _asked(self) -> bool:
        """Whether any process was sent a signal."""
        asked = next((sent for sent in self.ranks.gather(self.interrupts.received) if sent is not None), None)
        self.interrupts.received = self.interrupts.received or asked
        return asked is not None

    def save(self, update: int | str, learner: Learner, state: Mapping[str, Any]) -> None:
        """Saves what an update has come to. state: as of `after_step`."""
        trainer, whole = learner.state_dict(weights=True), {**state, "metrics": learner.partial_metrics, "processes": self.ranks.size}
        self.ranks.from_main(lambda: checkpoint.save_update(self.folder.path, update, trainer, whole))

    def load(self, update: int | str, about: Mapping[str, Any], learner: Learner) -> dict[str, Any]:
        """The state that was saved of this very update, after bringing the learner there; empty where there is none. about: what tells it
        from other updates."""
        folder = checkpoint.update_folder(self.folder.path, update)
        if not folder.is_dir():
            return {}
        name = f"the update of round {update}" if isinstance(update, int) else f"the {update}"
        try:
            trainer, state = checkpoint.load(folder, update=True)
        except ValueError as error:
            self.progress.say(f"{error}: {name} begins anew")
            return {}
        if any(state.get(key) != value for key, value in about.items()):
            return {}
        learner.load_state_dict(trainer)
        self.progress.say(f"{name} goes on after optimiser step {learner.steps}")
        return state

    def delete(self, update: int | str) -> None:
        """Deletes what was saved of an update, if anything was. Only the main process calls this."""
        remove(checkpoint.update_folder(self.folder.path, update))
