#!/usr/bin/env python3
"""A small server of streamed chat completions and of images, as OpenAI-compatible servers have them."""

import argparse
import asyncio
import base64
import json

from aiohttp import web

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--port", type=int, required=True)
options.add_argument("--gap", type=float, default=0.01, help="seconds between tokens")
options.add_argument("--first", type=float, default=0.1, help="seconds to the first token")
options.add_argument("--most", type=int, default=4, help="so many at once; others get 429")
options.add_argument("--cut-every", type=int, default=0, help="each such stream ends in the middle, and still says [DONE]")
options.add_argument("--break-every", type=int, default=0, help="each such stream is broken off")
options.add_argument("--key", default="", help="the API key that is asked for")
options = options.parse_args()
number, active = 0, 0


async def chat(request):
    global number, active
    if options.key and request.headers.get("Authorization") != f"Bearer {options.key}":
        return web.json_response({"error": {"message": "Incorrect API key provided"}}, status=401)
    body = await request.json()
    if active >= options.most:
        return web.json_response({"error": {"message": "too many requests"}}, status=429, headers={"Retry-After": "1"})
    number += 1
    mine, active = number, active + 1
    try:
        return await stream(request, body, mine)
    finally:
        active -= 1


async def stream(request, body, mine):
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    tokens = body["max_tokens"]
    for token in range(tokens):
        await asyncio.sleep(options.first if token == 0 else options.gap)
        if token == tokens // 2 and options.cut_every and mine % options.cut_every == 0:
            break
        if token == tokens // 2 and options.break_every and mine % options.break_every == 0:
            request.transport.abort()
            return answer
        piece = {"choices": [{"index": 0, "delta": {"content": f"word{token} "}, "finish_reason": None}]}
        await answer.write(f": ping\n\ndata: {json.dumps(piece)}\n\n".encode())
    else:
        await answer.write(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}\n\n')
    await answer.write(b"data: [DONE]\n\n")
    return answer


async def image(request):
    body = await request.json()
    await asyncio.sleep(options.first)
    picture = b"\x89PNG\r\n\x1a\n" + body["prompt"].encode() * 20
    return web.json_response({"created": 0, "data": [{"b64_json": base64.b64encode(picture).decode()}]})


async def metrics(request):
    return web.Response(text=f'# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{{engine="0"}} 0\nvllm:num_requests_running{{engine="0"}} {active}\n')


async def ok(request):
    return web.json_response({"data": [{"id": "small"}]})


app = web.Application()
app.add_routes([
    web.post("/v1/chat/completions", chat), web.post("/v1/images/generations", image), web.get("/metrics", metrics),
    web.get("/health", ok), web.get("/v1/models", ok),
])
web.run_app(app, host="127.0.0.1", port=options.port, print=None, shutdown_timeout=1)
