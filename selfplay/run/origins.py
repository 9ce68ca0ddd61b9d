"""What a run began with, and whether that still holds when it is resumed: its settings, the files that it reads, the machine, the day.

All of it is in provenance.json. The digests of the settings and the files are in every checkpoint's history too, where nobody changes them
unnoticed.
"""

import datetime
import hashlib
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from sparring.agents.models.manifest import model_digests
from sparring.agents.names import local_folders
from sparring.envs.words.lists import list_names

from ..config.config import TrainConfig
from ..config.yaml_io import flat
from ..storage.folder import RunFolder, to_json, write_text
from ..storage.provenance import provenance
from ..storage.schema import RUN
from ..storage.sealed import digest, read_json

FREE = ("rounds", "out")
"""Settings that may differ when a run is resumed."""
SHOWN = 4
"""Changed settings that a message names at most."""


def began(config: TrainConfig, processes: int, day: datetime.date, preset: str | None = None) -> dict[str, Any]:
    """The provenance of a run that begins now. processes: how many it has. day: what chat templates are told as today's date. preset: that
    its settings came from."""
    return provenance(
        config.seed,
        model=config.model,
        settings={name: value for name, value in flat(config).items() if name != "out"},
        config=config_digest(config),
        inputs=inputs(config),
        processes=processes,
        schema=RUN,
        preset=preset,
        day=day.isoformat(),
    )


def day_of(folder: RunFolder, kept: Mapping[str, Any]) -> datetime.date:
    """The day on which a run began; today where that is not known. kept: as of `require_settings`."""
    try:
        return datetime.date.fromisoformat(_provenance(folder, kept)["day"])
    except (KeyError, TypeError, ValueError):
        return datetime.date.today()


def config_digest(config: TrainConfig) -> str:
    """SHA-256 of the settings that a run keeps; 0 and 0.0 are one number, as a file does not tell them apart."""
    return _settings_digest(flat(config))


def _settings_digest(settings: Mapping[str, Any]) -> str:
    return digest({name: _as_read(value) for name, value in _kept(settings).items()})


def _as_read(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_read(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _kept(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in FREE}


def inputs(config: TrainConfig) -> dict[str, str]:
    """The files that a run reads, with their SHA-256; several lists of words count as one file, and so do the files of a model."""
    lists = [Path(path) for name in list_names(config.words) for path in dict.fromkeys((name, name.rpartition("@")[0])) if path]
    paths = {"words": lists, "prompts": [Path(config.prompts)], "sft_mix.source": [Path(config.sft_mix.source)]}
    if config.sft.data is not None:
        paths["sft.data"] = [config.sft.data]
    found = {
        name: b"".join(path.read_bytes() for path in of if path.is_file()) for name, of in paths.items() if any(p.is_file() for p in of)
    }
    hashed = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    for name, spec in (("model", config.model), ("opponent", config.opponent)):
        folders = local_folders(spec)
        if folders:
            hashed[name] = digest([model_digests(folder) for folder in folders])
    return hashed


def require_settings(folder: RunFolder, config: TrainConfig, kept: Mapping[str, Any]) -> None:
    """Raises ValueError that names what has changed where the settings are not those that the run began with. kept: the history
    of its last checkpoint, empty where there is none."""
    now = _kept(flat(config))
    then = _kept(_provenance(folder, kept).get("settings", now))
    changed = [
        f"{name} is {_short(now.get(name))} and was {_short(then.get(name))}" for name in now | then if now.get(name) != then.get(name)
    ]
    if not changed and kept and kept["config"] != config_digest(config):
        changed = [f"{folder.provenance.name}, which says what it was, is gone or damaged too"]
    if changed:
        more = f", and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise ValueError(
            f"{folder.config} is not what the run began with: {'; '.join(changed[:SHOWN])}{more}; a run keeps its settings but rounds: "
            "put back what it was, or begin another run"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def require_inputs(folder: RunFolder, config: TrainConfig, kept: Mapping[str, Any]) -> None:
    """Raises ValueError where a file that the run read at its beginning is gone or has changed. kept: as of `require_settings`. The model
    is needed until the first checkpoint; where a model is gone altogether, loading it says so."""
    before = kept.get("inputs") or _provenance(folder, kept).get("inputs", {})
    now = inputs(config)
    for name, then in before.items():
        models = name in ("model", "opponent")
        if now.get(name) == then or (models and name not in now) or (name == "model" and kept):
            continue
        file = attrgetter(name)(config)
        kind = "a model whose files the run reads" if models else f"the file of {name}"
        raise ValueError(f"{file}, {kind}, is gone or has changed since the run began")


def _provenance(folder: RunFolder, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What provenance.json holds; empty where it is missing, or not what the run wrote."""
    try:
        about = read_json(folder.provenance)
        settings, of = about["settings"], about["inputs"]
        whole = about["config"] == _settings_digest(settings) and isinstance(of, dict) and bool(_last(about))
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    told = not kept or (about["config"] == kept["config"] and of == kept["inputs"])
    return about if whole and told else {}


def _machine(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of a provenance decides how numbers are rounded, and how many rounds there are."""
    hardware = about["hardware"]
    return {
        "rounds": about["settings"]["rounds"],
        "threads": hardware["threads"],
        "processor": hardware["processor"],
        "gpus": hardware["gpus"],
        "compiled kernel": about["kernels"],
        "bfloat16": about.get("bfloat16", "none"),
        "python": about["python"],
        "commit": about["commit"],
        **about["versions"],
    }


def _last(about: Mapping[str, Any]) -> dict[str, Any]:
    """The machine on which a run was last at work. resumed: of every time that it had changed, what was before and after."""
    found = _machine(about)
    for one in about.get("resumed", []):
        found |= {name: after for name, (_, after) in one["changed"].items()}
    return found


def resumed(
    folder: RunFolder, config: TrainConfig, done: int | None, kept: Mapping[str, Any], processes: int, say: Callable[[str], None]
) -> None:
    """Says what differs from when the run was last at work, and adds it to provenance.json, which is written anew where it is missing or
    damaged. done: the last finished round. kept: as of `require_settings`."""
    about, now = _provenance(folder, kept), began(config, processes, day_of(folder, kept))
    if not about:
        say(
            f"{folder.provenance} is missing or damaged: it is written anew, with this machine, and with today as the date that chat "
            "templates are told"
        )
        write_text(folder.provenance, to_json(now | {"inputs": kept.get("inputs", now["inputs"]), "written_anew_after": done}))
        return
    before, after = _last(about), _machine(now)
    changed = {name: [before.get(name), after[name]] for name in after if before.get(name) != after[name]}
    if not changed:
        return
    if "rounds" in changed:
        say(f"the run has {config.rounds} rounds from now on, and had {before['rounds']} until now")
    others = [f"{name} {was} -> {value}" for name, (was, value) in changed.items() if name != "rounds"]
    if others:
        say(
            f"since the run was last at work, this has changed: {', '.join(others)}; games and steps stay those of the seed, but sums of "
            "floats may be rounded otherwise, and then other bytes come out"
        )
    write_text(folder.provenance, to_json({**about, "resumed": [*about.get("resumed", []), {"after": done, "changed": changed}]}))
