"""A node's budget: a burst, then a steady rate, and a day that ends."""

from payments.adapters.call_budget import CallBudget


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.day = 7

    def now(self) -> float:
        """Return the moment."""
        return self.now_s

    def today(self) -> int:
        """Return the day."""
        return self.day


def test_a_second_of_calls_goes_out_at_once_and_the_rest_at_the_rate() -> None:
    hand = Hand()
    budget = CallBudget(10, None, hand.now, hand.today)

    waits = [round(budget.take(), 3) for _ in range(13)]

    assert waits == [0.0] * 10 + [0.1, 0.2, 0.3]
    hand.now_s += 0.35
    assert round(budget.wait_s(), 3) == 0.05


def test_a_budget_that_rested_has_one_second_of_calls_again_and_no_more() -> None:
    hand = Hand()
    budget = CallBudget(2, None, hand.now, hand.today)
    hand.now_s += 3600

    assert [budget.take() for _ in range(3)] == [0.0, 0.0, 0.5]


def test_the_calls_of_a_day_end_and_come_back_with_the_next() -> None:
    hand = Hand()
    budget = CallBudget(100, 3, hand.now, hand.today)
    for _ in range(3):
        assert not budget.spent
        budget.take()

    assert budget.spent
    hand.day += 1
    assert not budget.spent
