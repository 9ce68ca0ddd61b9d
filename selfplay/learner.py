"""The learner: updates a model from training rows and pairs of them. Runs on whatever accelerate was launched on.

Every loss is a sum over tokens, rows or pairs divided by the count of the *whole* optimiser step, so gradients depend on neither
micro-batches, padding nor the number of processes. All processes are given the same examples, and each takes its share of every step.
Log-probabilities are computed at action positions only.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from transformers import get_scheduler

from .batch import Example, Pair, Row, TokenBatch, collate, micro_batches, minibatches, rows_of
from .objectives import (
    anchored_sft_loss,
    clipped_policy_loss,
    dpo_loss,
    entropy,
    exact_kl,
    ipo_loss,
    kl_in_reward,
    row_means,
    row_sums,
    sampled_kl,
    token_logprobs,
)
from .spag import MICRO_BATCH, Corrections

SMALL_VOCABULARY = 8192
"""Up to this size the KL to the anchor is exact; above it is estimated on the sampled tokens."""


@dataclass(frozen=True)
class LearnerConfig:
    """The update."""

    lr: float = 3e-4
    """Learning rate of AdamW. 1e-3 destroyed facts and truth in self-play of a 1 M-parameter model."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's averaging."""
    epochs: int = 1
    """Passes over a round's rows. More: more learnt from a round, further off policy."""
    minibatch: int = 64
    """Rows (of pairs: pairs) in one optimiser step, without replay."""
    token_budget: int = 8192
    """Tokens in one forward pass, padding included. Decides memory, never results."""
    clip_low: float = 0.2
    """PPO clip below 1."""
    clip_high: float = 0.2
    """PPO clip above 1. Larger lets unlikely tokens grow faster."""
    kl: float = 0.1
    """Weight of KL(model || anchor). Larger: closer to it, slower to learn."""
    kl_form: Literal["auto", "exact", "sampled", "reward"] = "auto"
    """How the KL enters: exact (sum over the vocabulary), sampled (ratio * k3 on the tokens that were drawn), reward (k1, off the
    advantages, as SPAG has it), auto (exact for small vocabularies, else sampled)."""
    anchor: Literal["first", "played"] = "first"
    """The reference of KL, DPO and IPO: first (the model as it came, frozen), played (the weights that played the round, as in SPAG)."""
    beta: float = 0.1
    """DPO's and IPO's beta, SPIN's lambda, above 0. Larger: closer to the reference."""
    aggregation: Literal["token", "sequence", "constant"] = "token"
    """How tokens make a loss: mean over tokens; mean over rows of their token means; sum over tokens / (rows * constant) as Dr. GRPO."""
    constant: int = 64
    """Tokens that "constant" divides a row by."""
    replay_per_minibatch: int = 16
    """Replayed conversations in each optimiser step, where there is replay."""
    replay_weight: float = 0.5
    """Weight of the replay's loss."""
    grad_clip: float = 1.0
    """Largest norm of a step's gradient."""
    warmup: int = 0
    """Optimiser steps until the full learning rate."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """The learning rate after warm-up; cosine and linear fall to 0 at total_steps."""
    total_steps: int = 0
    """Optimiser steps of the whole run, for cosine and linear."""
    per_round: bool = False
    """Optimiser and schedule begin anew in every round and end with it, as SPAG's; total_steps is then what the round needs."""


class Learner:
    """Updates `model` in place of its float32 master weights and hands them back with `publish`.

    model: any causal model of transformers. Where its weights are not float32, a float32 copy is trained (under bfloat16 autocast on a
    GPU) and `publish` rounds it back. anchor: the frozen model of the KL penalty; None means no penalty, unless the anchor is the model
    that played, whose log-probabilities the rows hold. corrections: of policy rows, for SPAG's objective.
    """

    def __init__(
        self, model: Any, *, anchor: Any = None, config: LearnerConfig | None = None, corrections: Corrections | None = None
    ) -> None:
        self.config = config or LearnerConfig()
        self.corrections = corrections or Corrections()
        parameter = next(model.parameters())
        self.published = model
        own_master = parameter.dtype != torch.float32
        master = copy.deepcopy(model).float() if own_master else model
        master.requires_grad_(True)
        self.anchor = anchor if self.config.kl > 0 and self.config.anchor == "first" else None
        self.penalised = self.config.kl > 0 and (self.config.anchor == "played" or anchor is not None)
        self.accelerator = Accelerator(
            cpu=parameter.device.type == "cpu",
            mixed_precision="bf16" if own_master and parameter.device.type == "cuda" else "no",
        )
        optimizer = torch.optim.AdamW(
            master.parameters(), lr=self.config.lr, betas=self.config.betas, weight_decay=self.config.weight_decay
        )
        self.schedule = self._schedule(optimizer, self.config.total_steps or 1)
        # Dropout would make the ratio to the sampler noise, and a run that is resumed another run: it stays off.
        self.model, self.optimizer = self.accelerator.prepare(master.eval(), optimizer)
        self.steps = 0
        self._meter = _Meter()

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
        policy_loss, kl, entropy and clip_ratio/region_mean (each also per role, "attacker/kl"), sft_loss, replay_loss; means over pairs of
        preference_loss, rewards/chosen, rewards/rejected, rewards/margins, rewards/accuracies; mean over steps of
        grad_norm; mismatch_kl, the k3 estimate of KL(sampler || learner) before the first step; sampling/importance_sampling_ratio/max;
        learning_rate of the last step; steps; own_tokens, actions of the rows in one epoch, replay apart. No rows: nothing happens and the
        metrics are empty. Raises ValueError when the gradient is not finite; nothing has been changed by that step.
        """
        meter = self._meter = _Meter.of(done or {})
        skipped = len(meter.norms)
        if self.config.per_round:
            at_step = self.state_dict()
            self._begin_anew(self.config.epochs * len(minibatches(rows, self.config.minibatch, seed)))
            if done:
                self.load_state_dict(at_step)
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
                step = _Meter(own=sum(row.actions for row in rows_of(part)) if epoch == 0 else 0, first=not meter.norms)
                self._step(part, beside, step)
                self._agree(step)
                meter.take(step)
                if watch is not None:
                    watch(len(meter.norms), step.metrics())
                if progress is not None:
                    progress(len(part), sum(len(row.ids) for row in rows_of([*part, *beside])))
        return meter.metrics()

    @property
    def so_far(self) -> dict[str, Any]:
        """What the steps of the last update summed up to, as `update` takes it (JSON)."""
        return dict(vars(self._meter))

    def gradients(self, rows: Sequence[Example], replay: Sequence[Row] = ()) -> dict[str, Tensor]:
        """The gradient of one optimiser step over rows, by parameter name, without taking the step."""
        self._accumulate(list(rows), list(replay), _Meter())
        found = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
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
        master = self.accelerator.unwrap_model(self.model)
        if master is self.published:
            return
        with torch.no_grad():
            for target, source in zip(self.published.parameters(), master.parameters(), strict=True):
                target.copy_(source)

    def state_dict(self, *, weights: bool = False) -> dict[str, Any]:
        """Optimiser, schedule and step count; the master weights too where they are asked for, or are not the model's own."""
        master = self.accelerator.unwrap_model(self.model)
        own = {"master": master.state_dict()} if weights or master is not self.published else {}
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(), "steps": self.steps, **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.steps = state["steps"]
        if "master" in state:
            self.accelerator.unwrap_model(self.model).load_state_dict(state["master"])

    def _step(self, rows: list[Example], replay: list[Row], meter: "_Meter") -> None:
        self._accumulate(rows, replay, meter)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        if not torch.isfinite(norm):
            self.optimizer.zero_grad()
            raise ValueError(
                f"the gradient of step {self.steps + 1} is {float(norm)}: lower the learning rate (learner.lr {self.config.lr})"
            )
        self.optimizer.step()
        meter.stepped(float(norm), self.schedule.get_last_lr()[0])
        self.schedule.step()
        self.optimizer.zero_grad()
        self.steps += 1

    def _accumulate(self, examples: list[Example], replay: list[Row], meter: "_Meter") -> None:
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
            batch = collate(rows).to(self.accelerator.device)
            with self._sync(i == len(portions) - 1):
                # Data-parallel engines average gradients over processes; the norms are those of the whole step already.
                seen = meter if portion.norm < math.inf else _Meter()
                loss = self._loss(batch, rows, portion, seen) * portion.weight * self.accelerator.num_processes
                self.accelerator.backward(loss)

    def _portions(self, examples: list[Example], replay: list[Row], process: int = 0) -> "list[_Portion]":
        """What goes through the model together on a process: one kind at a time, normalised over the whole step."""
        groups: list[list[Any]] = [*([e for e in examples if e.kind == kind] for kind in KINDS), list(replay)]
        weights = [1.0] * len(KINDS) + [self.config.replay_weight]
        return [
            _Portion(part, self._norm(group), weight, i == len(KINDS))
            for i, (group, weight) in enumerate(zip(groups, weights, strict=True))
            for part in micro_batches(self._share(group, process), self.config.token_budget)
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

    def _agree(self, meter: "_Meter") -> None:
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
        """Lets processes exchange gradients at the last micro-batch alone."""
        if last:
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

    def _loss(self, batch: TokenBatch, rows: Sequence[Row], portion: "_Portion", meter: "_Meter") -> Tensor:
        logits = action_logits(self.model, batch)
        logprobs, whole = token_logprobs(logits, batch.targets, batch.temperature)
        kind = portion.examples[0].kind
        if kind in ("dpo", "ipo"):
            losses = self._pair_losses(batch, len(rows), kind, logprobs, meter)
        elif kind == "policy":
            losses = self._policy_losses(batch, rows, logprobs, whole, meter)
        elif kind == "anchored-sft":
            now, reference = (row_means(x, batch.at[0], len(rows)) for x in (logprobs, batch.logprobs))
            losses = anchored_sft_loss(now, reference, kl=self.config.kl)
            meter.add("", sft_loss=-logprobs)
        else:
            losses = -logprobs
            meter.add("", replay_loss=losses) if portion.replayed else meter.add("", sft_loss=losses)
        if self._by_row(kind):
            scale = torch.tensor([rows_of([e])[0].weight for e in portion.examples], device=losses.device)
        else:
            scale = batch.weights
            if self.config.aggregation == "sequence":
                counts = torch.bincount(batch.at[0], minlength=len(rows)).clamp(min=1)
                scale = scale / counts[batch.at[0]]
        return (losses * scale).sum() / portion.norm

    def _policy_losses(self, batch: TokenBatch, rows: Sequence[Row], logprobs: Tensor, whole: Tensor, meter: "_Meter") -> Tensor:
        """Of each token, or of each row where SPAG's ratio is not corrected."""
        of_anchor, anchor = self._anchored(batch)
        now, sampler, advantages, units = logprobs, batch.logprobs, batch.advantages, batch.at[0]
        if not self.corrections.token_ratio:
            now, sampler, of_anchor, advantages = (row_means(x, batch.at[0], len(rows)) for x in (now, sampler, of_anchor, advantages))
            units = torch.arange(len(rows), device=units.device)
        rewarded = self.penalised and self.config.kl_form == "reward"
        penalised = advantages
        if rewarded:
            penalised = kl_in_reward(advantages, now, of_anchor, kl=self.config.kl, detach=self.corrections.detached_kl)
        losses = clipped_policy_loss(now, sampler, penalised, low=self.config.clip_low, high=self.config.clip_high)
        seen = {"policy_loss": losses}
        if rewarded:
            seen["kl"] = now - of_anchor
        elif self.penalised:
            seen["kl"] = sampled_kl(now, sampler, of_anchor) if anchor is None else exact_kl(whole, anchor)
            losses = losses + self.config.kl * seen["kl"]
        meter.add_policy(seen, now - sampler, penalised, units, rows, self.config)
        meter.add_by_role({"entropy": entropy(whole.detach())}, batch.at[0], rows)
        return losses

    def _anchored(self, batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
        """The anchor's log-probabilities [A] of the actions, and its whole distributions [A, V] where the KL is to be exact."""
        if self.anchor is None:
            return batch.logprobs, None
        with torch.no_grad(), self.accelerator.autocast():
            of_targets, whole = token_logprobs(action_logits(self.anchor, batch), batch.targets, batch.temperature)
        small = whole.shape[-1] <= SMALL_VOCABULARY
        exact = self.config.kl_form == "exact" or (self.config.kl_form == "auto" and small)
        return of_targets, whole if exact else None

    def _pair_losses(self, batch: TokenBatch, rows: int, kind: str, logprobs: Tensor, meter: "_Meter") -> Tensor:
        ratios = row_sums(logprobs - batch.logprobs, batch.at[0], rows)
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


def with_reference(model: Any, examples: Sequence[Example], token_budget: int) -> list[Example]:
    """The same examples with the log-probabilities that a model gives their actions, at each row's temperature: a reference."""
    rows = rows_of(examples)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    device = next(model.parameters()).device
    scored: dict[int, Row] = {}
    places = iter(order)
    for part in micro_batches([rows[i] for i in order], token_budget):
        batch = collate(part).to(device)
        with torch.no_grad():
            logprobs, _ = token_logprobs(action_logits(model, batch), batch.targets, batch.temperature)
        for row, values in zip(part, logprobs.cpu().split([row.actions for row in part]), strict=True):
            stored = row.logprobs.copy()
            stored[row.action] = values.numpy()
            scored[next(places)] = replace(row, logprobs=stored)
    new = iter(scored[i] for i in range(len(rows)))
    return [replace(e, chosen=next(new), rejected=next(new)) if isinstance(e, Pair) else next(new) for e in examples]


def action_logits(model: Any, batch: TokenBatch) -> Tensor:
    """The logits [A, V] that predict the actions of a batch; the model's head runs at these places alone.

    The head is whatever the model's own forward does with hidden states (scaling and soft-capping included): only its input is cut.
    """
    head = _unwrapped(model).get_output_embeddings()
    rows, places = batch.at[0], batch.at[1]
    handle = head.register_forward_pre_hook(lambda _, args: (args[0][rows, places][None], *args[1:]))
    try:
        # Padding is on the right, where causal attention never looks: no mask is needed, and without one the fast kernels are used.
        output = model(input_ids=batch.ids, use_cache=False)
    finally:
        handle.remove()
    logits: Tensor = output.logits[0]
    return logits


def _unwrapped(model: Any) -> Any:
    return getattr(model, "module", model)


class _Meter:
    """Sums what a step, or a round of them, looked like. own: trained tokens. first: whether the step is the first since sampling."""

    def __init__(self, own: int = 0, *, first: bool = False) -> None:
        self.own = own
        self.first = first
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.norms: list[float] = []
        self.largest = 1.0
        self.rate = 0.0

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "_Meter":
        """The meter whose variables were these."""
        meter = cls()
        vars(meter).update(copy.deepcopy(dict(found)))
        return meter

    def add(self, prefix: str, **values: Tensor) -> None:
        for name, value in values.items():
            key = prefix + name
            self.sums[key] = self.sums.get(key, 0.0) + float(value.detach().sum())
            self.counts[key] = self.counts.get(key, 0) + value.numel()

    def add_by_role(self, values: dict[str, Tensor], units: Tensor, rows: Sequence[Row]) -> None:
        """Values [U], in all and by role; units [U]: the row of each."""
        self.add("", **values)
        for role in {row.role for row in rows} - {""}:
            own = torch.tensor([row.role == role for row in rows], device=units.device)[units]
            self.add(f"{role}/", **{name: value[own] for name, value in values.items()})

    def add_policy(
        self, seen: dict[str, Tensor], change: Tensor, advantages: Tensor, units: Tensor, rows: Sequence[Row], config: LearnerConfig
    ) -> None:
        """change [U]: the logarithm of the ratio to the sampler."""
        change = change.detach()
        ratio = change.exp()
        outside = ((ratio > 1 + config.clip_high) & (advantages > 0)) | ((ratio < 1 - config.clip_low) & (advantages < 0))
        self.add_by_role({**seen, "clip_ratio/region_mean": outside.float()}, units, rows)
        self.largest = max(self.largest, float(ratio.max()))
        if self.first:
            self.add("", mismatch_kl=ratio - 1 - change)

    def stepped(self, norm: float, rate: float) -> None:
        self.norms.append(norm)
        self.rate = rate

    def take(self, other: "_Meter") -> None:
        """Adds another's sums to these."""
        for name, value in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]
        self.own += other.own
        self.norms += other.norms
        self.largest = max(self.largest, other.largest)
        self.rate = other.rate

    def metrics(self) -> dict[str, float]:
        if not self.norms:
            return {}
        found = {name: self.sums[name] / self.counts[name] for name in sorted(self.sums)}
        found["grad_norm"] = sum(self.norms) / len(self.norms)
        found["sampling/importance_sampling_ratio/max"] = self.largest
        found["learning_rate"] = self.rate
        found["steps"] = len(self.norms)
        found["own_tokens"] = self.own
        return found
