"""sparring bench: reasoning before and after, question by question."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..storage.folder import to_json, write_text
from .common import console, print_json
from .matches import bar_of
from .options import parse, positional

if TYPE_CHECKING:
    from sparring.benchmarks.reasoning.answers import ModelAnswers
    from sparring.benchmarks.reasoning.suites import Suite

LEAST = 4
"""Questions per task to compare two models by: all of fewer may be about one word, and then there is no
interval."""
UNTRAINED = ""
"""Stands among the models' names for the untrained one."""


@dataclass(frozen=True)
class Bench:
    """Reasoning of any number of models: scores beside blind answers and an untrained model, differences from
    an earlier model.

    Examples:
      sparring bench mini@imitation
      sparring bench runs/x@latest --against runs/x@0 --control runs/shuffled@latest --out runs/x-bench
      sparring bench smollm2 --suite arc_easy,piqa,bbh --data data
      sparring bench --compare runs/a/answers/0-after.json runs/b/answers/0-after.json
    """

    models: tuple[str, ...]
    """The models' names, RUN@N among them."""
    against: tuple[str, ...] = ()
    """The model before training, with which the others are compared. With --seeds one for all of them, or
    one for each."""
    control: tuple[str, ...] = ()
    """Models trained without what is to be shown (shuffled rewards, supervised at equal tokens); the last
    column is the gain beyond the best."""
    suite: str = "everyday"
    """everyday, procedural (extra reasoning), spag (extra harness), tasks of --data with commas between
    them, or a JSONL file."""
    data: str | None = None
    """The folder with the tasks' files, as sparring data convert writes it."""
    out: str | None = None
    """A folder for the table (JSON, CSV, Markdown, PNG) and every model's answers."""
    items: int | None = None
    """Questions per task; None: 200 of those that are made, all of those in files."""
    seed: int = 0
    """Decides the questions."""
    template: Literal["both", "plain", "chat"] = "both"
    """Whether questions are asked plainly, through the model's chat template, or both, each as tasks of
    their own."""
    seeds: bool = False
    """The models are training seeds of one method: intervals over seeds."""
    compare: tuple[str, ...] = ()
    """Two files of answers, BEFORE.json AFTER.json, which are compared; no model is asked."""
    check_contamination: tuple[str, ...] = ()
    """Runs, files (JSON, JSON lines, text) or base, the embedded model's texts: which questions of the
    suite share words in a row with them. No model is asked."""
    device: str = "auto"
    """auto, cpu, cuda."""
    json: bool = False
    """Print one JSON object instead."""


def bench(arguments: list[str]) -> int:
    """Reasoning of models, compared question by question."""
    options: Bench = parse(positional(Bench), "sparring bench", arguments)
    if options.compare:
        return _compare_files(options)
    if options.check_contamination:
        return _check_contamination(options)
    _require(options)

    from sparring.agents.names import short_name
    from sparring.benchmarks.reasoning.suites import TEMPLATES, Asking, suite

    templates = TEMPLATES if options.template == "both" else (options.template,)
    asked = suite(
        options.suite,
        Asking(Path(options.data) if options.data else None, options.items, options.seed, templates),
    )
    specs = list(dict.fromkeys((*options.models, *options.against, *options.control)))
    short = [short_name(spec) for spec in specs]
    names = short if len(set(short)) == len(short) else specs
    answers: dict[str, ModelAnswers] = {}
    for spec, name in zip(specs, names, strict=True):
        answers |= _answers(spec, name, asked, options, first=not answers)
    models, against, controls = ([answers[spec] for spec in group] for group in (options.models, options.against, options.control))
    if options.out:
        for number, one in enumerate(answers.values()):
            one.write(Path(options.out) / "answers" / f"{number}-{_file_name(one.model)}.json")
    return _show(options, models, against, controls, answers[UNTRAINED])


def _answers(spec: str, name: str, asked: "Suite", options: Bench, *, first: bool) -> "dict[str, ModelAnswers]":
    """The answers of a model by its name; of the first one also those of an untrained model of its shape."""
    from sparring.agents.models.loading import load_language_model
    from sparring.agents.names import model_location
    from sparring.benchmarks.reasoning.answers import ModelAnswers, circumstances
    from sparring.benchmarks.reasoning.untrained import untrained

    model = load_language_model(model_location(spec), name=name, device=options.device)
    found = {}
    for key, one in ((spec, model), *([(UNTRAINED, untrained(model))] if first else [])):
        with bar_of(json=options.json).phase(f"bench {one.name}", asked.answers, "answers") as advance:
            tasks, left_out = asked.ask(one, advance)
        if not tasks:
            raise ValueError(f"{one.name} could be asked nothing: {'; '.join(f'{task}: {why}' for task, why in left_out.items())}")
        found[key] = ModelAnswers(one.name, tasks, circumstances(one), left_out)
    return found


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[-60:]


def _compare_files(options: Bench) -> int:
    if options.models or options.against or options.control or len(options.compare) != 2:
        raise ValueError("--compare takes two files of answers, BEFORE.json AFTER.json, and no models beside them")
    from sparring.benchmarks.reasoning.answers import ModelAnswers

    before, after = (ModelAnswers.read(Path(file)) for file in options.compare)
    return _show(options, [after], [before], [], None)


def _check_contamination(options: Bench) -> int:
    from sparring.benchmarks.reasoning.contamination import WORDS, material_of, overlaps
    from sparring.benchmarks.reasoning.suites import Asking, texts_of

    asked = texts_of(options.suite, Asking(Path(options.data) if options.data else None, options.items, options.seed))
    found = overlaps(asked, material_of(options.check_contamination))
    rows = {task: {"questions": one.questions, "seen": list(one.seen), "example": one.example} for task, one in found.items()}
    if options.out:
        write_text(Path(options.out) / "contamination.json", to_json({"words": WORDS, "tasks": rows}))
    if options.json:
        print_json({"words": WORDS, "tasks": rows})
        return 0
    shown = console()
    shown.print(f"Questions that share {WORDS} words in a row with the training material, by task:")
    for task, one in found.items():
        shown.print(f"{task}: {len(one.seen)} of {one.questions}" + (f", as in: {one.example}" if one.seen else ""))
    return 0


def _show(
    options: Bench,
    models: "list[ModelAnswers]",
    against: "list[ModelAnswers]",
    controls: "list[ModelAnswers]",
    untrained: "ModelAnswers | None",
) -> int:
    from sparring.benchmarks.reasoning import harness, table

    left_out = {task: why for one in (*models, *against, *controls) for task, why in one.left_out.items()}
    known = [one.without(left_out) for one in (*models, *against, *controls)]
    models, controls = known[: len(models)], known[len(models) + len(against) :]
    against = known[len(models) : len(models) + len(against)]
    over_seeds = table.seed_rows(models, against) if options.seeds else []
    rows = [] if len(against) > 1 else table.rows_of(models, against[0] if against else None, controls, untrained)
    published = harness.PUBLISHED if options.suite == "spag" else ()
    facts = {
        "suite": options.suite,
        "against": against[0].model if len(against) == 1 else None,
        "left_out": left_out,
        "asked": {task: one.asked for task, one in models[0].tasks.items()},
        "run": models[0].run,
        "published": published,
    }
    if options.out:
        table.write(Path(options.out), rows, over_seeds, facts)
    if options.json:
        print_json({"rows": rows, "over_seeds": over_seeds, **facts})
        return 0
    shown = console()
    for name in dict.fromkeys(row["model"] for row in rows):
        title = f"{name}, {options.suite}" + (f", against {against[0].model}" if against else "")
        shown.print(table.terminal([row for row in rows if row["model"] == name], title))
    if over_seeds:
        shown.print(table.terminal_seeds(over_seeds))
    shown.print("guess: the best blind answer (chance, majority, shortest, longest, junk).")
    if against:
        shown.print(table.EXPLAINED)
    for name, value in published:
        shown.print(f"Published geometric mean: {name}: {value / 100:.4f}")
    for task, why in left_out.items():
        shown.print(f"Left out: {task}: {why}")
    if options.out:
        shown.print(f"Table: {Path(options.out) / 'table.md'}")
    return 0


def _require(options: Bench) -> None:
    """Raises ValueError, before any model is loaded, for names and numbers that mean nothing."""
    from sparring.agents.names import is_model, model_location

    if not options.models:
        raise ValueError("give at least one model; sparring bench --help shows how")
    if options.control and not options.against:
        raise ValueError("--control needs --against, the model before training")
    if len(options.against) > 1 and not options.seeds:
        raise ValueError(f"--against takes one model, got {len(options.against)}; several are for --seeds")
    if options.seeds and not options.against:
        raise ValueError("--seeds needs --against, the model that training began from")
    if options.items is not None and options.items < 1:
        raise ValueError(f"--items must be at least 1, got {options.items}")
    if options.against and options.items is not None and options.items < LEAST:
        raise ValueError(f"--items must be at least {LEAST} to compare two models, got {options.items}")
    for spec in (*options.models, *options.against, *options.control):
        if not is_model(spec):
            raise ValueError(f"{spec} is no model; the test scores answers by a model's probabilities")
        model_location(spec)
