"""What tracing costs in retired instructions, counted by valgrind's callgrind: the same figure on a busy and on a quiet machine.

    python3 instructions.py                                                  # /plain, /page, /n1; baseline, otel-min, otel-full, clew
    python3 instructions.py --endpoints page --contenders baseline,otel-full,clew,clew@0

A table of thousands of instructions a request, what each contender adds to the baseline, and that as a ratio of otel-min and
otel-full. Everything is counted: the request's thread, the exporter's, garbage collection, the flush at the end. Under callgrind
time runs some fifty times slower, so contenders whose spans depend on durations are set up with `quiet()` (thresholds out of
reach); `NAME+freeze` counts with everything that is alive after the warm-up out of the collector's sight (gc.freeze).
Nothing is sent before the flush at the end, or a full batch: a slow machine would send more often.
It needs valgrind (apt-get install valgrind) and the virtual environments that setup.sh makes. A contender has one process for
all endpoints, two of them run at once, and each takes a minute or two.

One full collection in the forty requests of a contender is 10 million instructions, so `--check`, `--record` and `--freeze` count
everything like that. `--check` fails where clew adds a fifth more to the baseline's instructions than results/instructions.json says; `--record` writes
that file. It holds shares, which depend less on the build of Python than counts do. Both make few requests: a fifth is seen in those, too.
"""
import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "results" / "instructions.json"
CHECKED = ("clew", "clew@0")
ENDPOINTS = "plain,page,n1,forms,deep"
REQUESTS = {"plain": 150, "page": 40, "n1": 30, "enqueue": 60, "forms": 6, "deep": 40, "fan": 4, "task": 200}
FEW_REQUESTS = {"plain": 100, "page": 24, "n1": 8, "forms": 1, "deep": 20}
# Endpoints whose settings differ have a process of their own.
ENVIRONMENT = {"deep": {"BENCH_DEEP": "1"}}


def measured(spec, wanted):
    """Runs in the measured process: for each endpoint warm up, then count its requests and the flush after them."""
    import gc
    import io

    from contenders import boot

    bench = boot()
    import django

    django.setup()
    from django.core.cache import cache
    from django.core.wsgi import get_wsgi_application

    for key in ("menu", "banner", "footer"):
        cache.set(key, key * 10, None)
    application = get_wsgi_application()
    environ = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": "testserver", "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "testserver", "HTTP_USER_AGENT": "bench/1.0",
        "HTTP_ACCEPT": "text/html,application/json;q=0.9", "HTTP_ACCEPT_LANGUAGE": "en",
        "HTTP_COOKIE": f"sessionid={os.environ['BENCH_SESSION']}", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
    }  # fmt: skip
    seen = []

    def start_response(status, headers, exc_info=None):
        seen[:] = [status]

    def call(endpoint, times):
        for _ in range(times):
            path = {"PATH_INFO": f"/{endpoint}", "RAW_URI": f"/{endpoint}"}
            response = application({**environ, **path, "wsgi.input": io.BytesIO()}, start_response)
            b"".join(response)
            response.close()
            assert seen[0].startswith("200"), seen

    def run_tasks(times):
        """A worker in this process, from its start until it has run what is sent."""
        from app.celery_app import app, has_run
        from celery.contrib.testing.worker import start_worker

        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=600):
            for _ in range(times):
                has_run.acquire()

    def send_tasks(times):
        from app.celery_app import count

        for number in range(times):
            count.delay(number)

    def tell_callgrind(*words):
        subprocess.run(["vgdb", f"--pid={os.getpid()}", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    for endpoint, requests in wanted.items():
        prepare, act = (send_tasks, run_tasks) if endpoint == "task" else (int, functools.partial(call, endpoint))
        warm_up = max(3, min(40, 2 * requests))
        prepare(warm_up)
        act(warm_up)
        prepare(requests)
        bench.flush()
        if spec.endswith("+freeze") or os.environ.get("BENCH_FREEZE"):
            gc.collect()
            gc.freeze()
        tell_callgrind("instrumentation", "on")
        act(requests)
        bench.flush()
        tell_callgrind("instrumentation", "off")
        tell_callgrind("dump", endpoint)
    os._exit(0)


class Counting:
    """What the processes of a run share: the sink, a folder, the session of a logged-in user."""

    def __init__(self, sink, folder):
        self.sink, self.folder = sink, folder
        seed = subprocess.run(
            [str(HERE / "venvs/base/bin/python"), "-m", "app.seed"], cwd=HERE, check=True, capture_output=True, text=True,
            env={**os.environ, "BENCH_DB": f"{folder}/seed.sqlite3", "BENCH_CONTENDER": "baseline"},
        )  # fmt: skip
        self.session = seed.stdout.strip()

    def count(self, job):
        """Thousands of instructions a request of each endpoint, by one process of a contender."""
        spec, requests = job
        name = spec.removesuffix("+freeze")
        contender, _, rate = name.partition("@")
        from contenders import registry

        place = f"{self.folder}/{spec}.{next(iter(requests))}"
        shutil.copy(f"{self.folder}/seed.sqlite3", f"{place}.sqlite3")
        settings = {key: value for endpoint in requests for key, value in ENVIRONMENT.get(endpoint, {}).items()}
        env = {
            **os.environ, "BENCH_CONTENDER": contender, "BENCH_SAMPLE": rate or "1", "BENCH_SINK": f"http://127.0.0.1:{self.sink[0]}",
            "BENCH_SINK_GRPC": f"127.0.0.1:{self.sink[1]}", "BENCH_DB": f"{place}.sqlite3", "BENCH_SESSION": self.session, "BENCH_QUIET": "1",
            "DJANGO_SETTINGS_MODULE": "app.settings", "PYTHONHASHSEED": "0", "OTEL_BSP_SCHEDULE_DELAY": "600000", **settings,
        }  # fmt: skip
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--combine-dumps=yes", f"--callgrind-out-file={place}.callgrind",
             str(HERE / "venvs" / registry[contender][0] / "bin/python"), str(HERE / "instructions.py"), "--measured", spec, json.dumps(requests)],
            cwd=HERE, env=env, capture_output=True, text=True,
        )  # fmt: skip
        dumped = re.findall(r"^totals: (\d+)", Path(f"{place}.callgrind").read_text(errors="replace"), re.M)
        if done.returncode or len(dumped) < len(requests):
            sys.exit(f"{spec} {requests}: {done.stderr[-2000:]}")
        return spec, {
            endpoint: int(total) / times / 1000 for (endpoint, times), total in zip(requests.items(), dumped)
        }


def counted(specs, endpoints, requests):
    """Thousands of instructions a request: {endpoint: {contender: k}}."""
    from run import running_sink

    alike = [each for each in endpoints if each not in ENVIRONMENT]
    groups = [*([alike] if alike else []), *([each] for each in endpoints if each in ENVIRONMENT)]
    jobs = [(spec, {each: requests.get(each, 40) for each in group}) for group in groups for spec in specs]
    found = {endpoint: {} for endpoint in endpoints}
    with running_sink() as sink, tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        for spec, each in pool.map(Counting(sink, folder).count, jobs):
            print(f"{spec}: {', '.join(each)}", file=sys.stderr, flush=True)
            for endpoint, k in each.items():
                found[endpoint][spec] = k
    return found


def print_table(endpoint, found):
    print(f"\n### /{endpoint}\n\n| contender | k instructions a request | added | of otel-min | of otel-full |\n|---|---|---|---|---|")
    base = found.get("baseline", 0)
    for spec, k in found.items():
        ratios = [
            f"{(k - base) / (found[other] - base):.2f}" if other in found and other != spec else "-"
            for other in ("otel-min", "otel-full")
        ]
        print(f"| {spec} | {k:,.0f} | {k - base:,.0f} | {ratios[0]} | {ratios[1]} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", default="baseline,otel-min,otel-full,clew,clew@0")
    parser.add_argument("--endpoints", default=ENDPOINTS)
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    is_short = args.check or args.record
    if is_short:
        args.contenders = ",".join(("baseline", *CHECKED))
    if args.freeze or is_short:
        os.environ["BENCH_FREEZE"] = "1"
    found = counted(args.contenders.split(","), args.endpoints.split(","), FEW_REQUESTS if is_short else REQUESTS)
    for endpoint, each in found.items():
        print_table(endpoint, each)
    if is_short:
        shares = {
            endpoint: {spec: round(each[spec] / each["baseline"] - 1, 4) for spec in CHECKED} for endpoint, each in found.items()
        }
        if args.record:
            recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
            RECORDED.write_text(json.dumps({**recorded, **shares}, indent=2) + "\n")
        else:
            check(shares, json.loads(RECORDED.read_text()))


def check(shares, recorded):
    """End with an error where tracing has become a fifth dearer; half a percent of the request is forgiven."""
    dearer = [
        f"/{endpoint}: {spec} adds {share:.1%}, recorded are {recorded[endpoint][spec]:.1%}"
        for endpoint, each in shares.items()
        for spec, share in each.items()
        if share > recorded[endpoint][spec] * 1.2 + 0.005
    ]
    sys.exit("\n".join(dearer) or 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measured"]:
        measured(sys.argv[2], json.loads(sys.argv[3]))
    else:
        main()
