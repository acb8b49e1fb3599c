"""The laboratory's own tools: stacks, raw peer, probes, judgement. Nothing here comes from wsguard."""
