"""Everything that a run needs in memory, made from its configuration, with all that can be wrong found
before anything is written."""

import datetime
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sparring.agents.core import Agent, AgentMap, Sampling
from sparring.agents.models.adapter_folders import peft as require_peft
from sparring.agents.models.chat_format import ChatFormat
from sparring.agents.models.devices import pick_device
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.loading import load_language_model, load_tokenizer
from sparring.agents.models.memory import free_bytes
from sparring.agents.models.precision import tried
from sparring.agents.names import checkpoint_model, is_model, model_card, model_location, resolve, unless_auto
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.players.player_card import PlayerCard, load_card
from sparring.envs.core import Game, Task, game_from_options
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.games.prompts import load_prompts
from sparring.envs.hosting.opponents import require_playable
from sparring.envs.views import Message, Prompts, Renderer

from ..config.config import NAMED_SOURCES, TrainConfig
from ..config.league import league_options
from ..data.chats import Chat
from ..data.formats import read_chats
from ..data.word_sets import NO_SECRETS, WordSets, word_sets
from ..learner import fsdp, lora
from ..learner.footprint import learning_bytes
from ..learner.scoring import Scorer, language_model_scorer, require_faithful
from ..storage.export import require_saveable
from ..storage.summary import INITIAL
from ..storage.trackers import trackers

FREE_SHARE = 4
"""Caches of play take one part in so many of the memory that is free, unless max_memory says otherwise."""
TRAINING_BYTES = 12
"""Per trained parameter: gradient and Adam's averages."""
LEAST_BUDGET = 512
"""A token budget is not lowered further where memory is short."""


@dataclass
class Session:
    """config: resolved. model: who learns. card: its prompts and length. sft_mix, demonstrations:
    conversations of the files for the SFT mix and SFT. context: the longest stream that caches are made for,
    where memory is bounded; None leaves it to the model. opponent: who plays the role that does not learn;
    None where the model plays all. day: what chat templates are told as today's date, that on which the run
    began; None: today's.
    """

    config: TrainConfig
    game: Game
    words: WordSets
    card: PlayerCard
    model: LanguageModel
    sft_mix: list[Chat] | None
    context: int | None
    demonstrations: list[Chat] | None = None
    opponent: Agent | None = None
    day: datetime.date | None = None

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.config.temperature, max_new_tokens=self.config.max_new_tokens)

    @property
    def trained(self) -> tuple[str, ...]:
        """The roles that learn."""
        return self.game.roles if self.opponent is None else (self.config.role,)

    def agents(self, player: Agent) -> AgentMap:
        """Who plays which role: the player where it learns, the opponent elsewhere."""
        return {role: player if role in self.trained or self.opponent is None else self.opponent for role in self.game.roles}

    def agent(self, model: LanguageModel, name: str, *, trainable: bool = False) -> ModelAgent:
        return ModelAgent(model, self.card.prompts, self.sampling, name=name, trainable=trainable)

    def first_model(self, run: Path) -> LanguageModel:
        """The model of round 0, frozen: opponent, reference, and what controls start from. A LoRA run's is
        the model that learns, without its adapter."""
        if self.config.learner.lora_rank:
            options = limits(self.config, self.context) | {"products": self.model.products}
            return LanguageModel(self.model.model, self.model.tokenizer, name=INITIAL, day=self.day, **options)
        return self.load_first(run)

    def load_first(self, run: Path) -> LanguageModel:
        """A copy of the model of round 0 that shares nothing with others."""
        return self.load_round(run, 0)

    def load_round(self, run: Path, number: int) -> LanguageModel:
        """A copy of the model of a round that shares nothing with others."""
        place = checkpoint_model(run, number)
        device = self.model.loop.packed.device
        return load_player(self.config, place, self.context, name=INITIAL, device=device, dtype=self.model.products, day=self.day)


def prepare(config: TrainConfig, weights: Path | None = None, day: datetime.date | None = None) -> Session:
    """Loads what the configuration names. Raises ValueError with what is wrong.

    weights: the model folder to load instead of config.model, which is then not needed any more (a
    checkpoint). day: see Session.
    """
    trackers(config.tracker)
    fsdp.check(config.device, adapter=config.learner.lora_rank > 0)
    game = game_from_options(config.game, config.game_options)
    with_sft = config.sft.steps > 0
    words = word_sets(config.words, config.heldout, with_sft=with_sft) if game.secret_roles else NO_SECRETS
    if with_sft and not words.everyday and config.sft_mix.source in NAMED_SOURCES and not config.sft.data:
        raise ValueError(
            f"scripted experts know the everyday world alone, not the words of {config.words!r}: set sft.steps to 0, "
            "or give demonstrations with --sft.data FILE"
        )
    without_model = config.opponent is not None and not is_model(config.opponent)
    require_playable(
        game, {_other_role(config, game): _opponent(config, game, day)} if without_model else {}, (*words.played, *words.heldout)
    )
    league = league_options(config.league)
    for spec in league.fixed if league else ():
        players = {role: load_agent(config, spec, role, day) for role in game.roles}
        require_playable(game, players, (*words.played, *words.heldout))
    device = pick_device(config.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    place = str(weights) if weights else model_location(config.model)
    own = load_card(weights) if weights else model_card(config.model)
    prompts = own.prompts if config.prompts == "card" else load_prompts(config.prompts, game.roles)
    source = config.sft_mix.source
    sft_mix = read_chats(Path(source), prompts, game) if source not in NAMED_SOURCES else None
    demonstrations = read_chats(config.sft.data, prompts, game) if config.sft.data is not None else None
    # What players see in games without secret words is more than what was said, so its length is not known.
    bounded = config.max_memory > 0 and bool(game.secret_roles)
    context = _context(game, words, prompts, config, ChatFormat(load_tokenizer(place), day=day)) if bounded else None
    model = load_player(
        config,
        place,
        context,
        name=config.model,
        device=device,
        dtype=unless_auto(config.dtype),
        four_bit=config.learner.four_bit and weights is None,
        day=day,
    )
    if config.dtype == "auto" and tried(model.model):
        # What was decided once holds for the run, whatever a trial says when it is resumed.
        config = replace(config, dtype="bfloat16" if model.products == torch.bfloat16 else "float32")
    require_saveable(model)
    if config.learner.lora_rank:
        require_peft()
        lora.targets(model.model)
    if config.rounds or with_sft:
        scorer = language_model_scorer(model)
        require_faithful(Scorer(model.model, packs=scorer.packs, shares=scorer.shares), config.model)
        if weights is None:
            # Once for the run: other portions would round sums otherwise.
            config = replace(config, learner=replace(config.learner, token_budget=_fitting_budget(config, scorer)))
    card = PlayerCard(prompts, config.max_new_tokens, own.everyday)
    session = Session(config, game, words, card, model, sft_mix, context, demonstrations, _opponent(config, game, day), day)
    _check_context(session)
    return session


def _other_role(config: TrainConfig, game: Game) -> str:
    """The role of a fixed opponent."""
    return next(role for role in game.roles if role != config.role)


def _opponent(config: TrainConfig, game: Game, day: datetime.date | None) -> Agent | None:
    """The fixed opponent, if there is one. Raises ValueError as `load_agent`."""
    return None if config.opponent is None else load_agent(config, config.opponent, _other_role(config, game), day)


def load_agent(config: TrainConfig, spec: str, role: str, day: datetime.date | None) -> Agent:
    """An agent that plays against the model that learns, at self-play's temperature. Raises ValueError
    where it cannot be had, or needs a keyboard."""
    if spec == "human":
        raise ValueError("opponent human: training needs an opponent that plays by itself")
    try:
        sampling = Sampling(config.temperature, max_new_tokens=model_card(spec).max_new_tokens) if is_model(spec) else None
        options: dict[str, Any] = {"device": config.device, "dtype": config.dtype}
        return resolve(spec, role=role, sampling=sampling, day=day, **options)
    except ValueError as error:
        raise ValueError(f"there is no opponent to play against: {error}") from error


def load_player(config: TrainConfig, place: str | Path, context: int | None, **options: Any) -> LanguageModel:
    """A model that plays in a run. context: see Session. options: of load_language_model."""
    try:
        return load_language_model(place, **limits(config, context), **options)
    except ValueError as error:
        if not config.max_memory:
            raise
        raise ValueError(f"max_memory {config.max_memory} GiB is shared by two models, who learns and who it came from; {error}") from error


def limits(config: TrainConfig, context: int | None) -> dict[str, Any]:
    """How many streams a model of a run keeps, how long they are, and how it computes them; options of
    LanguageModel."""
    rows = config.concurrency
    # During evaluation two models play: who learns, and who it came from.
    memory = int(config.max_memory * 2**30 / 2) if config.max_memory else None
    pool = free_bytes("cpu") // FREE_SHARE // 2 if memory is None else None
    compiler = "inductor" if config.compile else None
    length = {"max_length": context, "max_memory": memory, "pool_memory": pool}
    return {"max_rows": rows, "max_streams": 2 * rows, "compiler": compiler, **length}


def _fitting_budget(config: TrainConfig, scorer: Scorer) -> int:
    """The token budget that was asked for, halved until a pass takes at most half of the memory that
    training leaves free."""
    model, rank = scorer.unwrapped, config.learner.lora_rank
    trained = lora.size(model, rank) if rank else model.num_parameters()
    room = (free_bytes(model.device.type) - TRAINING_BYTES * trained) // 2
    budget = config.learner.token_budget
    need = partial(learning_bytes, scorer, rank=rank, recomputed=config.learner.gradient_checkpointing)
    while budget > LEAST_BUDGET and need(budget, min(budget, LEAST_BUDGET)) > room:
        budget //= 2
    return budget


def _context(game: Game, words: WordSets, prompts: Prompts, config: TrainConfig, chat: ChatFormat) -> int:
    """Tokens for a role's view of the longest game: its first prompt, and for every utterance twice as much
    as may be sampled, because what others said is tokenised anew and the template adds to it.
    """
    return first_prompt(game, words, prompts, chat) + game.horizon * 2 * (config.max_new_tokens + 32)


def first_prompt(game: Game, words: WordSets, prompts: Prompts, chat: ChatFormat) -> int:
    """Tokens of the longest prompt that a role begins with."""
    return max(len(chat.open(messages)) for messages in _first_views(game, words, prompts).values())


def _first_views(game: Game, words: WordSets, prompts: Renderer) -> dict[str, tuple[Message, ...]]:
    """What each role sees first. Raises ValueError for prompts that cannot be filled in."""
    longest = max(words.played, key=len)
    state = game.start(Task("context", longest, longest, 0))
    views = {}
    for role in game.roles:
        try:
            views[role] = prompts.render(state.observe(role))
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"the prompts for the {role} cannot be filled in: {error!r} is nothing that the {role} knows") from error
    return views


def _check_context(session: Session) -> None:
    """Raises ValueError where the first prompts and a reply do not fit into the context of the model, or
    of its opponent."""
    players: list[tuple[str, LanguageModel, Renderer, int]] = [
        (session.config.model, session.model, session.card.prompts, session.config.max_new_tokens)
    ]
    other = session.opponent
    if isinstance(other, ModelAgent) and isinstance(other.model, LanguageModel):
        players.append((other.name, other.model, other.renderer, other.sampling.max_new_tokens))
    for name, model, prompts, longest in players:
        room = model.loop.max_length
        for messages in _first_views(session.game, session.words, prompts).values():
            prompt = len(model.format.open(messages))
            if prompt + longest > room:
                raise ValueError(
                    f"{name}: the context holds {room} tokens, but the rules take {prompt} and an utterance up to {longest}; use a model "
                    "with a longer context, shorter --prompts or fewer --max-new-tokens"
                )


def seed_everything(seed: int) -> None:
    """Library code that draws from torch's global generator (dropout) then draws the same again."""
    torch.manual_seed(seed % 2**63)
