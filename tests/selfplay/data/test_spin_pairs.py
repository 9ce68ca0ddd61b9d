"""SPIN's pairs: an expert's utterance and the model's own, in one place of a conversation."""

import pytest
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.core import Sampling
from sparring.agents.models.language_model import LanguageModel
from sparring.envs.views import Message
from sparring.selfplay.data.chats import Chat
from sparring.selfplay.data.spin_pairs import spin_pairs

TALK = (
    Message("system", "Find it."),
    Message("user", "Red?"),
    Message("assistant", "Apple."),
    Message("user", "No."),
    Message("assistant", "Cat."),
)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    tokenizer = tiny_tokenizer("chatml")
    return LanguageModel(tiny_model(vocab=len(tokenizer)), tokenizer)


def test_both_rows_answer_the_same_conversation(model: LanguageModel):
    made = spin_pairs([Chat(TALK)], model, Sampling(0.7, max_new_tokens=5), 12, seed=0, concurrency=5)
    assert len(made) == 12
    said = set()
    for pair in made:
        start = int(pair.chosen.loss_mask.argmax())
        assert pair.chosen.ids[:start].tolist() == pair.rejected.ids[:start].tolist()
        assert pair.chosen.loss_mask[start:].all() and pair.rejected.loss_mask[start:].all()
        assert (pair.chosen.temperature, pair.rejected.temperature) == (0.7, 0.7)
        assert 1 <= pair.rejected.trained_tokens <= 5
        said.add(model.format.decode(pair.chosen.ids[start:].tolist()))
    assert said == {"Apple.", "Cat."}
    again = spin_pairs([Chat(TALK)], model, Sampling(0.7, max_new_tokens=5), 12, seed=0, concurrency=5)
    assert [p.rejected.ids.tolist() for p in again] == [p.rejected.ids.tolist() for p in made]


def test_what_is_not_to_be_learnt_is_left_out(model: LanguageModel):
    made = spin_pairs([Chat(TALK, start=4)], model, Sampling(max_new_tokens=5), 4, seed=0)
    assert {model.format.decode(p.chosen.ids[p.chosen.loss_mask].tolist()) for p in made} == {"Cat."}
    long = (Message("user", "Hm. " * 300), Message("assistant", "Yes."))
    assert spin_pairs([Chat(long)], model, Sampling(max_new_tokens=5), 3, seed=0) == []
    twice = (Message("user", "Hm?"), Message("assistant", "Yes."), Message("assistant", "Dog."))
    made = spin_pairs([Chat(twice)], model, Sampling(max_new_tokens=5), 4, seed=0)
    assert {model.format.decode(p.chosen.ids[p.chosen.loss_mask].tolist()) for p in made} == {"Yes."}, "an answer to oneself is none"
    with pytest.raises(ValueError, match="an assistant answers"):
        spin_pairs([Chat((Message("assistant", "Hello."),))], model, Sampling(), 3, seed=0)
