"""The ledger against a slow and obvious model: the same grants in the same order, whatever happened before."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from leoflowd.core.explain import GRANTED_NEXT, SlotHolder, SlotUse, why_no_slot
from leoflowd.core.pool_slots import SlotLedger, SlotRequest
from tests.unit.core.core_builders import NOW, seconds, task

requests = st.builds(
    SlotRequest,
    key=st.tuples(st.integers(1, 2), st.integers(0, 5)),
    pool=st.sampled_from(["p", "q", "unknown"]),
    slots=st.integers(1, 3),
    priority=st.integers(1, 3),
    since=st.integers(0, 3).map(lambda age: NOW + seconds(age)),
    dag_id=st.just("d"),
    task_id=st.sampled_from(["a", "b"]),
    run_limit=st.sampled_from([None, 1, 2, 3]),
    per_dag_limit=st.sampled_from([None, 1, 2]),
    per_run_task_limit=st.sampled_from([None, 1]),
)
pools = st.fixed_dictionaries({"p": st.integers(-1, 4), "q": st.integers(0, 3)})


class Model:
    """Looks at every waiting request for every grant."""

    def __init__(self, slots: dict[str, int]) -> None:
        self.slots = slots
        self.waiting: list[SlotRequest] = []
        self.held: dict[tuple[int, int], SlotRequest] = {}
        self.turns: dict[tuple[int, int], int] = {}
        """Of those that wait."""
        self.come: dict[tuple[str, int], int] = {}
        self.behind: dict[tuple[int, str, int], int] = {}

    def ask(self, request: SlotRequest) -> None:
        if request.key in self.held:
            return
        self.withdraw(request.key)
        share = (request.key[0], request.pool, request.priority)
        if not any((other.key[0], other.pool, other.priority) == share for other in self.waiting):
            self.behind[share] = 0
        turn = max(self.come.get(share[1:], 0), self.behind[share])
        self.turns[request.key], self.behind[share] = turn, turn + request.slots
        self.waiting.append(request)

    def withdraw(self, key: tuple[int, int]) -> None:
        self.waiting = [other for other in self.waiting if other.key != key]

    def fits(self, request: SlotRequest) -> bool:
        held = list(self.held.values())
        slots = self.slots.get(request.pool)
        used = sum(other.slots for other in held if other.pool == request.pool)
        if slots is None or (slots != -1 and used + request.slots > slots):
            return False
        run = sum(1 for other in held if other.key[0] == request.key[0])
        task = sum(1 for other in held if other.task_id == request.task_id)
        both = sum(1 for other in held if other.task_id == request.task_id and other.key[0] == request.key[0])
        return (
            (request.run_limit is None or run < request.run_limit)
            and (request.per_dag_limit is None or task < request.per_dag_limit)
            and (request.per_run_task_limit is None or both < request.per_run_task_limit)
        )

    def why_waiting(self, request: SlotRequest) -> str:
        held = self.held.values()
        of_task = [other for other in held if other.task_id == request.task_id]
        use = SlotUse(
            pool_slots=self.slots.get(request.pool),
            holders=tuple(SlotHolder("d", other.slots) for other in held if other.pool == request.pool),
            in_run=sum(1 for other in held if other.key[0] == request.key[0]),
            of_task=len(of_task),
            of_task_in_run=sum(1 for other in of_task if other.key[0] == request.key[0]),
        )
        spec = task(
            request.task_id,
            pool=request.pool,
            pool_slots=request.slots,
            max_active_tis_per_dag=request.per_dag_limit,
            max_active_tis_per_dagrun=request.per_run_task_limit,
        )
        return why_no_slot(spec, request.run_limit, use)

    def grant(self) -> Iterator[SlotRequest]:
        while True:
            # sorted() is stable: among equals the one who asked first
            ordered = sorted(self.waiting, key=lambda one: (-one.priority, self.turns[one.key], one.since))
            chosen = next((request for request in ordered if self.fits(request)), None)
            if chosen is None:
                return
            self.waiting.remove(chosen)
            class_ = (chosen.pool, chosen.priority)
            self.come[class_] = max(self.come.get(class_, 0), self.turns[chosen.key])
            self.held[chosen.key] = chosen
            yield chosen


class Ledger(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = SlotLedger({"p": 2, "q": 1})
        self.model = Model({"p": 2, "q": 1})

    @rule(request=requests)
    def ask(self, request: SlotRequest) -> None:
        self.ledger.request(request)
        self.model.ask(request)

    @rule(request=requests)
    def occupy(self, request: SlotRequest) -> None:
        if request.key not in self.model.held:
            self.ledger.occupy(request)
            self.model.withdraw(request.key)
            self.model.held[request.key] = request

    @rule(key=st.tuples(st.integers(1, 2), st.integers(0, 5)))
    def withdraw(self, key: tuple[int, int]) -> None:
        self.ledger.withdraw(key)
        self.model.withdraw(key)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.held)))
        self.ledger.release(key)
        del self.model.held[key]

    @rule(run=st.integers(1, 2))
    def forget(self, run: int) -> None:
        self.ledger.forget_run(run)
        self.model.waiting = [other for other in self.model.waiting if other.key[0] != run]
        self.model.held = {key: other for key, other in self.model.held.items() if key[0] != run}

    @rule(slots=pools)
    def change_pools(self, slots: dict[str, int]) -> None:
        self.ledger.set_pools(slots)
        self.model.slots = slots

    @rule()
    def grant(self) -> None:
        assert self.ledger.grant() == tuple(self.model.grant())

    @invariant()
    def they_agree(self) -> None:
        assert self.ledger.waiting_count == len(self.model.waiting)
        assert self.ledger.occupied_count == len(self.model.held)

    @invariant()
    def what_lacks_nothing_is_what_is_granted_next(self) -> None:
        """`explain` counts rows where the ledger remembers: both must come to the same."""
        for request in self.model.waiting:
            assert (self.model.why_waiting(request) == GRANTED_NEXT) == self.model.fits(request)


Ledger.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestLedger = Ledger.TestCase


@given(
    asked=st.lists(st.integers(1, 4), min_size=1, max_size=40),
    later=st.lists(st.integers(1, 4), max_size=10),
    slots=st.integers(1, 5),
)
def test_between_two_turns_of_a_run_each_other_run_that_waits_has_one_and_no_slot_stays_free(
    asked: list[int], later: list[int], slots: int
) -> None:
    ledger = SlotLedger({"p": slots})
    waiting: dict[int, int] = {}
    # Of (run that waits, other run): turns that the other has had since the first one's last, or since it asked.
    others_since: dict[tuple[int, int], int] = {}

    def ask(run: int, instance: int) -> None:
        ledger.request(SlotRequest(key=(run, instance), pool="p", since=NOW, dag_id="d", task_id="t"))
        if not waiting.get(run):
            others_since.update({(run, other): 0 for other in range(1, 5)})
        waiting[run] = waiting.get(run, 0) + 1

    for instance, run in enumerate(asked):
        ask(run, instance)
    while any(waiting.values()):
        left = sum(waiting.values())
        granted = ledger.grant()
        assert len(granted) == min(slots, left)
        for request in granted:
            run = request.key[0]
            waiting[run] -= 1
            for other, count in waiting.items():
                if count and other != run:
                    others_since[other, run] += 1
                    assert others_since[other, run] <= 2, "one in its round, and one in the round that was under way"
            others_since.update({(run, other): 0 for other in range(1, 5)})
        for request in granted:
            ledger.release(request.key)
        if later:
            ask(later.pop(), 100 + len(later))
