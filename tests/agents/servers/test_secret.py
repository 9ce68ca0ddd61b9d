"""Keys: no part of them of eight characters is shown, however it is written."""

import base64
import html
import json
from urllib.parse import quote

import pytest

from sparring.agents.servers.secret import Secret

KEY = 'sk-Proj/Ab+9"&xYz_77=Q'


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch):
    def make(key: str) -> Secret:
        monkeypatch.setenv("SOME_KEY", key)
        return Secret("SOME_KEY")

    return make


@pytest.mark.parametrize("write", [str, str.upper, str.lower, str.swapcase, lambda text: text[::-1], lambda text: text[::-1].upper()])
@pytest.mark.parametrize("quoted", [str, lambda text: quote(text, safe=""), lambda text: json.dumps(text)[1:-1], html.escape, repr])
def test_every_run_of_the_key_is_hidden(secret, write, quoted):
    one = secret(KEY)
    for start in range(len(KEY)):
        for end in range(start + 8, len(KEY) + 1):
            shown = one.redacted(f"wrong key <{quoted(write(KEY[start:end]))}>, said the server")
            assert shown.startswith("wrong key <") and shown.endswith(">, said the server")
            parts = shown.removeprefix("wrong key <").removesuffix(">, said the server").replace("(key)", "\n").split("\n")
            assert "(key)" in shown and max(map(len, parts)) < 8
    assert one.redacted(f"{KEY} and {KEY}{KEY}.") == "(key) and (key)."


def test_a_key_in_base64_or_hexadecimal_digits_is_hidden(secret):
    one = secret(KEY)
    for before in ("", ":", "a:", "Bearer "):
        for after in ("", "@", ":x"):
            shown = one.redacted(base64.b64encode(f"{before}{KEY}{after}".encode()).decode())
            seen = [base64.b64decode(part + "=" * (-len(part) % 4)) for part in shown.split("(key)")[:1]]
            assert "(key)" in shown and all(len(part) < len(before) + 6 for part in seen)
            assert len(shown.split("(key)")[-1]) <= 8
    assert one.redacted(f"<{KEY.encode().hex()}>") == one.redacted(f"<{KEY.encode().hex().upper()}>") == "<(key)>"


def test_other_text_stays(secret):
    text = "sk-Proj/ is a key of seven characters, Ab+9 too; İstanbul, 犬, K\u212a."
    assert secret(KEY).redacted(text.replace("sk-Proj/", "sk-Proj")) == text.replace("sk-Proj/", "sk-Proj")
    assert secret("").redacted(text) == text and not secret("")
    assert secret("EMPTY").redacted("the key empty is wrong") == "the key (key) is wrong"
    assert secret("sk-no-key-required").redacted("A key is required.") == "A key is required.", "llama.cpp's placeholder"
    assert KEY not in repr(secret(KEY))
