"""The synthetic tasks of Pascanu, Mikolov & Bengio (2013), all through one interface.

Each is a :class:`~rnnlib.tasks.task.Task`. Where the authors' text and their program differ, both
are there and the program is the default. They go back to Hochreiter & Schmidhuber (1997).
"""

from rnnlib.tasks.markers import Addition, Multiplication
from rnnlib.tasks.order import TemporalOrder, TemporalOrder3Bit, TemporalOrderOriginal
from rnnlib.tasks.recall import Memorisation, RandomPermutation
from rnnlib.tasks.redrawn import Redrawn
from rnnlib.tasks.task import Batch, Task

__all__ = [
    "Addition",
    "Batch",
    "Memorisation",
    "Multiplication",
    "RandomPermutation",
    "Redrawn",
    "Task",
    "TemporalOrder",
    "TemporalOrder3Bit",
    "TemporalOrderOriginal",
]
