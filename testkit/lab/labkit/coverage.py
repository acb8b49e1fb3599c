"""Which check is vulnerable in one stack and sound in another."""
import collections


def table(stacks, ids=None):
    """(text, gaps): a line per check id with its counts; the gaps are ids without both."""
    count, where = collections.defaultdict(collections.Counter), collections.defaultdict(lambda: collections.defaultdict(list))
    for s in stacks:
        for check, (verdict, _) in s.truth.items():
            count[check][verdict] += 1
            where[check][verdict].append(s.name)
    lines, gaps = [f"{'check':14} {'vuln':>5} {'sound':>5} {'info':>5} {'n/a':>5}  for example"], []
    for check in ids or ALL:
        c = count[check]
        lines.append(f"{check:14} {c['vulnerable']:5} {c['sound']:5} {c['informational']:5} {c['not_applicable']:5}  {(where[check]['vulnerable'] or ['-'])[0]} / {(where[check]['sound'] or ['-'])[0]}")
        if not (c["vulnerable"] and c["sound"]):
            gaps.append((check, c))
    both = len(ids or ALL) - len(gaps)
    total = sum(len(s.truth) for s in stacks)
    lines.append(f"\n{len(stacks)} stacks, {total} written truths, {total / max(1, len(stacks)):.0f} a stack; {both} of {len(ids or ALL)} checks are vulnerable in one stack and sound in another")
    lines.append("gaps: " + ", ".join(f"{c} ({'no vulnerable' if not n['vulnerable'] else ''}{' and ' if not n['vulnerable'] and not n['sound'] else ''}{'no sound' if not n['sound'] else ''})" for c, n in gaps))
    return "\n".join(lines), gaps


ALL = [f"WSA-{family}-{n:02}" for family, most in (("TLS", 10), ("AUTH", 14), ("CSRF", 10), ("RATE", 8), ("IN", 12), ("ERR", 5), ("SESS", 8), ("MON", 5), ("PROTO", 15), ("DISC", 6), ("RES", 10)) for n in range(1, most + 1)]
