#!/usr/bin/env python3
"""A Gradio app, with Gradio's own queue and event streams."""

import argparse
import time

import gradio

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--port", type=int, required=True)
options.add_argument("--work", type=float, default=0.3, help="seconds a job takes")
options.add_argument("--waiting", type=int, default=8, help="so many may wait")
options.add_argument("--fail-every", type=int, default=0)
options = options.parse_args()
calls = 0


def generate(prompt, progress=gradio.Progress()):
    global calls
    calls += 1
    if options.fail_every and calls % options.fail_every == 0:
        raise gradio.Error("CUDA out of memory")
    for step in range(3):
        progress(step / 3, desc="sampling")
        time.sleep(options.work / 3)
    return f"done: {prompt}"


with gradio.Blocks() as app:
    text, out = gradio.Textbox(), gradio.Textbox()
    gradio.Button("Go").click(generate, text, out, api_name="generate")
app.queue(max_size=options.waiting, default_concurrency_limit=1)
app.launch(server_name="127.0.0.1", server_port=options.port, quiet=True, show_error=True)
