"""The independent probes: for each check id one function that shows on the wire what is true of a stack."""
PROBES = {}


class Probe:
    def __init__(self, ids, run, slow, last):
        self.ids, self.run, self.slow, self.last = ids, run, slow, last


def probe(*ids, slow=False, last=False):
    """`slow`: it mostly waits, and runs beside the others. `last`: it may end the server, and gets one of its own."""

    def wrap(f):
        PROBES[ids[0]] = Probe(ids, f, slow, last)
        return f

    return wrap


def vulnerable(evidence):
    return "vulnerable", evidence


def sound(evidence):
    return "sound", evidence


def not_applicable(evidence):
    return "not_applicable", evidence


def informational(evidence):
    """Present and worth a word, harmless here: an audit may say pass, warn or informational, never fail."""
    return "informational", evidence


from . import authentication, csrf, disclosure, errors, inputs, monitoring, protocol, rate, resources, session, transport  # noqa: E402,F401
