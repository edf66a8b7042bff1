"""What tracing costs in retired instructions, counted by valgrind's callgrind: the same figure on a busy and on a quiet machine.

    python3 instructions.py                                                  # /plain, /page, /n1; baseline, otel-min, otel-full, clew
    python3 instructions.py --endpoints page --contenders baseline,otel-full,clew,clew@0

A table of thousands of instructions a request, what each contender adds to the baseline, and that as a ratio of otel-min and
otel-full. Everything is counted: the request's thread, the exporter's, garbage collection, the flush at the end. Under callgrind
time runs some fifty times slower, so contenders whose spans depend on durations are set up with `quiet()` (thresholds out of
reach); `NAME+freeze` counts with everything that is alive after the warm-up out of the collector's sight (gc.freeze).
It needs valgrind (apt-get install valgrind) and the virtual environments that setup.sh makes. A contender takes a minute or two.

One full collection in the forty requests of a contender is 10 million instructions, so `--check`, `--record` and `--freeze` count
everything like that. `--check` fails where clew adds a fifth more to the baseline's instructions than results/instructions.json says; `--record` writes
that file. It holds shares, which depend less on the build of Python than counts do.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "results" / "instructions.json"
CHECKED = ("clew", "clew@0")
REQUESTS = {"plain": 150, "page": 40, "n1": 30, "enqueue": 60, "forms": 6, "deep": 40}
# Endpoints whose settings differ.
ENVIRONMENT = {"deep": {"BENCH_DEEP": "1"}}


def measured(spec, endpoint, requests):
    """Runs in the measured process: warm up, then count `requests` requests and the flush after them."""
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
        "PATH_INFO": f"/{endpoint}", "RAW_URI": f"/{endpoint}",
    }  # fmt: skip
    seen = []

    def start_response(status, headers, exc_info=None):
        seen[:] = [status]

    def call(times):
        for _ in range(times):
            response = application({**environ, "wsgi.input": io.BytesIO()}, start_response)
            b"".join(response)
            response.close()
            assert seen[0].startswith("200"), seen

    def collect(switch):
        subprocess.run(["callgrind_control", "-i", switch, str(os.getpid())], stdout=subprocess.DEVNULL, check=True)

    call(min(40, 2 * requests))
    bench.flush()
    if spec.endswith("+freeze") or os.environ.get("BENCH_FREEZE"):
        gc.collect()
        gc.freeze()
    collect("on")
    call(requests)
    bench.flush()
    collect("off")
    os._exit(0)


def count(spec, endpoint, sink, folder, session, requests):
    name = spec.removesuffix("+freeze")
    contender, _, rate = name.partition("@")
    from contenders import registry

    database, out = f"{folder}/{spec}.{endpoint}.sqlite3", f"{folder}/{spec}.{endpoint}.callgrind"
    shutil.copy(f"{folder}/seed.sqlite3", database)
    env = {
        **os.environ, "BENCH_CONTENDER": contender, "BENCH_SAMPLE": rate or "1", "BENCH_SINK": f"http://127.0.0.1:{sink[0]}",
        "BENCH_SINK_GRPC": f"127.0.0.1:{sink[1]}", "BENCH_DB": database, "BENCH_SESSION": session, "BENCH_QUIET": "1",
        "DJANGO_SETTINGS_MODULE": "app.settings", "PYTHONHASHSEED": "0", **ENVIRONMENT.get(endpoint, {}),
    }  # fmt: skip
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}",
         str(HERE / "venvs" / registry[contender][0] / "bin/python"), str(HERE / "instructions.py"), "--measured", spec, endpoint, str(requests)],
        cwd=HERE, env=env, capture_output=True, text=True,
    )  # fmt: skip
    totals = [
        int(found[1]) for path in Path(folder).glob(Path(out).name + "*")
        for found in re.finditer(r"^(?:summary|totals): (\d+)", path.read_text(errors="replace"), re.M)
    ]  # fmt: skip
    if done.returncode or not totals:
        sys.exit(f"{spec} {endpoint}: {done.stderr[-2000:]}")
    return max(totals) / requests / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", default="baseline,otel-min,otel-full,clew,clew@0")
    parser.add_argument("--endpoints", default="plain,page,n1,forms,deep")
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if args.check or args.record:
        args.contenders, args.freeze = ",".join(("baseline", *CHECKED)), True
    if args.freeze:
        os.environ["BENCH_FREEZE"] = "1"
    shares = {}
    from run import running_sink

    with running_sink() as sink, tempfile.TemporaryDirectory() as folder:
        seed = subprocess.run(
            [str(HERE / "venvs/base/bin/python"), "-m", "app.seed"], cwd=HERE, check=True, capture_output=True, text=True,
            env={**os.environ, "BENCH_DB": f"{folder}/seed.sqlite3", "BENCH_CONTENDER": "baseline"},
        )  # fmt: skip
        for endpoint in args.endpoints.split(","):
            print(f"\n### /{endpoint}\n\n| contender | k instructions a request | added | of otel-min | of otel-full |\n|---|---|---|---|---|")
            found = {}
            for spec in args.contenders.split(","):
                found[spec] = count(spec, endpoint, sink, folder, seed.stdout.strip(), REQUESTS.get(endpoint, 40))
                added = found[spec] - found.get("baseline", 0)
                ratios = [
                    f"{added / (found[other] - found['baseline']):.2f}" if other in found and other != spec else "-"
                    for other in ("otel-min", "otel-full")
                ]
                print(f"| {spec} | {found[spec]:,.0f} | {added:,.0f} | {ratios[0]} | {ratios[1]} |", flush=True)
            shares[endpoint] = {spec: round(found[spec] / found["baseline"] - 1, 4) for spec in CHECKED if spec in found}
    if args.record:
        RECORDED.write_text(json.dumps(shares, indent=2) + "\n")
    if args.check:
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
        measured(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
