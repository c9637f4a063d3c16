"""Selection for all queries at once: prices for machines and links, best plans at these prices.

Queries that differ only in where they start share a *class*: one compiled programme and one set
of *templates* (plans written in slots instead of devices). A *site* binds the slots of a class to
*nodes*: single machines, or groups of machines that nothing tells apart, whose capacities are
pooled. Pooling, whole memory and waiting left out make it a relaxation: its prices prove a bound
(`bound`), and its solution guides what is then placed on real machines (`rounding`).
"""
