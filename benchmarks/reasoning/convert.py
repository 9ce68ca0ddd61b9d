"""Public benchmark files to the files that tasks read. Nothing is downloaded: the sources are folders that
the user has.

Prompts are those of lm-eval's tasks, answered at once and without examples, save MMLU and GSM8K, which have
five of their `dev` or `train` files where these are there. Not as in lm-eval: BIG-Bench-Hard is chosen, not
generated after three worked examples; WinoGrande's options are scored with the rest of the sentence (there
the rest alone is scored).
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .data_files import checksum, write_tasks

Record = dict[str, Any]


class Source(NamedTuple):
    """A public file. patterns: where it is below the source folder; read: its records; questions: how many
    the public file has; whole: whether the whole folder that it lies in is read."""

    patterns: tuple[str, ...]
    read: Callable[[Path], Iterator[Record]]
    questions: int
    whole: bool = False


def convert(source: Path, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Converts all that is known in a folder: the entries of the manifest by task, and what was left out,
    with the reason.

    Raises ValueError where nothing is known, a file is no such file, or has not as many questions as the
    public one.
    """
    if not source.is_dir():
        raise ValueError(f"{source} is no folder; give the folder that holds the public files")
    tasks: dict[str, list[Record]] = {}
    origins: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for task, known in SOURCES.items():
        for path in sorted(path for pattern in known.patterns for path in source.glob(pattern))[:1]:
            place = path.parent if known.whole else path
            tasks[task], origins[task] = _read(place, known), _origin(place)
    for path in sorted({path for pattern in ("**/bbh/*.json", "*.json") for path in source.glob(pattern)}):
        task = f"bbh_{path.stem}"
        records = _bbh(path)
        if records is None:
            continue
        if isinstance(records, str):
            left_out[task] = records
        else:
            tasks[task], origins[task] = records, _origin(path)
    if not tasks:
        raise ValueError(
            f"{source} holds none of the known files: {', '.join(known.patterns[0] for known in SOURCES.values())}, **/bbh/*.json"
        )
    folder.mkdir(parents=True, exist_ok=True)
    manifest = write_tasks(folder, tasks, origins)
    return {task: manifest[task] for task in tasks}, left_out


def _read(path: Path, known: Source) -> list[Record]:
    try:
        records = list(known.read(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"{path} is not the public file that it is named after ({type(error).__name__}: {error})") from error
    if len(records) != known.questions:
        raise ValueError(f"{path} holds {len(records)} questions, expected {known.questions}: it is not the whole public file")
    return records


def _origin(path: Path) -> Record:
    if path.is_file():
        return {"file": path.name, "sha256": checksum(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    whole = hashlib.sha256("".join(f"{file.relative_to(path)} {checksum(file)}\n" for file in files).encode())
    return {"file": path.name, "files": len(files), "sha256": whole.hexdigest()}


def _choice(question: str, options: list[str], answer: int, cluster: str | None = None) -> Record:
    if len(options) < 2 or not 0 <= answer < len(options):
        raise ValueError(f"answer {answer} of {len(options)} options: {question[:60]!r}")
    return {
        "question": question,
        "options": options,
        "answer": answer,
        **({"cluster": cluster} if cluster else {}),
    }


def _adapters(intro: str, mark: str, form: str) -> Callable[[Path], Iterator[Record]]:
    """A reader of LLM-Adapters' files, whose instruction holds question and options in words. form: the
    prompt."""

    def read(path: Path) -> Iterator[Record]:
        for entry in json.loads(path.read_text(encoding="utf-8")):
            text = entry["instruction"].removeprefix(intro).rpartition("Answer format")[0].strip()
            question, *options = re.split(rf"\s*{mark}(?=\d+:)", text)
            numbered = [re.fullmatch(r"(\d+):\s*(.*)", option, re.DOTALL) for option in options]
            texts = [match[2].strip() for match in numbered if match]
            if [match and int(match[1]) for match in numbered] != list(range(1, len(options) + 1)):
                raise ValueError(f"options are not numbered: {text[:60]!r}")
            right = int(entry["answer"].removeprefix(mark.lower())) - 1
            yield _form(form, question.strip(), texts, right)

    return read


def _form(form: str, question: str, options: list[str], right: int) -> Record:
    if form != "blank":
        return _choice(form.format(question), options, right)
    before, blank, after = question.partition("_")
    if not blank:
        raise ValueError(f"no blank: {question[:60]!r}")
    return _choice(before.rstrip(), [option + after for option in options], right)


def _gsm8k(path: Path) -> Iterator[Record]:
    train = path.with_name("train.jsonl")
    shots = "".join(f"{_QA.format(one['question'])} {one['answer']}\n\n" for one in _lines(train)[:5]) if train.is_file() else ""
    for entry in _lines(path):
        number = entry["answer"].rpartition("####")[2].strip().replace(",", "")
        yield {"question": shots + _QA.format(entry["question"]), "answer": number}


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _logiqa(path: Path) -> Iterator[Record]:
    for entry in _lines(path):
        choices = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", entry["options"], strict=True))
        question = f"Passage: {entry['text']}\nQuestion: {entry['question']}\nChoices:\n{choices}\nAnswer:"
        yield _choice(question, entry["options"], int(entry["answer"]), _short(entry["text"]))


def _mutual(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob("*.txt")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        yield _choice(
            entry["article"].strip(),
            entry["options"],
            "ABCD".index(entry["answers"]),
            _short(entry["article"]),
        )


def _detokenised(text: str) -> str:
    """MuTual's text without the spaces that its tokens are set apart by, as in lm-eval."""
    return re.sub(r" ('|n't|[:;!?,.])", r"\1", text.replace(" \n", "\n").replace("\n ", "\n").replace("`` ", '"').replace("''", '"'))


def _mmlu(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob("*_test.csv")):
        subject = path.name.removesuffix("_test.csv")
        dev = folder.parent / "dev" / f"{subject}_dev.csv"
        shots = "".join(f"{text} {answer}\n\n" for text, answer in _mmlu_rows(dev)[:5]) if dev.is_file() else ""
        head = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n{shots}"
        for text, answer in _mmlu_rows(path):
            yield _choice(head + text, list("ABCD"), "ABCD".index(answer))


def _mmlu_rows(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    texts = []
    for row in rows:
        question, *options, answer = row
        lines = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True))
        texts.append((f"{question.strip()}\n{lines}\nAnswer:", answer))
    return texts


def _bbh(path: Path) -> list[Record] | str | None:
    """The choices of a BIG-Bench-Hard file; why it has none; None where the file is none of it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        examples = [(str(one["input"]), str(one["target"])) for one in data["examples"]] if "canary" in data else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not examples:
        return None
    targets = sorted({target for _, target in examples})
    records = []
    for text, target in examples:
        lines = text.partition("Options:")[2].splitlines()
        letters = [match[0] for line in lines if (match := re.match(r"\([A-Z]\)", line.strip()))]
        options = letters or [line[2:].strip() for line in lines if line[:2] == "- "] or (targets if len(targets) <= 4 else [])
        if target in options and len(options) > 1:
            records.append(_choice(f"Q: {text}\nA:", options, options.index(target)))
    # NOTE: three public questions have options that were cut at commas, so that none is right.
    return records if len(records) >= 0.99 * len(examples) else "its answers are written freely, not chosen"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_ASK = "Please choose the correct answer to the question: "
_FILL = "Please choose the correct answer to fill in the blank to complete the given sentence: "
_SOLVE = "Please choose the correct solution to the question: "
_QA = "Question: {}\nAnswer:"

SOURCES: Mapping[str, Source] = {
    "arc_easy": Source(("**/ARC-Easy/test.json", "**/ARC-Easy.json"), _adapters(_ASK, "Answer", _QA), 2376),
    "arc_challenge": Source(("**/ARC-Challenge/test.json", "**/ARC-Challenge.json"), _adapters(_ASK, "Answer", _QA), 1172),
    "openbookqa": Source(("**/openbookqa/test.json", "**/openbookqa.json"), _adapters(_ASK, "Answer", "{}"), 500),
    "piqa": Source(("**/piqa/test.json", "**/piqa.json"), _adapters(_SOLVE, "Solution", _QA), 1838),
    "winogrande": Source(("**/winogrande/test.json", "**/winogrande.json"), _adapters(_FILL, "Option", "blank"), 1267),
    "gsm8k": Source(("**/grade_school_math/data/test.jsonl",), _gsm8k, 1319),
    "logiqa2": Source(("**/LOGIQA/test.txt",), _logiqa, 1572),
    "mutual": Source(("**/mutual/dev/dev_1.txt",), _mutual, 886, whole=True),
    "mmlu": Source(("**/test/abstract_algebra_test.csv",), _mmlu, 14042, whole=True),
}
"""What is known, by task. BIG-Bench-Hard's files are told by what is in them."""
