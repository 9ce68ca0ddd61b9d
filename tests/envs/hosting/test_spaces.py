"""The space of Unicode text."""

import gymnasium
import pytest

from sparring.envs.hosting.spaces import UnicodeText


def test_samples_lie_in_the_space_and_follow_the_seed():
    one, other = UnicodeText(100, seed=3), UnicodeText(100, seed=3)
    drawn = [one.sample() for _ in range(50)]
    assert drawn == [other.sample() for _ in range(50)]
    assert all(text in one for text in drawn)
    assert any(ord(c) > 0x2000 for text in drawn for c in text)


def test_what_models_say_lies_in_the_space():
    space = UnicodeText(10)
    assert "naïve 🍋" in space
    assert "" in space
    assert "x" * 11 not in space
    assert "\ud800" not in space
    assert 3 not in space


def test_spaces_compare_by_length():
    assert UnicodeText(3) == UnicodeText(3)
    assert UnicodeText(3) != UnicodeText(4)
    assert isinstance(UnicodeText(3), gymnasium.Space)
    with pytest.raises(ValueError, match="at least 1"):
        UnicodeText(0)
    with pytest.raises(ValueError, match="mask"):
        UnicodeText(3).sample(mask=1)
