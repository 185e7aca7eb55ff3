"""Chats that a model's template does not take."""

from __future__ import annotations

import pytest

from softgrpo.errors import UserError
from softgrpo.records import Sampling

NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role\nnot supported') }}{% endif %}user "


def test_a_template_that_refuses_a_chat_is_one_line(tiny):
    tiny.tokenizer.chat_template = NO_SYSTEM
    chat = [{"role": "system", "content": "w1"}, {"role": "user", "content": "w2"}]
    with pytest.raises(
        UserError, match=r"takes no chat of the turns system, user \(System role not supported\)"
    ) as error:
        tiny.generate([chat], Sampling(max_tokens=2))
    assert "\n" not in str(error.value)
    assert tiny.generate([chat[1:]], Sampling(max_tokens=2))[0][0].token_ids
