"""Every causal family of the installed transformers, built small: what the generation loop and the learner make of it.

For each family of `AutoModelForCausalLM` a model with random weights goes through the checks that a model folder goes through: the loop's
log-probabilities and the learner's are compared with plain passes of transformers. Minutes on two cores.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sparring.agents.engine.loop import HFLoop
from sparring.agents.models.fidelity import loop_difference, plain_logprobs, require_faithful, sample_rows
from sparring.agents.text import one_line
from sparring.selfplay.learner.scoring import Scorer, scoring_difference
from sparring.selfplay.learner.scoring import require_faithful as require_faithful_learner

from ..command import command, say

LARGEST = 20_000_000
"""Parameters of the largest model that is built."""
WIDTH, HEADS, LAYERS, VOCABULARY, POSITIONS = 64, 4, 2, 384, 512
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "dim_model", "model_dim", "embedding_size"), WIDTH),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads", "encoder_attention_heads"), HEADS),
    **dict.fromkeys(("num_decoder_attention_heads", "num_encoder_attention_heads", "num_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "multi_query_group_num"), 2),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"), LAYERS),
    **dict.fromkeys(("num_decoder_layers", "num_encoder_layers"), LAYERS),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "ffn_hidden_size", "dim_ff", "dff"), 2 * WIDTH),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size", "n_inner"), WIDTH),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), POSITIONS),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(("bos_token_id", "eos_token_id"), 1),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    "vocab_size": VOCABULARY,
    "head_dim": WIDTH // HEADS,
    "pad_token_id": 0,
    "sliding_window": 24,
    "first_k_dense_replace": 1,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "use_cache": False,
    "use_sliding_window": True,
    "is_decoder": True,
    "rotary_dim": 8,
}
"""Settings of small models, by the names that configurations of transformers give them."""
_LATENT = "axk1 axk2 deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa longcat_flash youtu".split()
PER_FAMILY: dict[str, dict[str, Any]] = {
    **{key: {"head_dim": 8, "num_experts_per_tok": 2, "num_key_value_heads": HEADS} for key in _LATENT},
    **{key: {"head_dim": WIDTH // HEADS} for key in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral")},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 24},
    **{key: {"num_key_value_heads": HEADS} for key in ("dots3_note", "dots3_note_text")},
    **{key: {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 16} for key in ("gemma4", "gemma4_text")},
    "mamba2": {"head_dim": 32},
    "nemotron": {"num_key_value_heads": 2},
    "zaya": {"num_experts_per_tok": 1},
    "reformer": {"axial_pos_embds_dim": (16, 48), "axial_pos_shape": (16, 32)},
}
"""Settings that some families want otherwise."""


def small_config(family: str) -> Any:
    """A configuration of a family with small sizes."""
    kind = CONFIG_MAPPING[family]
    plain = kind()
    settings = _settings(plain)
    for name, part in vars(plain).items():
        if isinstance(part, transformers.PreTrainedConfig):
            settings[name] = _settings(part)
    types = getattr(plain, "layer_types", None)
    if types and _is_set(plain, "layer_types"):
        kinds = list(dict.fromkeys(types))
        settings["layer_types"] = (kinds * LAYERS)[: max(LAYERS, len(kinds))]
        settings["num_hidden_layers"] = len(settings["layer_types"])
    return kind(**{**settings, **PER_FAMILY.get(family, {})})


def _settings(config: Any) -> dict[str, Any]:
    """Of SMALL what a configuration has."""
    return {name: value for name, value in SMALL.items() if _is_set(config, name)}


def _is_set(config: Any, name: str) -> bool:
    """Whether a configuration has a setting that can be given."""
    settings, name = vars(config), config.attribute_map.get(name, name)
    return name in settings and (settings[name] is not None or name == "sliding_window")


def small_model(family: str) -> Any:
    """A random model of a family, of a few thousand parameters. Raises what transformers raises, and ValueError for one that is large."""
    config = small_config(family)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"it has {size:,} parameters, as its configuration has sizes of other names")
    torch.manual_seed(0)
    return randomised(AutoModelForCausalLM.from_config(config, attn_implementation=None).float().eval())


def randomised(model: Any) -> Any:
    """The model with weights far from those of a fresh one, whose distributions are nearly uniform."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * 1.5 / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(noise * 0.1)
    return model


def compared(model: Any, name: str) -> dict[str, Any]:
    """What becomes of a model: the largest differences of the loop and of the learner from plain passes in nats, or why it is refused."""
    entry: dict[str, Any] = {}
    try:
        loop = HFLoop(model, end_ids=frozenset(), max_rows=8, max_streams=8)
        entry["loop"] = float(loop_difference(loop).max())
        require_faithful(loop, name)
    except ValueError as error:
        entry["refused"] = str(error)
    try:
        scorer = Scorer(model)
        entry["learner"] = float(scoring_difference(scorer).max())
        entry["packs"] = scorer.packs
        require_faithful_learner(scorer, name)
    except ValueError as error:
        entry.setdefault("refused", str(error))
    return entry


def families(names: tuple[str, ...] = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)) -> dict[str, Any]:
    """An entry for every family: `compared`, or {"not_built": why}."""
    found: dict[str, Any] = {}
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = small_model(name)
                plain_logprobs(model, sample_rows(model, (20,))[0])
            except Exception as error:  # what transformers raises for a configuration that was shrunk wrongly may be anything
                found[name] = {"not_built": one_line(error)}
                continue
            found[name] = compared(model, name)
    return found


@dataclass(frozen=True)
class Options:
    """Every causal family of the installed transformers, built small, through the checks of loading and learning."""

    json: bool = False
    """Print the result as one JSON object."""
    out: Path | None = None
    """Write the result to this file, such as benchmarks/results/families.json."""
    families: tuple[str, ...] = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    """Which; all where none is named."""


def main(options: Options) -> None:
    transformers.logging.set_verbosity_error()
    entries = families(options.families)
    played = [entry for entry in entries.values() if "refused" not in entry and "not_built" not in entry]
    result = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "played": len(played),
        "refused": sum("refused" in entry for entry in entries.values()),
        "not_built": sum("not_built" in entry for entry in entries.values()),
        "largest_loop": max((entry["loop"] for entry in played), default=0.0),
        "largest_learner": max((entry["learner"] for entry in played), default=0.0),
        "families": entries,
    }
    say(result, _show, as_json=options.json, file=options.out)


def _show(result: dict[str, Any]) -> None:
    for name, entry in result["families"].items():
        if "not_built" in entry:
            print(f"{name:28} not built: {entry['not_built']}")
        elif "refused" in entry:
            print(f"{name:28} refused: {entry['refused']}")
        else:
            print(f"{name:28} loop {entry['loop']:.1e}, learner {entry['learner']:.1e}")
    print(f"{result['played']} played, {result['refused']} refused, {result['not_built']} not built")


if __name__ == "__main__":
    command("reliability.families", Options, main, Options.__doc__)
