#!/usr/bin/env python3
"""LiteLLM's proxy, a published OpenAI-compatible server, answering by itself: no model, no network."""

import argparse
import os
import sys
import tempfile

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--port", type=int, required=True)
options.add_argument("--key", required=True)
options = options.parse_args()

CONFIG = """
model_list:
  - model_name: small
    litellm_params: { model: openai/none, api_key: none, mock_response: "a house on the green hill with two red doors" }
litellm_settings: { telemetry: false }
"""
config = os.path.join(tempfile.mkdtemp(), "config.yaml")
with open(config, "w") as file:
    file.write(CONFIG)
environment = {**os.environ, "LITELLM_MASTER_KEY": options.key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
program = os.path.join(os.path.dirname(sys.executable), "litellm")
os.execve(program, [program, "--config", config, "--host", "127.0.0.1", "--port", str(options.port)], environment)
