#!/usr/bin/env python3
"""Runs one built function on the Lambda Runtime Interface Emulator and hands it an event: `sam local invoke` without Docker.

The emulator comes out of the aws-sam-cli package, AWS itself from ministack; both listen on loopback alone and end with this
command. The practice is that of infra/events: made up, its outside systems are not there. A signed webhook is signed here and
now with the practice's secret, because a signature is good for five minutes only.

Run it through `make invoke FUNCTION=intake EVENT=infra/events/intake.json`, which builds the function and the environments.
`--show` prints the event as it would be handed over, for `sam local invoke --event`, and does nothing else.
Exit status: 0 when the function answered, 1 when it failed, 2 for wrong usage.
"""

import argparse
import contextlib
import hashlib
import hmac
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVENTS = ROOT / "infra" / "events"
REGION = "us-east-1"
QUEUES = ["events", "write-back", "books", "payouts"]
# How long a process may take until it listens, and a function until it answers, in seconds.
START_S, ANSWER_S = 60, 130


def stop(sentence: str) -> None:
    print(f"invoke: {sentence}", file=sys.stderr)
    sys.exit(2)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen, name: str) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    stop(f"{name} does not listen on 127.0.0.1:{port}")


def hmac_hex(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def sign(event: dict, secrets: dict) -> None:
    """Replaces the signature of a webhook by one of this moment."""
    headers, body, now = event.get("headers", {}), event.get("body", ""), int(time.time())
    if "stripe-signature" in headers:
        headers["stripe-signature"] = f"t={now},v1={hmac_hex(secrets['STRIPE_WEBHOOK_SECRETS'], f'{now}.{body}')}"
    if "vesper-signature" in headers:
        query = f"?{event['rawQueryString']}" if event["rawQueryString"] else ""
        line = f"{now}.{event['requestContext']['http']['method']}.{event['rawPath']}{query}"
        text = f"{line}.{hashlib.sha256(body.encode()).hexdigest()}"
        headers["vesper-signature"] = f"t={now},v1={hmac_hex(secrets['EHR_BRIDGE_SECRETS'], text)}"


def template() -> dict:
    """infra/template.yaml; what CloudFormation computes stays as it is written."""
    from samtranslator.yaml_helper import yaml_parse

    return yaml_parse((ROOT / "infra" / "template.yaml").read_text())


def make_stack(endpoint: str, secrets: dict, described: dict) -> dict:
    """Makes what the functions reach, as the template has it, and returns their environment."""
    import boto3

    def client(service: str):
        return boto3.client(service, endpoint_url=endpoint, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")

    shape = {k: described["Resources"]["Table"]["Properties"][k] for k in ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")}
    client("dynamodb").create_table(TableName="vesper", **shape)
    sqs = client("sqs")
    urls = {name: sqs.create_queue(QueueName=f"vesper-{name}")["QueueUrl"] for name in QUEUES}
    dead = {name: sqs.create_queue(QueueName=f"vesper-{name}-dead-letters")["QueueUrl"] for name in QUEUES}
    client("events").create_event_bus(Name="vesper")
    practice = (EVENTS / "practice.toml").read_text()
    path = f"/vesper/{tomllib.loads(practice)['practice']['id']}"
    ssm = client("ssm")
    for name, value in {"config": practice, **secrets}.items():
        ssm.put_parameter(Name=f"{path}/{name}", Value=value, Type="SecureString")
    known = {
        "TABLE_NAME": "vesper",
        "EVENTS_QUEUE_URL": urls["events"],
        "WRITE_BACK_QUEUE_URL": urls["write-back"],
        "BOOKS_QUEUE_URL": urls["books"],
        "PAYOUTS_QUEUE_URL": urls["payouts"],
        "DEAD_LETTER_QUEUE_URLS": json.dumps(dead),
        "EVENT_BUS_NAME": "vesper",
        "VESPER_PARAMETER_PATH": path,
        "RUST_LOG": "info",
        "COGNITO_DOMAIN": "https://vesper-sample.auth.us-east-1.amazoncognito.com",
        "COGNITO_CLIENT_ID": "sample",
        "COGNITO_ISSUER": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_sample",
        "REVIEW_BASE_URL": "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
    }
    return known


def environment(function: str, known: dict, described: dict) -> dict:
    """The variables that the template gives this function, with the values of this moment."""
    resources = described["Resources"].values()
    mine = [r for r in resources if r.get("Metadata", {}).get("BuildProperties", {}).get("Binary") == function]
    if not mine:
        stop(f"the template has no function {function}")
    given = dict(described["Globals"]["Function"]["Environment"]["Variables"])
    given.update(mine[0]["Properties"].get("Environment", {}).get("Variables", {}))
    return {name: known[name] for name in given}


def emulator() -> Path:
    import samcli

    machine = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
    return Path(samcli.__file__).parent / "local" / "rapid" / f"aws-lambda-rie-{machine}"


def post(url: str, body: bytes) -> bytes:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=ANSWER_S) as answer:
            return answer.read()
    except urllib.error.URLError as e:
        stop(f"the emulator does not answer: {e}")


def ministack(tools: Path, port: int, log) -> subprocess.Popen:
    # Loopback only: MQTT and SFTP would listen everywhere.
    quiet = {"BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0", "LOG_LEVEL": "WARNING"}
    env = {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), "GATEWAY_PORT": str(port), **quiet}
    return subprocess.Popen([tools / "ministack" / "bin" / "ministack"], env=env, stdout=log, stderr=log, start_new_session=True)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("function", help="intake, reconcile, import, write-back, push-books, due, payouts or review")
    p.add_argument("event", help="the file with the event, such as infra/events/intake.json")
    p.add_argument("--binary", help="the function's binary; default: target/debug/FUNCTION")
    p.add_argument("--tools", default=str(ROOT / "target" / "aws"), help="where make put sam and ministack")
    p.add_argument("--show", action="store_true", help="print the event, signed, and end")
    args = p.parse_args()
    secrets = json.loads((EVENTS / "secrets.json").read_text())
    event = json.loads(Path(args.event).read_text())
    sign(event, secrets)
    if args.show:
        print(json.dumps(event, indent=2))
        return 0
    binary = Path(args.binary or ROOT / "target" / "debug" / args.function)
    if not binary.is_file():
        stop(f"{binary} is not there: build it, or use `make invoke`")
    started: list[subprocess.Popen] = []
    with tempfile.TemporaryFile() as log:
        try:
            aws = free_port()
            started.append(ministack(Path(args.tools), aws, log))
            wait_for(aws, started[-1], "ministack")
            described = template()
            known = make_stack(f"http://127.0.0.1:{aws}", secrets, described)
            timeout = 130
            env = {
                **environment(args.function, known, described),
                "PATH": os.environ["PATH"],
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws}",
                "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
            }
            door, runtime = free_port(), free_port()
            listen = ["--runtime-interface-emulator-address", f"127.0.0.1:{door}", "--runtime-api-address", f"127.0.0.1:{runtime}"]
            started.append(subprocess.Popen([emulator(), *listen, str(binary.resolve())], env=env, stdout=sys.stderr, stderr=sys.stderr, start_new_session=True))
            wait_for(door, started[-1], "the runtime interface emulator")
            url = f"http://127.0.0.1:{door}/2015-03-31/functions/function/invocations"
            answer = post(url, json.dumps(event).encode())
        finally:
            # The emulator starts the function: the whole group ends.
            for process in reversed(started):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
    text = answer.decode(errors="replace")
    print(text)
    failed = isinstance(told := json.loads(text or "null"), dict) and "errorType" in told
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
