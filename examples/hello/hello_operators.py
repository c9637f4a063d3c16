"""The smallest pipeline: how many different words does a text have?"""

from circinus import Knob, Operator


class Split(Operator):
    def process(self, batch):
        return [payload.decode("utf-8").lower().split() for payload in batch]


class Count(Operator):
    part = Knob(1.0, 0.5)  # how much of the text to look at: less is faster and less accurate

    def process(self, batch):
        return [len(set(words[: round(len(words) * self.part)])) for words in batch]


def closeness(output, label):
    return 1 - min(1, abs(output - label) / label)
