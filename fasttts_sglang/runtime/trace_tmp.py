import json, os, sys
F = open(os.environ["ORDER_TRACE"], "a") if os.environ.get("ORDER_TRACE") else None
OFF = set(os.environ.get("ORDER_OFF", "").split(","))
def log(**kw):
    if F: F.write(json.dumps(kw) + "\n"); F.flush()
