"""What borg's own `prune --dry-run --list` says of histories that no repository holds.

Reads a JSON object a line and answers each with one. A history has `zone`, `now_us`, `policy` (borg's names and counts,
`within` as text) and `archives` (name and microseconds of its time, UTC); the answer has `kept` (name to rule and
number) and `pruned`. A text `interval` is answered with its hours, or with null.

Borg 1.2 knows no quarters. There they are put into its table as borg 1.4 defines them; all else is borg's.
"""

import argparse
import contextlib
import datetime as dates
import json
import logging
import os
import re
import sys
import time
import types

import borg.archiver
import borg.helpers.misc as misc
from borg.helpers import interval

try:
    from borg.helpers.manifest import Archives
except ImportError:
    from borg.manifest import Archives

EPOCH = dates.datetime(1970, 1, 1, tzinfo=dates.timezone.utc)
QUARTERLY = "quarterly_3monthly"


class Clock(dates.datetime):
    """The datetime that borg reads the time from."""

    fixed = EPOCH

    @classmethod
    def now(cls, tz=None):
        return cls.fixed.astimezone(tz)


class Truthy(int):
    """A zero that counts as something: borg 1.2 refuses to prune by rules that it does not know alone."""

    def __bool__(self):
        return True


class Local(dates.datetime):
    """A local time that knows its quarter."""

    def strftime(self, pattern):
        if pattern == QUARTERLY:
            return f"{self.year}-{(self.month - 1) // 3}"
        return super().strftime(pattern)


def teach_quarters():
    table = misc.PRUNING_PATTERNS
    if QUARTERLY in table:
        return
    table[QUARTERLY] = QUARTERLY
    table.move_to_end("yearly")
    to_localtime = misc.to_localtime
    misc.to_localtime = lambda ts: Local(*to_localtime(ts).timetuple()[:6])


class Lines(logging.Handler):
    """Keeps what borg would print."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def prune(history, output):
    os.environ["TZ"] = history["zone"]
    time.tzset()
    Clock.fixed = EPOCH + dates.timedelta(microseconds=history["now_us"])
    archives = Archives()
    # A manifest that is read has its archives in the order of their names, and that parts those of the same moment.
    for number, (name, at_us) in enumerate(sorted(history["archives"])):
        at = EPOCH + dates.timedelta(microseconds=at_us)
        archives[name] = (number.to_bytes(32, "big"), at)
    policy = dict(history["policy"])
    within = policy.pop("within", None)
    counts = {rule: 0 for rule in (*misc.PRUNING_PATTERNS, "quarterly_13weekly")}
    args = argparse.Namespace(
        **(counts | policy | {"minutely": Truthy(0)}), within=within and interval(within), prefix=None, glob_archives=None,
        iec=False, dry_run=True, stats=False, output_list=True, save_space=False, forced=0, checkpoint_interval=1800,
        consider_part_files=False)
    archiver = borg.archiver.Archiver()
    output.lines.clear()
    method = type(archiver).do_prune.__wrapped__
    code = method(archiver, args, repository=None, manifest=types.SimpleNamespace(archives=archives), key=None)
    assert code == 0, f"borg prune ended with {code}"
    kept, pruned = {}, []
    for line in output.lines:
        if match := re.match(r"Keeping archive \(rule: (\S+) #(\d+)\):\s+(\S+)", line):
            kept[match[3]] = [match[1], int(match[2])]
        elif match := re.match(r"Keeping checkpoint archive:\s+(\S+)", line):
            kept[match[1]] = ["checkpoint", 1]
        elif match := re.match(r"Would prune:\s+(\S+)", line):
            pruned.append(match[1])
        else:
            raise AssertionError(f"borg printed {line!r}")
    assert len(kept) + len(pruned) == len(archives)
    return {"kept": kept, "pruned": pruned}


def hours(text):
    try:
        return interval(text)
    except (argparse.ArgumentTypeError, IndexError):
        return None


def main():
    teach_quarters()
    misc.datetime = Clock
    borg.archiver.Cache = lambda *args, **kwargs: contextlib.nullcontext()
    output = Lines()
    logger = logging.getLogger("borg.output.list")
    logger.addHandler(output)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"hours": hours(request["interval"])} if "interval" in request else prune(request, output)
        print(json.dumps(answer))


main()
