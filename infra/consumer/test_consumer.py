"""What the consumer keeps, whatever arrives and in whatever order: `python -m unittest discover infra/consumer`."""

import itertools
import json
import os
import random
import unittest
from unittest.mock import patch

import consumer

EARLY, LATE, LATER = "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z", "2026-11-23T12:00:00Z"


def event(kind: str, run: str, sync: str, time: str, name: str, **more) -> dict:
    return {"specversion": "1.0", "type": kind, "id": f"{run}/{name}", "subject": "clockings", "time": time,
            "source": "https://acme.myprotime.eu/connector/protimeapi/api/v1/clockings",
            "datacontenttype": "application/json", "entity": "clockings", "run": run, "sync": sync, **more}


def page(run: str, sync: str, time: str, records: list, number: int = 0, **more) -> dict:
    places = {"chain": 0, "page": number, "part": 0}
    name = f"0/{number}/0/{len(json.dumps(records)):016x}"
    return event("protime.page.v1", run, sync, time, name, **{**places, "data": {"value": records}, **more})


def completed(run: str, sync: str, time: str, messages: int) -> dict:
    data = {"pages": messages, "records": messages, "messages": messages}
    return event("protime.run-completed.v1", run, sync, time, "completed", data=data)


def resync(run: str, time: str) -> dict:
    return event("protime.resync.v1", run, "initial", time, "resync", data={})


def clocking(number: int, version: str, **more) -> dict:
    return {"changeVersion": version, "id": number, **more}


def change(kind: str, record: dict) -> dict:
    return {"changeType": kind, "data": record}


class ConsumerTest(unittest.TestCase):
    def setUp(self):
        environment = patch.dict(os.environ, DATABASE=":memory:")
        environment.start()
        self.addCleanup(environment.stop)
        self.open_anew()

    def open_anew(self):
        """An empty database."""
        consumer.database.cache_clear()

    def give(self, *bodies) -> list:
        """Gives messages to the handler in one batch, and returns the numbers of those that failed."""
        records = [{"messageId": str(number), "body": body if isinstance(body, str) else json.dumps(body)}
                   for number, body in enumerate(bodies)]
        with self.assertLogs(level="WARNING") as logs:
            consumer.logging.getLogger().warning("so that there is a line")
            answer = consumer.handler({"Records": records}, None)
        self.logs = "\n".join(logs.output)
        return [int(failure["itemIdentifier"]) for failure in answer["batchItemFailures"]]

    def rows(self, query: str) -> list:
        return consumer.database().execute(query).fetchall()

    def records(self) -> list:
        return self.rows("select key, version, deleted from records order by key")

    def whatever_the_order(self, messages: list, expected: list):
        for order in itertools.permutations(messages):
            self.open_anew()
            for message in order:
                self.assertEqual(self.give(message, message), [])
            self.assertEqual(self.records(), expected, [message["id"] for message in order])

    def test_the_highest_version_wins(self):
        # As text: "0A" is higher than "09", and "9" than "10".
        self.whatever_the_order([
            page("r1", "full", EARLY, [clocking(1, "09"), clocking(2, "9")]),
            page("r2", "full", LATE, [clocking(1, "0A"), clocking(2, "10")]),
            page("r3", "full", LATER, [clocking(1, "00"), clocking(3, "1")]),
        ], [("1", "0A", 0), ("2", "9", 0), ("3", "1", 0)])

    def test_what_was_deleted_stays_deleted(self):
        self.whatever_the_order([
            page("r1", "initial", EARLY, [clocking(1, "1"), clocking(2, "1", status="Active")]),
            page("r2", "delta", LATE, [change("Delete", clocking(1, "3")),
                                       change("InsertOrUpdate", clocking(2, "3", status="Deleted"))]),
            page("r3", "delta", LATER, [change("InsertOrUpdate", clocking(1, "2")),
                                        change("InsertOrUpdate", clocking(2, "2", status="Active"))]),
        ], [("1", "3", 1), ("2", "3", 1)])

    def test_only_of_clockings_the_status_says_that_they_are_deleted(self):
        self.give(page("r1", "full", EARLY, [clocking(1, "1", status="Deleted")], entity="counters"))
        self.assertEqual(self.records(), [("1", "1", 0)])

    def test_without_versions_the_latest_wins(self):
        times = {"first": EARLY, "second": LATE, "third": LATER}
        messages = [page(name, "full", time, [{"id": 1, "name": name}]) for name, time in times.items()]
        for order in itertools.permutations(messages):
            self.open_anew()
            self.give(*order)
            self.assertEqual(self.rows("select record ->> 'name' from records"), [("third",)])

    def test_a_resync_ends_what_was_before_and_nothing_else(self):
        # The new load has a lower version of record 1, as after a restored backup, and lacks record 2.
        self.whatever_the_order([
            page("r1", "initial", EARLY, [clocking(1, "9"), clocking(2, "1"), clocking(3, "1")]),
            resync("r2", LATE),
            page("r2", "initial", LATE, [clocking(1, "5"), clocking(3, "1")]),
            page("r3", "delta", LATER, [change("InsertOrUpdate", clocking(4, "6"))]),
        ], [("1", "5", 0), ("3", "1", 0), ("4", "6", 0)])

    def test_a_resync_that_was_sent_again_leaves_the_load_of_its_own_run_alone(self):
        # What the run had polled before the delta turned out to have expired is ended.
        self.whatever_the_order([
            page("r2", "delta", EARLY, [change("InsertOrUpdate", clocking(1, "9"))]),
            page("r2", "initial", LATE, [clocking(2, "1")], number=1),
            resync("r2", LATER),
        ], [("2", "1", 0)])

    def test_a_repeat_is_known_by_its_id(self):
        # It was sent again after a crash, which is why it has another time.
        again = {**page("r1", "initial", EARLY, [clocking(1, "1")]), "time": LATER}
        self.assertEqual(self.give(page("r1", "initial", EARLY, [clocking(1, "1")]), resync("r2", LATE), again), [])
        self.assertEqual(self.records(), [])

    def test_a_resync_is_of_one_connection(self):
        other = page("r1", "full", EARLY, [clocking(1, "1")], subject="backfill")
        self.give(other, page("r1", "initial", EARLY, [clocking(1, "1")]), resync("r2", LATE))
        self.assertEqual(self.rows("select subject from records"), [("backfill",)])

    def test_a_run_says_how_many_messages_are_missing(self):
        run = lambda: self.rows("select messages, received, missing from runs where run = 'r1'")
        first, second = (page("r1", "full", EARLY, [clocking(number, "1")], number=number) for number in (0, 3))
        self.give(first, first)
        self.assertEqual(run(), [(None, 1, None)])
        self.give(completed("r1", "full", LATE, 2))
        self.assertEqual(run(), [(2, 1, 1)])
        self.give(second)
        self.assertEqual(run(), [(2, 2, 0)])
        # The same place again, with other records, since the chain had to begin again.
        self.give(page("r1", "full", LATE, [clocking(3, "22")], number=3))
        self.assertEqual(run(), [(2, 2, 0)])
        self.give(completed("empty", "full", LATE, 0))
        self.assertEqual(self.rows("select messages, received, missing from runs where run = 'empty'"), [(0, 0, 0)])

    def test_what_cannot_be_taken_fails_alone(self):
        good = page("r1", "full", EARLY, [clocking(1, "1")])
        foreign = event("protime.published.v1", "r1", "full", EARLY, "x", data={})
        incomplete = {name: value for name, value in good.items() if name != "run"}
        wrong = page("r2", "full", EARLY, {"canary": 1})
        miscounted = {**completed("r3", "full", EARLY, 1), "data": {"messages": "canary"}}
        bodies = ["", "canary", "[]", foreign, incomplete, wrong, miscounted, good]
        self.assertEqual(self.give(*bodies), [0, 1, 2, 3, 4, 5, 6])
        self.assertEqual(self.records(), [("1", "1", 0)])
        self.assertIn("is not an array", self.logs)
        self.assertNotIn("canary", self.logs)
        self.assertEqual(self.give("canary"), [0], "alone as well")

    def test_a_message_is_taken_whole_or_not_at_all(self):
        # The second change has no record.
        broken = page("r1", "delta", EARLY, [change("Delete", clocking(1, "1")), {"changeType": "Delete"}])
        self.assertEqual(self.give(broken), [0])
        self.assertEqual((self.records(), self.rows("select * from events")), ([], []))
        broken["data"]["value"][1]["data"] = clocking(2, "1")
        self.assertEqual(self.give(broken), [], "so that it is no repeat when it comes again")
        self.assertEqual(len(self.records()), 2)

    def test_records_are_kept_as_they_were_written(self):
        body = json.dumps(page("r1", "full", EARLY, ["here"]))
        body = body.replace('"here"', r'{"id": 12345678901234567890123, "hours": 1.10, "text": "\ufffe é"}')
        self.give(body)
        self.assertEqual(self.rows("select key, record from records"), [
            ("12345678901234567890123", r'{"id":12345678901234567890123,"hours":1.10,"text":"\ufffe é"}')])

    def test_a_record_without_an_id_is_its_own_key(self):
        self.give(page("r1", "full", EARLY, [{"a": 1}, {"a": 2}]), page("r2", "full", LATE, [{"a": 1}]))
        self.assertEqual(self.rows("select record from records order by 1"), [('{"a":1}',), ('{"a":2}',)])

    def test_any_order_of_a_history_ends_the_same(self):
        for seed in range(20):
            dice = random.Random(seed)
            messages, times = [], (f"2026-11-23T10:{minute:02}:00Z" for minute in itertools.count())
            for run in range(6):
                records = [clocking(dice.randrange(4), str(dice.randrange(4))) for _ in range(3)]
                if dice.random() < 0.3:
                    messages.append(resync(f"r{run}", next(times)))
                    messages.append(page(f"r{run}", "initial", next(times), records))
                else:
                    kinds = dice.choices(["InsertOrUpdate", "Delete"], k=3)
                    changes = [change(*pair) for pair in zip(kinds, records)]
                    messages.append(page(f"r{run}", "delta", next(times), changes))
            found = set()
            for _ in range(10):
                self.open_anew()
                self.give(*dice.sample(messages, len(messages)))
                found.add(tuple(self.records()))
            self.assertEqual(len(found), 1, f"seed {seed}")


if __name__ == "__main__":
    unittest.main()
