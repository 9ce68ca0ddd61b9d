"""A round in numbers and in a line."""

from sparring.selfplay.evaluation.round_metrics import round_line


def test_a_rounds_line_names_the_ends_that_are_common():
    reasons = {"uttered": 2, "silent": 10, "overlong": 30, "foul": 11, "turn_limit": 40}
    record = {
        "round": 1,
        "games": 1000,
        "attacker_wins": 400,
        "defender_wins": 560,
        "ties": 40,
        "reasons": reasons,
        "truth": None,
        "kl": 0.1,
    }
    assert round_line(1, 8, {**record, "reasons": reasons}, 2.0) == (
        "round 1/8, attacker 40%, defender 56%, ties 4%, uttered 0%, overlong 3%, foul 1%, kl 0.100, 2.0 s"
    )
