"""Many sends of one task from a request, a command and a task, over real brokers, beside plain Celery.

    uv run python benchmarks/fan_out.py --counts 1000 --brokers redis,amqp
    uv run python benchmarks/fan_out.py --counts 100000 --brokers redis --senders request,task

It runs in the checkout's own environment. A row: how long the sends took (wall and CPU), how much the peak of the sender's
memory grew meanwhile, and, with clew, what arrived at an OTLP receiver when a worker (solo), which runs beside the sender, had
run all of them: spans in the largest trace, traces, runs, those linked to a publish that has arrived, and lines about lost spans.
Each sender is a fresh process; the sender of `task` is the worker itself. Redis' database 12 is used.
"""
import argparse
import collections
import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

URLS = {"redis": "redis://127.0.0.1:6379/12", "amqp": "amqp://guest:guest@127.0.0.1:5672//"}
SENDERS = ("request", "command", "task")


def the_app():
    """In a measured process: the app, its tasks, and what sends."""
    import django
    from celery import Celery
    from django.conf import settings

    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", MIDDLEWARE=[])
    if os.environ["FAN_OUT_TRACED"] == "1":
        import clew

        clew.setup_tracing(service_name="fan-out")
    django.setup()
    made = Celery("fan_out", broker=os.environ["FAN_OUT_BROKER"])
    made.conf.update(task_default_queue=os.environ["FAN_OUT_QUEUE"], task_ignore_result=True, worker_enable_remote_control=False)

    @made.task(name="noop")
    def noop(number):
        return None

    @made.task(name="loop")
    def loop():
        measure(send_all)

    def send_all():
        for number in range(int(os.environ["FAN_OUT_COUNT"])):
            noop.delay(number)

    return made


def measure(send):
    before, wall, cpu = peak_kb(), time.perf_counter(), time.process_time()
    send()
    found = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "grown_mib": (peak_kb() - before) / 1024}
    Path(os.environ["FAN_OUT_RESULT"]).write_text(json.dumps(found))


def peak_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def view(request):
    from django.http import HttpResponse

    app.tasks["loop"].run()
    return HttpResponse()


if "FAN_OUT_QUEUE" in os.environ:
    from django.urls import path

    app, urlpatterns = the_app(), [path("send/", view)]


def send(sender):
    """The sending process."""
    app.tasks["noop"].backend  # noqa: B018 - and a connection, before anything is measured
    app.pool.acquire().release()
    if sender == "request":
        from django.test import Client

        assert Client().get("/send/").status_code == 200
    else:
        app.tasks["loop"].run()


class Arrived:
    """What the receiver got, as little of each span as is asked for."""

    def __init__(self):
        self.traces, self.published, self.runs = collections.Counter(), set(), []
        self.changed = threading.Condition()

    def take(self, spans):
        with self.changed:
            for span in spans:
                self.traces[span.trace_id] += 1
                if span.name.startswith("apply_async/"):
                    self.published.add(span.span_id)
                elif span.name == "run/noop":
                    self.runs.append((span.attributes["messaging.message.id"], span.attributes.get("celery.publish.span_id")))
            self.changed.notify_all()

    def wait(self, count, seconds):
        with self.changed:
            return self.changed.wait_for(lambda: len(self.runs) >= count, seconds)


def row(sender, broker, count, traced, folder):
    from kombu import Connection

    from clew.cli.view.receiver import Receiver

    arrived, result = Arrived(), Path(folder) / uuid.uuid4().hex
    with Receiver(arrived.take, grpc_port=0, http_port=None) as receiver:
        env = {
            **os.environ, "FAN_OUT_BROKER": URLS[broker], "FAN_OUT_QUEUE": f"fan-out-{uuid.uuid4().hex[:8]}", "FAN_OUT_COUNT": str(count),
            "FAN_OUT_TRACED": str(int(traced)), "FAN_OUT_RESULT": str(result), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "PYTHONPATH": str(Path(__file__).parent),
        }  # fmt: skip
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(working(env, result)) if traced or sender == "task" else None
            if sender == "task":
                told = [sys.executable, "-c", "import fan_out; fan_out.app.send_task('loop')"]
                subprocess.run(told, env={**env, "FAN_OUT_TRACED": "0"}, check=True)
            else:
                subprocess.run([sys.executable, __file__, "--send", sender], env=env, check=True, capture_output=True)
            if traced:
                arrived.wait(count, 600 + count / 30)
            while not result.exists():
                time.sleep(0.1)
        lost = [line for line in log.read_text(errors="replace").splitlines() if "lost" in line] if log else []
        with Connection(URLS[broker]) as connection:
            connection.default_channel.queue_delete(env["FAN_OUT_QUEUE"])
    linked = sum(publish in arrived.published for _, publish in arrived.runs)
    return {
        **json.loads(result.read_text()), "largest": max(arrived.traces.values(), default=0), "traces": len(arrived.traces),
        "runs": len({message for message, _ in arrived.runs}), "linked": linked, "lost": lost,
    }  # fmt: skip


@contextlib.contextmanager
def working(env, result):
    """A worker beside the sender; it is asked to end when all has arrived, and sends what it still has."""
    log = Path(f"{result}.log")
    command = [sys.executable, "-m", "celery", "-A", "fan_out", "worker", "-P", "solo", "-l", "WARNING", "--without-gossip", "--without-mingle"]
    with log.open("wb") as out:
        worker = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        yield log
    finally:
        worker.terminate()
        worker.wait(120)


def main():
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1000")
    parser.add_argument("--brokers", default="redis,amqp")
    parser.add_argument("--senders", default=",".join(SENDERS))
    args = parser.parse_args()
    print("| sends | broker | from | Celery | s | CPU s | MiB | largest trace | traces | runs | linked |\n|-|-|-|-|-|-|-|-|-|-|-|")
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, args.counts.split(",")):
            for broker in args.brokers.split(","):
                for sender in args.senders.split(","):
                    for traced in (False, True):
                        found = row(sender, broker, count, traced, folder)
                        told = f"{found['largest']:,} | {found['traces']:,} | {found['runs']:,} | {found['linked']:,}" if traced else "- | - | - | -"
                        print(
                            f"| {count:,} | {broker} | {sender} | {'with clew' if traced else 'plain'} | {found['wall_s']:.2f} | {found['cpu_s']:.2f} "
                            f"| {found['grown_mib']:.1f} | {told} |", *found["lost"], flush=True,
                        )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send(sys.argv[2])
    else:
        main()
