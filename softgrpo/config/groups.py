"""The groups of `--help`, and what several commands say in the same words."""

from __future__ import annotations

MODELS, DATA, RUN, SAMPLING, REWARD, LEARNING, EVALUATION, BUDGET, MACHINE = (
    "models",
    "task",
    "run",
    "sampling",
    "judge and reward",
    "learning",
    "evaluation",
    "budget",
    "machine",
)
SERVER = "server"
DTYPES = ("auto", "bfloat16", "float32")
THREADS_HELP = "threads that compute; 0 is one for each core that this process may use"
MODEL_HELP = "`embedded`, a Hugging Face name, a folder or a .gguf file"
ANY_MODEL_HELP = MODEL_HELP + ", or an API model (gpt-..., claude-..., openai:NAME@http://host/v1)"
