"""The pure core: what a call is, which channel belongs to which call, and what is said about it.

Nothing here reads a clock, a socket or a file, or logs. `world.step` folds one row of the journal into the state of one
PBX and says which calls it concerns; `transition.transition` folds what concerns one call into that call's state and
says what to publish. `host.fold` is what a call's host does with it, `replay.replay` is a host without actors.

```
Row ─ events ─ correlation, segments ─→ Routed ─ (mailbox) ─ transition ─→ Publish ─ envelope ─→ OutboundMessage
      └───────── world.step ────────┘            └────────────────── host.fold ─────────────────┘
```
"""
