#!/usr/bin/env bash
# OpenRLHF with a tournament as its remote reward. It sends each response by itself; those of one prompt meet.
set -euo pipefail
port=${PORT:-8009}

softgrpo serve --judge_model_name "${JUDGE:-gpt-4o-mini}" --port "$port" --ledger verdicts.sqlite --budget_calls 100000 \
    --criteria "The better answer helps whoever asked, and is true." --cohort_deadline_s 120 &
server=$!
trap 'kill $server' EXIT
until curl --silent --fail "http://127.0.0.1:$port/healthz" > /dev/null; do kill -0 $server; sleep 1; done

python -m openrlhf.cli.train_ppo_ray \
    --actor.model_name_or_path "${MODEL:-Qwen/Qwen2.5-0.5B-Instruct}" \
    --data.prompt_dataset OpenRLHF/prompt-collection-v0.1 --data.input_key context_messages --data.apply_chat_template \
    --algo.advantage.estimator group_norm \
    --rollout.n_samples_per_prompt 8 \
    --reward.remote_url "http://127.0.0.1:$port/openrlhf?size=8"
