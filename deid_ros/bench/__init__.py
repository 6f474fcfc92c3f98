"""Measuring speed: each module is one bench of ``deid bench``.

A bench module has ``HELP`` (one line), ``DESCRIPTION``, ``EXAMPLES``, ``PARAMETERS``
(node and name of the parameters that become options), ``add_options(parser)``,
``measure(config, args) -> dict`` of what can be written as JSON, and
``text(result) -> str``. Other work on the machine makes wall time useless, so
every bench counts CPU time too and says who else was busy.
"""
