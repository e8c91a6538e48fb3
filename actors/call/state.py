"""The state of one call: immutable, picklable, bounded."""

from pyrsistent import PClass, field

from conf.settings import Settings


class Call(PClass):
    """Everything that is known of one call."""

    call_id = field(type=str, mandatory=True)
    server = field(type=str, mandatory=True)
    sequence = field(type=int, initial=0)
    degraded = field(type=bool, initial=False)

    @classmethod
    def new(cls, call_id: str, server: str, settings: Settings) -> "Call":
        """Make the state of a call of which nothing is known yet."""
        return cls(call_id=call_id, server=server)
