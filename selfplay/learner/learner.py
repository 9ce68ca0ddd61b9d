"""The learner: updates a model from training rows and pairs of them. Runs on whatever accelerate was launched on.

Every loss is a sum over tokens, rows or pairs divided by the count of the *whole* optimiser step, so gradients depend on neither
micro-batches, padding nor the number of processes. All processes are given the same examples, and each takes its share of every step.
Log-probabilities are computed at action positions only.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import gather_object
from torch import Tensor
from transformers import get_scheduler

from sparring.agents.models.adapter_folders import through

from ..config.config import LearnerConfig
from ..runtime.distributed import Ranks
from . import fsdp, lora
from .batch import Example, Row, TokenBatch, collate, minibatches, rows_of
from .gradient_checkpointing import checkpointed_layers, recomputing
from .loss import Loss
from .metrics import Meter
from .portions import Portion, Split, StepData, length, whole_step
from .scoring import Scorer, with_reference


class Learner:
    """Updates `model` in place of its float32 master weights and hands them back with `publish`.

    model: any causal model of transformers. Where its weights are not float32, a float32 copy is trained (under bfloat16 autocast on a
    GPU) and `publish` rounds it back. With a LoRA rank the adapter `adapter` is put into the model, fresh, and trained in float32. loss:
    of the examples. replay_loss: of the replay beside them. reference: the frozen model of the loss's KL penalty, of which LoRA makes no
    use, as it is the model with the adapter off; None where there is no penalty, or the rows hold the reference's log-probabilities.
    split: how a step is cut into portions.
    """

    def __init__(
        self,
        model: Any,
        loss: Loss,
        *,
        replay_loss: Loss,
        reference: Any = None,
        config: LearnerConfig | None = None,
        split: Split = whole_step,
    ) -> None:
        self.config = config or LearnerConfig()
        self.loss = loss
        self.replay_loss = replay_loss
        self.split_step = split
        parameter = next(model.parameters())
        self.published = model
        self.adapter = lora.NAME if self.config.lora_rank else None
        on_cpu, rounded = parameter.device.type == "cpu", parameter.dtype != torch.float32 and self.adapter is None
        # A process may train several models, each in its own precision; accelerate shares one among all and refuses another. Its
        # `_reset_state` would empty the dictionaries that earlier ones still look into.
        AcceleratorState._shared_state = {}
        if fsdp.wanted():
            PartialState._shared_state = {}
        self.accelerator = Accelerator(
            cpu=on_cpu,
            mixed_precision="bf16" if rounded and not on_cpu else "no",
            fsdp_plugin=fsdp.plugin(half=rounded and not on_cpu),
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
        self.model, self.optimizer = self.accelerator.prepare(fsdp.Whole(master) if self.split else master, optimizer)
        self.scorer.model = self.model
        self.reference: Scorer | None = None
        if reference is not None and loss.kl > 0:
            # Not as the engine wraps it, whose passes exchange things: each process scores rows of its own.
            self.reference = Scorer(
                model if self.adapter else reference, packs=self.scorer.packs, shares=self.scorer.shares, around=self._as_reference
            )
        self.steps = 0
        self._meter = Meter()

    @contextmanager
    def _as_reference(self) -> Iterator[None]:
        """Around the reference's passes."""
        with self.accelerator.autocast(), through(self.published, None) if self.adapter else nullcontext():
            yield

    @property
    def _exact(self) -> bool:
        """Whether the KL to the reference is computed from whole distributions."""
        return self.reference is not None and self.loss.exact_kl(self.scorer.vocabulary)

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
                step = Meter(own, first=not meter.norms)
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
        found = {name: fsdp.whole(p.grad).clone() for name, p in self.model.named_parameters() if p.grad is not None}
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
                target.copy_(fsdp.whole(source))

    def state_dict(self, *, weights: bool = False) -> dict[str, Any]:
        """Optimiser, schedule and step count; what is trained too (all weights, or the adapter) where it is asked for, or where it is not
        the model's own. Where weights are split, all processes have to ask, and the main process alone gets the tensors."""
        master = self.scorer.unwrapped
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(), "steps": self.steps}
        if weights or master is not self.published:
            trained = {name for name, parameter in master.named_parameters() if parameter.requires_grad}
            state["master"] = {name: value for name, value in master.state_dict().items() if not self.adapter or name in trained}
        return fsdp.gathered(state, keep=self.accelerator.is_main_process) if self.split else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        master = self.scorer.unwrapped
        self.optimizer.load_state_dict(self._split_optimizer(state["optimizer"]) if self.split else state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.steps = state["steps"]
        if "master" in state:
            own = master.state_dict()
            master.load_state_dict({name: fsdp.part(value, own[name]) for name, value in state["master"].items()}, strict=not self.adapter)

    def _split_optimizer(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """An optimiser's state with this process's parts of Adam's averages, which are of their parameters' shapes."""
        parameters = list(self.model.parameters())
        split = {i: {name: fsdp.part(value, parameters[i]) for name, value in of.items()} for i, of in state["state"].items()}
        return {**state, "state": split}

    def _step(self, rows: list[Example], replay: list[Row], meter: Meter) -> bool:
        """Takes an optimiser step where its gradient is finite; whether it was."""
        self._accumulate(rows, replay, meter)
        norm = fsdp.whole(self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.grad_clip))
        finite = bool(torch.isfinite(norm))
        meter.stepped(float(norm) if finite else math.inf, self.schedule.get_last_lr()[0])
        if finite:
            self.optimizer.step()
            self.schedule.step()
            self.steps += 1
        self.optimizer.zero_grad()
        return finite

    def _accumulate(self, examples: list[Example], replay: list[Row], meter: Meter) -> None:
        """Adds up the gradient of one optimiser step, portion by portion."""
        processes = self.accelerator.num_processes
        step = StepData(
            examples,
            self.loss,
            replay,
            self.replay_loss,
            self.config.replay_weight,
            self.steps,
            self._norm,
            self.config.token_budget,
            self.scorer.packs,
            self.scorer.shares,
        )
        by_process = [self.split_step(step, process, processes) for process in range(processes)]
        portions = by_process[self.accelerator.process_index]
        # Engines exchange gradients, or weights, in these passes: all processes make as many.
        missing = max(map(len, by_process)) - len(portions)
        if missing:
            shortest = min([*examples, *replay], key=length)
            loss = self.replay_loss if any(shortest is row for row in replay) else self.loss
            portions = [Portion([shortest], loss, math.inf, 1.0)] * missing + portions
        for i, portion in enumerate(portions):
            rows = rows_of(portion.examples)
            batch = collate(rows, packed=self.scorer.packs, shared=self.scorer.shares).to(self.accelerator.device)
            with self._sync(i == len(portions) - 1), self.scorer.attending(batch), recomputing(self.checkpointed):
                # Data-parallel engines average gradients over processes; the norms are those of the whole step already.
                seen = meter if portion.norm < math.inf else Meter()
                self.accelerator.backward(self._loss(batch, rows, portion, seen) * portion.weight * processes)

    def _agree(self, meter: Meter) -> None:
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

    def _norm(self, loss: Loss, examples: Sequence[Example]) -> float:
        """What the sum of these examples' losses is divided by."""
        if self.config.aggregation == "sequence" or loss.unit != "token":
            return float(len(examples))
        if self.config.aggregation == "token":
            return float(sum(row.actions for row in rows_of(examples)))
        return float(len(examples) * self.config.constant)

    def _loss(self, batch: TokenBatch, rows: Sequence[Row], portion: Portion, meter: Meter) -> Tensor:
        """The loss of a portion; what it looked like goes into the meter."""
        loss = portion.loss
        compared = self._exact and loss is self.loss
        scores = self.scorer.score(batch, entropies=loss.entropies, anchor=self.reference if compared else None)
        output = loss(batch, scores)
        units = batch.rows if loss.unit == "token" else torch.arange(len(rows), device=batch.rows.device)
        meter.add("", **output.metrics)
        meter.add_by_role(output.role_metrics, units, rows)
        if output.log_ratio is not None:
            meter.add_ratio(output.log_ratio, to_sampler=batch.sampler_logprobs is not None)
        if scores.entropy is not None:
            meter.add_by_role({"entropy": scores.entropy}, batch.rows, rows)
        if loss.unit != "token":
            scale = torch.tensor([rows_of([e])[0].weight for e in portion.examples], device=output.losses.device)
        else:
            scale = batch.weights
            if self.config.aggregation == "sequence":
                counts = torch.bincount(batch.rows, minlength=len(rows)).clamp(min=1)
                scale = scale / counts[batch.rows]
        return (output.losses * scale).sum() / portion.norm

    def _referred(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples; where the KL is taken on the sampled tokens alone, with the reference's log-probabilities, scored once for
        all steps."""
        if self.reference is None or self._exact:
            return list(examples)
        ranks = Ranks(self.accelerator.process_index, self.accelerator.num_processes)
        return with_reference(self.reference, examples, self.config.token_budget, ranks=ranks)
