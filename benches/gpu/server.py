#!/usr/bin/env python3
"""A small generation server on a real GPU, for trying chaos on one: needs PyTorch and aiohttp.

Jobs hold memory in proportion to their pixels and multiply matrices meanwhile. A job that runs out of memory is tried again in
a smaller batch. Memory is PyTorch's: what jobs have used stays with its allocator, so the device's gauge keeps its high-water
mark. `--defect leak` keeps memory of every job, `--defect keep` all memory of a job that ran out of it.
"""
import argparse, asyncio, concurrent.futures, itertools, logging, struct, threading, time, zlib
import torch
from aiohttp import web

WEIGHTS_GIB, LEAK_MIB, SIDE = 6, 256, 8192
log = logging.getLogger("server")


def png(mark):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    side = 64
    rows = b"".join(b"\0" + bytes(zlib.crc32(f"{mark}{x}{y}".encode()) & 255 for x in range(side)) for y in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"tEXt", b"mark\0" + mark.encode()) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Server:
    def __init__(self, options):
        self.options, self.jobs, self.numbers, self.kept = options, {}, itertools.count(), []
        self.pool = concurrent.futures.ThreadPoolExecutor(options.slots)
        # A 1024x1024 job in a batch of 4 holds a seventh of the device, whatever its size: eight at once do not fit.
        self.bytes_per_pixel = torch.cuda.mem_get_info()[1] // 7 // (1024 * 1024 * 4)
        self.lock, self.oom = threading.Lock(), 0
        self.weights = torch.ones(WEIGHTS_GIB << 28, dtype=torch.float32, device="cuda")
        self.matrix = torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16)

    def generate(self, job):
        # A stream of its own has memory of its own in PyTorch's allocator: the gauge saws, where one stream's is steady.
        stream = torch.cuda.Stream() if self.options.streams else torch.cuda.current_stream()
        with torch.cuda.stream(stream):
            size = job["width"] * job["height"] * job["batch_size"] * self.bytes_per_pixel
            held = torch.empty(size, dtype=torch.uint8, device="cuda")
            held.fill_(1)
            out = torch.empty_like(self.matrix)
            for _ in range(max(1, job["width"] * job["height"] // 8192)):
                torch.matmul(self.matrix, self.matrix, out=out)
            stream.synchronize()
            if self.options.defect == "leak":
                self.kept.append(torch.empty(LEAK_MIB << 20, dtype=torch.uint8, device="cuda"))

    def run(self, job):
        job["status"] = "running"
        while True:
            job["attempts"] += 1
            try:
                self.generate(job)
                job["status"] = "completed"
                return
            except torch.OutOfMemoryError as error:
                message = str(error).splitlines()[0][:200]
                with self.lock:
                    self.oom += 1
                log.warning("job=%s: %s", job["id"], message)
                if self.options.defect == "keep":
                    # What a kept traceback does in earnest: the memory of the failed attempt stays referenced.
                    try:
                        self.kept.append(torch.empty(4 << 30, dtype=torch.uint8, device="cuda"))
                    except torch.OutOfMemoryError:
                        pass
                if job["batch_size"] > 1:
                    job["batch_size"] //= 2
                    log.warning("retrying with a smaller batch job=%s batch=%s", job["id"], job["batch_size"])
                elif job["attempts"] > 40:
                    job["status"], job["error"] = "failed", message
                    return
                else:
                    time.sleep(0.5)

    async def submit(self, request):
        asked = await request.json()
        number = next(self.numbers)
        job = {"id": f"gpu-{number:06}", "status": "queued", "attempts": 0, "batch_size": int(asked["batch"]), "error": None,
               "width": int(asked["width"]), "height": int(asked["height"]), "mark": asked["mark"]}
        self.jobs[job["id"]] = job
        self.pool.submit(self.run, job)
        return web.json_response({"id": job["id"]}, status=202)

    async def status(self, request):
        job = self.jobs.get(request.match_info["id"])
        return web.json_response(job) if job else web.json_response({"error": "unknown"}, status=404)

    async def result(self, request):
        job = self.jobs.get(request.match_info["id"])
        if not job or job["status"] != "completed":
            return web.Response(status=404)
        return web.Response(body=png(job["mark"]), content_type="image/png")

    async def queue(self, _):
        states = [job["status"] for job in self.jobs.values()]
        return web.json_response({"waiting": states.count("queued"), "running": states.count("running")})

    async def metrics(self, _):
        reserved, allocated = torch.cuda.memory_reserved(), torch.cuda.memory_allocated()
        text = "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in [
            ("torch_reserved_bytes", reserved), ("torch_allocated_bytes", allocated), ("torch_reusable_bytes", reserved - allocated), ("torch_total_bytes", torch.cuda.mem_get_info()[1]),
            ("torch_out_of_memory", self.oom)])
        return web.Response(text=text)

    async def health(self, _):
        return web.json_response({"ok": True})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=7861)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--streams", action="store_true", help="a CUDA stream for each job")
    parser.add_argument("--defect", choices=["none", "leak", "keep"], default="none")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    options = parser.parse_args()
    server, app = Server(options), web.Application()
    app.add_routes([web.post("/jobs", server.submit), web.get("/jobs/{id}", server.status), web.get("/jobs/{id}/result", server.result),
                    web.get("/queue", server.queue), web.get("/metrics", server.metrics), web.get("/health", server.health)])
    web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=None)
