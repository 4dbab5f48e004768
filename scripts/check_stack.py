#!/usr/bin/env python3
"""Checks of infra/template.yaml that no general tool knows: what the design promises about the stack.

Prints each breach as a sentence and ends with 1; needs PyYAML (`make lint-template` runs it where there is one).
`--json` prints the template as JSON instead, for what cannot read YAML.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "infra" / "template.yaml"
WORK_QUEUES_MAX, ALARMS_MAX, METRICS_MAX, RECEIVES = 4, 10, 8, 5


class Loader(yaml.SafeLoader):
    pass


def short_form(loader: Loader, suffix: str, node: yaml.Node):
    """!Ref, !GetAtt and so on as CloudFormation's long form."""
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", short_form)


def load() -> dict:
    return yaml.load(TEMPLATE.read_text(), Loader)


def named(value) -> str:
    """The logical id that a !Ref or !GetAtt points at."""
    if isinstance(value, dict):
        (kind, target), *_ = value.items()
        return target if kind == "Ref" else target[0] if kind == "Fn::GetAtt" else ""
    return ""


def kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def of_type(template: dict, kind: str) -> dict:
    return {k: v for k, v in template["Resources"].items() if v["Type"] == kind}


def binary(function: dict) -> str:
    return function["Metadata"]["BuildProperties"]["Binary"]


def queues(template: dict):
    functions = of_type(template, "AWS::Serverless::Function")
    all_queues = of_type(template, "AWS::SQS::Queue")
    sources: dict[str, dict] = {}
    for function in functions.values():
        for event in function["Properties"].get("Events", {}).values():
            if event["Type"] != "SQS":
                continue
            name, properties = binary(function), event["Properties"]
            sources[named(properties["Queue"])] = function
            if properties.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
                yield f"{name}: its event source does not report which message of a batch failed"
            if properties.get("BatchSize") != 1:
                yield f"{name} moves money: its batch size is 1, so that no message loses a receive to another one"
            if name == "push-books":
                at_once = properties["ScalingConfig"]["MaximumConcurrency"]
                callers = re.search(r"QUICKBOOKS_CALLERS: u32 = (\d+);", (ROOT / "functions/src/lambda/ready.rs").read_text())
                if callers is None or int(callers[1]) != at_once + 1:
                    yield f"{name}: {at_once} at a time and the nightly proof share the pace of QuickBooks, lambda/ready.rs says otherwise"
    if len(sources) > WORK_QUEUES_MAX:
        yield f"{len(sources)} queues are polled all month, at most {WORK_QUEUES_MAX} may be"
    for name, queue in all_queues.items():
        properties = queue["Properties"]
        if "SqsManagedSseEnabled" not in properties:
            yield f"{name} is not encrypted"
        if name in sources:
            seconds = sources[name]["Properties"]["Timeout"]
            if properties["VisibilityTimeout"] < 6 * seconds:
                yield f"{name}: the visibility timeout is below six times the {seconds} s of its function"
            policy = properties.get("RedrivePolicy", {})
            if policy.get("maxReceiveCount") != RECEIVES or named(policy.get("deadLetterTargetArn")) not in all_queues:
                yield f"{name}: after {RECEIVES} receives a message goes to a dead-letter queue"
        elif "RedrivePolicy" in properties:
            yield f"{name} is a work queue that nobody works off"


def alarms(template: dict):
    all_alarms = of_type(template, "AWS::CloudWatch::Alarm")
    free = [name for name, alarm in all_alarms.items() if "Condition" not in alarm]
    if len(free) > ALARMS_MAX:
        yield f"{len(free)} alarms are always there, {ALARMS_MAX} are free"
    yield from (f"{name} is on several metrics, each of which is billed" for name, a in all_alarms.items() if "Metrics" in a["Properties"])
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    sections = {head.strip(): text for head, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", runbook, re.M | re.S)}
    for name, alarm in all_alarms.items():
        section = kebab(name.removesuffix("Alarm"))
        for word in ("Meaning", "First step", "Redrive"):
            if f"**{word}.**" not in sections.get(section, ""):
                yield f"docs/runbook.md: the section {section} does not say {word!r}"
        if section not in alarm["Properties"]["AlarmDescription"]:
            yield f"{name}: its description does not name its section of docs/runbook.md"
        if named(alarm["Properties"]["AlarmActions"][0]) != "Alerts":
            yield f"{name} tells nobody"
    known = {kebab(name.removesuffix("Alarm")) for name in all_alarms}
    yield from (f"docs/runbook.md: there is no alarm {head}" for head in sections if head not in known and "-" in head)


def metrics(template: dict):
    filters = of_type(template, "AWS::Logs::MetricFilter")
    names = {t["MetricName"] for f in filters.values() for t in f["Properties"]["MetricTransformations"]}
    if len(names) > METRICS_MAX:
        yield f"{len(names)} metrics of our own, at most {METRICS_MAX} may be"
    code = "\n".join(p.read_text() for folder in ("functions/src", "shared/adapters/src") for p in (ROOT / folder).rglob("*.rs"))
    for name, metric in filters.items():
        properties = metric["Properties"]
        if any("Dimensions" in t for t in properties["MetricTransformations"]):
            yield f"{name} has dimensions: each value is billed as a metric"
        pattern = properties["FilterPattern"]
        for text in re.findall(r'message = "([^"]+)"', pattern):
            if f'"{text}"' not in code:
                yield f"{name} waits for the log line {text!r}, which no function writes"
        for field in re.findall(r"\$\.fields\.(\w+)", pattern):
            if not re.search(rf"\b{field}\b", code):
                yield f"{name} waits for the field {field}, which no function writes"
    yield from (f"metric {m} has no alarm and no place on the dashboard" for m in names if str(template["Resources"]).count(f"'{m}'") < 2 and f'"{m}"' not in TEMPLATE.read_text())


def build(template: dict):
    folder = ROOT / "functions"
    deployed = dict(tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"]["deployed"])
    deployed.pop("inherits")
    if tomllib.loads((folder / ".cargo/config.toml").read_text())["profile"]["release"] != deployed:
        yield "functions/.cargo/config.toml and the profile `deployed` of Cargo.toml are not the same"
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        # SAM calls cargo in CodeUri, where it finds that file, and hands on nothing but the binary's name.
        if (TEMPLATE.parent / function["Properties"]["CodeUri"]).resolve() != folder:
            yield f"{name} is not built in {folder.name}/"
        if set(function["Metadata"]["BuildProperties"]) != {"Binary"}:
            yield f"{name}: SAM reads no build property but Binary"


def rest(template: dict):
    resources = template["Resources"]
    yield from (f"parameter {name} has no description" for name, p in template["Parameters"].items() if not p.get("Description"))
    yield from (f"output {name} has no description" for name, o in template["Outputs"].items() if not o.get("Description"))
    table = resources["Table"]
    kept = [table["DeletionPolicy"], table["UpdateReplacePolicy"]]
    if kept != ["Retain", "Retain"] or not table["Properties"]["DeletionProtectionEnabled"]:
        yield "the table is not kept"
    if not table["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]:
        yield "the table cannot be restored to a point in time"
    row = (ROOT / "shared/adapters/src/dynamo/row.rs").read_text()
    if f'TTL: &str = "{table["Properties"]["TimeToLiveSpecification"]["AttributeName"]}"' not in row:
        yield "the table's TTL attribute is not that of dynamo/row.rs"
    for name, group in of_type(template, "AWS::Logs::LogGroup").items():
        if "RetentionInDays" not in group["Properties"]:
            yield f"{name} is kept for ever"
    for name, function in of_type(template, "AWS::Serverless::Function").items():
        sample = ROOT / "infra" / "events" / f"{binary(function)}.json"
        if not sample.is_file():
            yield f"{name}: {sample.relative_to(ROOT)} is missing"
        if "Policies" in function["Properties"] or "Role" not in function["Properties"]:
            yield f"{name} has no role of its own"
    for name, role in of_type(template, "AWS::IAM::Role").items():
        for policy in role["Properties"]["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement.get("Action", [])
                actions = [actions] if isinstance(actions, str) else actions
                if any("*" in a for a in actions) or statement.get("Resource") == "*":
                    yield f"{name}: {statement['Sid']} allows everything of a kind"


def main() -> int:
    template = load()
    if sys.argv[1:] == ["--json"]:
        print(json.dumps(template, default=str))
        return 0
    breaches = [b for check in (queues, alarms, metrics, build, rest) for b in check(template)]
    for breach in breaches:
        print(f"template: {breach}")
    print(f"template: {len(template['Resources'])} resources looked at, {len(breaches)} problems")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
