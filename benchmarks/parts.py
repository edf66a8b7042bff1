"""What single parts cost in retired instructions, beside the same without tracing: see instructions.py.

    python3 parts.py                          all of them, in a request that is recorded, and in one that is not
    python3 parts.py --parts session,cached

A part is run a hundred times in one request; a request in which it is run once is subtracted, and the same without clew.
"""
import argparse
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

from instructions import Counting

PARTS = "wrapper,span,session,permission,cached,receiver,fast,query,include,message"
SPECS = ("baseline", "clew", "clew@0")
MANY, REQUESTS = 100, 5


def main():
    from run import running_sink

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=PARTS)
    args = parser.parse_args()
    os.environ["BENCH_FREEZE"] = "1"
    names = args.parts.split(",")
    wanted = {f"part-{name}-{times}": REQUESTS for name in names for times in (0, MANY)}
    with running_sink() as sink, tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        found = dict(pool.map(Counting(sink, folder).count, [(spec, wanted) for spec in SPECS]))
    print("| part | without | clew adds | unsampled |\n|-|-|-|-|")
    for name in names:
        cost = {spec: (each[f"part-{name}-{MANY}"] - each[f"part-{name}-0"]) / MANY for spec, each in found.items()}
        plain, traced, unsampled = (cost[spec] for spec in SPECS)
        print(f"| {name} | {plain:.1f} | {traced - plain:.1f} | {unsampled - plain:.1f} |")


if __name__ == "__main__":
    main()
