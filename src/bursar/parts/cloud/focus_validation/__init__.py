"""FOCUS validation: a cost and usage file against the published conformance rules of its version, offline.

The rules are data (a model file as the FinOps Foundation publishes it); they are compiled into whole-column tests and
decided in one pass over the file in bounded memory. Rules that the model states in words only are read by us into
tests: where the file itself proves the rule, that is said; where the file could contradict the rule and does not, that
is said too; where no file can decide it, the rule is undecided and the reason is given.

Deliberately absent: changing the file. A violation names rule, rows and a proposed repair.
"""
