"""Ten services as people write them in ten lines. Each is healthy, and no two speak alike: `chaos init` sees their OpenAPI documents only."""

import argparse
import asyncio
import itertools
import threading
import time
import uuid

import uvicorn
from fastapi import FastAPI, Form, HTTPException, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

TAKES = 0.15
WORDS = ("queued", "running", "completed")


class In(BaseModel):
    prompt: str
    steps: int = 4


class Queue:
    """One worker, and a clock instead of it."""

    def __init__(self, ids):
        self.ids, self.jobs, self.free_at, self.lock = ids, {}, 0.0, threading.Lock()

    def add(self, prompt):
        with self.lock:
            name, begins = next(self.ids), max(time.time(), self.free_at)
            self.free_at = begins + TAKES
            self.jobs[str(name)] = (begins, self.free_at, prompt)
        return name

    def state(self, name, words=WORDS):
        begins, ends, _ = self.known(name)
        return words[(time.time() >= begins) + (time.time() >= ends)]

    def known(self, name):
        if str(name) not in self.jobs:
            raise HTTPException(404, "unknown job")
        return self.jobs[str(name)]

    def progress(self, name):
        begins, ends, _ = self.known(name)
        return min(1.0, max(0.0, (time.time() - begins) / (ends - begins)))

    def result(self, name):
        return Response(made_of(self.known(name)[2]), media_type="application/octet-stream")


def made_of(prompt):
    return ("made of " + prompt + "\n").encode() * 20


def texts():
    return (uuid.uuid4().hex for _ in itertools.count())


def plain():
    app, queue = FastAPI(), Queue(texts())

    @app.get("/health")
    def health():
        return {"ok": True}

    @app.post("/generate")
    def generate(body: In):
        return {"id": queue.add(body.prompt), "status": "queued"}

    @app.get("/status/{id}")
    def status(id: str):
        return {"id": id, "status": queue.state(id)}

    @app.get("/result/{id}")
    def result(id: str):
        return queue.result(id)

    return app


def numbers():
    app, queue = FastAPI(), Queue(itertools.count(1))

    @app.post("/jobs", status_code=201)
    def jobs(body: In):
        return {"job_id": queue.add(body.prompt)}

    @app.get("/jobs/{job_id}")
    def job(job_id: int):
        return {"job_id": job_id, "state": queue.state(job_id, ("WAITING", "RUNNING", "DONE"))}

    @app.get("/jobs/{job_id}/result")
    def result(job_id: int):
        return queue.result(job_id)

    return app


def accepted():
    app, queue = FastAPI(), Queue(texts())

    @app.post("/tasks", status_code=202)
    def tasks(body: In):
        name = queue.add(body.prompt)
        return {"task_id": name, "status_url": f"http://inside:8000/tasks/{name}"}

    @app.get("/tasks/{task_id}")
    def task(task_id: str):
        state = queue.state(task_id, ("pending", "pending", "done"))
        return JSONResponse({"status": state}, status_code=200 if state == "done" else 202)

    @app.get("/tasks/{task_id}/output")
    def output(task_id: str):
        return queue.result(task_id)

    return app


class Told(BaseModel):
    id: str
    state: str
    progress: float


def fraction():
    app, queue = FastAPI(), Queue(texts())

    @app.post("/txt2img", response_model=Told)
    def txt2img(body: In):
        return Told(id=queue.add(body.prompt), state="IN_QUEUE", progress=0)

    @app.get("/progress/{id}", response_model=Told)
    def progress(id: str):
        return Told(id=id, state=queue.state(id, ("IN_QUEUE", "IN_PROGRESS", "COMPLETED")), progress=queue.progress(id))

    @app.get("/images/{id}")
    def images(id: str):
        return queue.result(id)

    return app


def synchronous():
    app, lock = FastAPI(), asyncio.Lock()

    @app.post("/predict")
    async def predict(body: In):
        async with lock:
            await asyncio.sleep(TAKES)
        return {"output": made_of(body.prompt).decode()}

    return app


def celery():
    app, queue = FastAPI(), Queue(texts())

    @app.post("/api/run")
    def run(body: In):
        return {"taskId": queue.add(body.prompt)}

    @app.get("/api/status/{taskId}")
    def status(taskId: str):
        return {"state": queue.state(taskId, ("PENDING", "STARTED", "SUCCESS")), "meta": None}

    @app.get("/api/result/{taskId}")
    def result(taskId: str):
        return queue.result(taskId)

    return app


def flag():
    app, queue = FastAPI(), Queue(texts())

    @app.post("/enqueue")
    def enqueue(body: In):
        return {"id": queue.add(body.prompt)}

    @app.get("/job/{id}")
    def job(id: str):
        return {"done": queue.progress(id) >= 1.0, "error": None}

    @app.get("/download/{id}")
    def download(id: str):
        return queue.result(id)

    return app


def nested():
    app, queue = FastAPI(), Queue(texts())

    @app.post("/render")
    def render(body: In):
        return {"ok": True, "data": {"id": queue.add(body.prompt)}}

    @app.get("/task/{id}")
    def task(id: str):
        return {"ok": True, "data": {"status": queue.state(id, ("waiting", "working", "finished"))}}

    @app.get("/file/{id}")
    def file(id: str):
        return queue.result(id)

    return app


def asked_in_the_query():
    app, queue = FastAPI(), Queue(texts())

    @app.get("/healthz")
    def healthz():
        return "ok"

    @app.post("/generate")
    def generate(prompt: str, response: Response, width: int = 512):
        response.set_cookie("affinity", "node-1")
        return {"request_id": queue.add(prompt), "eta": width / 1000}

    @app.get("/queue/{request_id}")
    def state(request_id: str):
        return {"request_id": request_id, "status": queue.state(request_id, ("queued", "processing", "succeeded"))}

    @app.get("/output/{request_id}")
    def output(request_id: str):
        return queue.result(request_id)

    return app


def form():
    app, queue = FastAPI(), Queue(texts())

    @app.post("/submit")
    def submit(prompt: str = Form(...), steps: int = Form(4)):
        return {"uuid": queue.add(prompt), "steps": steps}

    @app.get("/history/{uuid}")
    def history(uuid: str):
        return {"uuid": uuid, "phase": queue.state(uuid, ("created", "started", "complete"))}

    @app.get("/result/{uuid}")
    def result(uuid: str):
        return queue.result(uuid)

    return app


STYLES = [plain, numbers, accepted, fraction, synchronous, celery, flag, nested, asked_in_the_query, form]

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--ports", type=int, nargs=len(STYLES), required=True)


async def serve():
    servers = [
        uvicorn.Server(uvicorn.Config(make(), host="127.0.0.1", port=port, log_level="warning"))
        for make, port in zip(STYLES, arguments.parse_args().ports)
    ]
    await asyncio.gather(*(server.serve() for server in servers))


asyncio.run(serve())
