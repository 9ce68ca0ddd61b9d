"""The learner: updates a model from training rows and pairs of them. Runs on whatever accelerate was launched on.

Every loss is a sum over tokens, rows or pairs divided by the count of the *whole* optimiser step, so gradients depend on neither
micro-batches, padding nor the number of processes. All processes are given the same examples, and each takes its share of every step.
Log-probabilities are computed at action positions only.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import gather_object
from torch import Tensor
from transformers import get_scheduler

from sparring.agents.adapters import through

from . import lora, sharding
from .batch import Example, Row, TokenBatch, collate, micro_batches, minibatches, rows_of
from .config import Corrections, LearnerConfig
from .meter import Meter
from .objectives import (
    anchored_sft_loss,
    clipped_policy_loss,
    dpo_loss,
    ipo_loss,
    kl_in_reward,
    row_means,
    row_sums,
    sampled_kl,
)
from .ranks import Ranks
from .recomputing import checkpointed_layers, recomputing
from .scoring import Scorer, Scores, with_reference
from .spag import MICRO_BATCH

SMALL_VOCABULARY = 8192
"""Up to this size the KL to the anchor is exact; above it is estimated on the sampled tokens."""


class Learner:
    """Updates `model` in place of its float32 master weights and hands them back with `publish`.

    model: any causal model of transformers. Where its weights are not float32, a float32 copy is trained (under bfloat16 autocast on a
    GPU) and `publish` rounds it back. With a LoRA rank the adapter `adapter` is put into the model, fresh, and trained in float32. anchor:
    the frozen model of the KL penalty, of which LoRA makes no use, as it is the model with the adapter off; None means no penalty, unless
    the anchor is the model that played, whose log-probabilities the rows hold. corrections: of policy rows, for SPAG's objective.
    """

    def __init__(
        self, model: Any, *, anchor: Any = None, config: LearnerConfig | None = None, corrections: Corrections | None = None
    ) -> None:
        self.config = config or LearnerConfig()
        self.corrections = corrections or Corrections()
        parameter = next(model.parameters())
        self.published = model
        self.adapter = lora.NAME if self.config.lora_rank else None
        self.penalised = self.config.kl > 0 and (self.config.anchor == "played" or anchor is not None)
        on_cpu, rounded = parameter.device.type == "cpu", parameter.dtype != torch.float32 and self.adapter is None
        # A process may train several models, each in its own precision; accelerate shares one among all and refuses another. Its
        # `_reset_state` would empty the dictionaries that earlier ones still look into.
        AcceleratorState._shared_state = {}
        if sharding.wanted():
            PartialState._shared_state = {}
        self.accelerator = Accelerator(
            cpu=on_cpu,
            mixed_precision="bf16" if rounded and not on_cpu else "no",
            fsdp_plugin=sharding.plugin(half=rounded and not on_cpu),
        )
        self.split = self.accelerator.is_fsdp2
        master = model
        if rounded or self.split:
            # Split parts go to the GPU one by one; all at once they may not fit beside the model that plays.
            master = copy.deepcopy(model).to("cpu" if self.split else parameter.device, torch.float32)
        parameters = lora.begin(master, self.config.lora_rank) if self.adapter else list(master.requires_grad_(True).parameters())
        optimizer = torch.optim.AdamW(parameters, lr=self.config.lr, betas=self.config.betas, weight_decay=self.config.weight_decay)
        self.schedule = self._schedule(optimizer, self.config.total_steps or 1)
        # Dropout would make the ratio to the sampler noise, and a run that is resumed another run: it stays off.
        master.eval()
        self.scorer = Scorer(model if self.split else master)  # which tries what it allows, on its device
        self.checkpointed = checkpointed_layers(master) if self.config.gradient_checkpointing else []
        self.model, self.optimizer = self.accelerator.prepare(sharding.Whole(master) if self.split else master, optimizer)
        self.scorer.model = self.model
        self.anchor: Scorer | None = None
        if anchor is not None and self.config.kl > 0 and self.config.anchor == "first":
            # Not as the engine wraps it, whose passes exchange things: each process scores rows of its own.
            self.anchor = Scorer(model if self.adapter else anchor, packs=self.scorer.packs, around=self._as_anchor)
        self.steps = 0
        self._meter = Meter()

    @contextmanager
    def _as_anchor(self) -> Iterator[None]:
        """Around the anchor's passes."""
        with self.accelerator.autocast(), through(self.published, None) if self.adapter else nullcontext():
            yield

    @property
    def _exact(self) -> bool:
        """Whether the KL to the anchor is computed from whole distributions."""
        small = self.config.kl_form == "auto" and self.scorer.vocabulary <= SMALL_VOCABULARY
        return self.anchor is not None and (small or self.config.kl_form == "exact")

    def _schedule(self, optimizer: Any, total_steps: int) -> Any:
        # NOTE: the schedule counts optimiser steps; wrapped by accelerate it would count processes too.
        return get_scheduler(
            "constant_with_warmup" if self.config.schedule == "constant" else self.config.schedule,
            optimizer,
            num_warmup_steps=self.config.warmup,
            num_training_steps=total_steps,
        )

    def update(
        self,
        rows: Sequence[Example],
        *,
        seed: int,
        replay: Sequence[Row] = (),
        progress: Callable[[int, int], None] | None = None,
        watch: Callable[[int, dict[str, float]], None] | None = None,
        done: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        """Learns from rows or pairs, `epochs` times, in minibatches drawn by the seed; returns metrics (docs/metrics.md explains them).

        replay: rows to imitate beside them, taken in turn. progress: called after each step with rows and tokens done. watch: called after
        each step with its number in this update, from 1, and its own metrics; what it raises ends the update. done: what `so_far` was when
        this very update was interrupted; the learner is at that step. Metrics: means over tokens of
        policy_loss, kl, clip_ratio/region_mean and (of pairs too) entropy, each also per role ("attacker/kl"), sft_loss, replay_loss; means
        over pairs of preference_loss, rewards/chosen, rewards/rejected, rewards/margins, rewards/accuracies; mean over steps of grad_norm;
        of policy rows sampling/importance_sampling_ratio/max, and where they hold the sampler's own log-probabilities mismatch_kl, the k3
        estimate of KL(sampler || learner) before the first step; learning_rate of the last step; steps; own_tokens, actions of the rows in
        one epoch, replay apart. No rows: nothing happens and the metrics are empty. A step whose gradient is not finite changes nothing:
        `watch` sees it with an infinite grad_norm, and where that is let pass, ValueError is raised.
        """
        meter = self._meter = Meter.of(done or {})
        skipped = len(meter.norms)
        rows = self._referred(rows)
        if self.config.per_round:
            at_step = self.optimizer.state_dict(), self.schedule.state_dict()
            self._begin_anew(self.config.epochs * len(minibatches(rows, self.config.minibatch, seed)))
            if done:
                self.optimizer.load_state_dict(at_step[0])
                self.schedule.load_state_dict(at_step[1])
        given = 0
        for epoch in range(self.config.epochs):
            for part in minibatches(rows, self.config.minibatch, seed + epoch):
                beside: list[Row] = []
                if replay:
                    beside = [replay[(given + i) % len(replay)] for i in range(self.config.replay_per_minibatch)]
                    given += len(beside)
                if skipped:
                    skipped -= 1
                    continue
                own = sum(row.actions for row in rows_of(part)) if epoch == 0 else 0
                # Where the reference was scored by the learner's own weights, a comparison with it says nothing of the sampler.
                step = Meter(own, first=not meter.norms and not self.corrections.to_score)
                finite = self._step(part, beside, step)
                self._agree(step)
                if finite:
                    meter.take(step)
                if watch is not None:
                    watch(len(meter.norms) + (not finite), step.metrics())
                if not finite:
                    raise ValueError(f"the gradient of step {self.steps + 1} is not finite: lower its learning rate ({self.config.lr:g})")
                if progress is not None:
                    progress(len(part), sum(len(row.ids) for row in rows_of([*part, *beside])))
        return meter.metrics()

    @property
    def so_far(self) -> dict[str, Any]:
        """What the steps of the last update summed up to, as `update` takes it (JSON)."""
        return dict(vars(self._meter))

    def gradients(self, rows: Sequence[Example], replay: Sequence[Row] = ()) -> dict[str, Tensor]:
        """The gradient of one optimiser step over rows, by parameter name, without taking the step."""
        self._accumulate(self._referred(rows), list(replay), Meter())
        found = {name: sharding.whole(p.grad).clone() for name, p in self.model.named_parameters() if p.grad is not None}
        self.optimizer.zero_grad()
        return found

    def _begin_anew(self, steps: int) -> None:
        """Forgets Adam's averages and begins a schedule of so many steps."""
        self.optimizer.state.clear()
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self.schedule = self._schedule(self.optimizer.optimizer, steps)

    def set_learning_rate(self, lr: float) -> None:
        """What the schedule scales from now on."""
        for group in self.optimizer.param_groups:
            group["lr"] *= lr / group["initial_lr"]
            group["initial_lr"] = lr
        self.schedule.base_lrs = [lr] * len(self.schedule.base_lrs)
        self.schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def publish(self) -> None:
        """Writes the trained weights into the model that was given."""
        master = self.scorer.unwrapped
        if master is self.published:
            return
        with torch.no_grad():
            for target, source in zip(self.published.parameters(), master.parameters(), strict=True):
                target.copy_(sharding.whole(source))

    def state_dict(self, *, weights: bool = False) -> dict[str, Any]:
        """Optimiser, schedule and step count; what is trained too (all weights, or the adapter) where it is asked for, or where it is not
        the model's own. Where weights are split, all processes have to ask, and the main process alone gets the tensors."""
        master = self.scorer.unwrapped
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(), "steps": self.steps}
        if weights or master is not self.published:
            trained = {name for name, parameter in master.named_parameters() if parameter.requires_grad}
            state["master"] = {name: value for name, value in master.state_dict().items() if not self.adapter or name in trained}
        return sharding.gathered(state, keep=self.accelerator.is_main_process) if self.split else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        master = self.scorer.unwrapped
        self.optimizer.load_state_dict(self._split_optimizer(state["optimizer"]) if self.split else state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.steps = state["steps"]
        if "master" in state:
            own = master.state_dict()
            master.load_state_dict(
                {name: sharding.part(value, own[name]) for name, value in state["master"].items()}, strict=not self.adapter
            )

    def _split_optimizer(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """An optimiser's state with this process's parts of Adam's averages, which are of their parameters' shapes."""
        parameters = list(self.model.parameters())
        split = {i: {name: sharding.part(value, parameters[i]) for name, value in of.items()} for i, of in state["state"].items()}
        return {**state, "state": split}

    def _step(self, rows: list[Example], replay: list[Row], meter: "Meter") -> bool:
        """Takes an optimiser step where its gradient is finite; whether it was."""
        self._accumulate(rows, replay, meter)
        norm = sharding.whole(self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.grad_clip))
        finite = bool(torch.isfinite(norm))
        meter.stepped(float(norm) if finite else math.inf, self.schedule.get_last_lr()[0])
        if finite:
            self.optimizer.step()
            self.schedule.step()
            self.steps += 1
        self.optimizer.zero_grad()
        return finite

    def _accumulate(self, examples: list[Example], replay: list[Row], meter: "Meter") -> None:
        """Adds up the gradient of one optimiser step, portion by portion."""
        make = self._portions if self.corrections.global_norm else self._published_portions
        by_process = [make(examples, replay, process) for process in range(self.accelerator.num_processes)]
        portions = by_process[self.accelerator.process_index]
        # Engines exchange gradients, or weights, in these passes: all processes make as many.
        missing = max(map(len, by_process)) - len(portions)
        if missing:
            shortest = min([*examples, *replay], key=_length)
            portions = [_Portion([shortest], math.inf, 1.0, False)] * missing + portions
        for i, portion in enumerate(portions):
            rows = rows_of(portion.examples)
            batch = collate(rows, packed=self.scorer.packs).to(self.accelerator.device)
            with self._sync(i == len(portions) - 1), self.scorer.attending(batch), recomputing(self.checkpointed):
                # Data-parallel engines average gradients over processes; the norms are those of the whole step already.
                seen = meter if portion.norm < math.inf else Meter()
                loss = self._loss(batch, rows, portion, seen) * portion.weight * self.accelerator.num_processes
                self.accelerator.backward(loss)

    def _portions(self, examples: list[Example], replay: list[Row], process: int = 0) -> "list[_Portion]":
        """What goes through the model together on a process: one kind at a time, normalised over the whole step, and weighed by its share
        of the examples."""
        groups: list[list[Any]] = [*([e for e in examples if e.kind == kind] for kind in KINDS), list(replay)]
        weights = [len(group) / max(len(examples), 1) for group in groups[:-1]] + [self.config.replay_weight]
        return [
            _Portion(part, self._norm(group), weight, i == len(KINDS))
            for i, (group, weight) in enumerate(zip(groups, weights, strict=True))
            for part in micro_batches(self._share(group, process), self.config.token_budget, packed=self.scorer.packs)
        ]

    def _share(self, examples: list[Any], process: int) -> list[Any]:
        """What a process takes of examples: of all lengths alike."""
        return sorted(examples, key=_length)[process :: self.accelerator.num_processes]

    def _published_portions(self, examples: list[Example], replay: list[Row], process: int = 0) -> "list[_Portion]":
        """SPAG's: micro-batches of rows and replay mixed by chance, each normalised by itself, then averaged."""
        mixed = [(e, False) for e in examples] + [(e, True) for e in replay]
        random.Random(self.steps).shuffle(mixed)
        parts = [mixed[i : i + MICRO_BATCH] for i in range(0, len(mixed), MICRO_BATCH)]
        found = []
        for part in parts[process :: self.accelerator.num_processes]:
            for replayed, weight in ((False, 1.0), (True, self.config.replay_weight)):
                own = [e for e, of_replay in part if of_replay == replayed]
                if own:
                    found.append(_Portion(own, self._norm(own) * len(parts), weight, replayed))
        return found

    def _agree(self, meter: "Meter") -> None:
        """Makes what a step looked like on this process what it looked like on all of them."""
        if self.accelerator.num_processes > 1:
            seen = gather_object([(meter.sums, meter.counts, meter.largest)])
            meter.sums, meter.counts = {}, {}
            for sums, counts, largest in seen:
                for name, value in sums.items():
                    meter.sums[name] = meter.sums.get(name, 0.0) + value
                    meter.counts[name] = meter.counts.get(name, 0) + counts[name]
                meter.largest = max(meter.largest, largest)

    @contextmanager
    def _sync(self, last: bool) -> Iterator[None]:
        """Lets processes exchange gradients at the last micro-batch alone; where weights are split, at each, as whole gradients would not
        fit."""
        if last or self.split:
            yield
        else:
            with self.accelerator.no_sync(self.model):
                yield

    def _by_row(self, kind: str) -> bool:
        """Whether a kind's loss is one of rows (or pairs), not of tokens."""
        return kind not in ("policy", "sft") or (kind == "policy" and not self.corrections.token_ratio)

    def _norm(self, examples: Sequence[Example]) -> float:
        """What the loss sum of these examples, all of one kind, is divided by."""
        if self.config.aggregation == "sequence" or (examples and self._by_row(examples[0].kind)):
            return float(len(examples))
        if self.config.aggregation == "token":
            return float(sum(row.actions for row in rows_of(examples)))
        return float(len(examples) * self.config.constant)

    def _loss(self, batch: TokenBatch, rows: Sequence[Row], portion: "_Portion", meter: "Meter") -> Tensor:
        kind = portion.examples[0].kind
        policy = kind == "policy"
        sampled = policy or kind in ("dpo", "ipo")
        scores = self.scorer.score(batch, entropies=sampled, anchor=self.anchor if policy and self._exact else None)
        logprobs = scores.logprobs
        if kind in ("dpo", "ipo"):
            losses = self._pair_losses(batch, len(rows), kind, logprobs, meter)
        elif kind == "policy":
            losses = self._policy_losses(batch, rows, scores, meter)
        elif kind == "anchored-sft":
            now, reference = (row_means(x, batch.rows, len(rows)) for x in (logprobs, batch.logprobs))
            losses = anchored_sft_loss(now, reference, kl=self.config.kl)
            meter.add("", sft_loss=-logprobs)
        else:
            losses = -logprobs
            meter.add("", replay_loss=losses) if portion.replayed else meter.add("", sft_loss=losses)
        if scores.entropy is not None:
            meter.add_by_role({"entropy": scores.entropy}, batch.rows, rows)
        if self._by_row(kind):
            scale = torch.tensor([rows_of([e])[0].weight for e in portion.examples], device=losses.device)
        else:
            scale = batch.weights
            if self.config.aggregation == "sequence":
                counts = torch.bincount(batch.rows, minlength=len(rows)).clamp(min=1)
                scale = scale / counts[batch.rows]
        return (losses * scale).sum() / portion.norm

    def _policy_losses(self, batch: TokenBatch, rows: Sequence[Row], scores: Scores, meter: Meter) -> Tensor:
        """Of each token, or of each row where SPAG's ratio is not corrected."""
        now, sampler, advantages, units = scores.logprobs, batch.logprobs, batch.advantages, batch.rows
        of_anchor = sampler if batch.reference is None else batch.reference
        if not self.corrections.token_ratio:
            now, sampler, of_anchor, advantages = (row_means(x, batch.rows, len(rows)) for x in (now, sampler, of_anchor, advantages))
            units = torch.arange(len(rows), device=units.device)
        rewarded = self.penalised and self.config.kl_form == "reward"
        penalised = advantages
        if rewarded:
            penalised = kl_in_reward(advantages, now, of_anchor, kl=self.config.kl, detach=self.corrections.detached_kl)
        low, high = self.config.clip_low, self.config.clip_high
        losses = clipped_policy_loss(now, sampler, penalised, low=low, high=high)
        seen = {"policy_loss": losses}
        if rewarded:
            seen["kl"] = now - of_anchor
        elif self.penalised:
            seen["kl"] = sampled_kl(now, sampler, of_anchor) if scores.kl is None else scores.kl
            losses = losses + self.config.kl * seen["kl"]
        meter.add_policy(seen, now - sampler, penalised, units, rows, low=low, high=high)
        return losses

    def _referred(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples; where the KL is taken on their tokens alone, with the anchor's log-probabilities, computed once for all
        steps."""
        if self.anchor is None or self._exact:
            return list(examples)
        own = [e for e in examples if e.kind == "policy"]
        ranks = Ranks(self.accelerator.process_index, self.accelerator.num_processes)
        referred = iter(with_reference(self.anchor, own, self.config.token_budget, apart=True, ranks=ranks))
        return [next(referred) if e.kind == "policy" else e for e in examples]

    def _pair_losses(self, batch: TokenBatch, rows: int, kind: str, logprobs: Tensor, meter: "Meter") -> Tensor:
        ratios = row_sums(logprobs - batch.logprobs, batch.rows, rows)
        chosen, rejected = ratios[0::2], ratios[1::2]
        loss = dpo_loss if kind == "dpo" else ipo_loss
        losses = loss(chosen, rejected, beta=self.config.beta)
        rewards = {"rewards/chosen": self.config.beta * chosen, "rewards/rejected": self.config.beta * rejected}
        margins = self.config.beta * (chosen - rejected)
        rewards |= {"rewards/margins": margins, "rewards/accuracies": (margins > 0).float()}
        meter.add("", preference_loss=losses, **rewards)
        return losses


KINDS = ("policy", "sft", "anchored-sft", "dpo", "ipo")
"""What examples can be; every kind goes through the model by itself."""


class _Portion(NamedTuple):
    """Examples of one kind that go through the model together. norm: what the sum of their losses is divided by; weight: of the loss."""

    examples: Sequence[Example]
    norm: float
    weight: float
    replayed: bool


def _length(example: Example) -> int:
    return max(len(row.ids) for row in rows_of([example]))
