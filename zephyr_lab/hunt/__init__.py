"""The hunt: of many operations, the pairs that race, each with the order that shows it.

An operation is a function or a request, as a session of an exploration is. `access` says what one of them asks when it
runs alone; `patterns` says what in that is suspicious; `candidates` which pairs may race at all, the most suspicious
first. A pair is independent where neither writes or locks what the other touches: then each does in every order what it
does alone, by induction over the round trips. That needs a footprint in which everything is understood; else the pair
is a candidate. `decision` explores a candidate until its first anomaly, `hunter` shares the time among them, `workers`
has it done elsewhere, and `report` is what came of it, as plain data; `page` and `sarif` are its other forms.
`history` writes a race for the checker: `telling` knows what was read and written, of statements that `by_key`
understands.

What explores is handed in (`decision.Explores`): a lab is one.
"""
