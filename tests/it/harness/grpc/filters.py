"""Holds filters of Envoy, as pages show them, against Envoy's own messages and rules.

    filters.py PAGE.md > the names of what was read, one a line
"""

import re
import sys

import yaml
from google.protobuf import descriptor_pool, json_format
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2  # noqa: F401 (it is found by its name)
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

with open(sys.argv[1], encoding="utf-8") as file:
    page = file.read()
for block in re.findall(r"```yaml\n(http_filters:\n.*?)```", page, re.DOTALL):
    for shown in yaml.safe_load(block)["http_filters"]:
        # Durations are texts, and whatever is not known is refused.
        kept = json_format.ParseDict(shown, http_connection_manager_pb2.HttpFilter())
        inner = ext_authz_pb2.ExtAuthz()
        assert kept.typed_config.Unpack(inner), kept.typed_config.type_url
        print(shown["name"], inner.WhichOneof("services"), not inner.failure_mode_allow)
