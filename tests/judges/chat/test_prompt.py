"""What a chat model is asked, and that an honest reader finds the texts in it again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softgrpo.judges.chat.keys import Nonce, draw_nonce
from softgrpo.judges.chat.prompt import chat
from softgrpo.judges.chat.sanitize import cleaned
from tests.fakes.chat_models import read

SEAL = Nonce(fence="k3v7", labels=("K", "T"))


def test_a_chat_holds_the_question_the_criteria_and_both_texts_in_order():
    system, user = chat("Name a fruit.", "Which is rarer?", "apple", "lychee", SEAL)
    assert (system["role"], user["role"]) == ("system", "user")
    content = user["content"]
    order = [content.index(part) for part in ("Name a fruit.", "Which is rarer?", "apple", "lychee")]
    assert order == sorted(order)
    assert "apple" not in system["content"]
    assert read([system, user]).texts == ("apple", "lychee")


def test_a_tie_has_a_label_of_its_own():
    asked = chat("q", "c", "a", "b", Nonce(fence="f", labels=("K", "T", "M")))
    assert read(asked).labels == ("K", "T", "M")
    assert asked[1]["content"].endswith("Reply with one letter, K or T, or M if they are equally good.")


def test_restated():
    plain, restated = (chat("q", "c", "a", "b", SEAL, restated=r)[1]["content"] for r in (False, True))
    assert restated.startswith(plain)
    assert "K or T: one letter" in restated[len(plain) :]


def test_braces_are_only_text():
    assert read(chat("{question}", "{first}", "{first} {0} {{", "%s", SEAL)).texts == ("{first} {0} {{", "%s")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_clean_texts_are_found_again(first, second):
    first, second = cleaned(first), cleaned(second)
    asked = chat("q", "c", first, second, draw_nonce(b"s", "k", [first, second]))
    assert read(asked).texts == (first, second)
