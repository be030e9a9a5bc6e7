# Runs moto's server with four things mended that tests would wait for, or see as faults of the client:
# the time is told without going through calendars; a queue does not count all its messages whenever one is sent; no two
# receivers look at a queue at the same time, so that a message group is given to one of them, as SQS does it; and of several
# messages of a group whose time is over the first one comes first.
import sys
import threading
import time

import moto.sqs.models as sqs
from moto.server import main

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


sqs.SQSBackend.receive_message = receive_message
sys.exit(main(sys.argv[1:]))
