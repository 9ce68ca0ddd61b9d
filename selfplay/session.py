"""Everything that a run needs in memory, made from its configuration, with all that can be wrong found before anything is written."""

from dataclasses import dataclass
from pathlib import Path

import torch

from sparring.agents.core import Agent, AgentMap, Sampling
from sparring.agents.language_model import LanguageModel, ModelAgent, load_language_model
from sparring.agents.names import given, is_model, model_card, model_place, resolve
from sparring.agents.player_card import PlayerCard
from sparring.envs import games as _games  # noqa: F401  registers the games
from sparring.envs.core import Game, Task, make_game
from sparring.envs.views import load_prompts

from .config import TrainConfig
from .formats import read_chats
from .imitation import Chat
from .word_sets import WordSets, word_sets


@dataclass
class Session:
    """config: resolved. model: who learns. card: its prompts and length. replay, taught: conversations of the files
    for replay and imitation. opponent: who plays the
    seat that does not learn; None where the model plays all."""

    config: TrainConfig
    game: Game
    words: WordSets
    card: PlayerCard
    model: LanguageModel
    replay: list[Chat] | None
    taught: list[Chat] | None = None
    opponent: Agent | None = None

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.config.temperature, max_new_tokens=self.config.max_new_tokens)

    @property
    def trained(self) -> tuple[str, ...]:
        """The roles that learn."""
        return self.game.roles if self.opponent is None else (self.config.seat,)

    def agents(self, player: Agent) -> AgentMap:
        """Who plays which role: the player where it learns, the opponent elsewhere."""
        return {role: player if role in self.trained or self.opponent is None else self.opponent for role in self.game.roles}

    def agent(self, model: LanguageModel, name: str, *, trainable: bool = False) -> ModelAgent:
        return ModelAgent(model, self.card.prompts, self.sampling, name=name, trainable=trainable)


def pick_device(name: str) -> str | None:
    """The device of a setting, made the current one; None leaves the choice to the machine. Raises ValueError where there is none."""
    if name == "auto":
        return None
    try:
        device = torch.device(name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return name


def prepare(config: TrainConfig, weights: Path | None = None) -> Session:
    """Loads what the configuration names. Raises ValueError with what is wrong.

    weights: the model folder to load instead of config.model (a checkpoint).
    """
    rule = {"rule": config.rule} if config.rule != TrainConfig.rule else {}
    game = make_game(config.game, max_turns=config.max_turns, **rule)
    imitating = config.imitation.steps > 0
    words = word_sets(config.words, config.heldout, imitating=imitating)
    if (imitating or config.arm != "selfplay") and not words.everyday and config.replay in ("none", "base") and not config.imitation.data:
        raise ValueError(
            f"scripted experts know the everyday world alone, not the words of {config.words!r}: set imitation.steps to 0, "
            "or give conversations to imitate with --imitation.data FILE"
        )
    own = model_card(config.model)
    prompts = own.prompts if config.prompts == "card" else load_prompts(config.prompts)
    replay = read_chats(Path(config.replay), prompts, game) if config.replay not in ("none", "base") else None
    taught = read_chats(config.imitation.data, prompts, game) if config.imitation.data is not None else None
    place = str(weights) if weights else model_place(config.model)
    model = load_language_model(
        place,
        name=config.model,
        device=pick_device(config.device),
        dtype=given(config.dtype),
        attn=given(config.attention),
        max_rows=config.concurrency,
        max_streams=2 * config.concurrency,
    )
    card = PlayerCard(prompts, config.max_new_tokens, own.everyday)
    session = Session(config, game, words, card, model, replay, taught, _opponent(config, game))
    _check_context(session)
    return session


def _opponent(config: TrainConfig, game: Game) -> Agent | None:
    """The fixed opponent, at self-play's temperature. Raises ValueError for a name that means nothing, or that needs a keyboard."""
    spec = config.opponent
    if spec is None:
        return None
    if spec == "human":
        raise ValueError("opponent human: training needs an opponent that plays by itself")
    role = next(role for role in game.roles if role != config.seat)
    sampling = Sampling(config.temperature, max_new_tokens=model_card(spec).max_new_tokens) if is_model(spec) else None
    return resolve(spec, role=role, sampling=sampling, device=config.device, dtype=config.dtype, attention=config.attention)


def _check_context(session: Session) -> None:
    """Raises ValueError where the first prompts and a reply do not fit into the model's context."""
    longest = max(session.words.played, key=len)
    state = session.game.start(Task("context", longest, longest, 0))
    room = session.model.loop.max_length
    for role in session.game.roles:
        try:
            messages = session.card.prompts.render(state.observe(role))
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"the prompts for the {role} cannot be filled in: {error!r} is nothing that the {role} knows") from error
        prompt = len(session.model.format.open(messages))
        if prompt + session.config.max_new_tokens > room:
            raise ValueError(
                f"{session.config.model}: the context holds {room} tokens, but the rules take {prompt} and an utterance up to "
                f"{session.config.max_new_tokens}; use a model with a longer context, shorter --prompts or fewer --max-new-tokens"
            )


def seed_everything(seed: int) -> None:
    """Library code that draws from torch's global generator (dropout) then draws the same again."""
    torch.manual_seed(seed % 2**63)
