"""How long the judge takes: microseconds per utterance, by rule and by kind of utterance.

    python -m sparring.benchmarks.judge_speed --repeats 200

Everyday English is what sparring-mini says, prose what larger models say; disguised text takes the long path.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

from sparring.envs.judge import RULES, matcher, verdict

TARGETS = ("cat", "lemon", "run", "house", "decision", "blorf")
UTTERANCES = {
    "everyday": (
        "It is often yellow.", "Is it a kind of bird?", "You find it in the kitchen.", "What is its use?",
        "You would paint it green.", "Look for a thing that has wings.", "Name a thing that is soft.",
    ),
    "declaration": ("I know the word! It is a lemon.", "I know the word! It is a cat."),
    "prose": (
        "That reminds me of the time when my grandmother took us to the seaside, and we stayed until dark.",
        "Let me think\u2026 It\u2019s something you\u2019d eat for breakfast, with a well-known drink?",
        "Interesting: so it's neither alive nor made of metal, but people keep it near them all day.",
    ),
    "disguised": ("It is c a t, my friend.", "You mean c4t or \u0441\u0430t?", "Is it l-e-m-o-n, perhaps?"),
}  # fmt: skip


def microseconds(utterances: Sequence[str], rule: str, repeats: int) -> float:
    """The median over `repeats` of the mean time of one judgement, as the defender's utterance."""
    cases = [(text, target) for text in utterances for target in TARGETS]
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        for text, target in cases:
            verdict(text, "defender", target, rule)
        times.append((time.perf_counter() - started) / len(cases) * 1e6)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="Microseconds per judged utterance.")
    parser.add_argument("--repeats", type=int, default=200, help="passes over the utterances (default: 200)")
    repeats = parser.parse_args().repeats
    for rule in RULES:
        for target in TARGETS:
            matcher(target, rule)
    print(f"{'':8}" + "".join(f"{kind:>14}" for kind in UTTERANCES))
    for rule in RULES:
        row = (microseconds(texts, rule, repeats) for texts in UTTERANCES.values())
        print(f"{rule:8}" + "".join(f"{value:11.1f} us" for value in row))


if __name__ == "__main__":
    main()
