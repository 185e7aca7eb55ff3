"""What NeMo Gym's `GenRMStrategy` sends to the server that its `genrm_compare_server_name` names, sent to this one.

    softgrpo serve --judge_model_name gpt-4o-mini --criteria "The better answer is right and brief."
    python examples/nemo_gym.py http://127.0.0.1:8009

In Gym's configuration that server is `genrm_compare`, with `host: 127.0.0.1` and `port: 8009`.
"""

import json
import sys
import urllib.request


def response(text, reasoning=""):
    """A response object, as the policy's server gives it."""
    thought = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": reasoning}]}] if reasoning else []
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return {"output": [*thought, said]}


payload = {
    "conversation_history": [{"role": "user", "content": "What is 2 + 2?"}],
    "response_objs": [
        response("4.", reasoning="Two and two."),
        response("It depends on what you mean by 2."),
        response("2 + 2 = 4, since counting on two from 2 gives 3, 4."),
    ],
    "principle": "The better answer is right, and says why.",
}
request = urllib.request.Request(
    f"{sys.argv[1]}/compare", json.dumps(payload).encode(), {"Content-Type": "application/json"}
)
with urllib.request.urlopen(request, timeout=600) as answer:
    found = json.load(answer)
print([round(reward, 2) for reward in found["rewards"]])
