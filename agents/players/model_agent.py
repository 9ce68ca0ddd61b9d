"""A language model as a player: its prompts, its sampling, one token stream per game and role."""

from collections.abc import Generator
from dataclasses import dataclass, field

from sparring.envs.core import Game, Observation
from sparring.envs.views import Message, Renderer

from ..core import Model, Reply, Request, Sampling, Segment, derive_seed


@dataclass(eq=False)
class _ModelPlayer:
    """A ModelAgent in one game. seen: the messages in its token stream, including the last reply."""

    agent: "ModelAgent"
    key: str
    seed: int
    seen: tuple[Message, ...] = ()
    turn: int = 0
    streams: int = 0
    segments: list[Segment] = field(default_factory=list)

    @property
    def stream(self) -> str:
        return f"{self.key}#{self.streams}"

    def act(self, observation: Observation) -> Generator[Request, Reply, Reply]:
        messages = self.agent.renderer.render(observation)
        if self.seen and messages[: len(self.seen)] != self.seen:
            # The renderer rewrote history, so the stream cannot be continued.
            self.segments.extend(self.agent.model.close(self.stream))
            self.streams += 1
            self.seen = ()
        request = Request(
            backend=self.agent.model,
            stream=self.stream,
            messages=messages[len(self.seen) :],
            sampling=self.agent.sampling,
            seed=derive_seed(self.seed, self.turn),
            turn=len(observation.utterances),
            trainable=self.agent.trainable,
            adapter=self.agent.adapter,
        )
        reply = yield request
        self.turn += 1
        self.seen = (*messages, Message("assistant", reply.text))
        return reply

    def close(self) -> tuple[Segment, ...]:
        self.segments.extend(self.agent.model.close(self.stream))
        return tuple(self.segments)


class ModelAgent:
    """Asks a language model for each utterance. adapter: the LoRA adapter that answers, see
    LanguageModel.load_adapter."""

    def __init__(
        self,
        model: Model,
        renderer: Renderer,
        sampling: Sampling,
        *,
        name: str | None = None,
        trainable: bool = True,
        adapter: str | None = None,
    ) -> None:
        self.model = model
        self.adapter = adapter
        self.renderer = renderer
        self.sampling = sampling
        self.name = name or model.name
        self.trainable = trainable

    @property
    def weight_version(self) -> str | None:
        return self.model.weight_version

    def player(self, game: Game, role: str, key: str, seed: int) -> _ModelPlayer:
        return _ModelPlayer(self, key, seed)
