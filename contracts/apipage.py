"""Renders the page of API documentation: plain HTML that needs no network and no script."""

import json
from html import escape
from typing import Any

Schema = dict[str, Any]

HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Garant API</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0 } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line) }
article { margin: 1.2rem 0; border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; }
h3 { margin: 0; font: 600 1rem ui-monospace, monospace }
.method { display: inline-block; min-width: 3.2rem }
.get { color: #1d7f4e } .post { color: #b3541e }
pre { background: var(--soft); padding: .6rem .8rem; border-radius: 6px; overflow-x: auto; font-size: .85rem }
code { font-family: ui-monospace, monospace; font-size: .9em }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
td, th { text-align: left; padding: .2rem .6rem .2rem 0; vertical-align: top; border-top: 1px solid var(--soft) }
nav a { margin-right: 1rem } p { margin: .4rem 0 }
</style>
<h1>Garant API</h1>
<p>Every path is under this host, with or without a trailing slash. Send <code>Authorization: Bearer &lt;api
key&gt;</code> with every call. Amounts are decimal strings; errors are
<code>application/problem+json</code> (RFC 9457) with a stable <code>code</code>: 401 no key, 403 no scope,
404 not there or not yours, 409 not possible now, 413 too large, 422 malformed, 503 try again.</p>
<p>In the examples, <code>$GATEWAY_URL</code> and <code>$API_KEY</code> are those of <code>run.env</code>.</p>
"""
CHAT = """<h2 id="socket">Chat (Socket.IO)</h2>
<article><p>Connect with a Socket.IO client (protocol v5) to this host, path <code>/socket.io</code>, with
<code>auth: {"token": T}</code>: a participant token (<code>POST /api/v1/deal/{deal_id}/chat_token</code>) or,
where the operator allows it, the plain <code>chat_id</code>. The stored messages come first, one
<code>message</code> event each, then the live ones.</p>
<pre>socket.emit("message", {"user_id": 1, "message": "hello"}, ack =&gt; console.log(ack))
socket.on("message", m =&gt; m)  // {"id", "seq", "user_id", "message", "created_at"}</pre></article>
"""


def render(described: list[Schema]) -> str:
    """Return one page for all services."""
    sections, links = [], []
    for api in described:
        anchor = api["info"]["title"].rsplit(" ", 1)[-1]
        links.append(f'<a href="#{anchor}">{escape(anchor)}</a>')
        sections.append(f'<h2 id="{anchor}">{escape(anchor.capitalize())}</h2>')
        sections.append(f"<p>{escape(api['info']['description'])}</p>")
        for path, operations in api["paths"].items():
            for method, operation in operations.items():
                sections.append(_operation(api, path, method, operation))
    links.append('<a href="#socket">chat events</a>')
    return HEAD + f"<nav>{''.join(links)}</nav>\n" + "\n".join(sections) + "\n" + CHAT + "</html>\n"


def _operation(api: Schema, path: str, method: str, operation: Schema) -> str:
    text = operation.get("description") or operation.get("summary", "")
    parts = [
        f'<article><h3><span class="method {method}">{method.upper()}</span> {escape(path)}</h3>',
        f"<p>{escape(text)}</p>",
    ]
    rows = [_parameter(p) for p in operation.get("parameters", [])]
    body = operation.get("requestBody")
    schema = body["content"]["application/json"]["schema"] if body else None
    if schema:
        resolved = _resolve(api, schema)
        required = resolved.get("required", [])
        rows += [_property(api, n, p, n in required) for n, p in resolved.get("properties", {}).items()]
    if rows:
        parts.append(f"<table>{''.join(rows)}</table>")
    parts.append(f"<pre>{escape(_curl(api, path, method, schema))}</pre>")
    for status, answer in operation["responses"].items():
        content = answer.get("content", {}).get("application/json")
        if content and status.startswith("2"):
            example = json.dumps(_example(api, content["schema"]), indent=2)
            parts.append(f"<p>{status}</p><pre>{escape(example)}</pre>")
        elif status.startswith("2"):
            parts.append(f"<p>{status}: an empty response</p>")
    failures = [s for s in operation["responses"] if not s.startswith("2")]
    parts.append(f"<p>Errors: {', '.join(failures)}</p></article>")
    return "".join(parts)


def _parameter(parameter: Schema) -> str:
    kind = _kind(parameter["schema"])
    return f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{kind}, in {parameter['in']}</td></tr>"


def _property(api: Schema, name: str, schema: Schema, required: bool) -> str:
    words = _kind(_resolve(api, schema)) + ("" if required else ", optional")
    text = escape(schema.get("description", ""))
    return f"<tr><td><code>{escape(name)}</code></td><td>{words}</td><td>{text}</td></tr>"


def _kind(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(s) for s in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(v))}</code>" for v in schema["enum"])
    return str(schema.get("format") or schema.get("type", "object"))


def _resolve(api: Schema, schema: Schema) -> Schema:
    if "$ref" in schema:
        resolved: Schema = api["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        return resolved
    return schema


def _example(api: Schema, schema: Schema) -> Any:
    schema = _resolve(api, schema)
    if "examples" in schema:
        return schema["examples"][0]
    if "default" in schema:
        return schema["default"]
    if "anyOf" in schema:
        return _example(api, schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _example(api, p) for name, p in schema.get("properties", {}).items()}
        case "array":
            return [_example(api, schema["items"])]
        case "integer":
            return 1
        case "boolean":
            return False
        case "null":
            return None
        case _:
            formats = {
                "uuid": "8bf3ac75-856e-4f85-a2ee-78c7131adc76",
                "date-time": "2026-01-02T03:04:05Z",
            }
            return formats.get(schema.get("format", ""), "text")


def _curl(api: Schema, path: str, method: str, schema: Schema | None) -> str:
    for name in ("user_id", "deal_id", "payment_id"):
        path = path.replace(f"{{{name}}}", "1")
    path = path.replace("{chat_id}", "8bf3ac75-856e-4f85-a2ee-78c7131adc76")
    line = f'curl -H "Authorization: Bearer $API_KEY" $GATEWAY_URL{path}'
    if schema is None:
        return line if method == "get" else line.replace("curl", "curl -X POST")
    body = {n: _example(api, p) for n, p in _resolve(api, schema).get("properties", {}).items()}
    given = {name: value for name, value in body.items() if value is not None}
    return f"{line} \\\n  -H 'Content-Type: application/json' -d '{json.dumps(given)}'"
