"""The report of a run as one HTML file: no network, no script, every text of a model escaped."""

import io
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2

from sparring.agents.names import shell_path, short_name
from sparring.envs.views import printable

from ..storage import summary as summaries
from ..storage.episodes import EpisodeRecord, read_episodes
from ..storage.folder import RunFolder, write_text
from ..storage.summary import INITIAL

GAMES = 3
"""Games shown of the first and of the last round, by number, unedited."""

_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951")


def write_report(run: Path) -> Path:
    """Writes report.html of a run that has ended; its path. Raises ValueError where the run has no summary that can be read."""
    data = summaries.read(run).data
    try:
        page = _page(run, data)
    except (KeyError, TypeError, AttributeError, IndexError, jinja2.UndefinedError) as error:
        file = RunFolder(run).summary
        raise ValueError(
            f"{file} is not what a run writes ({error!r}); sparring train --resume {shell_path(run)} writes it anew"
        ) from error
    path = run / "report.html"
    write_text(path, page)
    return path


def _page(run: Path, data: Mapping[str, Any]) -> str:
    folder = RunFolder.open(run)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sparring.selfplay.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    rounds = data["rounds"]
    played = [r["round"] for r in rounds if folder.games(r["round"]).is_file()]
    shown, unread = [], []
    for number in dict.fromkeys((played[0], played[-1])) if played else ():
        try:
            shown.append((number, first_games(folder.games(number))))
        except ValueError as error:
            unread.append(f"{error}".replace(f"{run}/", ""))
    roles = [name.removesuffix("_wins") for name in (rounds[0] if rounds else ()) if name.endswith("_wins")]
    charts = [
        _chart(won_by_round(data), {f"won as {role}": role for role in roles}, "games against the frozen model"),
        _chart(rounds, {**{f"{role} wins": f"{role}_wins" for role in roles}, "ties": "ties"}, "share of games", share=True),
        _chart(rounds, {"true hints": "truth"}, "share of claims"),
        _chart(rounds, {"entropy": "entropy", "KL to the reference": "kl"}, "nats per token"),
    ]
    environment.filters["short"] = short_name
    name = run.resolve().name
    return environment.get_template("report.html.jinja").render(
        data={**data, "notes": [*data["notes"], *unread]},
        roles=roles,
        name=name,
        next_steps=summaries.commands(data, run),
        win_rates=win_rate_table(data),
        endings=endings_table(data),
        charts=[chart for chart in charts if chart],
        games=shown,
    )


def first_games(path: Path, count: int = GAMES) -> list[EpisodeRecord]:
    """The first games of a round, by number."""
    return list(islice(read_episodes(path), count))


def win_rate_table(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of win rates: a row per opponent, role and word group, with the first model, the last and the control."""
    entries = data["win_rates"]
    if not entries:
        return []
    last = max(e["round"] for e in entries)
    control = {_key(e): e for e in (data["control"] or {}).get("win_rates", [])}
    after = {_key(e): e for e in entries if e["round"] == last}
    return [
        {"before": e, "after": after.get(_key(e)) if last else None, "control": control.get(_key(e))} for e in entries if e["round"] == 0
    ]


def won_by_round(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The share of games won against the frozen model by role, on all words, of each round that was measured; nothing where only the first
    and the last were.
    """
    found: dict[int, dict[str, Any]] = {}
    for entry in data["win_rates"]:
        if (entry["opponent"], entry["words"]) == (INITIAL, "all"):
            found.setdefault(entry["round"], {"round": entry["round"]})[entry["role"]] = entry["win_rate"]
    return list(found.values()) if len(found) > 2 else []


def endings_table(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the games of the table of win rates ended, on all words: a row per opponent, role and reason that at least one game in 200 had,
    and one for true hints where they are known; each with its share before, after and of the control, None where it is not known.
    """
    rows = []
    for cells in win_rate_table(data):
        if cells["before"]["words"] != "all":
            continue
        kinds = {kind: entry for kind, entry in cells.items() if entry is not None and entry["games"]}
        shares = {kind: {reason: count / e["games"] for reason, count in e["reasons"].items()} for kind, e in kinds.items()}
        reasons = sorted({reason for found in shares.values() for reason, share in found.items() if share >= 0.005})
        found = {reason: {kind: shares[kind].get(reason, 0.0) for kind in kinds} for reason in reasons}
        if any(entry["truth"] is not None for entry in kinds.values()):
            found["true hints"] = {kind: entry["truth"] for kind, entry in kinds.items()}
        place = {"opponent": cells["before"]["opponent"], "role": cells["before"]["role"]}
        rows += [{**place, "what": what, **dict.fromkeys(cells), **by_kind} for what, by_kind in found.items()]
    return rows


def _key(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry["opponent"], entry["role"], entry["words"]


def _chart(rounds: Sequence[Mapping[str, Any]], lines: Mapping[str, str], label: str, *, share: bool = False) -> str | None:
    """An SVG line chart over rounds; None where there are no numbers. share: values are counts, shown as shares of the round's games."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    series = {}
    for title, name in lines.items():
        points = [(r["round"], r[name] / r["games"] if share else r[name]) for r in rounds if r.get(name) is not None and r.get("games", 1)]
        if points:
            series[title] = points
    if not series:
        return None
    figure = Figure(figsize=(4.6, 2.6), layout="constrained")
    axes = figure.subplots()
    for (title, points), colour in zip(series.items(), _COLOURS, strict=False):
        axes.plot(*zip(*points, strict=True), label=title, color=colour, marker="o", markersize=3)
    axes.set_xlabel("round")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    text = io.StringIO()
    with rc_context({"svg.hashsalt": label}):  # equal drawings are equal bytes
        figure.savefig(text, format="svg", metadata={"Date": None})
    # The drawing holds numbers and the labels above alone, nothing that a model wrote.
    return text.getvalue()[text.getvalue().index("<svg") :]
