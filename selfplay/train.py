"""The loop: imitate, then round by round play, judge, learn, measure, save.

Every number is drawn from the configuration's seed and a place in the run, so a run that was stopped and resumed equals one that was not. A
round counts as done when its checkpoint is. Its games are on the disk, with their token streams, before anything is learnt from them. An
update that a signal stopped goes on from its step; what else an interrupted round left behind is dropped and done again.
"""

import hashlib
import json
import random
import shlex
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sparring.agents.adapters import merge
from sparring.agents.core import derive_seed
from sparring.agents.language_model import LanguageModel, load_language_model
from sparring.agents.names import checkpoint_folder, checkpoint_model, checkpoint_rounds
from sparring.agents.rollout import Match, Played
from sparring.envs.views import taboo_wordings
from sparring.envs.words import list_names

from . import checkpoint, lora
from .alarms import Unhealthy, raised
from .batch import Example, Pair, Row, rows_of
from .config import TrainConfig
from .corpus import conversations
from .episodes import write_episodes
from .experience import experience
from .imitation import Chat, expert_games, supervised, views
from .interrupts import Interrupts
from .learner import Learner
from .measuring import Evaluation, Measuring, counted
from .pairs import spin_pairs
from .progress import Progress, Quiet
from .ranks import Ranks, join
from .report import write_report
from .rewards import Returns, outcome_returns, shuffled_returns, without
from .round_metrics import describe, reward_spread, scalars
from .run_folder import RunFolder, next_free, provenance, read_lines, remove, require_space, to_json, write_text
from .scoring import Scorer, with_reference
from .session import Session, limits, load_player, prepare, seed_everything
from .settings import load, to_yaml
from .spag import retelling
from .streams import read_played, write_streams
from .summary import Summary, summarise
from .trackers import Log, as_text, tracked
from .word_sets import round_tasks

CHUNK = 20
"""Imitation steps between two draws of replay."""
PAIRED = ("dpo", "ipo", "spin")
"""Objectives that learn from pairs, against a reference."""
ROLLBACKS = 3
"""How often a run goes back to a healthy round before it ends."""


class Stopped(KeyboardInterrupt):
    """A run that was stopped and can be continued. signal: by which (SIGINT: Ctrl-C). command: how to continue."""

    def __init__(self, folder: Path, signal: int = signal.SIGINT) -> None:
        self.folder = folder
        self.signal = signal
        self.command = resume_command(folder)
        super().__init__(f"stopped; continue with: {self.command}")


def resume_command(folder: Path) -> str:
    return f"sparring train --resume {shlex.quote(str(folder))}"


def train(
    config: TrainConfig,
    *,
    evaluations: Sequence[Evaluation] = (),
    progress: Progress | None = None,
    measured: Mapping[str, Any] | None = None,
) -> Summary:
    """Starts a run and carries it to its end.

    evaluations: measured before the first round and after the last. measured: what another run with the same first model, seed and
    evaluations measured of it before training, so that it need not be measured again. Raises ValueError for what the configuration has
    wrong, before anything is written, and Stopped when it is interrupted.
    """
    ranks = join(config.device)
    out = config.out or ranks.from_main(lambda: next_free(Path("runs"), Path(config.model.partition("@")[0]).name))
    config = replace(config, out=out)
    ranks.from_main(lambda: RunFolder.require_free(out))
    if config.arm_like is not None:
        for number in range(1, config.rounds + 1):
            _tokens_of(config.arm_like, number)
    session = prepare(config)
    _require_replayable(session, ranks)

    def begin() -> None:
        require_space(out, bytes_needed(session))
        about = provenance(config.seed, model=config.model, inputs=_inputs(config), processes=ranks.size)
        folder = RunFolder.create(out, to_yaml(config), about)
        if measured is not None:
            write_text(folder.measurement(0), to_json(measured))

    ranks.from_main(begin)
    return _Loop(session, RunFolder(out), evaluations, progress or Quiet(), ranks).run(None)


def resume(path: Path, *, evaluations: Sequence[Evaluation] = (), progress: Progress | None = None) -> Summary:
    """Continues a run after its last round whose checkpoint is whole; a run that had ended is measured and summarised again where that is
    missing. Raises ValueError for a folder that is no run, and where its first model is damaged."""
    folder = RunFolder.open(path)
    config = replace(load(folder.config, TrainConfig), out=path)
    _require_inputs(folder, config)
    ranks = join(config.device)
    progress = progress or Quiet()

    def clear() -> int | None:
        done, damages = checkpoint.newest(path)
        for damage in damages:
            progress.say(damage)
        folder.sweep()
        folder.forget_after(-1 if done is None else done, keep_games=True)
        return done

    done = ranks.from_main(clear)
    # Of a LoRA run the weights stay those of round 0; its adapter is read when the learner has been made.
    session = prepare(config, weights=None if done is None else checkpoint_model(path, 0 if config.learner.lora_rank else done))
    _require_replayable(session, ranks)
    require_space(path, bytes_needed(session, done or 0))
    return _Loop(session, folder, evaluations, progress, ranks).run(done)


def _require_replayable(session: Session, ranks: Ranks) -> None:
    """Raises ValueError for a game that several processes cannot share."""
    if ranks.size > 1 and not session.game.replayable:
        raise ValueError(
            f"{session.config.game} cannot be played again from its utterances, which processes exchange: run it as one process"
        )


def _inputs(config: TrainConfig) -> dict[str, str]:
    """The files that a run reads, with their SHA-256; several lists of words count as one file."""
    lists = [Path(path) for name in list_names(config.words) for path in dict.fromkeys((name, name.rpartition("@")[0])) if path]
    paths = {"words": lists, "prompts": [Path(config.prompts)], "replay": [Path(config.replay)]}
    if config.imitation.data is not None:
        paths["imitation.data"] = [config.imitation.data]
    found = {
        name: b"".join(path.read_bytes() for path in of if path.is_file()) for name, of in paths.items() if any(p.is_file() for p in of)
    }
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}


def _require_inputs(folder: RunFolder, config: TrainConfig) -> None:
    """Raises ValueError where a file that the run read at its beginning is gone or has changed."""
    before = json.loads((folder.path / "provenance.json").read_text(encoding="utf-8"))["inputs"]
    now = _inputs(config)
    for name, digest in before.items():
        if now.get(name) != digest:
            file = config.imitation.data if name == "imitation.data" else getattr(config, name)
            raise ValueError(f"{file}, the file of {name}, is gone or has changed since the run began")


def bytes_needed(session: Session, done: int = 0) -> int:
    """About what a run is going to write after round `done`: its checkpoints, four optimisers at most, and its games."""
    config = session.config
    parameters = list(session.model.model.parameters())
    weights: int = sum(p.numel() * p.element_size() for p in parameters)
    rounds = config.rounds - done
    kept = rounds + 1 if config.keep == 0 else min(rounds + 1, config.keep + 2)
    trained = lora.size(session.model.model, config.learner.lora_rank) if config.learner.lora_rank else sum(p.numel() for p in parameters)
    each = 4 * trained if config.learner.lora_rank else weights
    return weights + each * (kept + 1) + 4 * 12 * trained + 2000 * config.games_per_round * rounds


class _Loop:
    """One run in memory. baselines: of the rae objective. alarms: raised so far. rollbacks: made so far. first_round: the metrics of round
    1, which later rounds are compared with; first_step: of its first step, which its later steps are. Only the main process writes."""

    def __init__(self, session: Session, folder: RunFolder, evaluations: Sequence[Evaluation], progress: Progress, ranks: Ranks) -> None:
        self.session = session
        self.config = session.config
        self.folder = folder
        self.evaluations = evaluations
        self.progress = progress if ranks.main else Quiet()
        self.ranks = ranks
        self.model = session.model
        self.baselines: dict[str, float] = {}
        self.alarms: list[dict[str, Any]] = []
        self.rollbacks = 0
        self.first_round: Mapping[str, Any] | None = None
        self.first_step: Mapping[str, Any] = {}
        self.interrupts = Interrupts()

    def run(self, done: int | None) -> Summary:
        """done: the last finished round, None for a new run."""
        seed_everything(self.config.seed)
        try:
            with self.interrupts.watched():
                return self._run(done)
        except KeyboardInterrupt as stop:
            raise Stopped(self.folder.path, self.interrupts.received or signal.SIGINT) from stop
        except OSError as error:
            # What is read by `resume` is written aside, so that whatever was whole before still is.
            raise OSError(f"{error}; what was saved before is whole, continue with: {resume_command(self.folder.path)}") from error

    def _run(self, done: int | None) -> Summary:
        config = self.config
        if done is None:
            if config.imitation.steps:
                self._imitate()
            self.model.set_version("0")
            with self.interrupts.held():
                self._save(0, {})
            done = 0
        self.model.set_version(str(done))
        first = self._first_model()
        measuring = Measuring(self.session, self.folder, first, self.evaluations, self.progress, self.ranks)
        measuring.measure(0, first)
        if done:
            state = checkpoint.load(checkpoint_folder(self.folder.path, done))[1]
            self.alarms, self.rollbacks = state["alarms"], state["rollbacks"]
            before = state.get("processes", 1)
            if before != self.ranks.size:
                self.progress.say(
                    f"until now {before} processes, from now on {self.ranks.size}: model and optimiser go on; games and steps "
                    "stay those of the seed, as no generator has a state, but sums of floats may be rounded otherwise"
                )
        self.rollbacks = checkpoint.stopped(self.folder.path, done + 1).get("rollbacks", self.rollbacks)
        last = self._rounds(first, done, measuring) if config.rounds else 0
        measuring.measure(last, self.model)
        control = self._control(measuring, last)

        def report() -> Summary:
            counts = self.session.words.counts
            summary = summarise(self.folder, config, counts, measuring.results(), control, self.evaluations, self.alarms)
            write_report(self.folder.path)
            return summary

        return self.ranks.from_main(report)

    def _rounds(self, first: LanguageModel, done: int, measuring: Measuring) -> int:
        """Plays and learns until all rounds are done, or an alarm ends the run. Returns the round that the model is of now."""
        while True:
            learner = self._learner(first, done)
            before = self.ranks.from_main(lambda: read_lines(self.folder.metrics))
            self.first_round = next((record for record in before if record["round"] == 1), None)
            try:
                with self._tracked(done) as log:
                    self._measure_between(done, measuring)  # what an interruption left out
                    for number in range(done + 1, self.config.rounds + 1):
                        self._round(number, learner, log, first)
                        done = number
                        self._measure_between(done, measuring)
                return done
            except Unhealthy as state:
                # What a round's games show is the state of the model that played them, which the round before has made.
                healthy = done if state.alarms[0].step is not None else done - 1
                # Rounds in between may have been pruned; round 0 never is.
                done = max(number for number in checkpoint_rounds(self.folder.path) if number <= max(healthy, 0))
                self._go_back(done)
                if healthy < 0 or self.config.alarms.action == "stop" or self.rollbacks == ROLLBACKS:
                    self.progress.say(f"the run ends with the model of round {done}")
                    if done and self.ranks.main:
                        self.folder.measurement(done).unlink(missing_ok=True)  # of a round in between, until now
                    return done
                self.rollbacks += 1
                self.progress.say(f"back to the model of round {done}, with half the learning rate")

    def _tracked(self, done: int) -> AbstractContextManager[Log | None]:
        """Around rounds after `done`: what takes their metrics, on the main process."""
        if not self.ranks.main:
            return nullcontext()
        return tracked(self.config.tracker, self.folder, self.config, first=done + 1, say=self.progress.say)

    def _measure_between(self, number: int, measuring: Measuring) -> None:
        """Measures the model of a round that is neither the first nor the last, where that is asked for and has not been done."""
        of = self.config.evaluation
        if of.games_between and 0 < number < self.config.rounds and number % of.every == 0:
            measuring.measure(number, self.model, between=True)

    def _go_back(self, number: int) -> None:
        """Makes the model that of an earlier round, and forgets what came after it."""
        if not self.config.learner.lora_rank:
            dtype = next(self.model.model.parameters()).dtype
            healthy = load_language_model(checkpoint_model(self.folder.path, number), name="healthy", device="cpu", dtype=dtype)
            self.model.model.load_state_dict(healthy.model.state_dict())
        elif number:
            lora.restore(self.model.model, checkpoint_model(self.folder.path, number))
        else:
            lora.begin(self.model.model, self.config.learner.lora_rank)
        self.model.set_version(str(number))
        self.ranks.from_main(lambda: self.folder.forget_after(number))

    def _first_model(self, *, copy: bool = False) -> LanguageModel:
        """The model of round 0, frozen: opponent, reference, and what controls start from. A LoRA run's is the model without its adapter,
        where no copy is asked for."""
        if self.config.learner.lora_rank and not copy:
            return LanguageModel(self.model.model, self.model.tokenizer, name="imitation", **limits(self.config, self.session.context))
        return load_player(
            self.config,
            checkpoint_model(self.folder.path, 0),
            self.session.context,
            name="imitation",
            device=self.model.loop.packed.device,
            dtype=next(self.model.model.parameters()).dtype,
        )

    def _learner(self, first: LanguageModel, done: int) -> Learner:
        learner = Learner(self.model.model, anchor=first.model, config=self.config.learner, corrections=self.config.spag)
        self.model.adapter = learner.adapter
        self.baselines = {}
        if done:
            if learner.adapter:
                lora.restore(self.model.model, checkpoint_model(self.folder.path, done))
            trainer, state = checkpoint.load(checkpoint_folder(self.folder.path, done))
            if trainer:
                learner.load_state_dict(trainer)
            else:
                self.progress.say(f"the optimiser of round {done} was not kept: its averages and its schedule begin anew")
            self.baselines = state["baselines"]
        if self.rollbacks:
            learner.set_learning_rate(self.config.learner.lr / 2**self.rollbacks)
        return learner

    def _watch_step(self, number: int, about: Mapping[str, Any], learner: Learner, step: int, metrics: Mapping[str, float]) -> None:
        """about: which update it is."""
        if number == step == 1:
            self.first_step = metrics
        self._watch(metrics, number, step)
        self._pause(number, learner, {**about, "first_step": self.first_step, "alarms": self.alarms, "rollbacks": self.rollbacks})

    def _pause(self, number: int, learner: Learner, state: Mapping[str, Any], *_: Any) -> None:
        """After a step: saves what the update has come to and ends it, where a signal asks for that."""
        asked = next((sent for sent in self.ranks.gather(self.interrupts.received) if sent is not None), None)
        if asked is not None:
            self.interrupts.received = self.interrupts.received or asked
            trainer, whole = learner.state_dict(weights=True), {**state, "done": learner.so_far}
            self.ranks.from_main(lambda: checkpoint.save_update(self.folder.path, number, trainer, whole))
            raise KeyboardInterrupt

    def _stopped_update(self, number: int, about: Mapping[str, Any], learner: Learner) -> dict[str, Any]:
        """The state that `_pause` saved of this very update, after bringing the learner there; empty where there is none. about: what tells
        it from other updates."""
        folder = checkpoint.update_folder(self.folder.path, number)
        if not folder.is_dir():
            return {}
        try:
            trainer, state = checkpoint.load(folder)
        except ValueError as error:
            self.progress.say(f"{error}: the update of round {number} begins anew")
            return {}
        if any(state.get(name) != value for name, value in about.items()):
            return {}
        learner.load_state_dict(trainer)
        self.progress.say(f"the update of round {number} goes on after step {len(state['done']['norms'])}")
        self.first_step, self.alarms = state.get("first_step", {}), state.get("alarms", [])
        return state

    def _watch(self, record: Mapping[str, Any], number: int, step: int | None = None) -> None:
        """Looks at the metrics of a round or a step. Raises Unhealthy where they raise alarms and the run is not to go on."""
        found = raised(record, self.first_round or self.first_step, self.config.alarms, step)
        known = {(alarm["round"], alarm["name"]) for alarm in self.alarms} if self.config.alarms.action == "warn" else set()
        for alarm in found:
            if (number, alarm.name) in known:
                continue
            self.alarms.append({"round": number, **alarm._asdict(), "text": alarm.text})
            self.progress.say(f"alarm in round {number}: {alarm.text}")
        if found and self.config.alarms.action != "warn":
            raise Unhealthy(found)

    def _save(self, number: int, trainer: Mapping[str, Any]) -> None:
        """Writes a checkpoint, and deletes what its round needed until then."""
        state = {"baselines": self.baselines, "alarms": self.alarms, "rollbacks": self.rollbacks, "processes": self.ranks.size}

        def write() -> None:
            checkpoint.save(self.folder.path, number, self.model, self.session.card, trainer, state)
            checkpoint.prune(self.folder.path, self.config.keep)
            self.folder.streams(number).unlink(missing_ok=True)
            remove(checkpoint.update_folder(self.folder.path, number))

        self.ranks.from_main(write)

    def _imitate(self) -> None:
        """Expert games, or the conversations of the replay file where experts do not know the words."""
        config, of = self.config, self.config.imitation
        seed = derive_seed(config.seed, "imitation")
        settings = replace(
            config.learner,
            lr=of.lr,
            minibatch=of.minibatch,
            schedule="cosine",
            warmup=min(20, of.steps // 5),
            total_steps=of.steps,
            per_round=False,
            epochs=1,
            kl=of.kl,
        )
        learner = Learner(self.model.model, config=settings)
        examples: Sequence[Example] = self._experts(of.games, seed, winners_only=of.winners_only)
        if of.kl > 0:
            anchored = [replace(row, kind="anchored-sft") for row in rows_of(examples)]
            examples = with_reference(self._scorer(self.model), anchored, config.learner.token_budget)
        rng = random.Random(derive_seed(seed, "order"))
        replayed = round(of.minibatch * of.replay_share) if self.session.words.everyday and config.replay != "none" else 0
        metrics: dict[str, float] = {}
        stopped = self._stopped_update(0, {"seed": seed}, learner)
        with self.progress.phase("imitation", of.steps, "steps") as advance, self.interrupts.held():
            for start in range(0, of.steps, CHUNK):
                steps = min(CHUNK, of.steps - start)
                rows: list[Example] = [rng.choice(examples) for _ in range(steps * (of.minibatch - replayed))]
                if start < stopped.get("start", 0):
                    continue
                rows += self._replay(steps * replayed, derive_seed(seed, "replay", start))
                metrics = learner.update(
                    rows,
                    seed=derive_seed(seed, start),
                    progress=lambda _, tokens: advance(1, tokens),
                    watch=partial(self._pause, 0, learner, {"seed": seed, "start": start}),
                    done=stopped["done"] if start == stopped.get("start") else None,
                )
        learner.publish()
        if learner.adapter:
            merge(self.model.model)
        if self.ranks.main:
            record = {"round": 0, "imitation_loss": metrics["sft_loss"], "imitation_steps": learner.steps}
            self.folder.append(self.folder.metrics, record)

    def _experts(self, games: int, seed: int, *, winners_only: bool) -> list[Row]:
        limit = self.model.loop.max_length
        rows = list(supervised(self._expert_talks(games, seed, winners_only=winners_only), self.model.format, limit))
        if not rows:
            raise ValueError(f"no conversation to imitate fits into the model's context of {limit} tokens")
        return rows

    def _expert_talks(self, games: int, seed: int, *, winners_only: bool) -> Sequence[Chat]:
        """Conversations of the file that is to be imitated, or of the replay file where scripted experts do not know the words, else of
        expert games."""
        session = self.session
        if session.taught is not None:
            return session.taught
        if not session.words.everyday and session.replay is not None:
            return session.replay
        played = expert_games(session.game, session.words.imitated or session.words.played, games, seed)
        return [Chat(view) for p in played for view in views(p, session.card.prompts, winners_only=winners_only)]

    def _replay(self, n: int, seed: int) -> list[Row]:
        """n replayed conversations, drawn by the seed; none where there is nothing to replay."""
        if n == 0 or self.config.replay == "none":
            return []
        if self.session.replay is not None:
            drawn: Iterator[Chat] = iter(random.Random(seed).choices(self.session.replay, k=n))
        else:
            drawn = map(Chat, islice(conversations(seed), 2 * n))
        rows = list(islice(supervised(drawn, self.model.format, self.model.loop.max_length), n))
        if not rows:
            raise ValueError("no conversation to replay fits into the model's context; set --replay none")
        return rows

    def _round(self, number: int, learner: Learner, log: Log | None, first: LanguageModel) -> None:
        config, again = self.config, (self.rollbacks,) if self.rollbacks else ()
        seed = derive_seed(config.seed, "round", number, *again)
        began = time.perf_counter()
        record: dict[str, Any] = {"round": number}
        sampled = 0
        played: list[Played] = []
        rows: Sequence[Example]
        if config.arm == "selfplay" and config.objective == "spin":
            rows = self.ranks.from_main(lambda: self._spin(number, seed))
            sampled = sum(row.actions for row in rows_of(rows)[1::2])
        elif config.arm == "selfplay":
            played, manner = self._games(number, seed)
            returns = shuffled_returns(played, seed) if config.shuffle_rewards else outcome_returns(played)
            rows = self._experience(played, returns)
            record |= describe(played, self.session.words.truth) | reward_spread(played, returns)
            self._watch(record, number)
            record |= manner
            sampled = sum(reply.tokens for p in played for reply in p.replies)
        else:
            like = None if config.arm_like is None else _tokens_of(config.arm_like, number)
            rows = self._expert_round(seed, like, winners_only=config.arm == "winning-expert")
        rows = self._against_reference(rows, first)
        if config.arm == "selfplay" and config.objective in PAIRED:
            record["pairs"] = len(rows)
        between = time.perf_counter()
        replay = self._replay(config.replay_pool, derive_seed(seed, "replay")) if rows else []
        about = {"seed": seed, "rows": _digest(rows)}
        with self.interrupts.held():
            stopped = self._stopped_update(number, about, learner)
            with self.progress.phase(f"round {number}/{config.rounds}: learn", len(rows) * config.learner.epochs, "rows") as advance:
                watch = partial(self._watch_step, number, about, learner)
                record |= learner.update(rows, seed=seed, replay=replay, progress=advance, watch=watch, done=stopped.get("done"))
            learner.publish()
            self.model.set_version(str(number))
            times = {"play_seconds": between - began, "learn_seconds": time.perf_counter() - between, "sampled_tokens": sampled}
            if number == 1:
                self.first_round = record
            if log is not None:
                self._record(number, record, times)
                log(number, {**scalars(record), **times}, {"games": as_text(played)} if played else {})
            self._save(number, learner.state_dict())
        self.progress.say(_line(number, config.rounds, record, time.perf_counter() - began))

    def _record(self, number: int, record: Mapping[str, Any], times: Mapping[str, float]) -> None:
        """Writes a round's metrics."""
        self.folder.append(self.folder.metrics, record)
        self.folder.append(self.folder.timings, {"round": number, **times})

    def _experience(self, played: list[Played], returns: Returns) -> list[Example]:
        """What is learnt from a round's games."""
        config = self.config
        dropped = config.drop if config.drop is not None else ("foul",) if config.objective == "spag" else ()
        retell = None if config.spag.prompts_as_played else retelling(taboo_wordings(self.session.card.prompts), self.model.format)
        rows, self.baselines = experience(
            played,
            without(returns, played, dropped),
            config.objective,
            self.baselines,
            roles=self.session.trained,
            corrections=config.spag,
            retell=retell,
        )
        return rows

    def _against_reference(self, rows: Sequence[Example], first: LanguageModel) -> Sequence[Example]:
        """Rows with their reference's log-probabilities, where these are not the sampler's."""
        config = self.config
        if config.arm != "selfplay":
            return rows
        if config.objective in PAIRED:
            frozen = config.learner.anchor == "first" and config.objective != "spin"
            return with_reference(self._scorer(first if frozen else self.model), rows, config.learner.token_budget)
        if config.objective == "spag" and config.spag.to_score:
            return with_reference(self._scorer(self.model), rows, config.learner.token_budget)
        return rows

    @staticmethod
    def _scorer(model: LanguageModel) -> Scorer:
        return Scorer(model.model, around=model.speaking)

    def _spin(self, number: int, seed: int) -> list[Pair]:
        """As many pairs as a round has games: an expert's utterance, and the model's own in its place."""
        config = self.config
        chats = self._expert_talks(config.games_per_round, derive_seed(seed, "experts"), winners_only=False)
        with self.progress.phase(f"round {number}/{config.rounds}: answer", config.games_per_round, "answers") as advance:
            return spin_pairs(
                chats,
                self.model,
                self.session.sampling,
                config.games_per_round,
                seed,
                concurrency=config.concurrency,
                progress=advance,
            )

    def _games(self, number: int, seed: int) -> tuple[list[Played], dict[str, float]]:
        """The games of a round, how many of their draws were near ties and how full batches were: those that are on the disk since an
        interrupted update, else played now, and on the disk before anything is learnt from them."""
        matches = self._matches(number, seed)
        kept = self.ranks.from_main(lambda: self._kept_games(number, seed, matches) is not None)
        found = self._kept_games(number, seed, matches) if kept else None
        if found is not None:
            return found
        loop = self.model.loop
        before = replace(loop.counters)
        batch = min(self.config.concurrency, loop.max_rows, -(-len(matches) // self.ranks.size))
        with self.progress.phase(f"round {number}/{self.config.rounds}: play", len(matches)) as advance:
            progress = counted(advance, self.ranks.size, lambda: loop.counters.occupancy(before, batch))
            played = self.ranks.play(matches, concurrency=self.config.concurrency, progress=progress, streams=True)
        told = self.ranks.gather((loop.counters.near_ties - before.near_ties, loop.counters.occupancy(before, batch)))
        manner = {"near_ties": sum(ties for ties, _ in told), "occupancy": sum(filled for _, filled in told) / len(told)}

        def write() -> None:
            games, streams = self.folder.games(number), self.folder.streams(number)
            streams.unlink(missing_ok=True)
            write_episodes(games, played)
            if self.session.game.replayable:
                write_streams(streams, played, games, {"seed": seed, **manner})

        self.ranks.from_main(write)
        return played, manner

    def _kept_games(self, number: int, seed: int, matches: Sequence[Match]) -> tuple[list[Played], dict[str, float]] | None:
        """The games of a round that are on the disk, and what else was counted; None where they are not, or are other ones."""
        streams = self.folder.streams(number)
        if not streams.is_file():
            return None
        try:
            played, about = read_played(streams, self.folder.games(number), matches)
        except ValueError as error:
            self.progress.say(f"the games of round {number} are played anew: {error}")
            return None
        return (played, about) if about.pop("seed") == seed else None

    def _matches(self, number: int, seed: int) -> list[Match]:
        config = self.config
        agents = self.session.agents(self.session.agent(self.model, config.model, trainable=True))
        words = self.session.words.in_round(number, config.rounds)
        tasks = round_tasks(words, config.games_per_round, config.group_size, seed, f"{number}")
        return [Match(task.id, self.session.game, task, agents, derive_seed(seed, task.id)) for task in tasks]

    def _expert_round(self, seed: int, tokens: int | None, *, winners_only: bool) -> list[Row]:
        """New expert games: as many as a round has, or until `tokens` are trained on."""
        rows = self._experts(self.config.games_per_round, seed, winners_only=winners_only)
        if tokens is None:
            return rows
        while sum(row.actions for row in rows) < tokens:
            rows += self._experts(self.config.games_per_round, derive_seed(seed, len(rows)), winners_only=winners_only)
        taken = total = 0
        while total < tokens:
            total += rows[taken].actions
            taken += 1
        return rows[:taken]

    def _control(self, measuring: Measuring, last: int) -> dict[str, Any] | None:
        """The model of round 0 after imitating experts with as many trained tokens as self-play had: what more of the same brings."""
        config = self.config
        if not (config.evaluation.control and last and config.arm == "selfplay" and self.session.words.everyday):
            return None
        path = self.folder.measurement("control")
        if not self.ranks.from_main(path.is_file):
            model = self._first_model(copy=True)
            learner = Learner(model.model, anchor=measuring.first.model, config=config.learner)
            model.adapter = learner.adapter
            with self.progress.phase("control: expert games, as many tokens", last, "rounds") as advance:
                for number in range(1, last + 1):
                    seed = derive_seed(config.seed, "control", number)
                    rows = self._expert_round(seed, _tokens_of(self.folder.path, number), winners_only=False)
                    learner.update(rows, seed=seed, replay=self._replay(config.replay_pool, derive_seed(seed, "replay")))
                    advance(1)
            learner.publish()
            model.set_version("control")
            found = measuring.of(model, last, "control")
            self.ranks.from_main(lambda: write_text(path, to_json(found)))
        return self.ranks.from_main(lambda: measuring.read("control"))


def _digest(examples: Sequence[Example]) -> str:
    """Tells rows to be learnt from from other ones."""
    digest = hashlib.sha256()
    for row in rows_of(examples):
        for part in (row.ids, row.action, row.advantages):
            digest.update(part.tobytes())
    return digest.hexdigest()


def _tokens_of(run: Path, number: int) -> int:
    """How many tokens a round of a run was trained on, replay apart. Raises ValueError where it has no such round."""
    for record in read_lines(RunFolder.open(run).metrics):
        if record["round"] == number and number > 0:
            return int(record.get("own_tokens", 0))
    raise ValueError(f"{run} has no round {number} to match")


def _line(number: int, rounds: int, record: Mapping[str, Any], seconds: float) -> str:
    """One round in a line."""
    parts = [f"round {number}/{rounds}"]
    games = record.get("games")
    if games:
        parts += [f"{name.removesuffix('_wins')} {record[name] / games:.0%}" for name in record if name.endswith("_wins")]
        parts.append(f"ties {record['ties'] / games:.0%}")
        if record["truth"] is not None:
            parts.append(f"true hints {record['truth']:.0%}")
        parts += [f"{name} {record['reasons'][name] / games:.0%}" for name in ("uttered", "silent") if record["reasons"].get(name)]
    parts += [f"{name} {record[name]:.3f}" for name in ("kl", "entropy") if name in record]
    return ", ".join([*parts, f"{seconds:.1f} s"])
