"""Watch the apps of a host: probes, objectives, alerts and what they keep.

What is here knows the words of `model` and the helpers of `_kit`, and no other part of the core:
`host` joins it with deploys and secrets. Each module is imported by its own name and when it is
needed, because the agent that runs them must stay small.
"""
