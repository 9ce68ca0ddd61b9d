"""The learner: updates a model from training rows. Runs on whatever accelerate was launched on.

Every loss is a sum over tokens divided by the count of the *whole* optimiser step, so gradients depend on neither micro-batches, padding
nor the number of processes. Log-probabilities are computed at action positions only.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import get_scheduler

from .batch import Row, TokenBatch, collate, micro_batches, minibatches
from .objectives import clipped_policy_loss, entropy, exact_kl, sampled_kl, token_logprobs

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
    """Rows in one optimiser step, without replay."""
    token_budget: int = 8192
    """Tokens in one forward pass, padding included. Decides memory, never results."""
    clip_low: float = 0.2
    """PPO clip below 1."""
    clip_high: float = 0.2
    """PPO clip above 1. Larger lets unlikely tokens grow faster."""
    kl: float = 0.1
    """Weight of KL(model || anchor); the anchor is the model as it came. Larger: closer to it, slower to learn."""
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


class Learner:
    """Updates `model` in place of its float32 master weights and hands them back with `publish`.

    model: any causal model of transformers. Where its weights are not float32, a float32 copy is trained (under bfloat16 autocast on a
    GPU) and `publish` rounds it back. anchor: the frozen model of the KL penalty; None means no penalty.
    """

    def __init__(self, model: Any, *, anchor: Any = None, config: LearnerConfig | None = None) -> None:
        self.config = config or LearnerConfig()
        parameter = next(model.parameters())
        self.published = model
        own_master = parameter.dtype != torch.float32
        master = copy.deepcopy(model).float() if own_master else model
        master.requires_grad_(True)
        self.anchor = anchor if self.config.kl > 0 else None
        self.accelerator = Accelerator(
            cpu=parameter.device.type == "cpu",
            mixed_precision="bf16" if own_master and parameter.device.type == "cuda" else "no",
        )
        optimizer = torch.optim.AdamW(
            master.parameters(), lr=self.config.lr, betas=self.config.betas, weight_decay=self.config.weight_decay
        )
        # NOTE: the schedule counts optimiser steps; wrapped by accelerate it would count processes too.
        self.schedule = get_scheduler(
            "constant_with_warmup" if self.config.schedule == "constant" else self.config.schedule,
            optimizer,
            num_warmup_steps=self.config.warmup,
            num_training_steps=self.config.total_steps or None,
        )
        # Dropout would make the ratio to the sampler noise, and a run that is resumed another run: it stays off.
        self.model, self.optimizer = self.accelerator.prepare(master.eval(), optimizer)
        self.steps = 0

    def update(
        self,
        rows: Sequence[Row],
        *,
        seed: int,
        replay: Sequence[Row] = (),
        progress: Callable[[int, int], None] | None = None,
        watch: Callable[[int, dict[str, float]], None] | None = None,
    ) -> dict[str, float]:
        """Learns from rows, `epochs` times, in minibatches drawn by the seed; returns metrics (docs/metrics.md says what they mean).

        replay: rows to imitate beside them, taken in turn. progress: called after each step with rows and tokens done. watch: called after
        each step with its number in this update, from 1, and its own metrics; what it raises ends the update. Metrics: means over tokens of
        policy_loss, kl, entropy and clip_ratio/region_mean (each also per role, "attacker/kl"), sft_loss, replay_loss; mean over steps of
        grad_norm; mismatch_kl, the k3 estimate of KL(sampler || learner) before the first step; sampling/importance_sampling_ratio/max;
        learning_rate of the last step; steps; own_tokens, actions of the rows in one epoch, replay apart. No rows: nothing happens and the
        metrics are empty. Raises ValueError when the gradient is not finite; nothing has been changed by that step.
        """
        meter = _Meter()
        given = 0
        for epoch in range(self.config.epochs):
            for part in minibatches(rows, self.config.minibatch, seed + epoch):
                beside: list[Row] = []
                if replay:
                    beside = [replay[(given + i) % len(replay)] for i in range(self.config.replay_per_minibatch)]
                    given += len(beside)
                step = _Meter(own=sum(row.actions for row in part) if epoch == 0 else 0, first=not meter.norms)
                self._step(part, beside, step)
                meter.take(step)
                if watch is not None:
                    watch(len(meter.norms), step.metrics())
                if progress is not None:
                    progress(len(part), sum(len(row.ids) for row in (*part, *beside)))
        return meter.metrics()

    def gradients(self, rows: Sequence[Row], replay: Sequence[Row] = ()) -> dict[str, Tensor]:
        """The gradient of one optimiser step over rows, by parameter name, without taking the step."""
        self._accumulate(list(rows), list(replay), _Meter())
        found = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        self.optimizer.zero_grad()
        return found

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

    def state_dict(self) -> dict[str, Any]:
        """Optimiser, schedule and step count; the master weights too where they are not the model's own."""
        master = self.accelerator.unwrap_model(self.model)
        own = {} if master is self.published else {"master": master.state_dict()}
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(), "steps": self.steps, **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.steps = state["steps"]
        if "master" in state:
            self.accelerator.unwrap_model(self.model).load_state_dict(state["master"])

    def _step(self, rows: list[Row], replay: list[Row], meter: "_Meter") -> None:
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

    def _accumulate(self, rows: list[Row], replay: list[Row], meter: "_Meter") -> None:
        """Adds up the gradient of one optimiser step, micro-batch by micro-batch."""
        policy = [row for row in rows if row.kind == "policy"]
        imitated = [row for row in rows if row.kind == "sft"]
        mine = [self._norm(policy), self._norm(imitated), self._norm(replay)]
        norms = self.accelerator.reduce(torch.tensor(mine, device=self.accelerator.device), "sum").tolist()
        groups = [
            (part, norm, weight, kind is replay)
            for kind, norm, weight in zip((policy, imitated, replay), norms, (1.0, 1.0, self.config.replay_weight), strict=True)
            if kind
            for part in micro_batches(kind, self.config.token_budget)
        ]
        for i, (part, norm, weight, replayed) in enumerate(groups):
            batch = collate(part).to(self.accelerator.device)
            with self._sync(i == len(groups) - 1):
                # Data-parallel engines average gradients over processes; the norms are global sums already.
                loss = self._loss(batch, part, norm, meter, replayed) * weight * self.accelerator.num_processes
                self.accelerator.backward(loss)

    @contextmanager
    def _sync(self, last: bool) -> Iterator[None]:
        """Lets processes exchange gradients at the last micro-batch alone."""
        if last:
            yield
        else:
            with self.accelerator.no_sync(self.model):
                yield

    def _norm(self, rows: Sequence[Row]) -> float:
        """What the loss sum of these rows is divided by."""
        if self.config.aggregation == "token":
            return float(sum(row.actions for row in rows))
        if self.config.aggregation == "sequence":
            return float(len(rows))
        return float(len(rows) * self.config.constant)

    def _loss(self, batch: TokenBatch, rows: Sequence[Row], norm: float, meter: "_Meter", replayed: bool) -> Tensor:
        logits = action_logits(self.model, batch)
        logprobs, whole = token_logprobs(logits, batch.targets, batch.temperature)
        if rows[0].kind == "sft":
            losses = -logprobs
            meter.add("", replay_loss=losses) if replayed else meter.add("", sft_loss=losses)
        else:
            losses = clipped_policy_loss(logprobs, batch.logprobs, batch.advantages, low=self.config.clip_low, high=self.config.clip_high)
            seen = {"policy_loss": losses, "entropy": entropy(whole.detach())}
            if self.anchor is not None:
                seen["kl"] = self._anchor_kl(batch, logprobs, whole)
                losses = losses + self.config.kl * seen["kl"]
            meter.add_policy(seen, logprobs, batch, rows, self.config)
        scale = batch.weights
        if self.config.aggregation == "sequence":
            counts = torch.bincount(batch.at[0], minlength=len(rows)).clamp(min=1)
            scale = scale / counts[batch.at[0]]
        return (losses * scale).sum() / norm

    def _anchor_kl(self, batch: TokenBatch, logprobs: Tensor, whole: Tensor) -> Tensor:
        with torch.no_grad(), self.accelerator.autocast():
            of_targets, anchor = token_logprobs(action_logits(self.anchor, batch), batch.targets, batch.temperature)
        if anchor.shape[-1] <= SMALL_VOCABULARY:
            return exact_kl(whole, anchor)
        return sampled_kl(logprobs, batch.logprobs, of_targets)


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

    def add(self, prefix: str, **values: Tensor) -> None:
        for name, value in values.items():
            key = prefix + name
            self.sums[key] = self.sums.get(key, 0.0) + float(value.detach().sum())
            self.counts[key] = self.counts.get(key, 0) + value.numel()

    def add_policy(self, seen: dict[str, Tensor], logprobs: Tensor, batch: TokenBatch, rows: Sequence[Row], config: LearnerConfig) -> None:
        change = (logprobs - batch.logprobs).detach()
        ratio = change.exp()
        outside = ((ratio > 1 + config.clip_high) & (batch.advantages > 0)) | ((ratio < 1 - config.clip_low) & (batch.advantages < 0))
        seen = {**seen, "clip_ratio/region_mean": outside.float()}
        self.add("", **seen)
        for role in {row.role for row in rows} - {""}:
            own = torch.tensor([row.role == role for row in rows], device=ratio.device)[batch.at[0]]
            self.add(f"{role}/", **{name: value[own] for name, value in seen.items()})
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
