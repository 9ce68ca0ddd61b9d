"""Everything that a run needs in memory, made from its configuration, with all that can be wrong found before anything is written."""

from dataclasses import dataclass
from pathlib import Path

import torch

from sparring.agents.core import Sampling
from sparring.agents.language_model import LanguageModel, ModelAgent, load_language_model
from sparring.agents.names import given, model_card, model_place
from sparring.agents.player_card import PlayerCard
from sparring.envs import games as _games  # noqa: F401  registers the games
from sparring.envs.core import Game, Task, make_game
from sparring.envs.views import load_prompts

from .config import TrainConfig
from .imitation import Conversation, read_conversations
from .word_sets import NO_SECRETS, WordSets, word_sets


@dataclass
class Session:
    """config: resolved. model: who learns and plays both seats. card: its prompts and length. replay: conversations of a replay file."""

    config: TrainConfig
    game: Game
    words: WordSets
    card: PlayerCard
    model: LanguageModel
    replay: list[Conversation] | None

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.config.temperature, max_new_tokens=self.config.max_new_tokens)

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
    game = make_game(config.game, max_turns=config.max_turns)
    imitating = config.imitation.steps > 0
    words = word_sets(config.words, config.heldout, imitating=imitating) if game.informed else NO_SECRETS
    if (imitating or config.arm != "selfplay") and not words.everyday and config.replay in ("none", "base"):
        raise ValueError(
            f"scripted experts know the everyday world alone, not the words of {config.words!r}: set imitation.steps to 0, "
            "or give conversations to imitate with --replay FILE"
        )
    own = model_card(config.model)
    prompts = own.prompts if config.prompts == "card" else load_prompts(config.prompts)
    replay = read_conversations(Path(config.replay)) if config.replay not in ("none", "base") else None
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
    session = Session(config, game, words, card, model, replay)
    _check_context(session)
    return session


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
