#!/usr/bin/env python3
"""Computes docs/cost.md: what a stack costs, idle and per payment, from infra/template.yaml and counted requests.

infra/measured.json holds what was counted and what is estimated; its note says which is which. All amounts are in millionths of a dollar, whole numbers, rounded up: a cost is never made to look smaller.
`--check` writes nothing and ends with 1 when docs/cost.md is not what this prints, or an idle stack costs more than a dollar.
"""

import argparse
import json
import math
import sys
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from check_stack import ROOT, binary, load, named, of_type

PAGE, MEASURED = ROOT / "docs" / "cost.md", ROOT / "infra" / "measured.json"
HOURS = 730  # An average month.
MINUTES = HOURS * 60
DOLLAR = 1_000_000
IDLE_MAX = 1 * DOLLAR
SESSIONS = (100, 1150, 2000)
# Millionths of a dollar for one, us-east-1, arm64; and how many are free each month, for ever. Sources: see SOURCES.
PRICES = {
    "Lambda requests": (Fraction("0.2"), 1_000_000),
    "Lambda GB-seconds": (Fraction("13.3334"), 400_000),
    "SQS requests": (Fraction("0.4"), 1_000_000),
    "HTTP API requests": (Fraction(1), 0),
    "DynamoDB write units": (Fraction("0.625"), 0),
    "DynamoDB read units": (Fraction("0.125"), 0),
    "EventBridge events": (Fraction(1), 0),
    "DynamoDB GB-months": (Fraction(250_000), 25),
    "DynamoDB point-in-time GB-months": (Fraction(200_000), 0),
    "log GB": (Fraction(500_000), 5),
    "alarm metrics": (Fraction(100_000), 10),
    "metrics of our own": (Fraction(300_000), 10),
    "dashboards": (Fraction(3_000_000), 3),
    "KMS keys": (Fraction(1_000_000), 0),
}
SOURCES = [
    ("Lambda", "https://aws.amazon.com/lambda/pricing/, docs/facts/performance.md section 1"),
    ("SQS", "https://aws.amazon.com/sqs/pricing/; checked against https://cloudburn.io/blog/amazon-sqs-pricing (March 2026): 0.40 USD per million, the first million of each month free"),
    ("idle polling", "Lambda keeps five long polls of 20 s open per event source (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html); each empty receive is a request"),
    ("HTTP API", "https://aws.amazon.com/api-gateway/pricing/, docs/facts/performance.md section 1"),
    ("DynamoDB", "https://aws.amazon.com/dynamodb/pricing/on-demand/, docs/facts/performance.md section 1; storage and point-in-time copies from the same page"),
    ("EventBridge", "https://aws.amazon.com/eventbridge/pricing/, docs/facts/performance.md section 1; scheduled rules are free"),
    ("CloudWatch", "https://aws.amazon.com/cloudwatch/pricing/ (10 alarm metrics, 10 metrics, 3 dashboards, 5 GB of logs free)"),
    ("nothing", "SSM standard parameters, SNS mails below 1,000 a month, Cognito below 10,000 users, certificates"),
]
POLLS_PER_QUEUE = 5 * 3 * MINUTES


def fixed(template: dict, measured: dict) -> dict[str, Fraction]:
    """What an idle stack uses in a month, by what is billed."""
    functions = of_type(template, "AWS::Serverless::Function")
    memory = {binary(f): Fraction(f["Properties"]["MemorySize"], 1024) for f in functions.values()}
    sources = {named(e["Properties"]["Queue"]) for f in functions.values() for e in f["Properties"].get("Events", {}).values() if e["Type"] == "SQS"}
    dead = len(of_type(template, "AWS::SQS::Queue")) - len(sources)
    beat, poll = measured["beat"], measured["poll"]
    polls = MINUTES / Fraction(poll["every_minutes"])
    alarms = [a for a in of_type(template, "AWS::CloudWatch::Alarm").values() if "Condition" not in a]
    metrics = {t["MetricName"] for f in of_type(template, "AWS::Logs::MetricFilter").values() for t in f["Properties"]["MetricTransformations"]}
    seconds = Fraction(measured["billed_ms"], 1000)
    return {
        "SQS requests": Fraction(len(sources) * POLLS_PER_QUEUE + dead * MINUTES // beat["dead_letters_every_minutes"]),
        "Lambda requests": MINUTES + polls,
        "Lambda GB-seconds": (MINUTES * memory["due"] + polls * memory["import"]) * seconds,
        "DynamoDB read units": MINUTES * Fraction(beat["read_units"]) + polls * poll["read_units"],
        "DynamoDB write units": MINUTES * Fraction(beat["write_units"]) + polls * poll["write_units"],
        "EventBridge events": polls * poll["events"],
        "log GB": Fraction(measured["log_bytes_per_beat"] * MINUTES, 10**9),
        "alarm metrics": Fraction(len(alarms)),
        "metrics of our own": Fraction(len(metrics)),
        "DynamoDB GB-months": Fraction(measured["stored_mb"], 1024),
        "DynamoDB point-in-time GB-months": Fraction(measured["stored_mb"], 1024),
    }


def per_payment(template: dict, measured: dict) -> dict[str, Fraction]:
    """What one payment uses, by what is billed."""
    functions = of_type(template, "AWS::Serverless::Function")
    memory = {binary(f): Fraction(f["Properties"]["MemorySize"], 1024) for f in functions.values()}
    p = measured["payment"]
    n = p["payments"]
    seconds = Fraction(measured["billed_ms"], 1000)
    calls = p["calls"]
    sends = sum(v for k, v in calls.items() if " Send" in k and not k.startswith(("due ", "import ")))
    events = sum(v for k, v in calls.items() if k.endswith(" PutEvents") and not k.startswith(("due ", "import ")))
    invoked = {"intake": Fraction(p["deliveries"], n), "reconcile": Fraction(p["deliveries"], n), "write-back": Fraction(1), "push-books": Fraction(1)}
    return {
        "HTTP API requests": Fraction(p["deliveries"], n),
        # A message is sent, received and deleted.
        "SQS requests": Fraction(3 * sends, n),
        "Lambda requests": sum(invoked.values()),
        "Lambda GB-seconds": sum(count * memory[f] for f, count in invoked.items()) * seconds,
        "DynamoDB write units": Fraction(p["write_units"], n),
        "DynamoDB read units": Fraction(p["read_units"], n),
        "EventBridge events": Fraction(events, n),
        "log GB": Fraction(measured["log_bytes_per_payment"], 10**9),
    }


def cost(used: dict[str, Fraction], free: bool) -> dict[str, int]:
    """Millionths of a dollar, rounded up."""
    priced = {}
    for what, amount in used.items():
        price, gift = PRICES[what]
        priced[what] = math.ceil(max(Fraction(0), amount - (gift if free else 0)) * price)
    return priced


def dollars(millionths: int, digits: int = 2) -> str:
    scale = 10 ** (6 - digits)
    rounded = -(-millionths // scale)
    return f"{rounded // 10**digits}.{rounded % 10**digits:0{digits}d}"


def count(amount: Fraction) -> str:
    return f"{math.ceil(amount):,}" if amount >= 10 or amount == int(amount) else f"{math.ceil(amount * 1000) / 1000:g}"


def page(template: dict, measured: dict) -> tuple[str, int]:
    idle, one = fixed(template, measured), per_payment(template, measured)
    idle_cost, idle_full = cost(idle, True), cost(idle, False)
    out = [
        "# What a stack costs",
        "",
        "Computed by `scripts/cost.py` from [infra/template.yaml](../infra/template.yaml) and [infra/measured.json](../infra/measured.json), whose note below says what was counted; do not edit.",
        "US dollars a month, us-east-1, arm64, 730 hours.",
        "*Free* counts what AWS gives each account every month without end; *all paid* is for an account that uses that up elsewhere.",
        "",
        "## Idle",
        "",
        "| what | a month | free | all paid |",
        "|---|---|---|---|",
    ]
    out += [f"| {what} | {count(amount)} | {dollars(idle_cost[what])} | {dollars(idle_full[what])} |" for what, amount in idle.items()]
    total, full = sum(idle_cost.values()), sum(idle_full.values())
    out += [f"| **sum** | | **{dollars(total)}** | **{dollars(full)}** |", ""]
    out += [
        "Nearly all of it is the polling of four queues: Lambda asks each of them around the clock, and each empty answer is billed.",
        "",
        "## One payment",
        "",
        f"Two events of Stripe, one invoice, one write-back, one posting. Counted over both: at most {count(Fraction(measured['payment']['flow_calls'], measured['payment']['payments']))} calls of AWS, one of them by intake for each event; the event that pays alone: {measured['accepted_payment']['calls_in_all']}.",
        "",
        "| what | units | millionths of a dollar |",
        "|---|---|---|",
    ]
    one_cost = cost(one, False)
    out += [f"| {what} | {count(amount)} | {one_cost[what]} |" for what, amount in one.items()]
    out += [f"| **sum** | | **{sum(one_cost.values())}** |", "", "## A month", "", "Each session is paid by one card payment.", ""]
    out += ["| sessions | free | all paid | per payment, all paid |", "|---|---|---|---|"]
    for sessions in SESSIONS:
        used = dict(idle)
        for what, amount in one.items():
            used[what] = used.get(what, Fraction(0)) + amount * sessions
        a, b = sum(cost(used, True).values()), sum(cost(used, False).values())
        out.append(f"| {sessions:,} | {dollars(a)} | {dollars(b)} | {dollars(-(-b // sessions), 4)} |")
    out += [
        "",
        "CustomerManagedKey adds 1 USD and a little per use, each alarm of MoreAlarms 0.10, a dashboard nothing while it is one of the account's first three, else 3.",
        measured["note"],
        "",
        "## Where the prices come from",
        "",
    ]
    out += [f"- {what}: {where}" for what, where in SOURCES]
    return "\n".join(out) + "\n", total


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", action="store_true", help="write nothing; say whether docs/cost.md is up to date")
    args = p.parse_args()
    text, idle = page(load(), json.loads(MEASURED.read_text()))
    if args.check:
        if not PAGE.is_file() or PAGE.read_text() != text:
            print("cost: docs/cost.md is not what scripts/cost.py computes: run it", file=sys.stderr)
            return 1
    else:
        PAGE.write_text(text)
    print(f"cost: an idle stack costs {dollars(idle)} USD a month")
    return 0 if idle <= IDLE_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
