"""What the page of a run shows: its summary, configuration, provenance and metrics as tables and charts.
Knows no games."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml
from markupsafe import Markup

from ..evaluation.statistics import wilson
from ..storage.folder import RunFolder, read_lines
from ..storage.selection import agent_name
from ..storage.summary import INITIAL
from .charts import COLOURS, Point, line_chart, stacked_chart

Record = Mapping[str, Any]


def run_page(folder: RunFolder, data: Record) -> dict[str, Any]:
    """The values of run.html.jinja. data: summary.json. Raises KeyError and its like where that is not what a
    run writes."""
    rounds = data["rounds"]
    timings = read_lines(folder.timings, damaged=True)
    roles = [name.removesuffix("_wins") for name in (rounds[0] if rounds else ()) if name.endswith("_wins")]
    provenance = _read(folder.provenance, json.loads)
    return {
        "data": data,
        "roles": roles,
        "run_facts": _facts(data, provenance, timings),
        "notes": [note for note in data["notes"] if not note.startswith("alarm in ")],
        "alarms": data.get("alarms", ()),
        "win_rates": win_rate_table(data),
        "endings": endings_table(data),
        "win_rate_charts": _present(win_rate_chart(data, name) for name in dict.fromkeys(e["opponent"] for e in data["win_rates"])),
        "charts": _present([*round_charts(rounds, roles), cost_chart(timings)]),
        "configuration": flat_settings(_read(folder.config, yaml.safe_load)),
        "provenance": flat_settings({name: value for name, value in provenance.items() if name != "settings"}),
    }


def win_rate_table(data: Record) -> list[dict[str, Any]]:
    """The table of win rates: a row per opponent, role and word group, with the first model, the last and the
    control."""
    entries = data["win_rates"]
    if not entries:
        return []
    last = max(e["round"] for e in entries)
    control = {_key(e): e for e in (data["control"] or {}).get("win_rates", [])}
    after = {_key(e): e for e in entries if e["round"] == last}
    return [
        {"before": e, "after": after.get(_key(e)) if last else None, "control": control.get(_key(e))} for e in entries if e["round"] == 0
    ]


def endings_table(data: Record) -> list[dict[str, Any]]:
    """How the games of the table of win rates ended, on all words: a row per opponent, role and reason that
    at least one game in 200 had, and one for true hints where they are known; each with its share before,
    after and of the control, None where it is not known.
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
        games = {"opponent": cells["before"]["opponent"], "role": cells["before"]["role"]}
        rows += [{**games, "what": what, **dict.fromkeys(cells), **by_kind} for what, by_kind in found.items()]
    return rows


def win_rate_chart(data: Record, opponent: str) -> Markup | None:
    """Games won against a frozen opponent by role, on all words, in every round that was measured; None where
    there is one round alone."""
    entries = [e for e in data["win_rates"] if (e["opponent"], e["words"]) == (opponent, "all") and e["win_rate"] is not None]
    if len({e["round"] for e in entries}) < 2:
        return None
    lines: dict[str, list[Point]] = {}
    for e in sorted(entries, key=lambda e: e["round"]):
        lines.setdefault(f"as {e['role']}", []).append(Point(e["round"], e["win_rate"], e["low"], e["high"]))
    against = "the model of round 0" if opponent == INITIAL else agent_name(opponent)
    return line_chart(f"Won against {against}", lines, unit="share of games", share=True)


def round_charts(rounds: Sequence[Record], roles: Sequence[str]) -> list[Markup | None]:
    """What changed from round to round of self-play; None for what was not measured."""
    played = [r for r in rounds if r.get("games")]

    def rate(name: str) -> list[Point]:
        return [Point(r["round"], r[name] / r["games"], *wilson(r[name], r["games"])) for r in played]

    def values(name: str) -> list[Point]:
        return [Point(r["round"], r[name]) for r in rounds if r.get(name) is not None]

    def by_role(name: str) -> dict[str, list[Point]]:
        return {role: values(f"{role}/{name}") for role in roles}

    mix = {r["round"]: {reason: count / r["games"] for reason, count in r["reasons"].items()} for r in played}
    return [
        line_chart(
            "Who wins",
            {**{role: rate(f"{role}_wins") for role in roles}, "ties": rate("ties")},
            unit="share of games",
            share=True,
        ),
        stacked_chart("How games end", _in_order(mix)),
        league_chart(rounds),
        line_chart(
            "Entropy",
            by_role("entropy") if any(by_role("entropy").values()) else {"": values("entropy")},
            unit="nats per token",
        ),
        line_chart(
            "KL to the reference",
            by_role("kl") if any(by_role("kl").values()) else {"": values("kl")},
            unit="nats per token",
        ),
        line_chart("Length of an utterance", by_role("completions/mean_length"), unit="tokens"),
        line_chart("Length of a game", {"": values("mean_turns")}, unit="utterances"),
        line_chart("True hints", {"true": values("truth"), "unparsed": values("unparsed")}, unit="share", share=True),
        line_chart("Spread of returns", by_role("reward_std"), unit="standard deviation"),
    ]


def league_chart(rounds: Sequence[Record]) -> Markup | None:
    """The learner's points against each opponent of a league, those that it met most; None without a league."""
    met: dict[str, list[tuple[int, Record]]] = {}
    for number, record in ((r["round"], r) for r in rounds):
        for key in record:
            if key.startswith("league/") and key.endswith("/win_rate"):
                met.setdefault(key, []).append((number, record))
    games = {key: sum(r[f"{key.removesuffix('/win_rate')}/games"] for _, r in points) for key, points in met.items()}
    most = sorted(sorted(met, key=lambda key: -games[key])[:COLOURS])
    names = {key: agent_name(key.removeprefix("league/").removesuffix("/win_rate")) for key in most}
    lines = {names[key]: [Point(number, r[key]) for number, r in met[key]] for key in most}
    return line_chart("Against the league", lines, unit="points a game, a tie is half", share=True)


def cost_chart(timings: Sequence[Record]) -> Markup | None:
    """Seconds by round."""
    kinds = {"playing": "play_seconds", "learning": "learn_seconds"}
    return line_chart(
        "Time",
        {kind: [Point(t["round"], t[name]) for t in timings if t.get(name) is not None] for kind, name in kinds.items()},
        unit="s",
    )


def _facts(data: Record, provenance: Record, timings: Sequence[Record]) -> list[tuple[str, str]]:
    """What a reader looks for first, by its name."""
    run, rounds = data["run"], data["rounds"]
    games = sum(r.get("games") or 0 for r in rounds)
    found = {
        "model": agent_name(run["model"]),
        "method": run["method"],
        "games of self-play": f"{games:,}" if games else None,
        "tokens sampled": _total(timings, "sampled_tokens"),
        "tokens trained on": _total(rounds, "trained_tokens"),
        "playing": _duration(timings, "play_seconds"),
        "learning": _duration(timings, "learn_seconds"),
    }
    return [
        *((name, str(value)) for name, value in found.items() if value is not None),
        *provenance_facts(provenance),
    ]


def provenance_facts(provenance: Record) -> list[tuple[str, str]]:
    """What a reader looks for first of where numbers come from, by its name."""
    hardware = provenance.get("hardware") or {}
    found = {
        "hardware": ", ".join(hardware.get("gpus") or ()) or (f"{hardware['cores']} CPU cores" if "cores" in hardware else None),
        "begun": provenance.get("day"),
        "commit": str(provenance["commit"])[:10] if provenance.get("commit") else None,
    }
    return [(name, str(value)) for name, value in found.items() if value is not None]


def _total(records: Iterable[Record], name: str) -> str | None:
    values = [r[name] for r in records if r.get(name) is not None]
    return f"{sum(values):,.0f}" if values else None


def _duration(records: Iterable[Record], name: str) -> str | None:
    values = [r[name] for r in records if r.get(name) is not None]
    if not values:
        return None
    minutes, seconds = divmod(round(sum(values)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _in_order(mix: Mapping[int, Mapping[str, float]]) -> dict[int, dict[str, float]]:
    """Every round with the same reasons in the same order, so that colours and layers agree: the most
    frequent first."""
    totals: dict[str, float] = {}
    for shares in mix.values():
        for reason, share in shares.items():
            totals[reason] = totals.get(reason, 0.0) + share
    order = sorted(totals, key=lambda reason: (-totals[reason], reason))
    return {number: {reason: shares.get(reason, 0.0) for reason in order} for number, shares in mix.items()}


def _present(charts: Iterable[Markup | None]) -> list[Markup]:
    return [chart for chart in charts if chart is not None]


def _read(path: Any, parse: Callable[[str], Any]) -> dict[str, Any]:
    """A mapping of a file; empty where none can be read: the page is of results, not of these."""
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def flat_settings(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Settings with dotted names, their values as text; of paths the last part alone, which says nothing of
    the machine."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += flat_settings(value, f"{before}{name}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else str(value)
            found.append((f"{before}{name}", agent_name(shown) if isinstance(value, str) else shown))
    return found


def _key(entry: Record) -> tuple[str, str, str]:
    return entry["opponent"], entry["role"], entry["words"]
