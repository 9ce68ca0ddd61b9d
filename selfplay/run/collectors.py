"""How a round's experience is collected: games of the model that learns, experts' talk, or pairs of both."""

from dataclasses import replace
from pathlib import Path

from sparring.agents.core import derive_seed
from sparring.envs.games.prompts import taboo_paraphrases

from ..data.spin_pairs import spin_pairs
from ..learner.batch import samples_of
from ..objectives.credit import Experience
from ..objectives.spag import CONTEXT, paraphrasing
from .demonstrations import demonstration_chats, round_demonstrations, tokens_of
from .method import Round
from .rollouts import games_of


def games(round: Round) -> Experience:
    """The games of a round, played by the model that learns in every role that is trained."""
    episodes, metrics = games_of(round.number, round.seed, round.session, round.folder, round.ranks, round.progress, round.league)
    sampled = sum(reply.tokens for p in episodes for reply in p.turns)
    return Experience(episodes, roles=round.session.trained, metrics=metrics, sampled_tokens=sampled)


def games_to_paraphrase(round: Round) -> Experience:
    """The games of a round, with what puts their utterances into paraphrased prompts. Adversarial Taboo alone has these."""
    session = round.session
    paraphrases, context = taboo_paraphrases(session.card.prompts), min(CONTEXT, session.model.loop.max_length)
    return replace(games(round), paraphrase=paraphrasing(paraphrases, session.model.format, context))


def demonstrations(round: Round, *, winners_only: bool, like: Path | None) -> Experience:
    """Samples of new games of scripted experts: as many games as a round has, or as many trained tokens as that round of the run `like`."""
    tokens = None if like is None else tokens_of(like, round.number)
    return Experience(examples=round_demonstrations(round.session, round.seed, tokens, winners_only=winners_only))


def answers_beside_experts(round: Round) -> Experience:
    """As many pairs as a round has games: an expert's utterance, and the model's own answer in its place (SPIN)."""
    config, session = round.config, round.session

    def pairs() -> Experience:
        chats = demonstration_chats(session, config.games_per_round, derive_seed(round.seed, "experts"))
        title = f"round {round.number}/{config.rounds}: answer"
        with round.progress.phase(title, config.games_per_round, "answers") as advance:
            found = spin_pairs(
                chats,
                session.model,
                session.sampling,
                config.games_per_round,
                round.seed,
                concurrency=config.concurrency,
                progress=advance,
            )
        return Experience(examples=found, sampled_tokens=sum(sample.trained_tokens for sample in samples_of(found)[1::2]))

    return round.ranks.from_main(pairs)
