"""The learner: updates a model from training samples and pairs of them. Runs on whatever accelerate was
launched on.

Every loss is a sum over tokens, samples or pairs divided by the count of the *whole* optimiser step, so
gradients depend on neither micro-batches, padding nor the number of processes. All processes are given the
same examples, and each takes its share of every step. Log-probabilities are computed at action positions
only.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import gather_object
from torch import Tensor
from transformers import get_scheduler

from sparring.agents.models.adapter_folders import active_adapter

from ..config.config import LearnerConfig, SFTMixConfig
from ..runtime.distributed import Ranks
from . import fsdp, lora
from .batch import Example, Sample, TokenBatch, collate, minibatches, samples_of
from .gradient_checkpointing import checkpointed_layers, recomputing
from .loss import Loss
from .metrics import MetricSums
from .norms import gradient_norm
from .portions import Portion, Split, StepData, length, whole_step
from .scoring import Scorer, with_old_logprobs, with_reference


class Learner:
    """Updates `model` in place of its float32 master weights and hands them back with `sync_weights`.

    model: any causal model of transformers. Where its weights are not float32, a float32 copy is trained (under bfloat16 autocast on a GPU)
    and `sync_weights` rounds it back. With a LoRA rank the adapter `adapter` is put into the model, fresh, and trained in float32. loss: of
    the examples. sft_mix_loss: of the SFT mix beside them. reference: the frozen model of the loss's KL penalty, of which LoRA makes no
    use, as it is the model with the adapter off; None where there is no penalty, or the samples hold the reference's log-probabilities.
    split: how a step is cut into portions. mix: how many samples of the SFT mix stand beside a step, and their weight. total_steps:
    optimiser steps of the whole run, about, for schedules that end. per_round: optimiser and schedule begin anew in every update. products:
    what matrix products of a model on a CPU are computed in; bfloat16 puts passes under autocast, with weights, optimiser, logits and
    losses in float32.
    """

    def __init__(
        self,
        model: Any,
        loss: Loss,
        *,
        sft_mix_loss: Loss,
        reference: Any = None,
        config: LearnerConfig | None = None,
        split: Split = whole_step,
        mix: SFTMixConfig | None = None,
        total_steps: int = 1,
        per_round: bool = False,
        products: torch.dtype = torch.float32,
    ) -> None:
        self.config = config or LearnerConfig()
        self.mix = mix or SFTMixConfig()
        self.per_round = per_round
        self.loss = loss
        self.sft_mix_loss = sft_mix_loss
        self.split_step = split
        parameter = next(model.parameters())
        self.sampling_model = model
        self.adapter = lora.NAME if self.config.lora_rank else None
        on_cpu, rounded = parameter.device.type == "cpu", parameter.dtype != torch.float32 and self.adapter is None
        self.rounded = on_cpu and products == torch.bfloat16
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
        optimizer = torch.optim.AdamW(parameters, lr=self.config.lr, betas=self.config.adamw[:2], weight_decay=self.config.adamw[2])
        self.schedule = self._schedule(optimizer, total_steps)
        # Dropout would make the ratio to the sampler noise, and a run that is resumed another run: it stays
        # off.
        master.eval()
        self.scorer = Scorer(model if self.split else master)  # which tries what it allows, on its device
        self.checkpointed = checkpointed_layers(master) if self.config.gradient_checkpointing else []
        self.model, self.optimizer = self.accelerator.prepare(fsdp.Whole(master) if self.split else master, optimizer)
        self.scorer.model = self.model
        self.scorer.context = self._on_cpu_autocast
        self.reference: Scorer | None = None
        if reference is not None and loss.kl > 0:
            # Not as the engine wraps it, whose passes exchange things: each process scores samples of its
            # own.
            frozen, scorer = model if self.adapter else reference, self.scorer
            self.reference = Scorer(frozen, packs=scorer.packs, shares=scorer.shares, context=self._as_reference)
        self.steps = 0
        self._totals = MetricSums()

    def _on_cpu_autocast(self) -> AbstractContextManager[None]:
        """Around passes on a CPU. Accelerate's own autocast would stay in the model's forward pass, and on a CPU that model also plays."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.rounded)

    @contextmanager
    def _as_reference(self) -> Iterator[None]:
        """Around the reference's passes."""
        adapter = active_adapter(self.sampling_model, None) if self.adapter else nullcontext()
        with self.accelerator.autocast(), self._on_cpu_autocast(), adapter:
            yield

    def with_old_logprobs(self, samples: Sequence[Example]) -> list[Example]:
        """The same samples; where products are rounded, with the log-probabilities that the learner gives them now: those that the ratio of
        a policy loss is to, as the sampler's are rounded otherwise."""
        if not self.rounded:
            return list(samples)
        scorer = Scorer(self.scorer.unwrapped, packs=self.scorer.packs, shares=self.scorer.shares, context=self._on_cpu_autocast)
        return with_old_logprobs(scorer, samples, self.config.token_budget, ranks=self._ranks)

    @property
    def _ranks(self) -> Ranks:
        return Ranks(self.accelerator.process_index, self.accelerator.num_processes)

    @property
    def _exact(self) -> bool:
        """Whether the KL to the reference is computed from whole distributions."""
        return self.reference is not None and self.loss.exact_kl(self.scorer.vocabulary)

    def _schedule(self, optimizer: Any, total_steps: int) -> Any:
        # NOTE: the schedule counts optimiser steps; wrapped by accelerate it would count processes too.
        return get_scheduler(
            "constant_with_warmup" if self.config.decay == "constant" else self.config.decay,
            optimizer,
            num_warmup_steps=self.config.warmup or 0,
            num_training_steps=total_steps,
        )

    def update(
        self,
        samples: Sequence[Example],
        *,
        seed: int,
        sft_mix: Sequence[Sample] = (),
        progress: Callable[[int, int], None] | None = None,
        watch: Callable[[int, dict[str, float]], None] | None = None,
        partial: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        """Learns from samples or pairs, `epochs` times, in minibatches drawn by the seed; returns metrics
        (docs/metrics.md explains them).

        sft_mix: samples to imitate beside them, taken in turn. progress: called after each step with samples and tokens done. watch: called
        after each step with its number in this update, from 1, and its own metrics; what it raises ends the update. partial: what
        `partial_metrics` was when this very update was interrupted; the learner is at that step. Metrics: means over tokens of policy_loss,
        kl, clip_ratio/region_mean and (of pairs too) entropy, each also per role ("attacker/kl"), sft_loss, sft_mix_loss; means over pairs
        of preference_loss, rewards/chosen, rewards/rejected, rewards/margins, rewards/accuracies; mean over steps of grad_norm; of policy
        samples sampling/importance_sampling_ratio/max, and where they hold the sampler's own log-probabilities mismatch_kl, the k3 estimate
        of KL(sampler || learner) before the first step; where they hold old ones too (`with_old_logprobs`) mismatch_kl of all samples,
        sampling/sampling_logp_difference/mean, and sampling/importance_weight/capped, the share of tokens whose weight is cut;
        learning_rate of the last step; steps; trained_tokens, those of the samples in one epoch, without the SFT mix. No samples: nothing
        happens and the metrics are empty. A step whose gradient is not finite changes nothing: `watch` sees it with an infinite grad_norm,
        and where that is let pass, ValueError is raised.
        """
        totals = self._totals = MetricSums.from_state(partial or {})
        skipped = len(totals.norms)
        samples = self._referred(samples)
        if self.per_round:
            at_step = self.optimizer.state_dict(), self.schedule.state_dict()
            self._begin_anew(self.config.epochs * len(minibatches(samples, self.config.minibatch, seed)))
            if partial:
                self.optimizer.load_state_dict(at_step[0])
                self.schedule.load_state_dict(at_step[1])
        given = 0
        for epoch in range(self.config.epochs):
            for part in minibatches(samples, self.config.minibatch, seed + epoch):
                beside: list[Sample] = []
                if sft_mix:
                    beside = [sft_mix[(given + i) % len(sft_mix)] for i in range(self.mix.per_step(self.config.minibatch))]
                    given += len(beside)
                if skipped:
                    skipped -= 1
                    continue
                own = sum(sample.trained_tokens for sample in samples_of(part)) if epoch == 0 else 0
                step = MetricSums(own, first=not totals.norms)
                finite = self._step(part, beside, step)
                self._agree(step)
                if finite:
                    totals.take(step)
                if watch is not None:
                    watch(len(totals.norms) + (not finite), step.metrics())
                if not finite:
                    raise ValueError(f"the gradient of step {self.steps + 1} is not finite: lower its learning rate ({self.config.lr:g})")
                if progress is not None:
                    progress(len(part), sum(len(sample.ids) for sample in samples_of([*part, *beside])))
        return totals.metrics()

    @property
    def partial_metrics(self) -> dict[str, Any]:
        """What the steps of the last update summed up to, as `update` takes it (JSON)."""
        return dict(vars(self._totals))

    def gradients(self, samples: Sequence[Example], sft_mix: Sequence[Sample] = ()) -> dict[str, Tensor]:
        """The gradient of one optimiser step over samples, by parameter name, without taking the step."""
        self._accumulate(self._referred(samples), list(sft_mix), MetricSums())
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

    def sync_weights(self) -> None:
        """Writes the trained weights into the model that was given."""
        master = self.scorer.unwrapped
        if master is self.sampling_model:
            return
        with torch.no_grad():
            for target, source in zip(self.sampling_model.parameters(), master.parameters(), strict=True):
                target.copy_(fsdp.whole(source))

    def state_dict(self, *, weights: bool = False) -> dict[str, Any]:
        """Optimiser, schedule and step count; what is trained too (all weights, or the adapter) where it is
        asked for, or where it is not the model's own. Where weights are split, all processes have to ask, and
        the main process alone gets the tensors."""
        master = self.scorer.unwrapped
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(), "steps": self.steps}
        if weights or master is not self.sampling_model:
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
        """An optimiser's state with this process's parts of Adam's averages, which are of their parameters'
        shapes."""
        parameters = list(self.model.parameters())
        split = {i: {name: fsdp.part(value, parameters[i]) for name, value in of.items()} for i, of in state["state"].items()}
        return {**state, "state": split}

    def _step(self, samples: list[Example], sft_mix: list[Sample], totals: MetricSums) -> bool:
        """Takes an optimiser step where its gradient is finite; whether it was."""
        self._accumulate(samples, sft_mix, totals)
        norm = self._clip()
        finite = bool(torch.isfinite(norm))
        totals.stepped(float(norm) if finite else math.inf, self.schedule.get_last_lr()[0])
        if finite:
            self.optimizer.step()
            self.schedule.step()
            self.steps += 1
        self.optimizer.zero_grad()
        return finite

    def _clip(self) -> Tensor:
        """The norm of the gradient, which is shortened to `grad_clip` where it is longer."""
        if self.split or self.accelerator.device.type != "cpu":
            norm: Tensor = fsdp.whole(self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.grad_clip))
            return norm
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        norm = gradient_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.grad_clip, norm.float())
        return norm

    def _accumulate(self, examples: list[Example], sft_mix: list[Sample], totals: MetricSums) -> None:
        """Adds up the gradient of one optimiser step, portion by portion."""
        processes = self.accelerator.num_processes
        step = StepData(
            examples,
            self.loss,
            sft_mix,
            self.sft_mix_loss,
            self.mix.weight,
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
            shortest = min([*examples, *sft_mix], key=length)
            loss = self.sft_mix_loss if any(shortest is sample for sample in sft_mix) else self.loss
            portions = [Portion([shortest], loss, math.inf, 1.0)] * missing + portions
        for i, portion in enumerate(portions):
            samples = samples_of(portion.examples)
            batch = collate(samples, packed=self.scorer.packs, shared=self.scorer.shares).to(self.accelerator.device)
            with self._sync(i == len(portions) - 1), self.scorer.attending(batch), recomputing(self.checkpointed):
                # Data-parallel engines average gradients over processes; the norms are those of the whole
                # step already.
                seen = totals if portion.norm < math.inf else MetricSums()
                self.accelerator.backward(self._loss(batch, samples, portion, seen) * portion.weight * processes)

    def _agree(self, totals: MetricSums) -> None:
        """Makes what a step looked like on this process what it looked like on all of them."""
        if self.accelerator.num_processes > 1:
            seen = gather_object([(totals.sums, totals.counts, totals.largest)])
            totals.sums, totals.counts = {}, {}
            for sums, counts, largest in seen:
                for name, value in sums.items():
                    totals.sums[name] = totals.sums.get(name, 0.0) + value
                    totals.counts[name] = totals.counts.get(name, 0) + counts[name]
                totals.largest = max(totals.largest, largest)

    @contextmanager
    def _sync(self, last: bool) -> Iterator[None]:
        """Lets processes exchange gradients at the last micro-batch alone; where weights are split, at each,
        as whole gradients would not fit."""
        if last or self.split:
            yield
        else:
            with self.accelerator.no_sync(self.model):
                yield

    def _norm(self, loss: Loss, examples: Sequence[Example]) -> float:
        """What the sum of these examples' losses is divided by."""
        if self.config.aggregation == "sequence" or loss.unit != "token":
            return float(len(examples))
        if self.config.divisor is not None:
            return float(len(examples) * self.config.divisor)
        return float(sum(sample.trained_tokens for sample in samples_of(examples)))

    def _loss(self, batch: TokenBatch, samples: Sequence[Sample], portion: Portion, totals: MetricSums) -> Tensor:
        """The loss of a portion; what it looked like is added to the totals."""
        loss = portion.loss
        compared = self._exact and loss is self.loss
        scores = self.scorer.score(batch, entropies=loss.entropies, reference=self.reference if compared else None)
        output = loss(batch, scores)
        units = batch.sample_index if loss.unit == "token" else torch.arange(len(samples), device=batch.sample_index.device)
        totals.add("", **output.metrics)
        totals.add_by_role(output.role_metrics, units, samples)
        if output.log_ratio is not None:
            totals.add_ratio(output.log_ratio, to_sampler=batch.sampler_logprobs is not None and output.to_sampler is None)
        if output.to_sampler is not None:
            totals.add_mismatch(output.to_sampler)
        if scores.entropy is not None:
            totals.add_by_role({"entropy": scores.entropy}, batch.sample_index, samples)
        if loss.unit != "token":
            scale = torch.tensor([samples_of([e])[0].weight for e in portion.examples], device=output.losses.device)
        else:
            scale = batch.weights
            if self.config.aggregation == "sequence":
                counts = torch.bincount(batch.sample_index, minlength=len(samples)).clamp(min=1)
                scale = scale / counts[batch.sample_index]
        return (output.losses * scale).sum() / portion.norm

    def _referred(self, examples: Sequence[Example]) -> list[Example]:
        """The same examples; where the KL is taken on the sampled tokens alone, with the reference's
        log-probabilities, scored once for all steps."""
        if self.reference is None or self._exact:
            return list(examples)
        return with_reference(self.reference, examples, self.config.token_budget, ranks=self._ranks)
