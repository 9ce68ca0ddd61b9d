import torch

from sparring.agents.engine.reply_table import ENDED, FULL, GOES_ON, ReplyTable


def test_replies_are_recorded_by_slot_until_their_end():
    table = ReplyTable(4, torch.device("cpu"))
    table.enter([2, 0], [5, 9], [3, 2], [7, 8])
    order, ends = torch.tensor([2, 0]), torch.tensor([1])
    far, near = torch.tensor([False, False]), torch.tensor([False, True])
    verdicts = [
        table.record(order, table.step[order], torch.tensor(ids), torch.tensor(logprobs), ties, ends)
        for ids, logprobs, ties in (([4, 6], [-0.5, -1.5], far), ([1, 3], [-2.0, -0.25], near))
    ]
    assert verdicts == [[GOES_ON, GOES_ON], [ENDED, FULL]]
    assert table.sampled([0, 2]) == [[6, 3], [4, 1]]
    assert (table.token[order].tolist(), table.position[order].tolist()) == ([1, 3], [7, 11])
    ids, logprobs, ties = table.collect([0, 2])
    assert [x.tolist() for x in ids] == [[6, 3], [4, 1]]
    assert [x.tolist() for x in logprobs] == [[-1.5, -0.25], [-0.5, -2.0]]
    assert ties == [1, 0]


def test_a_longer_limit_widens_the_table_and_a_slot_begins_anew():
    table = ReplyTable(1, torch.device("cpu"))
    slot = torch.tensor([0])
    table.enter([0], [0], [1], [1])
    assert table.record(slot, table.step[slot], slot + 5, slot - 1.0, slot, slot + 2) == [FULL]
    table.enter([0], [6], [50], [2])
    for number in range(50):
        verdict = table.record(slot, table.step[slot], slot + 10 + number, slot - 1.0, slot, slot + 2)
    assert verdict == [FULL]
    assert table.sampled([0]) == [list(range(10, 60))]
    assert int(table.position[0]) == 56
