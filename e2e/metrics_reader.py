"""Reads metrics from standard input as Prometheus does, and prints every family and its samples."""

import json
import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as classic

parser = {"openmetrics": openmetrics, "classic": classic}[sys.argv[1]]
families = parser.text_string_to_metric_families(sys.stdin.read())
print(json.dumps({
    family.name: {
        "type": family.type,
        "help": family.documentation,
        "samples": {f"{one.name}{json.dumps(one.labels, sort_keys=True)}": one.value for one in family.samples},
    }
    for family in families
}))
