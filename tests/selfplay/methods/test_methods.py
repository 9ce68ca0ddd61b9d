"""Methods: every one is found by its name, made from a configuration, and says what it needs."""

import ast
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from handmade import LOSS, WIN, make_episode
from small_runs import NO_EVALUATION, small_run

from sparring.selfplay.config.config import LearnerConfig, TrainConfig
from sparring.selfplay.config.presets import preset
from sparring.selfplay.objectives.credit import Experience
from sparring.selfplay.objectives.returns import outcome_returns
from sparring.selfplay.run import method as methods
from sparring.selfplay.run.method import Method, built_in, find_method, method_of
from sparring.selfplay.run.train import train

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "own_method.py"
PUBLISHED = {"spag": replace(preset("spag-faithful"), method_options={})}


@pytest.mark.parametrize("name", built_in())
def test_every_method_is_made_by_its_name(name: str):
    made = method_of(PUBLISHED.get(name, TrainConfig(method=name)))
    assert made.name == name
    assert made.frozen_model == (made.reference == "initial" and (made.loss.kl > 0 or made.loss.unit == "pair"))


def test_every_method_is_one_file_that_says_where_it_comes_from():
    for name in built_in():
        tree = ast.parse((ROOT / "selfplay" / "methods" / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), name
        assert any(isinstance(node, ast.FunctionDef) and node.name == "method" for node in tree.body), name


def test_the_loop_and_the_learner_know_no_method():
    """No code outside methods/ compares anything with a method's name."""
    names = {*built_in(), "shuffled"}
    found = []
    for path in sorted((ROOT / "selfplay").glob("**/*.py")):
        if "methods" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                texts = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
                found += [(path.name, node.lineno, text) for text in texts & names]
    assert found == [("method.py", found[0][1], "shuffled")], "the control that wraps any method is the one name that is known"


@pytest.mark.parametrize(("wrapped", "inner"), [("shuffled", "group"), ("shuffled(rae)", "rae"), ("shuffled(shuffled(turns))", "turns")])
def test_any_method_can_be_given_shuffled_rewards(wrapped: str, inner: str):
    made, plain = (method_of(TrainConfig(method=name)) for name in (wrapped, inner))
    assert made.credit.__module__ == plain.credit.__module__ and made.loss == plain.loss
    games = [make_episode(f"{i}", "It is sour.", WIN if i % 3 else LOSS) for i in range(12)]
    true, dealt = plain.reward(games, 1), made.reward(games, 1)
    assert true != dealt and sorted(map(str, true.values())) == sorted(map(str, dealt.values()))
    assert dealt == made.reward(games, 1) != made.reward(games, 2), "drawn by the seed"


def test_outcomes_are_dropped_as_the_configuration_says():
    games = [make_episode("a", "It is sour.", WIN), make_episode("b", "It is sour.", "Hm.", "It is a lemon.")]
    assert games[1].outcome.reason == "foul"
    for name, drop, sides in (("group", None, 4), ("group", "foul", 2), ("spag-corrected", None, 1), ("spag-corrected", "none", 2)):
        options = {} if drop is None else {"drop_reasons": drop}
        made = method_of(TrainConfig(method=name, method_options=options))
        assert len(made.credit(Experience(games), outcome_returns(games), {})[0]) == sides, (name, drop)


def test_whose_log_probabilities_are_needed():
    def reference(name: str, **learner: object) -> str:
        config = PUBLISHED.get(name, TrainConfig(method=name))
        return method_of(replace(config, learner=replace(config.learner, **learner))).reference

    assert reference("group", kl=0.0) == "none"
    assert reference("group", kl=0.1) == reference("dpo") == "initial"
    assert reference("group", kl=0.1, reference="behaviour", kl_form="sampled") == "behaviour"
    assert reference("spin") == reference("spag") == "behaviour", "the weights that answered, or played"
    assert reference("expert") == "none"


def test_a_method_of_ones_own_is_a_file(model: str, tmp_path: Path):
    assert find_method(f"{EXAMPLE}:method")(TrainConfig()).name == "long-games"
    summary = train(small_run(model, tmp_path / "run", rounds=1, method=f"{EXAMPLE}:method", evaluation=NO_EVALUATION))
    assert summary.data["run"]["method"] == f"{EXAMPLE}:method"
    for wrong, message in ((f"{EXAMPLE}:nothing", "has no function 'nothing'"), (f"{tmp_path}/none.py:method", "no such file")):
        with pytest.raises(ValueError, match=message):
            find_method(wrong)


def test_a_method_of_another_package_is_an_entry_point(monkeypatch: pytest.MonkeyPatch):
    point = EntryPoint("mine", "sparring.selfplay.methods.rae:method", "sparring.methods")
    monkeypatch.setattr(methods, "entry_points", lambda group: [point] if group == point.group else [])
    assert isinstance(method_of(TrainConfig(method="mine")), Method)
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        find_method("minee")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(method="group", group_size=1), "group_size must be at least 2"),
        (TrainConfig(method="rae", method_options={"decay": "1"}), "method rae has no option 'decay'; known: drop_reasons"),
        (TrainConfig(method="turns", method_options={"discount": "much"}), "discount must be a number above 0 and at most 1, got 'much'"),
        (TrainConfig(method="spag", learner=LearnerConfig(kl_form="sampled")), "set learner.kl_form reward"),
        (TrainConfig(method="expert", method_options={"like": "nowhere"}), "nowhere"),
    ],
)
def test_what_a_method_cannot_work_with_is_said(config: TrainConfig, message: str):
    with pytest.raises(ValueError, match=message):
        method_of(config)
