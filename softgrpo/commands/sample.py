"""`softgrpo sample`: the base and the trained model on one topic, one after the other."""

from __future__ import annotations

from softgrpo.config import SampleConfig
from softgrpo.errors import UserError
from softgrpo.model_interface import ModelPool
from softgrpo.records import Sampling
from softgrpo.reporting.console import harmless
from softgrpo.rewards.format import judged_text
from softgrpo.run_folder import open_run, which_weights
from softgrpo.tasks import load_task
from softgrpo.tasks.own import questions_about


def run(config: SampleConfig) -> int:
    """Print both texts; returns the exit status."""
    folder, asked = open_run(config.run)
    if not config.topic.strip():
        raise UserError('sample needs a topic: softgrpo sample --run output "Cities should ban cars"')
    model_name, _ = which_weights(folder, asked, config.checkpoint)
    task, pool = load_task(asked.task), ModelPool(dtype=asked.dtype, device=config.device)
    sampling = Sampling(
        temperature=config.temperature,
        max_tokens=asked.max_completion_length,
        seed=config.seed,
        prefill=asked.prefill_for(asked.model_name, task.format),
    )
    for question in questions_about(task, config.topic):
        prompt = task.prompt(question, num_shots=asked.shots_for(asked.model_name))
        print(f"\n=== {harmless(question.text)}")
        for title, name in (("base", asked.model_name), ("trained", model_name)):
            text = pool.local(name).generate([prompt.messages], sampling)[0][0].text
            shown = judged_text(text, task.format, "answer") or f"(no answer section)\n{text}"
            print(f"\n--- {title}\n{harmless(shown)}")
    return 0
