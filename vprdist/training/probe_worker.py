"""The name by which job arrays of version 0.1 call `probes.worker`; those may wait in a queue."""

from vprdist.probes.worker import make_part as make_part
