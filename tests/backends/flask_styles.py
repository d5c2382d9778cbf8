"""Services made with Flask, as people write them in ten lines. Flask has no OpenAPI document: `chaos init` learns their routes by asking."""

import argparse
import itertools
import threading
import time
import uuid

from flask import Flask, Response, jsonify, make_response, request
from werkzeug.serving import make_server

TAKES = 0.15


class Queue:
    """One worker, and a clock instead of it."""

    def __init__(self):
        self.jobs, self.free_at, self.lock, self.numbers = {}, 0.0, threading.Lock(), itertools.count(1)

    def add(self, name, prompt):
        with self.lock:
            begins = max(time.time(), self.free_at)
            self.free_at = begins + TAKES
            self.jobs[name] = (begins, self.free_at, prompt)

    def at(self, name):
        """0 waits, 1 runs, 2 is done."""
        begins, ends, _ = self.jobs[name]
        return (time.time() >= begins) + (time.time() >= ends)

    def result(self, name):
        return Response(made_of(self.jobs[name][2]), mimetype="application/octet-stream")


def made_of(prompt):
    return ("made of " + prompt + "\n") * 20


def plain():
    app, queue = Flask("plain"), Queue()

    @app.post("/generate")
    def generate():
        name = uuid.uuid4().hex
        queue.add(name, request.json["prompt"])
        return jsonify(job_id=name, status="queued")

    @app.get("/status/<job_id>")
    def status(job_id):
        return jsonify(job_id=job_id, status=("queued", "processing", "completed")[queue.at(job_id)])

    @app.get("/result/<job_id>")
    def result(job_id):
        return queue.result(job_id)

    return app


def numbers():
    """Behind a balancer: who does not bring its cookie back comes to a node that has never heard of the job."""
    app, queue = Flask("numbers"), Queue()

    @app.post("/api/jobs")
    def jobs():
        number = next(queue.numbers)
        queue.add(number, request.get_json(force=True)["prompt"])
        answer = make_response(jsonify(id=number), 202)
        answer.set_cookie("route", "node-1")
        return answer

    @app.get("/api/jobs/<int:number>")
    def job(number):
        if request.cookies.get("route") != "node-1":
            return jsonify(error="unknown job"), 404
        return jsonify(id=number, state=("PENDING", "STARTED", "SUCCESS")[queue.at(number)])

    @app.get("/api/jobs/<int:number>/result")
    def result(number):
        return queue.result(number)

    return app


def flag():
    app, queue = Flask("flag"), Queue()

    @app.post("/tasks")
    def tasks():
        name = uuid.uuid4()
        queue.add(name, request.json["prompt"])
        return jsonify(data={"task_id": name})

    @app.get("/tasks/<uuid:name>")
    def task(name):
        return jsonify(data={"done": queue.at(name) == 2, "error": None})

    return app


def synchronous():
    app, lock = Flask("synchronous"), threading.Lock()

    @app.post("/predict")
    def predict():
        with lock:
            time.sleep(TAKES)
        return jsonify(output=made_of(request.json["prompt"]))

    return app


STYLES = [plain, numbers, flag, synchronous]

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--ports", type=int, nargs=len(STYLES), required=True)
servers = [make_server("127.0.0.1", port, make(), threaded=True) for make, port in zip(STYLES, arguments.parse_args().ports)]
threads = [threading.Thread(target=server.serve_forever) for server in servers]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
