"""Which settings of a run contradict each other, or name what there is not. Found before anything is
loaded or written."""

from collections.abc import Iterator

from sparring.envs.core import Game, game_from_options
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.words.lists import of_everyday

from .checks import near, wrong_values
from .config import EXPERT_GAMES, LIMITS, NAMED_SOURCES, TrainConfig
from .league import league_options

SCHEDULES = ("constant", "cosine", "linear")


def check(config: TrainConfig) -> None:
    """Raises ValueError with all that is wrong."""
    wrong = [*wrong_values(config), *_wrong_play(config), *_wrong_learner(config), *_wrong_alarms(config)]
    if wrong:
        raise ValueError("; ".join(wrong))


def _wrong_play(config: TrainConfig) -> Iterator[str]:
    if config.group_size > 0 and config.games_per_round % config.group_size:
        yield f"games_per_round ({config.games_per_round}) must be a multiple of group_size ({config.group_size})"
    try:
        game = game_from_options(config.game, config.game_options)
    except ValueError as error:
        yield str(error)
    else:
        yield from _wrong_roles(config, game)
    sft = config.sft
    if not of_everyday(config.words) and sft.data is None and sft.steps and config.sft_mix.source in NAMED_SOURCES:
        yield "scripted experts know the everyday world only: set sft.steps 0, words everyday, or sft.data FILE"
    if config.sft_mix.source == EXPERT_GAMES and not of_everyday(config.words):
        yield "sft_mix.source experts needs words everyday, of which scripted experts know something"
    if sft.steps and sft.games < 1:
        yield "sft.steps above 0 needs sft.games of at least 1"
    if not config.game.startswith("AdversarialTaboo"):
        wanted = {
            "sft.steps": sft.steps and sft.data is None,
            "evaluation.scripted": config.evaluation.scripted,
            "evaluation.control": config.evaluation.control,
        }
        for name in (name for name, on in wanted.items() if on):
            yield f"{name} needs scripted experts, who play Adversarial Taboo alone: switch it off"


def _wrong_roles(config: TrainConfig, game: Game) -> Iterator[str]:
    if config.role not in ("both", *game.roles):
        yield f"unknown role {config.role!r}; {near(config.role, ('both', *game.roles))}"
    elif config.role == "both" and config.opponent is not None:
        yield f"opponent {config.opponent} plays against one role: set role to one of {', '.join(game.roles)}"
    elif config.role != "both" and config.opponent is None:
        yield f"role {config.role} needs an opponent"
    try:
        league = league_options(config.league)
    except ValueError as error:
        yield str(error)
    else:
        if league is not None and config.role != "both":
            yield f"a league draws opponents for both roles: leave out role {config.role}, or the league"


def _wrong_learner(config: TrainConfig) -> Iterator[str]:
    learner = config.learner
    if learner.aggregation not in ("token", "sequence") and learner.divisor is None:
        yield f"learner.aggregation must be token, sequence or constant:N with N of at least 1, got {learner.aggregation!r:.60}"
    if learner.decay not in SCHEDULES or learner.warmup is None:
        names = ", ".join(SCHEDULES)
        yield f"learner.schedule must be {names}, or one with steps of a warm-up, as cosine:20, got {learner.schedule!r:.60}"
    if learner.four_bit and not learner.lora_rank:
        yield "learner.four_bit keeps weights that cannot be trained: it needs learner.lora_rank, as 16"
    if learner.four_bit and config.sft.steps:
        yield "learner.four_bit: weights in four bits cannot take up what SFT teaches: set sft.steps 0"
    if learner.reference == "behaviour" and learner.kl_form == "exact":
        yield (
            "learner.kl_form exact needs whole distributions, but of the model that played only the tokens' own log-probabilities are "
            "known: set sampled"
        )


def _wrong_alarms(config: TrainConfig) -> Iterator[str]:
    for name in config.alarms.limits:
        if name not in LIMITS:
            yield f"alarms.limits: there is no alarm {name!r}; {near(name, LIMITS)}"
