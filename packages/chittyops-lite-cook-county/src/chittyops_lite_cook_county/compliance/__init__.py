"""The compliance gate: checks, the runner that runs them, and what they came to.

`runner` is final: five outcomes, in parallel, and a check that breaks is NOT_RUN. `repository`
holds the checks of an app's folder, `live` those of a staged release.
"""
