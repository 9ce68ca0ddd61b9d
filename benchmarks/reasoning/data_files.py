"""Questions in files: JSON lines {"question", "options", "answer", "cluster"}, and the manifest that says
what a data folder should hold.

question: the whole prompt, up to where the answer begins. options: at least two texts. answer: the number of
the right one, from 0. cluster (optional): equal where questions are not independent. `sparring data convert`
writes such files; a user's own suite is one. Questions that are answered in words have no options, and their
answer is a text.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparring.selfplay.storage.folder import as_lines, to_json, write_text

from .questions import Question

MANIFEST = "manifest.json"
MAX_BYTES = 2**28


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_tasks(folder: Path, tasks: Mapping[str, Iterable[Mapping[str, Any]]], sources: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a file per task and the manifest, to which what is there already is left; the manifest.
    sources: by task."""
    manifest = read_manifest(folder)
    for task, lines in tasks.items():
        path = folder / f"{task}.jsonl"
        records = list(lines)
        write_text(path, as_lines(records))
        manifest[task] = {
            "file": path.name,
            "questions": len(records),
            "sha256": checksum(path),
            "source": sources[task],
        }
    write_text(folder / MANIFEST, to_json(manifest))
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a data folder should hold, by task; empty where nothing was converted into it. Raises
    ValueError for a damaged manifest."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        for entry in data.values():
            if not (Path(str(entry["file"])).name == entry["file"] and isinstance(entry["questions"], int) and entry["sha256"]):
                raise ValueError("an entry names no file, count and checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); convert the data again: sparring data convert SOURCE {folder}") from error
    return dict(data)


def checked_file(folder: Path, task: str) -> Path:
    """The file of a task, unaltered. Raises ValueError with the file, count and checksum that were expected."""
    entry = read_manifest(folder).get(task)
    if entry is None:
        known = ", ".join(sorted(read_manifest(folder))) or "none"
        raise ValueError(
            f"{folder} has no task {task!r} (it has {known}): {task} needs {folder / f'{task}.jsonl'} and its entry in {MANIFEST}, "
            "which sparring data convert SOURCE writes"
        )
    path: Path = folder / entry["file"]
    expected = f"expected {entry['questions']} questions with checksum {entry['sha256']}"
    if not path.is_file():
        raise ValueError(f"{path} is missing: {expected}; convert the data again")
    if (found := checksum(path)) != entry["sha256"]:
        raise ValueError(f"{path} was altered: {expected}, its checksum is {found}; convert the data again")
    return path


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file. Raises ValueError with the first line that is no JSON object."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path} has more than {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text: {error}") from error
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number} is no JSON: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"{path}, line {number} is no JSON object")
            records.append({**record, "line": number})
    return records


def read_questions(path: Path, task: str) -> list[Question]:
    """The multiple-choice questions of a file. Raises ValueError with the first line that is none, and for
    a file without any."""
    questions = []
    for record in read_records(path):
        where = f"{path}, line {record['line']}"
        text, options, answer = record.get("question"), record.get("options"), record.get("answer")
        if not isinstance(text, str) or not isinstance(options, list) or not all(isinstance(option, str) for option in options):
            raise ValueError(f'{where} needs "question", a text, and "options", a list of texts')
        if not isinstance(answer, int) or isinstance(answer, bool):
            raise ValueError(f'{where} needs "answer", the number of the right option, counted from 0; it is {answer!r}')
        cluster = record.get("cluster", f"line {record['line']}")
        try:
            questions.append(Question(task, text, tuple(options), answer, str(cluster)))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if not questions:
        raise ValueError(f"{path} holds no questions")
    return questions
