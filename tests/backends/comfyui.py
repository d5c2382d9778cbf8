#!/usr/bin/env python3
"""A small server that speaks ComfyUI's documented protocol: a queue in memory, `/ws` by client id, `/history`, `/free`."""

import argparse
import asyncio
import json
import struct
import uuid
import zlib

from aiohttp import web

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--port", type=int, required=True)
options.add_argument("--work", type=float, default=0.15, help="seconds a prompt takes")
options.add_argument("--load", type=float, default=0.6, help="seconds that loading the model takes")
options.add_argument("--lose-every", type=int, default=0, help="each such prompt disappears from the queue")
options.add_argument("--oom-every", type=int, default=0, help="each such prompt ends in an out-of-memory error")
options.add_argument("--mute-end", action="store_true", help="no event tells of an end")
options = options.parse_args()

pending, running, history, sockets, images = [], [], {}, {}, {}
wake = asyncio.Event()
warm, number = False, 0


async def send(client, kind, **data):
    if options.mute_end and kind in ("execution_success", "execution_error"):
        return
    socket = sockets.get(client)
    if socket is not None:
        try:
            await socket.send_json({"type": kind, "data": data})
        except ConnectionError:
            pass


def png(width, height, color, text):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + color.to_bytes(3, "big") * width
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    # As the original, which puts the prompt into its images.
    note = chunk(b"tEXt", b"prompt\0" + text.encode())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + note + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b"")


async def execute(prompt_id, graph, client):
    global warm
    await send(client, "execution_start", prompt_id=prompt_id)
    if not warm:
        print("Requested to load the model", flush=True)
        await asyncio.sleep(options.load)
        warm = True
    for node in graph:
        await send(client, "executing", node=node, prompt_id=prompt_id)
        await send(client, "progress", value=1, max=2, node=node, prompt_id=prompt_id)
        await asyncio.sleep(options.work / len(graph))
    if options.oom_every and number % options.oom_every == 0:
        warm = False
        error = "Allocation on device 0 would exceed allowed memory. (out of memory)"
        history[prompt_id] = {"outputs": {}, "status": {"status_str": "error", "completed": False, "messages": [["execution_error", {"exception_message": error}]]}}
        await send(client, "execution_error", prompt_id=prompt_id, exception_message=error, node_type="KSampler")
        return
    source = next(node["inputs"] for node in graph.values() if node["class_type"] == "EmptyImage")
    name = f"{prompt_id}.png"
    images[name] = png(source["width"], source["height"], source["color"], json.dumps(graph))
    # A node that shows a preview, which is the same for every prompt, stands before the one that saves.
    images["preview.png"] = images.get("preview.png") or png(64, 64, 0, "a preview")
    preview = {"filename": "preview.png", "subfolder": "previews", "type": "temp"}
    output = {"1": {"images": [preview], "text": ["done"]}, "2": {"images": [{"filename": name, "subfolder": "", "type": "output"}]}}
    history[prompt_id] = {"prompt": [number, prompt_id, graph], "outputs": output, "status": {"status_str": "success", "completed": True, "messages": []}}
    await send(client, "execution_success", prompt_id=prompt_id)


async def worker(app):
    while True:
        while not pending:
            wake.clear()
            await wake.wait()
        entry = pending.pop(0)
        if options.lose_every and entry[0] % options.lose_every == 0:
            continue
        running.append(entry)
        await execute(entry[1], entry[2], entry[3]["client_id"])
        running.remove(entry)
        await send(entry[3]["client_id"], "executing", node=None, prompt_id=entry[1])


async def prompt(request):
    global number
    body = await request.json()
    graph = body.get("prompt") or {}
    if not all(isinstance(node, dict) and "class_type" in node for node in graph.values()) or not graph:
        error = {"type": "invalid_prompt", "message": "Cannot execute because a node is missing the class_type property."}
        return web.json_response({"error": error, "node_errors": {}}, status=400)
    number += 1
    prompt_id = str(uuid.uuid4())
    pending.append([number, prompt_id, graph, {"client_id": body.get("client_id")}, ["2"]])
    wake.set()
    return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": {}})


async def queue(request):
    if request.method == "GET":
        return web.json_response({"queue_running": running, "queue_pending": pending})
    gone = (await request.json()).get("delete", [])
    pending[:] = [entry for entry in pending if entry[1] not in gone]
    return web.Response()


async def one_history(request):
    prompt_id = request.match_info["id"]
    return web.json_response({prompt_id: history[prompt_id]} if prompt_id in history else {})


async def view(request):
    is_there = request.query.get("subfolder", "") == ("previews" if request.query["filename"] == "preview.png" else "")
    image = images.get(request.query["filename"]) if is_there else None
    return web.Response(body=image, content_type="image/png") if image else web.Response(status=404)


async def free(request):
    global warm
    warm = False
    return web.Response()


async def stats(request):
    return web.json_response({"system": {}, "devices": [{"vram_total": 1 << 34, "vram_free": 1 << 33}]})


async def socket(request):
    client, answer = request.query.get("clientId"), web.WebSocketResponse()
    await answer.prepare(request)
    new = client not in sockets
    sockets.setdefault(client, answer)
    await answer.send_json({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": len(pending)}}, "sid": client}})
    await answer.send_bytes(b"\0\0\0\1preview")
    async for _ in answer:
        pass
    # The original's habit: a socket that came while the old one was open gets nothing, also after that one is gone.
    if new:
        sockets.pop(client, None)
    return answer


async def ok(request):
    return web.Response()


async def start(app):
    app["worker"] = asyncio.create_task(worker(app))


app = web.Application()
app.on_startup.append(start)
app.add_routes([
    web.post("/prompt", prompt), web.get("/queue", queue), web.post("/queue", queue), web.get("/history/{id}", one_history),
    web.get("/view", view), web.post("/free", free), web.post("/interrupt", ok), web.get("/system_stats", stats), web.get("/ws", socket),
])
web.run_app(app, host="127.0.0.1", port=options.port, print=None, handle_signals=True, shutdown_timeout=1)
