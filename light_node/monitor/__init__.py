"""Watching a headless light node: metrics in Prometheus' text format, audits of settled slots.

``metrics``  the status, the blocks read and the audits as Prometheus sees them
``follower`` reads every agreed block whole, counts its transactions, audits slots as they settle
"""
