"""The newest google-cloud-firestore for Python, unmodified, sync and async, before the real server.

FIRESTORE_EMULATOR_HOST says where it is. Each test has a database of its own, so that they do not meet.
"""

import asyncio
import datetime
import itertools
import queue
import threading
import unittest

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import And, FieldFilter, Or
from google.cloud.firestore_v1.base_vector_query import DistanceMeasure
from google.cloud.firestore_v1.bulk_writer import BulkWriterOptions
from google.cloud.firestore_v1.query_profile import ExplainOptions
from google.cloud.firestore_v1.vector import Vector

PATIENCE_SECONDS = 20
numbers = itertools.count()


def name():
    return f"python-{next(numbers)}"


def ids(documents):
    return [document.id for document in documents]


class Sync(unittest.TestCase):
    def setUp(self):
        self.db = firestore.Client(project="conform", database=name())
        self.addCleanup(self.db.close)

    def fill(self, documents):
        batch = self.db.batch()
        for path, data in documents.items():
            batch.set(self.db.document(path), data)
        batch.commit()

    def test_every_type_of_value_comes_back_as_it_went(self):
        when = datetime.datetime(2026, 10, 18, 3, 9, 39, 541001, datetime.timezone.utc)
        data = {
            "null": None, "yes": True, "int": -(2**63), "double": 1.5, "infinite": float("inf"), "text": "ä€𝄞",
            "bytes": b"\x00\xff", "time": when, "point": firestore.GeoPoint(-12.5, 179),
            "list": [1, "a", None, {"in": []}], "map": {"a.b": {"`c`": 1}, "empty": {}}, "vector": Vector([1.0, 2.5]),
        }
        ref = self.db.document("types/all")
        ref.set({**data, "ref": ref, "nan": float("nan")})
        got = ref.get().to_dict()
        self.assertEqual(got.pop("ref"), ref)
        self.assertNotEqual(got["nan"], got.pop("nan"))
        self.assertEqual(got, data)

    def test_documents_are_made_changed_merged_and_deleted(self):
        ref = self.db.document("rooms/a")
        made = ref.create({"n": 1, "in": {"a": 1, "b": 2}})
        with self.assertRaisesRegex(exceptions.AlreadyExists, "Document already exists: projects/conform"):
            ref.create({})
        self.assertEqual(ref.get().create_time, made.update_time)
        ref.update({"in.a": firestore.DELETE_FIELD, "n": firestore.Increment(2), "tags": firestore.ArrayUnion(["x"])})
        ref.set({"in": {"c": 3}, "at": firestore.SERVER_TIMESTAMP}, merge=True)
        got = ref.get().to_dict()
        self.assertIsInstance(got.pop("at"), datetime.datetime)
        self.assertEqual(got, {"n": 3, "in": {"b": 2, "c": 3}, "tags": ["x"]})
        self.assertEqual(ref.get(["in.c"]).to_dict(), {"in": {"c": 3}})
        with self.assertRaisesRegex(exceptions.NotFound, "No document to update: "):
            self.db.document("rooms/none").update({"a": 1})
        with self.assertRaisesRegex(exceptions.FailedPrecondition, "required base version"):
            ref.delete(self.db.write_option(last_update_time=made.update_time))
        later = ref.get().update_time + datetime.timedelta(hours=1)
        for change in (ref.delete, lambda option: ref.update({"n": 1}, option)):
            with self.assertRaisesRegex(exceptions.InvalidArgument, "greater than the stored version"):
                change(option=self.db.write_option(last_update_time=later))
        self.assertEqual([doc.id for doc in self.db.get_all([self.db.document("rooms/0"), ref])], ["a", "0"], "found, then missing")
        ref.delete()
        self.assertFalse(ref.get().exists)
        found = {doc.id: doc.exists for doc in self.db.get_all([ref, self.db.document("rooms/b")])}
        self.assertEqual(found, {"a": False, "b": False})

    def test_queries_filter_order_and_cut(self):
        self.fill({f"rooms/{id}": {"n": n, "even": n % 2 == 0} for id, n in zip("abcdef", range(6))})
        rooms = self.db.collection("rooms")

        def check(query, want):
            self.assertEqual("".join(ids(query.stream())), want)

        check(rooms, "abcdef")
        check(rooms.where(filter=FieldFilter("n", ">", 1)).where(filter=FieldFilter("n", "<=", 3)), "cd")
        check(rooms.where(filter=FieldFilter("n", "in", [0, 5])), "af")
        check(rooms.where(filter=FieldFilter("n", "not-in", [0, 5])), "bcde")
        check(rooms.where(filter=FieldFilter("even", "!=", True)), "bdf")
        either = Or([FieldFilter("n", "==", 0), And([FieldFilter("even", "==", False), FieldFilter("n", ">", 3)])])
        check(rooms.where(filter=either), "af")
        by = rooms.order_by("n", direction=firestore.Query.DESCENDING)
        check(by.limit(2), "fe")
        check(by.limit(2).offset(1), "ed")
        check(by.start_after({"n": 3}).end_at({"n": 1}), "cb")
        check(by.start_at(rooms.document("b").get()), "ba")
        self.assertEqual(ids(rooms.order_by("n").limit_to_last(2).get()), ["e", "f"])
        self.assertEqual(next(rooms.select(["even"]).stream()).to_dict(), {"even": True})
        self.assertEqual(ids(rooms.list_documents()), list("abcdef"))

    def test_groups_numbers_partitions_plans_and_neighbours(self):
        self.fill({f"rooms/{n % 4}/messages/m{n}": {"n": n, "v": Vector([float(n), 1.0])} for n in range(40)})
        group = self.db.collection_group("messages")
        self.assertEqual(group.count(alias="all").get()[0][0].value, 40)
        told = {one.alias: one.value for one in group.where(filter=FieldFilter("n", "<", 4)).sum("n", alias="sum").avg("n", alias="mean").get()[0]}
        self.assertEqual(told, {"sum": 6, "mean": 1.5})
        parts = list(group.get_partitions(4))
        self.assertEqual(sum(len(list(part.query().stream())) for part in parts), 40)
        self.assertEqual(len(parts), 5, "four places make five parts")
        self.assertEqual(ids(self.db.collections()), ["rooms"])
        self.assertEqual(ids(self.db.document("rooms/1").collections()), ["messages"])
        results = group.where(filter=FieldFilter("n", "<", 3)).get(explain_options=ExplainOptions(analyze=True))
        self.assertEqual((len(results), results.get_explain_metrics().execution_stats.results_returned), (3, 3))
        near = group.find_nearest("v", Vector([7.2, 1.0]), limit=2, distance_measure=DistanceMeasure.EUCLIDEAN)
        self.assertEqual(ids(near.get()), ["m7", "m8"])

    def test_a_transaction_is_tried_again_when_another_came_first(self):
        ref = self.db.document("rooms/a")
        ref.set({"n": 1})
        attempts = []

        @firestore.transactional
        def bump(transaction):
            attempts.append(1)
            got = ref.get(transaction=transaction)
            self.assertEqual(ids(self.db.collection("rooms").stream(transaction=transaction)), ["a"])
            if len(attempts) == 1:
                ref.set({"n": 10})
            transaction.update(ref, {"n": got.get("n") + 1})

        bump(self.db.transaction())
        self.assertEqual((len(attempts), ref.get().get("n")), (2, 11))

        @firestore.transactional
        def write(transaction):
            ref.get(transaction=transaction)
            transaction.set(ref, {})

        with self.assertRaises((exceptions.GoogleAPICallError, ValueError)):
            write(self.db.transaction(read_only=True))
        self.assertEqual(ref.get().get("n"), 11)

    def test_a_contended_counter_always_goes_ahead(self):
        self.db.document("counters/one").set({"n": 0})

        def client():
            db = firestore.Client(project="conform", database=self.db._database)
            own = db.document("counters/one")

            @firestore.transactional
            def bump(transaction):
                transaction.update(own, {"n": own.get(transaction=transaction).get("n") + 1})

            for _ in range(3):
                bump(db.transaction())
            db.close()

        threads = [threading.Thread(target=client) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.db.document("counters/one").get().get("n"), 48)

    def test_reads_at_a_time_see_what_was_then(self):
        ref = self.db.document("rooms/a")
        ref.set({"n": 1})
        then = ref.get().read_time
        ref.set({"n": 2})
        self.assertEqual(ref.get(read_time=then).get("n"), 1)
        self.assertEqual([doc.get("n") for doc in self.db.collection("rooms").stream(read_time=then)], [1])
        future = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        with self.assertRaisesRegex(exceptions.InvalidArgument, "future"):
            ref.get(read_time=future)
        # History is kept for an hour; that nothing was there before makes no difference.
        long_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=61)
        for read in (
            lambda: ref.get(read_time=long_ago),
            lambda: list(self.db.collection("rooms").stream(read_time=long_ago)),
            lambda: self.db.collection("rooms").count().get(read_time=long_ago),
            lambda: list(self.db.collections(read_time=long_ago)),
            lambda: list(self.db.collection_group("rooms").get_partitions(2, read_time=long_ago)),
        ):
            with self.assertRaisesRegex(exceptions.FailedPrecondition, "too old"):
                read()

    def test_listeners_of_queries_and_documents_hear_every_change(self):
        told = queue.Queue()
        rooms = self.db.collection("rooms")
        watch = rooms.where(filter=FieldFilter("n", ">", 0)).on_snapshot(
            lambda docs, changes, at: told.put((ids(docs), sorted((one.type.name, one.document.id) for one in changes)))
        )
        self.addCleanup(watch.unsubscribe)

        def next_told():
            return told.get(timeout=PATIENCE_SECONDS)

        self.assertEqual(next_told(), ([], []))
        rooms.document("a").set({"n": 1})
        self.assertEqual(next_told(), (["a"], [("ADDED", "a")]))
        self.fill({"rooms/b": {"n": 2}, "rooms/a": {"n": -1}})
        self.assertEqual(next_told(), (["b"], [("ADDED", "b"), ("REMOVED", "a")]))
        rooms.document("b").delete()
        self.assertEqual(next_told(), ([], [("REMOVED", "b")]))

        one = queue.Queue()
        alone = rooms.document("z").on_snapshot(lambda docs, changes, at: one.put([doc.to_dict() for doc in docs]))
        self.addCleanup(alone.unsubscribe)
        # This client tells of a missing document once, as one without fields.
        self.assertIn(one.get(timeout=PATIENCE_SECONDS), ([], [None]))
        rooms.document("z").set({"n": -5})
        self.assertEqual(one.get(timeout=PATIENCE_SECONDS), [{"n": -5}])

    def test_much_is_written_and_deleted_in_bulk(self):
        options = BulkWriterOptions(initial_ops_per_second=100_000, max_ops_per_second=100_000)
        writer = self.db.bulk_writer(options=options)
        for n in range(5_000):
            writer.create(self.db.document(f"bulk/d{n % 500}/in/x{n}"), {"n": n})
        writer.close()
        failed = []

        def on_error(error, *_):
            failed.append((error.code, error.operation.reference.id))
            return False

        # Another one: after a flush this client forgets a batch that is not full.
        writer = self.db.bulk_writer(options=options)
        writer.on_write_error(on_error)
        writer.create(self.db.document("bulk/d0/in/x0"), {})
        writer.update(self.db.document("bulk/d0/in/none"), {"n": 1})
        writer.set(self.db.document("bulk!/d0/in/y"), {"n": 1})
        writer.close()
        self.assertEqual(sorted(failed), [(5, "none"), (6, "x0")])
        group = self.db.collection_group("in")
        self.assertEqual(group.count().get()[0][0].value, 5_001)
        self.assertEqual(group.sum("n").get()[0][0].value, 5_000 * 4_999 // 2 + 1)
        self.assertEqual(len(list(self.db.collection("bulk").list_documents())), 500, "all of them missing")
        self.assertFalse(self.db.document("bulk/d1").get().exists)
        self.db.recursive_delete(self.db.document("bulk/d0"), bulk_writer=self.db.bulk_writer(options=options))
        self.assertEqual(group.count().get()[0][0].value, 4_991)
        self.db.recursive_delete(self.db.collection("bulk"), bulk_writer=self.db.bulk_writer(options=options))
        self.assertEqual(ids(self.db.collections()), ["bulk!"])

    def test_partitions_cover_a_group_once(self):
        batch = self.db.batch()
        for n in range(400):
            batch.set(self.db.document(f"rooms/{n % 7}/messages/m{n}"), {"n": n})
        batch.commit()
        group = self.db.collection_group("messages")
        whole = ids(group.order_by("__name__").stream())
        for wanted in (1, 3, 100):
            parts = list(group.get_partitions(wanted))
            self.assertEqual((len(parts), [id for part in parts for id in ids(part.query().stream())]), (wanted + 1, whole))

    def test_a_plan_is_told_without_running_and_with_what_running_cost(self):
        self.fill({f"rooms/r{n}": {"n": n, "v": Vector([float(n), 1.0])} for n in range(30)})
        rooms = self.db.collection("rooms")
        some = rooms.where(filter=FieldFilter("n", "<", 10))
        near = rooms.find_nearest("v", Vector([3.0, 1.0]), limit=4, distance_measure=DistanceMeasure.EUCLIDEAN)
        for query, results, by in (
            (some, 10, "(n ASC, __name__ ASC)"),
            (near, 4, "(__name__ ASC, v VECTOR<2>)"),
            (some.sum("n"), 1, "(n ASC, __name__ ASC)"),
        ):
            plan = query.get(explain_options=ExplainOptions(analyze=False)).get_explain_metrics()
            self.assertEqual(plan.plan_summary.indexes_used, [{"query_scope": "Collection", "properties": by}])
            got = query.get(explain_options=ExplainOptions(analyze=True))
            stats = got.get_explain_metrics().execution_stats
            self.assertEqual((len(got), stats.results_returned), (results, results))
            self.assertEqual(stats.debug_stats["billing_details"]["documents_billable"], str(results))

    def test_neighbours_of_each_distance(self):
        vectors = {"a": [1, 0, 0], "b": [0, 1, 0], "c": [2, 2, 0], "d": [-1, 0, 0], "short": [1, 0]}
        self.fill({f"points/{id}": {"in": {"v": Vector([float(x) for x in v])}, "even": id in "ac"} for id, v in vectors.items()})
        points = self.db.collection("points")

        def near(measure, query=points, limit=10, threshold=None):
            found = query.find_nearest(
                "in.v", Vector([1.0, 0.0, 0.0]), limit=limit, distance_measure=measure, distance_result_field="far",
                distance_threshold=threshold,
            )
            return [(doc.id, round(doc.get("far"), 6)) for doc in found.get()]

        self.assertEqual(near(DistanceMeasure.EUCLIDEAN), [("a", 0), ("b", 1.414214), ("d", 2), ("c", 2.236068)])
        self.assertEqual(near(DistanceMeasure.DOT_PRODUCT, limit=2), [("c", 2), ("a", 1)])
        self.assertEqual(near(DistanceMeasure.COSINE, threshold=0.5), [("a", 0), ("c", 0.292893)])
        even = points.where(filter=FieldFilter("even", "==", True))
        self.assertEqual(near(DistanceMeasure.EUCLIDEAN, even), [("a", 0), ("c", 2.236068)])
        with self.assertRaisesRegex(exceptions.InvalidArgument, "(?i)limit"):
            near(DistanceMeasure.EUCLIDEAN, limit=1_001)
        with self.assertRaisesRegex(exceptions.InvalidArgument, "2048"):
            points.find_nearest("in.v", Vector([1.0] * 2_049), limit=1, distance_measure=DistanceMeasure.EUCLIDEAN).get()


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_the_async_client_does_the_same(self):
        db = firestore.AsyncClient(project="conform", database=name())
        ref = db.document("rooms/a")
        await ref.set({"n": 1})

        @firestore.async_transactional
        async def bump(transaction):
            got = await ref.get(transaction=transaction)
            transaction.update(ref, {"n": got.get("n") + 1})

        await bump(db.transaction())
        self.assertEqual((await ref.get()).to_dict(), {"n": 2})
        await db.collection("rooms").add({"n": 3}, "b")
        query = db.collection("rooms").where(filter=FieldFilter("n", ">=", 2)).order_by("n")
        self.assertEqual([doc.id async for doc in query.stream()], ["a", "b"])
        self.assertEqual((await query.count().get())[0][0].value, 2)
        self.assertEqual([one.id async for one in db.collections()], ["rooms"])
        batch = db.batch()
        batch.delete(ref)
        batch.update(db.document("rooms/none"), {"n": 1})
        with self.assertRaises(exceptions.NotFound):
            await batch.commit()
        self.assertTrue((await ref.get()).exists)

    async def test_the_async_client_covers_the_same_ground_of_groups_and_numbers(self):
        db = firestore.AsyncClient(project="conform", database=name())
        batch = db.batch()
        for n in range(40):
            batch.set(db.document(f"rooms/{n % 4}/messages/m{n}"), {"n": n, "v": Vector([float(n), 1.0])})
        await batch.commit()
        group = db.collection_group("messages")
        few = group.where(filter=Or([FieldFilter("n", "==", 1), FieldFilter("n", ">", 36)]))
        self.assertEqual(sorted([doc.id async for doc in few.stream()]), ["m1", "m37", "m38", "m39"])
        told = {one.alias: one.value for one in (await group.sum("n", alias="sum").avg("n", alias="mean").count(alias="all").get())[0]}
        self.assertEqual(told, {"sum": 780, "mean": 19.5, "all": 40})
        parts = [part async for part in group.get_partitions(4)]
        self.assertEqual(sum([len(await part.query().get()) for part in parts]), 40)
        near = group.find_nearest("v", Vector([7.2, 1.0]), limit=2, distance_measure=DistanceMeasure.EUCLIDEAN)
        self.assertEqual(ids(await near.get()), ["m7", "m8"])
        results = await few.get(explain_options=ExplainOptions(analyze=True))
        self.assertEqual((len(results), results.get_explain_metrics().execution_stats.results_returned), (4, 4))
        found = {doc.id: doc.exists async for doc in db.get_all([db.document("rooms/0/messages/m0"), db.document("rooms/0")])}
        self.assertEqual(found, {"m0": True, "0": False})
        self.assertEqual([ref.id async for ref in db.collection("rooms").list_documents()], ["0", "1", "2", "3"])
        pages = group.order_by("n", direction=firestore.Query.DESCENDING).limit(3)
        first = await pages.get()
        self.assertEqual(ids(await pages.start_after(first[-1]).get()), ["m36", "m35", "m34"])
        await db.recursive_delete(db.collection("rooms"))
        self.assertEqual([one.id async for one in db.collections()], [])

    async def test_a_contended_counter_goes_ahead_for_async_clients(self):
        database = name()
        clients = [firestore.AsyncClient(project="conform", database=database) for _ in range(8)]
        await clients[0].document("counters/one").set({"n": 0})

        async def count(db):
            ref = db.document("counters/one")

            @firestore.async_transactional
            async def bump(transaction):
                transaction.update(ref, {"n": (await ref.get(transaction=transaction)).get("n") + 1})

            for _ in range(3):
                await bump(db.transaction(max_attempts=20))

        await asyncio.gather(*map(count, clients))
        self.assertEqual((await clients[0].document("counters/one").get()).get("n"), 24)


if __name__ == "__main__":
    unittest.main(verbosity=2)
