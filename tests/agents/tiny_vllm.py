"""A server over tiny models that answers as a real vLLM was seen to, and the folders that it serves."""

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import tiny
import torch
from safetensors.torch import load_file
from stub_server import Answer, Asked

from sparring.agents.core import Sampling
from sparring.agents.engine.loop import HFLoop

LENGTH = 256


@lru_cache(maxsize=2)
def tiny_model(seed: int = 0) -> Any:
    return tiny.tiny_model(vocab=len(tiny.tiny_tokenizer("chatml")), length=LENGTH, seed=seed)


def save(folder: Path, seed: int = 0) -> Path:
    """Writes the tiny model of that seed, whose head is tied, and its tokenizer."""
    tiny_model(seed).save_pretrained(folder)
    tiny.tiny_tokenizer("chatml").save_pretrained(folder)
    return folder


class TinyVLLM:
    """Answers as `vllm serve FOLDER --logprobs-mode processed_logprobs` does, with VLLM_SERVER_DEV_MODE=1.

    change: what becomes of an answer to /v1/completions before it is sent. processed: False as without that --logprobs-mode.
    """

    def __init__(self, folder: str, change=lambda body, asked: body, processed: bool = True) -> None:
        self.processed = processed
        self.folder = folder
        self.change = change
        self.model = tiny.tiny_model("untied", vocab=len(tiny.tiny_tokenizer("chatml")), length=LENGTH)
        self.load(folder)
        self.model.lm_head.weight.data.copy_(self.model.model.embed_tokens.weight)
        self.lock = threading.Lock()
        self.paused = False
        self.control: list[tuple[str, object]] = []
        self.failing = ""

    def load(self, folder: str) -> None:
        """As vLLM on a CPU: a head that the folder does not hold stays as it was."""
        for file in Path(folder).glob("*.safetensors"):
            self.model.load_state_dict(load_file(file), strict=False)
        self.loops: dict[frozenset[int], HFLoop] = {}

    def __call__(self, asked: Asked) -> Answer | str:
        with self.lock:
            if asked.path == "/version":
                return Answer({"version": "0.32.0+cpu"})
            if asked.path == "/v1/models":
                return Answer({"object": "list", "data": [{"id": self.folder, "root": self.folder, "max_model_len": LENGTH}]})
            if asked.path == "/v1/completions":
                return self.complete(asked)
            self.control.append((asked.path, asked.body))
            if asked.path == self.failing:
                return Answer({"error": "broken"}, status=500)
            return self.steer(asked)

    def steer(self, asked: Asked) -> Answer:
        """What the development endpoints do."""
        if asked.path in ("/pause?mode=wait", "/resume"):
            self.paused = asked.path != "/resume"
            return Answer({"status": "paused" if self.paused else "resumed"})
        assert self.paused or asked.path == "/init_weight_transfer_engine"
        if asked.path == "/collective_rpc":
            self.load(asked.body["kwargs"]["weights_path"])
            return Answer({"results": [None]})
        return Answer({"success": True} if asked.path == "/reset_prefix_cache" else {"message": "done"})

    def complete(self, asked: Asked) -> Answer | str:
        body = asked.body
        assert not self.paused and body["model"] == self.folder and body["return_token_ids"]
        if body["logprobs"] == 1:
            return Answer({"choices": [{"logprobs": {"top_logprobs": [self.likeliest(body)]}}]})
        assert body["logprobs"] == 0
        assert len(body["prompt"]) + body["max_tokens"] <= LENGTH
        ends = frozenset(body["stop_token_ids"])
        if ends not in self.loops:
            self.loops[ends] = HFLoop(self.model, end_ids=ends, max_rows=4, max_streams=4)
        loop = self.loops[ends]
        names = ("temperature", "top_k", "top_p", "min_p")
        sampling = Sampling(**{n: body[n] for n in names}, max_new_tokens=body["max_tokens"], min_new_tokens=body["min_tokens"])
        loop.submit("s", body["prompt"], sampling, body["seed"])
        (done,) = loop.poll()
        loop.close("s")
        choice = {
            "index": 0,
            "text": "not used",
            "token_ids": done.ids.tolist(),
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": done.logprobs.tolist(), "tokens": [], "top_logprobs": [], "text_offset": []},
            "finish_reason": done.finish,
            "stop_reason": None,
        }
        changed = self.change({"object": "text_completion", "choices": [choice]}, asked)
        return changed if isinstance(changed, str) else Answer(changed)

    def likeliest(self, body) -> dict[str, float]:
        assert body["max_tokens"] == 1 and body["return_tokens_as_token_ids"]
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([body["prompt"]])).logits[0, -1]
        best = (logits / (body["temperature"] if self.processed else 1.0)).log_softmax(-1).max()
        return {"token_id:7": float(best), "token_id:8": float(best) - 3.0}
