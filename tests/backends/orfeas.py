#!/usr/bin/env python3
"""A small server that speaks ORFEAS's documented protocol, with its habits: two steps, three slots and no queue, a 404 in the
first milliseconds, no replay, an out-of-memory that is called success, and a table of jobs that a restart empties."""

import argparse
import threading
import time
import uuid
import zlib

from flask import Flask, Response, jsonify, request
from flask_socketio import SocketIO, emit

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--port", type=int, required=True)
options.add_argument("--work", type=float, default=0.4, help="seconds a job takes")
options.add_argument("--slots", type=int, default=3)
options.add_argument("--oom-every", type=int, default=0, help="each such job runs out of memory, and is called a success")
options.add_argument("--honest-oom", action="store_true", help="... or is called a failure")
options.add_argument("--mute-end", action="store_true", help="the terminal event is never sent")
options.add_argument("--namespace", default="/", help="where events are sent")
options.add_argument("--rich", action="store_true", help="events carry bytes, want an acknowledgement, and only subscribers get them")
options = options.parse_args()

app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading", cors_allowed_origins="*", ping_interval=2, ping_timeout=2)
jobs, images, lock = {}, {}, threading.Lock()
running, generated, subscribers = 0, 0, {}
CUBE = b"solid cube" + b"\0" * 262


def tell(job_id, **news):
    with lock:
        jobs[job_id] = {**jobs.get(job_id, {}), **news}
    if options.mute_end and news["status"] in ("completed", "failed"):
        return
    event = {"job_id": job_id, "step": "", "status": news["status"], "progress": news.get("progress", 0)}
    if not options.rich:
        return socketio.emit("job_update", event, namespace=options.namespace)
    for sid in subscribers.get(job_id, []):
        socketio.emit("job_update", {**event, "preview": b"\x89PNG"}, namespace=options.namespace, to=sid, callback=acknowledged)


def acknowledged(*_):
    print("acknowledged", flush=True)


def mesh(image):
    seed = zlib.crc32(image)
    return b"solid " + str(seed).encode() + b"\n" + bytes((seed * n >> 7) & 0xFF for n in range(4000))


def work(job_id, number):
    global running
    time.sleep(0.05)  # The table learns of the job only now: until then its state is a 404.
    with lock:
        room = running < options.slots
        running += room
    if not room:
        return tell(job_id, status="failed", progress=0, error=f"Cannot allocate job {job_id}: insufficient resources")
    try:
        tell(job_id, status="processing", progress=25)
        time.sleep(options.work / 2)
        tell(job_id, status="processing", progress=50)
        time.sleep(options.work / 2)
        result = mesh(images[job_id])
        if options.oom_every and number % options.oom_every == 0:
            if options.honest_oom:
                return tell(job_id, status="failed", error="CUDA out of memory. Tried to allocate 2.00 GiB")
            print(f"CUDA out of memory in job {job_id}, falling back to the CPU", flush=True)
            tell(job_id, status="processing", progress=35)
            result = CUBE
        with lock:
            jobs[job_id]["mesh"] = result
        tell(job_id, status="completed", progress=100, output_file="model.stl", download_url=f"/api/download/{job_id}/model.stl")
    finally:
        with lock:
            running -= 1


@app.post("/api/upload-image")
def upload():
    file = request.files.get("image")
    if file is None or not file.filename.endswith(".png"):
        return jsonify(error="No image file provided"), 400
    data = file.read()
    if not data.startswith(b"\x89PNG") or b"MZ" in data[:1024]:
        return jsonify(error="Invalid image"), 400
    job_id = str(uuid.uuid4())
    images[job_id] = data
    return jsonify(job_id=job_id, filename=file.filename, preview_url=f"/preview/{job_id}", status="uploaded", image_info={})


@app.post("/api/generate-3d")
def generate():
    global generated
    if not request.is_json:
        return jsonify(error="Internal server error"), 500
    body = request.get_json()
    job_id = body.get("job_id")
    if job_id not in images:
        return jsonify(error="Job not found"), 404
    if body.get("format") not in ("stl", "obj", "glb", "ply"):
        return jsonify(error="Invalid format"), 400
    with lock:
        generated += 1
        number = generated
    threading.Thread(target=work, args=(job_id, number), daemon=True).start()
    return jsonify(job_id=job_id, status="generating_3d", format=body["format"])


@app.get("/api/job-status/<job_id>")
def status(job_id):
    with lock:
        job = {key: value for key, value in jobs.get(job_id, {}).items() if key != "mesh"}
    return (jsonify(job), 200) if job else (jsonify(error="Job not found"), 404)


@app.get("/api/download/<job_id>/<name>")
def download(job_id, name):
    return Response(jobs[job_id]["mesh"], mimetype="model/stl")


@app.get("/health")
@app.get("/ready")
def health():
    return jsonify(status="healthy")


@app.get("/metrics")
def metrics():
    return Response(f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {STARTED}\n# TYPE orfeas_generations_in_progress gauge\norfeas_generations_in_progress {running}\n", mimetype="text/plain")


@socketio.on("subscribe", namespace=options.namespace)
def subscribe(data):
    subscribers.setdefault(data["job_id"], []).append(request.sid)


@socketio.on("connect", namespace=options.namespace)
def connected():
    # Sent before the namespace's acknowledgement, as the original does.
    emit("connected", {"status": "connected"})


STARTED = time.time()
socketio.run(app, host="127.0.0.1", port=options.port, allow_unsafe_werkzeug=True)
