"""The folder of one run: where everything lies, and how it is written so that nothing is ever left half done.

    config.yaml                 the resolved configuration
    provenance.json             seed, commit, versions, hardware, and what the run began with
    .lock                       while a process writes the run
    metrics.jsonl               one line a round
    timings.jsonl               seconds and rates
    tensorboard/                event files
    rounds/NNN/games.jsonl.gz   and, until their update is safe, streams.npz
    checkpoints/                what `--resume` and RUN@N read
    evaluation/                 win rates and tests by round
    summary.json, report.html

Knows files; it knows no models, games or metrics.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.agents.names import numbered, shell_path

from .locks import PART, UNFINISHED, locked, require_text, unfinished
from .schema import RUN, require_schema

CONFIG, PROVENANCE, LOCK = "config.yaml", "provenance.json", ".lock"
_NUMBER = "(?:[0-9]{3}|[1-9][0-9]{3,})"
_RUN_FILES = re.compile(
    r"config\.yaml|provenance\.json|metrics\.jsonl|timings\.jsonl|summary\.json|report\.html"
    rf"|rounds(?:/{_NUMBER}(?:/(?:games\.jsonl\.gz|streams\.npz))?)?"
    rf"|evaluation(?:/(?:round-{_NUMBER}|control)\.json)?"
    rf"|checkpoints(?:/(?:(?:damaged-)?round-{_NUMBER}|update-(?:{_NUMBER}|control)))?"
)
"""The names of a run's own files and folders, from the run's folder on."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it takes the place of `path` when the block ends well, and vanishes
    otherwise."""
    aside = unfinished(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield aside
        flush(aside)
        os.replace(aside, path)
        flush(path.parent)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, f"no space left on the disk while writing {path}; free some") from error
        raise
    finally:
        aside.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(folder: Path) -> None:
    """Deletes a folder, if there is one, so that it is whole until it is gone."""
    if not folder.exists():
        return
    gone = folder.with_name(f".gone-{folder.name.removeprefix('.')}")
    if not gone.name.endswith(PART):
        gone = gone.with_name(gone.name + PART)
    shutil.rmtree(gone, ignore_errors=True)
    os.rename(folder, gone)
    shutil.rmtree(gone)


def write_text(path: Path, text: str) -> None:
    with writing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def to_json(data: Any) -> str:
    """The one JSON layout of a run's files: sorted keys, no NaN, so that equal data are equal bytes."""
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def read_lines(path: Path, *, damaged: bool = False) -> list[dict[str, Any]]:
    """The records of metrics.jsonl or timings.jsonl, each with its round; a last line that was cut off in the middle is left out. damaged:
    so is every other that cannot be read. Raises ValueError that names the line where one cannot be read."""
    records: list[dict[str, Any]] = []
    if not path.exists():
        return records
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line or "null")
        except (ValueError, RecursionError):
            record = None if number == len(lines) else ...
        if isinstance(record, dict) and type(record.get("round")) is int:
            records.append(record)
        elif record is not None and not damaged:
            raise ValueError(f"{path}, line {number}: not a JSON record of a round")
    return records


def as_lines(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as `read_lines` reads them."""
    return "".join(json.dumps(r, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n" for r in records)


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raises ValueError where the disk that holds `folder` has not the room that a run is going to need."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise ValueError(
            f"{folder}: the run needs about {needed_bytes / 2**20:,.0f} MiB, but its disk has "
            f"{free / 2**20:,.0f} MiB left; "
            "free some space, choose another folder with --out, or keep fewer checkpoints"
        )


@dataclass(frozen=True)
class RunFolder:
    """One run's files. Make one with `create` or `open`."""

    path: Path

    @classmethod
    @contextmanager
    def claimed(cls, path: Path | None, stem: str) -> Iterator[Path]:
        """A folder for a new run that this process alone writes to, None: the first free runs/STEM-N. It vanishes again where the run has
        not begun when the block ends. Raises ValueError where it holds anything, or another process writes to it."""
        if path is not None:
            require_text(path)
            cls.require_free(path)
        folder, made = _made(path, stem)
        try:
            with locked(folder, folder / LOCK):
                cls.require_free(folder)
                yield folder
        finally:
            if not (folder / CONFIG).exists():
                with suppress(OSError):
                    for empty in made:
                        empty.rmdir()

    @classmethod
    def create(cls, path: Path, config: str, provenance: Mapping[str, Any]) -> "RunFolder":
        """Starts a run in a new or empty folder. Raises ValueError where the folder holds anything else."""
        cls.require_free(path)
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        run.sweep()
        write_text(run.provenance, to_json(provenance))
        # The configuration comes last: it is what makes the folder a run.
        write_text(run.config, config)
        return run

    @staticmethod
    def require_free(path: Path) -> None:
        """Raises ValueError where the folder is neither new nor empty; a run that was killed before it had begun counts as empty."""
        if (path / CONFIG).exists():
            raise ValueError(f"{path} holds another run; continue it with --resume {shell_path(path)}, or choose a new folder with --out")
        if path.exists() and (not path.is_dir() or any(not _begun(p.name) for p in path.iterdir())):
            raise ValueError(f"{path} exists and is no empty folder; choose a new one with --out")

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run. Raises ValueError where there is none, for one of another version, and where a file is in the place of one
        of its folders."""
        if not path.is_dir():
            raise ValueError(f"{path}: no such run folder")
        if not (path / CONFIG).is_file():
            raise ValueError(f"{path} is no run folder: it has no {CONFIG}")
        run = cls(path)
        try:
            about = json.loads(run.provenance.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            about = None  # what is missing or damaged is written anew when the run is resumed
        if isinstance(about, dict) and "settings" in about:
            require_schema(about.get("schema"), RUN, f"the run {path}")
        expected = [path / "rounds", run.checkpoints, path / "evaluation", run.tensorboard, *numbered(path / "rounds").values()]
        expected += [*numbered(run.checkpoints, "round-").values(), *numbered(run.checkpoints, "update-").values()]
        files = [folder for folder in expected if folder.exists() and not folder.is_dir()]
        if files:
            raise ValueError(f"{files[0]} is a file, and the run keeps a folder of that name: move the file out of the run")
        return run

    @property
    def provenance(self) -> Path:
        return self.path / PROVENANCE

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timings(self) -> Path:
        return self.path / "timings.jsonl"

    def games(self, round_number: int) -> Path:
        return self.path / "rounds" / f"{round_number:03d}" / "games.jsonl.gz"

    def evaluation_file(self, name: int | str) -> Path:
        """The results of evaluating the model of a round, or a control."""
        return self.path / "evaluation" / (f"round-{name:03d}.json" if isinstance(name, int) else f"{name}.json")

    def append(self, path: Path, record: Mapping[str, Any]) -> None:
        """Adds one record to metrics.jsonl or timings.jsonl."""
        with path.open("a", encoding="utf-8") as file:
            file.write(as_lines([record]))
            file.flush()
            os.fsync(file.fileno())

    def streams(self, round_number: int) -> Path:
        """The token streams of a round's games, there until their update is safe."""
        return self.games(round_number).with_name("streams.npz")

    def played(self) -> list[int]:
        """The rounds whose games are there."""
        return [number for number in numbered(self.path / "rounds") if self.games(number).is_file()]

    def sweep(self) -> None:
        """Deletes what a killed process had not finished writing or deleting."""
        for path in self.path.rglob(f".*{PART}"):
            name = UNFINISHED.fullmatch(path.name)
            if name is not None and self._own(path.with_name(name[1])):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _own(self, path: Path) -> bool:
        """Whether a path in this folder has the name of a file of the run, or lies in one of its checkpoints."""
        name = path.relative_to(self.path).as_posix()
        return _RUN_FILES.fullmatch("/".join(name.split("/")[:2]) if name.startswith("checkpoints/") else name) is not None

    def foreign(self) -> list[str]:
        """The names, from this folder on, of what lies among the run's files and is none of them: copies, notes. Hidden files, and folders
        beside rounds, checkpoints and evaluation, which trackers make, are left out; what lies in checkpoints is another's business."""
        folders = (self.path, *(self.path / name for name in ("rounds", "checkpoints", "evaluation")), *(self.path / "rounds").glob("*"))
        found = [
            path
            for folder in folders
            if folder.is_dir() and (folder == self.path or self._own(folder))
            for path in folder.iterdir()
            if not path.name.startswith(".") and not self._own(path) and not (folder == self.path and path.is_dir())
        ]
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def forget_after(self, round_number: int, *, keep_games: bool = False) -> None:
        """Drops what the rounds after this one left behind, so that they can be played again. keep_games: but for the games of the next
        round and its interrupted update, which can be gone on with.

        Checkpoints go first, the last one first: whenever this is interrupted, what is left is a run that can be resumed.
        """
        kept = {round_number + 1} if keep_games else set()
        rounds = numbered(self.path / "rounds")
        for number in rounds:
            if number not in kept:
                self.streams(number).unlink(missing_ok=True)
        for number, folder in numbered(self.checkpoints, "update-").items():
            if number not in kept:
                remove(folder)
        for number, folder in reversed(numbered(self.checkpoints, "round-").items()):
            if number > round_number:
                remove(folder)
        self.summary.unlink(missing_ok=True)
        for path in (self.metrics, self.timings):
            if path.exists():
                write_text(path, as_lines(record for record in read_lines(path) if record["round"] <= round_number))
        for number, folder in rounds.items():
            if number > round_number and number not in kept:
                self.games(number).unlink(missing_ok=True)
                with suppress(OSError):  # what is not of the run stays there
                    folder.rmdir()
        for number, file in numbered(self.path / "evaluation", "round-", ".json").items():
            if number > round_number:
                file.unlink()


def _begun(name: str) -> bool:
    """Whether a file is one that a run leaves behind that was killed before it had begun."""
    meant = UNFINISHED.fullmatch(name)
    return name in (PROVENANCE, LOCK) or (meant is not None and meant[1] in (PROVENANCE, CONFIG))


def _made(path: Path | None, stem: str) -> tuple[Path, list[Path]]:
    """A folder for a new run, see `RunFolder.claimed`, and those that were made for it, the innermost first. Making one is what takes it:
    of several processes that choose the same free name one alone can."""
    while True:
        folder = path or next_free(Path("runs"), stem)
        made = [p for p in (folder, *folder.parents) if not p.exists()]
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir(exist_ok=path is not None)
        except FileExistsError:
            if path is not None:
                raise
            continue
        return folder, made


def next_free(parent: Path, stem: str) -> Path:
    """parent/stem-1, parent/stem-2, ...: the first that does not exist."""
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"
