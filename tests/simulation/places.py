"""The places of the tree: one PBX's way."""

from supervision.messages import Place

PBX = "pbx1"
CONNECTION = Place("connection", PBX)
SWITCHBOARD = Place("switchboard", PBX)
PUBLISHER = Place("publisher", None)
RECOVERY = Place("recovery", None)

DISK_RETRY_MS = 300
"""How soon a disk that refused is asked again by whoever stands in one of them, milliseconds."""
