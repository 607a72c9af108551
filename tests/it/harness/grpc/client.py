"""A client of gRPC as proxies have one: Google's, with Envoy's own messages, and those of agentgateway made from its protocol.

    client.py TARGET [CA.pem] < calls.json > answers.json

A call: {rpc: check | mcp_request | mcp_response | any path, message: {…} | raw: hex, metadata: {…}, gzip, timeout}. An answer:
{code, details, message}. Calls with the same `together` number are sent at the same time.
"""

import base64
import concurrent.futures
import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2  # noqa: F401 (its file is depended upon)
from envoy.service.auth.v3 import external_auth_pb2

# agentgateway's messages: name, then fields by number, name and type.
MESSAGES = {
    "McpHeader": [(1, "key", "string"), (2, "value", "bytes")],
    "HeaderMutation": [(1, "set", "*McpHeader"), (2, "remove", "*string")],
    "Pass": [],
    "AuthorizationError": [(1, "code", "=Code"), (2, "reason", "string"), (3, "mcp_error", "?bytes")],
    "McpRequest": [
        (1, "service_names", "*string"), (2, "method", "string"), (3, "metadata_context", "Struct"),
        (4, "mcp_request", "?bytes"), (5, "headers", "*McpHeader"),
    ],
    "McpResponse": [
        (1, "service_names", "*string"), (2, "method", "string"), (3, "metadata_context", "Struct"),
        (4, "mcp_response", "bytes"),
    ],
    "McpRequestResult": [
        (1, "pass", "|Pass"), (2, "mutated", "|bytes"), (3, "error", "|AuthorizationError"),
        (4, "header_mutation", "HeaderMutation"), (5, "metadata", "Struct"),
    ],
    "McpResponseResult": [(1, "pass", "|Pass"), (2, "mutated", "|bytes"), (3, "error", "|AuthorizationError")],
}
CODES = ["UNKNOWN", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "INVALID"]
PACKAGE = "agentgateway.dev.ext_mcp"


def messages():
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="ext_mcp.proto", package=PACKAGE, syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    for name, fields in MESSAGES.items():
        made = file.message_type.add(name=name)
        if name == "AuthorizationError":
            codes = made.enum_type.add(name="Code")
            for number, code in enumerate(CODES):
                codes.value.add(name=code, number=number)
        in_one = [word for _, word, kind in fields if kind.startswith("|")]
        if in_one:
            made.oneof_decl.add(name="result")
        for number, word, kind in fields:
            mark, kind = (kind[0], kind[1:]) if kind[0] in "*?|=" else ("", kind)
            one = made.field.add(name=word, number=number, json_name=word)
            one.label = field.LABEL_REPEATED if mark == "*" else field.LABEL_OPTIONAL
            if kind in ("string", "bytes"):
                one.type = field.TYPE_STRING if kind == "string" else field.TYPE_BYTES
            elif mark == "=":
                one.type, one.type_name = field.TYPE_ENUM, f".{PACKAGE}.{name}.{kind}"
            else:
                package = "google.protobuf" if kind == "Struct" else PACKAGE
                one.type, one.type_name = field.TYPE_MESSAGE, f".{package}.{kind}"
            if mark == "|":
                one.oneof_index = 0
        for word in [word for _, word, kind in fields if kind.startswith("?")]:
            one = next(one for one in made.field if one.name == word)
            one.proto3_optional, one.oneof_index = True, len(made.oneof_decl)
            made.oneof_decl.add(name=f"_{word}")
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


MCP = messages()
RPCS = {
    "check": (
        "/envoy.service.auth.v3.Authorization/Check", external_auth_pb2.CheckRequest, external_auth_pb2.CheckResponse,
    ),
    "mcp_request": (f"/{PACKAGE}.ExtMcp/CheckRequest", MCP["McpRequest"], MCP["McpRequestResult"]),
    "mcp_response": (f"/{PACKAGE}.ExtMcp/CheckResponse", MCP["McpResponse"], MCP["McpResponseResult"]),
}


def encoded(call, kind):
    if "raw" in call:
        return bytes.fromhex(call["raw"])
    message = dict(call.get("message", {}))
    # JSON inside of a message is given as JSON.
    for name in ("mcp_request", "mcp_response"):
        if name in message and not isinstance(message[name], str):
            message[name] = base64.b64encode(json.dumps(message[name]).encode()).decode()
    for header in message.get("headers", []):
        header["value"] = base64.b64encode(header["value"].encode()).decode()
    return json_format.ParseDict(message, kind()).SerializeToString()


def said(call, channel):
    path, asked, answered = RPCS.get(call["rpc"], (call["rpc"], MCP["Pass"], MCP["Pass"]))
    stub = channel.unary_unary(path, request_serializer=lambda raw: raw, response_deserializer=answered.FromString)
    more = {"compression": grpc.Compression.Gzip} if call.get("gzip") else {}
    metadata = [(name, value) for name, value in call.get("metadata", {}).items()]
    try:
        answer = stub(encoded(call, asked), metadata=metadata, timeout=call.get("timeout", 20), **more)
    except grpc.RpcError as error:
        return {"code": error.code().value[0], "details": error.details()}
    message = json_format.MessageToDict(answer, preserving_proto_field_name=True)
    problem = message.get("error", {})
    if "mcp_error" in problem:
        problem["mcp_error"] = json.loads(base64.b64decode(problem["mcp_error"]))
    return {"code": 0, "message": message}


def main():
    target, authorities = sys.argv[1], sys.argv[2:]
    if authorities:
        with open(authorities[0], "rb") as file:
            credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
        channel = grpc.secure_channel(target, credentials)
    else:
        channel = grpc.insecure_channel(target)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        waiting = []
        for call in json.load(sys.stdin):
            for _ in range(call.get("times", 1)):
                future = pool.submit(said, call, channel)
                waiting.append(future)
                if not call.get("together"):
                    concurrent.futures.wait([future])
        answers = [future.result() for future in waiting]
    json.dump(answers, sys.stdout)


main()
