"""The table of a comparison: from the answers of models to rows, and rows to JSON, CSV, Markdown, PNG and
a terminal."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from sparring.agents.text import one_line
from sparring.selfplay.evaluation.statistics import wilson
from sparring.selfplay.storage.folder import to_json, write_text

from .answers import ModelAnswers, require_alike
from .comparison import beyond_control, compare_tasks, geometric_mean
from .seeds import over_training_seeds

Row = dict[str, Any]
Scores = Mapping[str, NDArray[np.float64]]
BLIND = ("chance", "majority", "shortest", "longest", "junk")
MEAN = "geometric mean"


def rows_of(
    models: Sequence[ModelAnswers],
    against: ModelAnswers | None,
    controls: Sequence[ModelAnswers] = (),
    untrained: ModelAnswers | None = None,
) -> list[Row]:
    """One row per model and task, and one per model for the geometric mean: score, blind answers, and,
    against an earlier model, the paired difference with its interval and tests. Controls have rows, too; a
    model's last numbers are its gain beyond the best control. Raises ValueError where models were not
    asked alike."""
    others = [*models, *controls, *([against] if against else [])]
    require_alike(others)
    rows = []
    for model in (*models, *controls):
        own = list(controls) if any(model is one for one in models) else []
        rows += _scores(model, untrained) if against is None else _compared(model, against, own, untrained)
    return rows


def _begun(model: ModelAnswers, task: str, untrained: ModelAnswers | None) -> Row:
    answers = model.tasks[task]
    known = untrained.tasks.get(task) if untrained else None
    blind = {name: answers.baselines.get(name) for name in BLIND}
    return {
        "model": model.model,
        "task": task,
        "n": len(answers.scores),
        "clusters": len(set(answers.clusters)),
        **blind,
        "untrained": known.score if known else None,
    }


def _scores(model: ModelAnswers, untrained: ModelAnswers | None) -> list[Row]:
    rows = []
    for task, answers in model.tasks.items():
        low, high = wilson(int(sum(answers.scores)), len(answers.scores)) if answers.right_or_wrong else (None, None)
        rows.append({**_begun(model, task, untrained), "after": answers.score, "score_low": low, "score_high": high})
    return rows


def _compared(
    model: ModelAnswers,
    against: ModelAnswers,
    controls: Sequence[ModelAnswers],
    untrained: ModelAnswers | None,
) -> list[Row]:
    before, after = ({task: np.array(one.scores) for task, one in side.tasks.items()} for side in (against, model))
    clusters = {task: one.clusters for task, one in model.tasks.items()}
    rows = []
    for task, found in compare_tasks(before, after, clusters).items():
        row = {
            **_begun(model, task, untrained),
            "before": found.before,
            "after": found.after,
            "difference": found.difference.mean,
            "low": found.difference.low,
            "high": found.difference.high,
            "p": found.p,
            "p_holm": found.holm,
            "needed": found.needed,
        }
        if controls:
            scores = {one.model: np.array(one.tasks[task].scores) for one in controls}
            name, more = beyond_control(before[task], after[task], scores, clusters[task])
            row |= {
                "best_control": name,
                "beyond": more.mean,
                "beyond_low": more.low,
                "beyond_high": more.high,
            }
        rows.append(row)
    kinds = _settings(task for task, one in model.tasks.items() if one.asked.get("in_mean", True))
    return [*rows, *(_mean_row(model, tasks, before, after, controls, kind) for kind, tasks in kinds.items())]


def _settings(tasks: Iterable[str]) -> dict[str, list[str]]:
    """Tasks by how they were asked, " (plain)" or " (chat)" behind their names: each has a geometric mean
    of its own."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        found.setdefault(next((kind for kind in (" (plain)", " (chat)") if task.endswith(kind)), ""), []).append(task)
    return found


def _mean_row(model: ModelAnswers, tasks: Sequence[str], before: Scores, after: Scores, controls: Sequence[ModelAnswers], kind: str) -> Row:
    clusters = {task: model.tasks[task].clusters for task in tasks}
    before, after = {task: before[task] for task in tasks}, {task: after[task] for task in tasks}
    mean_before, mean_after, gain = geometric_mean(before, after, clusters)
    row: Row = {
        "model": model.model,
        "task": MEAN + kind,
        "n": sum(map(len, clusters.values())),
        "before": mean_before,
        "after": mean_after,
    }
    row |= {"difference": mean_after - mean_before, "low": gain and gain.low, "high": gain and gain.high}
    return row | _mean_beyond(after, controls, clusters) if controls else row


def _mean_beyond(after: Scores, controls: Sequence[ModelAnswers], clusters: Mapping[str, Sequence[str]]) -> Row:
    """How far the geometric mean is above that of the control where it is highest."""
    found = []
    for control in controls:
        mean, _, gain = geometric_mean({task: np.array(control.tasks[task].scores) for task in after}, after, clusters)
        found.append((mean, control.model, gain))
    mean, name, gain = max(found, key=lambda one: one[0])
    if gain is None:
        return {"best_control": name}
    return {"best_control": name, "beyond": gain.mean, "beyond_low": gain.low, "beyond_high": gain.high}


def seed_rows(models: Sequence[ModelAnswers], against: Sequence[ModelAnswers]) -> list[Row]:
    """One row per task over training seeds: models are seeds of one training, against the model that each
    began from, or the one that all did. Raises ValueError for other numbers of models, and where they were
    not asked alike."""
    require_alike([*models, *against])
    if len(against) not in (1, len(models)) or len(models) < 2:
        raise ValueError(f"several seeds are at least 2 models against 1 or as many; got {len(models)} against {len(against)}")
    rows = []
    for task in models[0].tasks:
        before, after = (np.array([one.tasks[task].scores for one in side]) for side in (against, models))
        found = over_training_seeds(before, after, models[0].tasks[task].clusters)
        rows.append(
            {
                "task": task,
                "seeds": len(models),
                "n": after.shape[1],
                "before": float(before.mean()),
                "after": float(after.mean()),
                "difference": found.mean.mean,
                "low": found.mean.low,
                "high": found.mean.high,
                "bootstrap_low": found.hierarchical.low,
                "bootstrap_high": found.hierarchical.high,
                "iqm": found.iqm,
                "improvement": found.improvement,
            }
        )
    return rows


def write(folder: Path, rows: Sequence[Row], over_seeds: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """table.json, table.csv, table.md and table.png. facts: what the numbers depend on, and tasks that
    were left out."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.json", to_json({"rows": list(rows), "over_seeds": list(over_seeds), **facts}))
    write_text(folder / "table.csv", _csv([*rows, *over_seeds]))
    write_text(folder / "table.md", markdown(rows, over_seeds, facts))
    if any(row.get("low") is not None for row in rows):
        figure(rows, folder / "table.png")


def _csv(rows: Sequence[Row]) -> str:
    """All columns of all rows; what a spreadsheet would take for a formula is quoted by a space."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f" {value}" if isinstance(value, str) and value[:1] in "=+-@" else value for key, value in row.items()} for row in rows
    )
    return out.getvalue()


def cells(row: Row, *, compared: bool, controls: bool) -> tuple[str, ...]:
    """A row as it is shown."""
    shown = [
        one_line(row["task"], 60),
        str(row["n"]),
        *(_number(row.get(name)) for name in (*BLIND, "untrained")),
    ]
    if not compared:
        return (*shown, _interval(row["after"], row["score_low"], row["score_high"], sign=False))
    shown += [
        _number(row["before"]),
        _number(row["after"]),
        _interval(row["difference"], row["low"], row["high"]),
    ]
    shown += [
        _number(row.get("p")),
        _number(row.get("p_holm")),
        "-" if row.get("needed") is None else str(row["needed"]),
    ]
    if controls:
        known = row.get("beyond") is not None
        shown.append(
            f"{_interval(row['beyond'], row['beyond_low'], row['beyond_high'])} ({one_line(row['best_control'], 40)})" if known else "-"
        )
    return tuple(shown)


def heads(*, compared: bool, controls: bool) -> tuple[str, ...]:
    first = ("task", "n", *BLIND, "untrained")
    if not compared:
        return (*first, "score")
    return (
        *first,
        "before",
        "after",
        "difference",
        "p",
        "p (Holm)",
        "n for 2 points",
        *(["beyond the best control"] if controls else []),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(mean: float, low: float | None, high: float | None, *, sign: bool = True) -> str:
    shown = f"{mean:+.3f}" if sign else f"{mean:.3f}"
    if sign and low == high == mean == 0:
        return "no answer differs"
    return shown if low is None or high is None else f"{shown} [{low:.3f}, {high:.3f}]"


EXPLAINED = (
    "Differences are paired, question by question; intervals are 95 %, clustered by document or word, and say "
    "nothing of other training seeds. p is the exact McNemar test where answers are right or wrong (questions taken "
    "as independent), else the clustered t test; Holm's adjusts it over the tasks. 'n for 2 points': questions that "
    "would show a difference of 0.02 (5 %, power 0.8). chance, majority, shortest, longest, junk: "
    "scores of blind answers."
)


def markdown(rows: Sequence[Row], over_seeds: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """The table as Markdown, a section per model."""
    parts = ["# Reasoning\n"]
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        compared = "before" in own[0]
        controls = any("best_control" in row for row in own)
        title = _escaped(model) + (f" against {_escaped(str(facts.get('against')))}" if compared else "")
        shown = [cells(row, compared=compared, controls=controls) for row in own]
        parts.append(f"## {title}\n\n{_lines(heads(compared=compared, controls=controls), shown)}\n")
    if over_seeds:
        parts.append(f"## Over {over_seeds[0]['seeds']} training seeds\n\n{_lines(SEED_HEADS, [seed_cells(row) for row in over_seeds])}\n")
    parts.append(f"{EXPLAINED}\n")
    if facts.get("published"):
        parts.append("Published geometric means of the paper's eight tasks (arXiv 2404.10642; single runs, no intervals):\n")
        parts.append(_lines(("model", "geometric mean"), [(name, f"{value / 100:.4f}") for name, value in facts["published"]]) + "\n")
    parts += [f"- Left out: {_escaped(task)}: {_escaped(reason)}" for task, reason in facts.get("left_out", {}).items()]
    return "\n".join(parts) + "\n"


SEED_HEADS = (
    "task",
    "n",
    "before",
    "after",
    "difference (seeds alone)",
    "bootstrap, seeds and questions",
    "IQM",
    "P(improvement)",
)


def seed_cells(row: Row) -> tuple[str, ...]:
    numbers = [
        _number(row["before"]),
        _number(row["after"]),
        _interval(row["difference"], row["low"], row["high"]),
    ]
    spread = f"[{row['bootstrap_low']:.3f}, {row['bootstrap_high']:.3f}]"
    return (
        one_line(row["task"], 60),
        str(row["n"]),
        *numbers,
        spread,
        f"{row['iqm']:+.3f}",
        _number(row["improvement"]),
    )


def _lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    """A text of others in Markdown: no markup of its own."""
    return "".join(f"\\{char}" if char in "\\`*_{}<>[]|#!" and char not in "_[]" else char for char in one_line(text, 200))


def terminal(rows: Sequence[Row], title: str) -> Table:
    """The rows of one model, in fewer columns: of the blind answers the best."""
    columns, hidden = heads(compared="before" in rows[0], controls=any("best_control" in row for row in rows)), {*BLIND[1:], "p"}
    shown = []
    for row in rows:
        blind = [row[name] for name in BLIND if row.get(name) is not None]
        known = {**row, "chance": max(blind, default=None)}
        line = cells(known, compared="before" in row, controls="beyond the best control" in columns)
        shown.append([cell for column, cell in zip(columns, line, strict=True) if column not in hidden])
    return _terminal(title, ["guess" if column == "chance" else column for column in columns if column not in hidden], shown)


def terminal_seeds(rows: Sequence[Row]) -> Table:
    """The rows over training seeds."""
    return _terminal(f"Over {rows[0]['seeds']} training seeds", SEED_HEADS, [seed_cells(row) for row in rows])


def _terminal(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        title_style="bold",
        header_style="dim",
    )
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column != "task")
    for row in rows:
        table.add_row(*row)
    return table


def figure(rows: Sequence[Row], path: Path) -> None:
    """Differences with their intervals, by task and model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    drawn = Figure(figsize=(8, 1.5 + 0.3 * len(tasks) * len(models)), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.add_subplot()
    for number, model in enumerate(models):
        own = [row for row in rows if row["model"] == model and row.get("low") is not None]
        heights = [tasks.index(row["task"]) + 0.8 * (number + 0.5) / len(models) - 0.4 for row in own]
        means = [row["difference"] for row in own]
        reach = [
            [row["difference"] - row["low"] for row in own],
            [row["high"] - row["difference"] for row in own],
        ]
        axes.errorbar(means, heights, xerr=reach, fmt="o", capsize=2, label=one_line(model, 60).replace("$", r"\$"))
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(tasks)), [one_line(task, 60).replace("$", r"\$") for task in tasks])
    axes.invert_yaxis()
    axes.set_xlabel("difference in score, with 95 % interval")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.6 / (1 + len(tasks))), frameon=False)
    drawn.savefig(path, dpi=120)
