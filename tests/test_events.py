import pytest

from cache.errors import InputError
from infer.events import Event


def test_events_are_in_the_order_of_their_times() -> None:
    events = [Event(2.0, 3.0, "Bark"), Event(1.0, 4.0, "Cough"), Event(1.0, 2.5, "Knock", 0.5)]
    assert [event.label for event in sorted(events)] == ["Knock", "Cough", "Bark"]
    assert events[2].seconds == 1.5


@pytest.mark.parametrize("times", [(-0.1, 1.0), (1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_times_are_checked(times: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"an event must have 0 <= onset < offset; got .*Bark"):
        Event(*times, "Bark")


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_are_checked(score: float) -> None:
    with pytest.raises(InputError, match=r"score must be from 0 to 1; got .*Bark"):
        Event(0.0, 1.0, "Bark", score)
