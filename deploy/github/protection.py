#!/usr/bin/env python3
"""A deployment protection rule of GitHub that asks Slowburn: the webhook of a GitHub App, and its answer.

GitHub holds a job until the App says approved or rejected. This asks the gate with `slowburn ask`, reports while people are
asked, and answers with the reasons. What cannot be read, is not signed, or names an environment that is not listed changes
nothing: the job waits. It keeps nothing.

    protection.py SETTINGS.json

    {"listen": "0.0.0.0:8080", "slowburn": "https://slowburn.example.com", "api": "https://api.github.com",
     "webhook_secret_file": "secret", "github_token_command": ["print-installation-token"], "wait": "30m",
     "environments": {"acme/shop production": {"service": "shop", "resource": "deployment/shop"}}}

`github_token_command` prints a token of the App's installation, whose id is its last argument. Slowburn is asked with the
token in SLOWBURN_TOKEN. Serve TLS in front of it.
"""

import hashlib
import hmac
import json
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_BYTES_MAX = 1 << 20
COMMENT_CHARS_MAX = 1000
ASKING = threading.BoundedSemaphore(50)  # deployments that are asked about at a time


def ask(settings, rule, version, reason, *more):
    """Exit code and answer of `slowburn ask`; what cannot be read is no yes."""
    words = ["slowburn", "ask", "--url", settings["slowburn"], "--service", rule["service"], "--action", "deploy",
             "--resource", rule["resource"], "--to-version", version, "--reason", reason, "--format", "json", *more]
    done = subprocess.run(words, capture_output=True, text=True)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode or 5, {"reasons": [{"code": "no_answer", "message": done.stderr.strip()}]}


def said(answer):
    reasons = [f"- `{reason['code']}`: {reason['message']}" for reason in answer.get("reasons", [])]
    return "\n".join(reasons)[:COMMENT_CHARS_MAX]


def tell(settings, event, comment, state=None):
    """Answers GitHub; without a state it is a report, and the job waits on."""
    words = settings["github_token_command"] + [str(event["installation"]["id"])]
    token = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    body = {"environment_name": event["environment"], "comment": comment or "no reason was given"}
    if state:
        body["state"] = state
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "Content-Type": "application/json"}
    request = urllib.request.Request(event["deployment_callback_url"], json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read(BODY_BYTES_MAX)


def decide(settings, rule, event):
    try:
        version, who = event["deployment"]["sha"], event["sender"]["login"]
        reason = f"{event['repository']['full_name']} to {event['environment']}, by {who}"
        code, answer = ask(settings, rule, version, reason, "--explain")
        if code == 3:
            tell(settings, event, "People are asked for their approval.\n" + said(answer))
        code, answer = ask(settings, rule, version, reason, "--wait", settings["wait"], "--redeem")
        if code == 0:
            tell(settings, event, f"Allowed: permit {answer['permit']['id']}, decision {answer['decision_id']}", "approved")
        else:
            tell(settings, event, said(answer), "rejected")
    except Exception as error:  # the job waits, and a person can see why here
        print(f"{event.get('deployment_callback_url')}: {error}", file=sys.stderr, flush=True)
    finally:
        ASKING.release()


def fault(settings, headers, body):
    """Why this is not asked about: a status and a sentence; or the event and its rule."""
    with open(settings["webhook_secret_file"], "rb") as file:
        expected = "sha256=" + hmac.new(file.read().strip(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, headers.get("X-Hub-Signature-256", "")):
        return 401, "the signature is not that of this App's secret", None, None
    if headers.get("X-GitHub-Event") != "deployment_protection_rule":
        return 202, "nothing is asked by this event", None, None
    try:
        event = json.loads(body)
        place = f"{event['repository']['full_name']} {event['environment']}"
        own = f"{settings['api']}/repos/{event['repository']['full_name']}/actions/runs/"
        version, _ = event["deployment"]["sha"], event["installation"]["id"] + 0
        if event["action"] != "requested":
            return 202, "nothing is requested", None, None
    except (ValueError, KeyError, TypeError) as error:
        return 400, f"this is no deployment_protection_rule: {error!r}", None, None
    if not event["deployment_callback_url"].startswith(own) or version.startswith("-"):
        return 400, "the answer would go to somebody else", None, None
    if place not in settings["environments"]:
        return 404, f"no rule for {place}", None, None
    return 202, "asked", event, settings["environments"][place]


def main(path):
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)

    class Hook(BaseHTTPRequestHandler):
        timeout = 20

        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 < length <= BODY_BYTES_MAX:
                return self.answer(413, "a body of at most 1 MiB is read")
            status, text, event, rule = fault(settings, self.headers, self.rfile.read(length))
            if event:
                if not ASKING.acquire(blocking=False):
                    return self.answer(503, "too many deployments are asked about: redeliver the webhook later")
                threading.Thread(target=decide, args=(settings, rule, event), daemon=True).start()
            self.answer(status, text)

        def answer(self, status, text):
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    host, port = settings["listen"].rsplit(":", 1)
    ThreadingHTTPServer((host, int(port)), Hook).serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
