"""``python -m deploy.local demo``: the whole route on this machine."""

import argparse
import sys
from pathlib import Path

import msgspec

from deploy.local.demo.options import LIVE_RATE, ONCE_RATE, ONCE_RECORDS, LabelledFile, Options
from deploy.local.demo.plain import PlainView
from deploy.local.demo.route import walk
from deploy.local.demo.run import Run
from deploy.local.processes import interrupt_on_termination
from deploy.local.scratch import scratch_directory
from worker.files import write_file

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--once", action="store_true", help="stop when every record is answered")
    parser.add_argument("--bootstrap-servers", metavar="ADDR")
    parser.add_argument("--records", type=int, metavar="N")
    parser.add_argument("--rate", type=float, metavar="R")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--data", type=Path, metavar="FILE")
    parser.add_argument("--text-field", metavar="F")
    parser.add_argument("--label-field", metavar="L")
    parser.add_argument("--bundle", type=Path, metavar="PATH")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo."""
    data = LabelledFile(arguments.data, arguments.text_field, arguments.label_field) if arguments.data else None
    options = Options(
        once=arguments.once,
        bootstrap_servers=arguments.bootstrap_servers,
        workers=arguments.workers,
        bundle=arguments.bundle,
        data=data,
        given_records=arguments.records,
        given_rate=arguments.rate,
        json=arguments.json,
    )
    interrupt_on_termination()
    view = PlainView(sys.stdout)
    try:
        with scratch_directory("limelight-demo-") as directory, Run(options, directory, show=view.show) as demo:
            summary, audit = walk(demo)
    except KeyboardInterrupt:
        return INTERRUPTED
    print(msgspec.json.format(msgspec.json.encode(summary)).decode())
    if options.json:
        write_file(options.json, msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    return 1 if audit.describe_findings() else 0
