"""An agent by the official Python SDK: what agent.mjs does, by the other SDK.

Arguments: the address, a token, the name of its service, and the mode: a revision of the protocol, or `legacy`.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

url, token, service, mode = sys.argv[1:]


def connecting(headers):
    return Client(streamable_http_client(url, http_client=httpx2.AsyncClient(headers=headers, timeout=30)), mode=mode)


async def refused(headers):
    try:
        async with connecting(headers) as client:
            await client.list_tools()
            return "connected"
    except BaseException as fault:  # groups of tasks raise groups
        return repr(fault)


async def main():
    def act(action, **more):
        return {"service": service, "action": action, "resource": "deployment/" + service, "reason": "as planned", **more}

    seen = {}
    async with connecting({"authorization": "Bearer " + token}) as client:

        async def call(name, arguments):
            try:
                said = await client.call_tool(name, arguments)
            except Exception as fault:
                return {"fault": repr(fault)}
            return {"isError": bool(said.is_error), "said": said.structured_content, "text": said.content[0].text}

        seen["tools"] = [tool.name for tool in (await client.list_tools()).tools]
        seen["explained"] = await call("explain", act("deploy", to_version="v43"))
        seen["allowed"] = await call("request_action", act("deploy", to_version="v43", begin=True))
        permit = ((seen["allowed"].get("said") or {}).get("permit") or {}).get("id", "none")
        seen["reported"] = await call("report_outcome", {"permit": permit, "applied": False, "note": "not needed"})
        seen["asked"] = await call("request_action", act("rollback", from_version="v42", to_version="v41"))
        seen["denied"] = await call("request_action", act("restart"))
        seen["state"] = await call("service_state", {"service": service})
        seen["records"] = await call("search_audit", {"service": service, "limit": 20})
        seen["lacking"] = await call("request_action", {"service": service, "action": "deploy"})
        seen["unknown"] = await call("explain", act("deploy", to_version="v43", approved=True))
        seen["strange"] = await call("approve", {"id": "any"})
    seen["stranger"] = await refused({"authorization": "Bearer wrong"})
    seen["nobody"] = await refused({})
    seen["elsewhere"] = await refused({"authorization": "Bearer " + token, "origin": "https://evil.example"})
    print(json.dumps(seen))


asyncio.run(main())
