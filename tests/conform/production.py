"""google-cloud-firestore for Python, unmodified, sync and async, before a server in production.

Over TLS, told the host as an app would tell it, and of no emulator. What it trusts is in GRPC_DEFAULT_SSL_ROOTS_FILE_PATH.
"""

import os
import queue
import unittest

from google.api_core import exceptions
from google.cloud import firestore
from google.oauth2.credentials import Credentials

PATIENCE_SECONDS = 20


def settings(bearer):
    return {
        "project": os.environ["TEST_PROJECT"],
        "credentials": Credentials(bearer),
        "client_options": {"api_endpoint": os.environ["TEST_ADDRESS"]},
    }


class Production(unittest.IsolatedAsyncioTestCase):
    def test_the_admin_key_and_a_users_token_open_it(self):
        for name in ("TEST_KEY", "TEST_TOKEN"):
            db = firestore.Client(**settings(os.environ[name]))
            ref = db.document(f"python/{name}")
            told = queue.Queue()
            watch = ref.on_snapshot(lambda docs, changes, at: told.put([doc.to_dict() for doc in docs]))
            self.assertIn(told.get(timeout=PATIENCE_SECONDS), ([], [None]))
            ref.set({"n": 1})
            self.assertEqual(told.get(timeout=PATIENCE_SECONDS), [{"n": 1}])
            watch.unsubscribe()
            self.assertEqual([doc.id for doc in db.collection("python").where("n", "==", 1).stream()], [name])
            ref.delete()
            db.close()

    def test_another_key_does_not(self):
        db = firestore.Client(**settings("no-such-key-0123456789abcdef0123456789"))
        with self.assertRaises(exceptions.Unauthenticated):
            db.document("python/a").set({}, retry=None)
        db.close()

    async def test_the_async_client_is_let_in_too(self):
        db = firestore.AsyncClient(**settings(os.environ["TEST_KEY"]))
        ref = db.document("async/a")
        await ref.set({"n": 1})
        self.assertEqual((await ref.get()).to_dict(), {"n": 1})
        self.assertEqual([doc.id async for doc in db.collection("async").stream()], ["a"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
