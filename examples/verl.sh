#!/usr/bin/env bash
# verl with a tournament as its reward. Each sample is sent to the server, where the samples of a prompt meet.
# The data is verl's own example: python examples/data_preprocess/gsm8k.py in its repository writes it.
set -euo pipefail
port=${PORT:-8009}

softgrpo serve --judge_model_name "${JUDGE:-gpt-4o-mini}" --port "$port" --ledger verdicts.sqlite --budget_calls 100000 \
    --criteria "The better solution is right, and explains each step so that a pupil can follow." &
server=$!
trap 'kill $server' EXIT
until curl --silent --fail "http://127.0.0.1:$port/healthz" > /dev/null; do kill -0 $server; sleep 1; done

python -m verl.trainer.main_ppo \
    algorithm.adv_estimator=grpo \
    data.train_files="$HOME/data/gsm8k/train.parquet" \
    data.val_files="$HOME/data/gsm8k/test.parquet" \
    data.train_batch_size=64 data.max_prompt_length=512 data.max_response_length=512 \
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen2.5-0.5B-Instruct}" \
    actor_rollout_ref.rollout.n=8 \
    reward.custom_reward_function.path=pkg://softgrpo.integrations.verl \
    reward.custom_reward_function.name=compute_score \
    +reward.custom_reward_function.reward_kwargs.url="http://127.0.0.1:$port" \
    +reward.custom_reward_function.reward_kwargs.size=8
