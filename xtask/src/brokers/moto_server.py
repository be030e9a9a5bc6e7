# Runs moto's server with some things mended that tests would wait for, or see as faults of the client:
# the time is told without going through calendars; a queue does not count all its messages whenever one is sent; no two
# receivers look at a queue at the same time, so that a message group is given to one of them, as SQS does it; of several
# messages of a group whose time is over the first one comes first; deleting one does not copy the queue, which would lose what is
# sent meanwhile; and a request waits neither for a line in a log, nor for a look through all folders of moto's services, nor for
# the acknowledgement of its own headers, nor for what is loaded at the first one.
import functools
import logging
import sys
import threading
import time

import moto.backends as backends
import moto.core.responses as responses
import moto.moto_server.werkzeug_app as web
import moto.sqs.models as sqs
from moto.server import main

logging.getLogger("werkzeug").setLevel(logging.ERROR)
services = tuple(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: services
web.DomainDispatcherApplication.get_backend_for_host = functools.lru_cache(
    web.DomainDispatcherApplication.get_backend_for_host
)
web.MotoRequestHandler.disable_nagle_algorithm = True
responses.camelcase_to_underscores = functools.lru_cache(responses.camelcase_to_underscores)
# Whoever is first does not wait until all is loaded.
for service, content_type, question in (
    ("sqs", "application/x-amz-json-1.0", "{}"),
    ("sns", "application/x-www-form-urlencoded", "Action=ListTopics&Version=2010-03-31"),
):
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20170220/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x",
        "Content-Type": content_type,
        "Host": f"{service}.us-east-1.amazonaws.com",
        "X-Amz-Target": "AmazonSQS.ListQueues",
    }
    web.create_backend_app(service).test_client().post("/", data=question, headers=headers)
# Two weeks do not go by here.
sqs.SQSBackend.is_message_valid_based_on_retention_period = lambda *_: True

sqs.unix_time = time.time
sqs.unix_time_millis = lambda: time.time() * 1000.0

for count in ("", "_delayed", "_not_visible"):
    setattr(sqs.Queue, "approximate_number_of_messages" + count, property(lambda queue: 0))

looking = threading.Lock()
receive_at_once = sqs.SQSBackend.receive_message


def receive_message(self, queue_name, count, wait_seconds_timeout, visibility_timeout, message_attribute_names=None):
    end = time.time() + wait_seconds_timeout
    while True:
        with looking:
            pending = self.get_queue(queue_name).pending_messages
            pending.difference_update([message for message in pending if message.visible])
            messages = receive_at_once(self, queue_name, count, 0, visibility_timeout, message_attribute_names)
        if messages or time.time() >= end:
            return messages
        time.sleep(0.02)


def delete_message(self, receipt_handle):
    if receipt_handle in self.deleted_messages:
        return
    with looking:
        found = next((message for message in self._messages if message.had_receipt_handle(receipt_handle)), None)
        if found is None:
            raise sqs.ReceiptHandleIsInvalid()
        self.pending_messages.discard(found)
        self.deleted_messages.update(found.all_receipt_handles)
        self._messages.remove(found)


sqs.SQSBackend.receive_message = receive_message
sqs.Queue.delete_message = delete_message
sys.exit(main(sys.argv[1:]))
