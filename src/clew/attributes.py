"""Every attribute name clew emits, each with the sentence that stands for it in docs/spans.md.

One place, so that a name is spelt once, the documentation cannot drift, and a collector's policies can be checked
against it. Names follow the OpenTelemetry semantic conventions where one exists (v1.44), else `django.*`, `celery.*`,
`clew.*`.
"""

from __future__ import annotations

from typing import Final

DESCRIPTIONS: Final[dict[str, str]] = {}


def _name(name: str, description: str) -> str:
    DESCRIPTIONS[name] = description
    return name


CODE_FUNCTION_NAME: Final = _name("code.function.name", "fully qualified name of the user's code the span stands for")
CODE_FILE_PATH: Final = _name("code.file.path", "file of that code, or of the template")
CODE_LINE_NUMBER: Final = _name("code.line.number", "line of that code")
CODE: Final = (CODE_FUNCTION_NAME, CODE_FILE_PATH, CODE_LINE_NUMBER)
ERROR_TYPE: Final = _name("error.type", "class of the exception that ended the span, or the status code of a 5xx")
EXCEPTION_TYPE: Final = _name("exception.type", "class of the exception (on the `exception` event)")
EXCEPTION_MESSAGE: Final = _name("exception.message", "its message, redacted (on the `exception` event)")
EXCEPTION_STACKTRACE: Final = _name("exception.stacktrace", "its traceback, redacted (on the `exception` event)")
EXCEPTION_ESCAPED: Final = _name("exception.escaped", "whether it left the span (on the `exception` event)")

HTTP_REQUEST_METHOD: Final = _name("http.request.method", "method, `_OTHER` when unknown")
HTTP_REQUEST_METHOD_ORIGINAL: Final = _name("http.request.method_original", "the method as sent, when it is unknown")
HTTP_RESPONSE_STATUS_CODE: Final = _name("http.response.status_code", "status code of the response")
HTTP_ROUTE: Final = _name(
    "http.route", "the URL pattern that matched, as one reads it (`orders/<code>/`); `/` for the empty pattern"
)
URL_PATH: Final = _name("url.path", "path of the request")
URL_QUERY: Final = _name("url.query", "query string, secrets redacted")
URL_SCHEME: Final = _name("url.scheme", "http or https")
SERVER_ADDRESS: Final = _name("server.address", "host the client asked for, without the port")
SERVER_PORT: Final = _name("server.port", "port the client asked for")
CLIENT_ADDRESS: Final = _name("client.address", "address of the client")
NETWORK_PROTOCOL_VERSION: Final = _name("network.protocol.version", "HTTP version")
USER_AGENT_ORIGINAL: Final = _name("user_agent.original", "the User-Agent header")

DJANGO_VIEW_REACHED: Final = _name("django.view.reached", "whether the code of a view ran for the request")
DJANGO_VIEW_NAME: Final = _name("django.view.name", "dotted name of the view")
DJANGO_VIEW_KIND: Final = _name(
    "django.view.kind", "function, class, method, partial, callable, rest_framework or ninja"
)
GRAPHQL_OPERATION_NAME: Final = _name("graphql.operation.name", "name of the operation, where the client gave one")
GRAPHQL_OPERATION_TYPE: Final = _name("graphql.operation.type", "query, mutation or subscription")
GRAPHQL_PATH: Final = _name("graphql.path", "on an exception of a resolver: the field it is of")
DJANGO_VIEW_HANDLER: Final = _name("django.view.handler", "method of a class-based view that handles the request")
DJANGO_URL_NAME: Final = _name("django.url.name", "name of the URL pattern")
DJANGO_URL_NAMESPACE: Final = _name("django.url.namespace", "namespace of the URL pattern")
DJANGO_RESPONSE_SHORT_CIRCUITED_BY: Final = _name(
    "django.response.short_circuited_by", "middleware that answered in place of the view"
)
DJANGO_RESPONSE_RAISED_BY: Final = _name("django.response.raised_by", "middleware that raised before the view ran")
DJANGO_VIEW_DENIED_BY: Final = _name(
    "django.view.denied_by",
    "what kept the view's own code from running: a decorator, its test, a mixin's view, CSRF, an API's permission",
)
DJANGO_VIEW_DENIED_REASON: Final = _name(
    "django.view.denied_reason",
    "where the client was sent instead, how it was answered, what the CSRF check says",
)
DJANGO_REQUEST_CANCELLED: Final = _name("django.request.cancelled", "true when the client went away before the end")
DJANGO_STREAM_NUMBER: Final = _name("django.stream.number", "which piece of a long body it is, after the request's own")
DJANGO_STREAM_TRACE_ID: Final = _name(
    "django.stream.request.trace_id", "trace of the request a piece of its body is linked to"
)
DJANGO_STREAM_SPAN_ID: Final = _name("django.stream.request.span_id", "span of that request")
DJANGO_MIDDLEWARE_NAME: Final = _name("django.middleware.name", "dotted name of the middleware")
DJANGO_MIDDLEWARE_PHASE: Final = _name(
    "django.middleware.phase", "request, view, template_response, exception or response"
)
DJANGO_MIDDLEWARE_SHORT_CIRCUITED: Final = _name(
    "django.middleware.short_circuited", "true on the middleware that answered in place of the view"
)
DJANGO_MIDDLEWARE_TIMINGS: Final = _name(
    "django.middleware.timings", "phases too short to be spans, in order, each with its microseconds"
)
DJANGO_TEMPLATE_NAME: Final = _name("django.template.name", "name of the template")
DJANGO_TEMPLATE_ENGINE: Final = _name("django.template.engine", "django or jinja2")
DJANGO_TEMPLATE_ROLE: Final = _name("django.template.role", "root, include, extends, import (jinja2) or block")
DJANGO_AUTH_BACKEND: Final = _name("django.auth.backend", "dotted name of the authentication backend")
DJANGO_AUTH_OUTCOME: Final = _name(
    "django.auth.outcome", "accepted, declined, denied, error or skipped (the backend does not take these credentials)"
)
DJANGO_AUTH_HASHER: Final = _name("django.auth.hasher", "algorithm of the password hash that was checked")

DJANGO_AUTH_UPGRADED: Final = _name(
    "django.auth.hash_upgraded", "true where the password was hashed anew, with today's hasher or work factor"
)
DJANGO_AUTH_REASON: Final = _name(
    "django.auth.reason", "why nobody is logged in, as far as Django knows; also on the event django.auth.login_failed"
)
DJANGO_AUTH_SESSION: Final = _name(
    "django.auth.session", "what became of the session: cycled (a new key), flushed (emptied, a new key) or kept"
)
DJANGO_AUTH_OBJECT: Final = _name("django.auth.object", "class of the object the permission was asked for")
DJANGO_AUTH_ANONYMOUS: Final = _name("django.auth.anonymous", "true where nobody is logged in")
DJANGO_AUTH_PERMISSION: Final = _name("django.auth.permission", "permission that was asked for, or an app's label")
DJANGO_AUTH_GRANTED: Final = _name("django.auth.granted", "whether the user has it")
DJANGO_AUTH_QUERY_COUNT: Final = _name(
    "django.auth.query_count", "queries that it took; 0: the user object had its permissions already"
)
DJANGO_SESSION_ENGINE: Final = _name("django.session.engine", "module of the engine")
DJANGO_SESSION_EMPTY: Final = _name("django.session.empty", "true where there was none, or nothing in it")
DJANGO_MAIL_BACKEND: Final = _name("django.mail.backend", "class of the mail backend")
DJANGO_MAIL_MESSAGE_COUNT: Final = _name("django.mail.message_count", "messages it was given")
DJANGO_MAIL_RECIPIENT_COUNT: Final = _name("django.mail.recipient_count", "recipients of them all (to, cc, bcc)")
DJANGO_MAIL_SENT_COUNT: Final = _name("django.mail.sent_count", "messages it says it has sent")

WEBSOCKET_OUTCOME: Final = _name(
    "websocket.outcome", "what became of the opening: accepted, rejected, failed, or unanswered"
)
WEBSOCKET_REJECTED_BY: Final = _name("websocket.rejected_by", "dotted name of the consumer that closed it unopened")
WEBSOCKET_SUBPROTOCOL: Final = _name("websocket.subprotocol", "the one that was agreed on")
WEBSOCKET_CLOSE_CODE: Final = _name("websocket.close.code", "code of the close, the application's or the client's")
WEBSOCKET_CLOSE_REASON: Final = _name("websocket.close.reason", "its reason, or why the origin check rejected it")
WEBSOCKET_MESSAGE_TYPE: Final = _name("websocket.message.type", "type of the ASGI or channel layer message")
WEBSOCKET_MESSAGE_SIZE: Final = _name("websocket.message.size", "characters, or bytes, that the client has sent")
WEBSOCKET_TRACE_ID: Final = _name(
    "websocket.opening.trace_id", "trace of the opening a message is linked to (backends drop links' attributes)"
)
WEBSOCKET_SPAN_ID: Final = _name("websocket.opening.span_id", "the span of the opening a message is linked to")
CHANNEL_LAYER_TRACE_ID: Final = _name(
    "channel_layer.send.trace_id", "trace of the send a message is linked to (backends drop links' attributes)"
)
CHANNEL_LAYER_SPAN_ID: Final = _name("channel_layer.send.span_id", "the span of the send a message is linked to")

MESSAGING_SYSTEM: Final = _name(
    "messaging.system", "rabbitmq, redis, the name of kombu's transport; a channel layer's package"
)
MESSAGING_OPERATION_NAME: Final = _name(
    "messaging.operation.name", "apply_async or run; send or group_send of a channel layer"
)
MESSAGING_OPERATION_TYPE: Final = _name("messaging.operation.type", "send or process")
MESSAGING_DESTINATION_NAME: Final = _name("messaging.destination.name", "exchange and routing key, or the queue")
MESSAGING_DESTINATION: Final = _name("messaging.destination", "routing key (contrib's name, kept)")
MESSAGING_DESTINATION_KIND: Final = _name(
    "messaging.destination_kind", "queue, or topic: by an exchange of type topic, fanout or headers"
)
MESSAGING_MESSAGE_ID: Final = _name("messaging.message.id", "id of the task")
MESSAGING_BATCH_MESSAGE_COUNT: Final = _name("messaging.batch.message_count", "messages of one run (celery-batches)")
MESSAGING_CONVERSATION_ID: Final = _name("messaging.message.conversation_id", "id of the canvas' root task")
MESSAGING_CONTRIB_CONVERSATION_ID: Final = _name(
    "messaging.conversation_id", "correlation id of the message (contrib's name, kept)"
)
MESSAGING_ROUTING_KEY: Final = _name("messaging.rabbitmq.destination.routing_key", "routing key, on RabbitMQ")
CELERY_ACTION: Final = _name("celery.action", "apply_async or run (contrib's)")
CELERY_TASK_NAME: Final = _name("celery.task_name", "name of the task (contrib's)")
CELERY_STATE: Final = _name("celery.state", "final state of the run (contrib's)")
CELERY_RETRIES: Final = _name("celery.retries", "how often the task was tried before")
CELERY_RETRY_REASON: Final = _name("celery.retry.reason", "why the task is tried again (contrib's)")
CELERY_HOSTNAME: Final = _name("celery.hostname", "worker that runs the task (contrib reports the sender here)")
CELERY_ORIGIN: Final = _name("celery.origin", "process that sent the task")
CELERY_DELIVERY_INFO: Final = _name("celery.delivery_info", "how the broker delivered the message (contrib's)")
CELERY_EXCHANGE: Final = _name("celery.exchange", "exchange the message is sent to (contrib's)")
CELERY_ETA: Final = _name("celery.eta", "earliest time of the run (contrib's)")
CELERY_EXPIRES: Final = _name("celery.expires", "latest time of the run (contrib's)")
CELERY_TIMELIMIT: Final = _name("celery.timelimit", "hard and soft time limit in seconds (contrib's)")
CELERY_REPLY_TO: Final = _name("celery.reply_to", "queue of the results (contrib's)")
CELERY_COMPRESSION: Final = _name("celery.compression", "compression of the message (contrib's)")
CELERY_OUTCOME: Final = _name(
    "celery.outcome",
    "succeeded, failed, soft_timed_out, retried, ignored, replaced, rejected or expected_failure; told by the worker's "
    "main process: timed_out (hard time limit), lost (the child died, or a cold shutdown), cancelled (by Celery, to be "
    "redelivered), terminated (revoked while it ran), revoked, expired, unknown (not registered), rejected (no valid "
    "task) or undecodable",
)
CELERY_ETA_MS: Final = _name("celery.eta_ms", "milliseconds the task was asked to wait (countdown or ETA)")
CELERY_QUEUE_MS: Final = _name(
    "celery.queue_ms",
    "milliseconds from the publish, or from the ETA if that was later, until a worker had the message",
)
CELERY_QUEUE_SLOW: Final = _name(
    "celery.queue_slow", "true when it waited there for `slow_queue_threshold_ms` or more: to search for"
)
CELERY_PREFETCH_MS: Final = _name(
    "celery.prefetch_ms", "milliseconds the worker had it, its ETA not counted, before a pool process started on it"
)
CELERY_CLOCK_SKEW_MS: Final = _name(
    "celery.clock_skew_ms",
    "how far the sender's clock is ahead of the worker's, at least; celery.queue_ms is then too small",
)
CELERY_REDELIVERED: Final = _name("celery.redelivered", "true when the broker has delivered the message before")
CELERY_RUN_NUMBER: Final = _name(
    "celery.run_number",
    "2 and more: this worker has started this task id before, not as a retry (redelivered, or sent again)",
)
CELERY_MAX_RETRIES: Final = _name("celery.max_retries", "how often the task may be tried again; absent: without limit")
CELERY_RETRIES_EXHAUSTED: Final = _name("celery.retries_exhausted", "true when the last of the retries has failed")
CELERY_HANDLING_ERROR: Final = _name(
    "celery.handling_error",
    "exception that dealing with the task's own raised: an error callback, on_failure, a backend",
)
CELERY_RETRY_DELAY_MS: Final = _name("celery.retry.delay_ms", "milliseconds until the next attempt, as asked for")
CELERY_PREVIOUS_TRACE_ID: Final = _name(
    "celery.previous_attempt.trace_id", "trace of the attempt before, which a retry is linked to"
)
CELERY_PREVIOUS_SPAN_ID: Final = _name("celery.previous_attempt.span_id", "the span of the attempt before")
CELERY_REQUEUE: Final = _name("celery.requeue", "whether a rejected message goes back to the queue")
CELERY_GROUP_INDEX: Final = _name("celery.group_index", "place of the task in its group")
CELERY_CANVAS: Final = _name("celery.canvas", "group or chord")
CELERY_CHORD_GROUP_ID: Final = _name("celery.chord.group_id", "on a chord's body: group of the header's tasks")
CELERY_CHORD_SIZE: Final = _name("celery.chord.size", "on a chord's body: how many tasks its header has")
CELERY_MAPPED_TASK: Final = _name("celery.mapped_task", "the task that map, starmap or chunks calls in one run")
CELERY_MAPPED_COUNT: Final = _name("celery.mapped_count", "how often it is called")
CELERY_BATCH_TRACE_ID: Final = _name("celery.batch.trace_id", "trace of the run that took the message with others")
CELERY_BATCH_SPAN_ID: Final = _name("celery.batch.span_id", "that run's span")
CELERY_EAGER: Final = _name("celery.eager", "true when the task ran in the sending process (task_always_eager)")
CELERY_ROOT_ID: Final = _name("celery.root_id", "id of the first task of the canvas")
CELERY_PARENT_ID: Final = _name("celery.parent_id", "id of the task that sent this one")
CELERY_GROUP_ID: Final = _name("celery.group_id", "id of the group the task belongs to")
CELERY_LINKED_TRACE_ID: Final = _name(
    "celery.publish.trace_id", "trace of the publish span a run is linked to (backends drop links' attributes)"
)
CELERY_LINKED_SPAN_ID: Final = _name("celery.publish.span_id", "the publish span a run is linked to")

CLEW_FOLDED_COUNT: Final = _name("clew.folded.count", "how many equal spans without children this one stands for")
CLEW_FOLDED_DURATION_MS: Final = _name("clew.folded.duration_ms", "their duration together")
CLEW_FAN_OUT_FIRST_MESSAGE_ID: Final = _name(
    "clew.fan_out.first_message_id", "id of the first of the tasks that one publish span stands for"
)
CLEW_FAN_OUT_LAST_MESSAGE_ID: Final = _name("clew.fan_out.last_message_id", "id of the last of them")
CLEW_FAN_OUT_BODY_SIZE: Final = _name("clew.fan_out.body_size", "bytes of their messages' bodies together")
CLEW_FAN_OUT_OWN_TRACES: Final = _name(
    "clew.fan_out.own_traces", "how many of their runs begin a trace of their own, linked to this span"
)
CLEW_FAN_OUT_POSITION: Final = _name(
    "clew.fan_out.position", "which send of its task in one request or task it was, where that were many"
)
CLEW_FAN_OUT_OWN_TRACE: Final = _name(
    "clew.fan_out.own_trace", "true on a run that begins a trace of its own, because its sender's has `fan_out` others"
)
CLEW_CANCELLED: Final = _name("clew.cancelled", "true when the work under the span was cancelled")
CLEW_SPANS_DROPPED: Final = _name("clew.spans.dropped", "spans over the limit of one trace in one process")
CLEW_SPANS_DROPPED_BELOW: Final = _name(
    "clew.spans.dropped_below",
    "how many plain spans below this one are not recorded, because it has so many of their kind",
)
CLEW_SPANS_LOST: Final = _name(
    "clew.spans.lost",
    "metric: spans that were not delivered, by `reason`",
)
CLEW_LOSS_REASON: Final = _name(
    "reason",
    "why they were not: unreachable, timeout, rejected, redirected, too_large, queue_full, invalid, shutdown",
)
CLEW_LINK_KIND: Final = _name(
    "clew.link",
    "what a link leads to: publish, first_publish, previous_attempt, chord_header, beat_tick, beat_entry, websocket "
    "or request",
)

DB_SYSTEM_NAME: Final = _name("db.system.name", "postgresql, mysql, mariadb, sqlite, oracle.db ...")
DB_NAMESPACE: Final = _name("db.namespace", "name of the database; of SQLite's, the file's")
DB_COLLECTION_NAME: Final = _name("db.collection.name", "the table, where there is only one")
DB_OPERATION_NAME: Final = _name("db.operation.name", "SELECT, INSERT ...; BATCH INSERT of an executemany")
DB_OPERATION_BATCH_SIZE: Final = _name("db.operation.batch.size", "parameter sets of an executemany")
DB_QUERY_TEXT: Final = _name("db.query.text", "the query with placeholders; literals of raw SQL are replaced by `?`")
DB_QUERY_SUMMARY: Final = _name("db.query.summary", "operation and tables")
DB_QUERY_PARAMETER: Final = _name("db.query.parameter.<n>", "a parameter; only with the setting `database_parameters`")
DB_RESPONSE_STATUS_CODE: Final = _name("db.response.status_code", "the database's error code, or SQLSTATE")
DB_RESPONSE_RETURNED_ROWS: Final = _name("db.response.returned_rows", "rows the query returned")
DJANGO_DB_ALIAS: Final = _name("django.db.alias", "key in DATABASES")
DJANGO_TEMPLATE_QUERY_COUNT: Final = _name("django.template.query_count", "queries run while it was rendered")
DJANGO_TEMPLATE_LOAD_MS: Final = _name(
    "django.template.load_ms",
    "milliseconds it took to find, read and compile it; on its first span after that, mostly once in a process",
)
CLEW_DB_PHASE: Final = _name(
    "clew.db.phase", "what ran the query: middleware, view, template, serializer, signal, hook or task"
)
CLEW_DB_QUERY_COUNT: Final = _name("clew.db.query_count", "queries of the request or task")
CLEW_DB_DURATION_MS: Final = _name("clew.db.duration_ms", "milliseconds spent in them")
CLEW_DB_DURATION: Final = _name(
    "clew.db.duration", "metric: seconds a request or task spent in its queries, by route or task"
)
CLEW_DB_ROWS: Final = _name("clew.db.rows", "rows they returned, as far as the driver says")
CLEW_DB_CONNECTIONS_OPENED: Final = _name("clew.db.connections_opened", "connections opened during the request or task")
CLEW_DB_ALIAS_QUERY_COUNT: Final = _name(
    "clew.db.alias.<alias>.query_count", "queries on one database, where there is more than one"
)
CLEW_DB_ALIAS_DURATION_MS: Final = _name("clew.db.alias.<alias>.duration_ms", "milliseconds spent in them")
CLEW_PHASE: Final = _name(
    "clew.phase", "what called another service: middleware, view, template, serializer, signal, hook or task"
)
CLEW_EXTERNAL_COUNT: Final = _name(
    "clew.external.count", "calls to other services of the request or task, as other instrumentations have seen them"
)
CLEW_EXTERNAL_DURATION_MS: Final = _name("clew.external.duration_ms", "milliseconds spent in them, added up")
CLEW_EXTERNAL_SYSTEM_COUNT: Final = _name("clew.external.<system>.count", "the same of one system: http, redis, kafka")
CLEW_EXTERNAL_SYSTEM_DURATION_MS: Final = _name("clew.external.<system>.duration_ms", "milliseconds spent in them")
CLEW_ASYNC_HOP_COUNT: Final = _name(
    "clew.async.hop_count", "how often the request or task went from an event loop into a thread, or back into a loop"
)
CLEW_CACHE_LOOKUPS: Final = _name(
    "clew.cache.lookups", "metric: keys that were asked of a cache, hits and misses, by alias and template of the key"
)
CLEW_WEBSOCKET_CONNECTIONS: Final = _name("clew.websocket.connections", "metric: websockets that are open, by route")
CLEW_WEBSOCKET_DURATION: Final = _name(
    "clew.websocket.connection.duration", "metric: seconds from a websocket's opening to its end, by route and outcome"
)
CLEW_WEBSOCKET_MESSAGE_DURATION: Final = _name(
    "clew.websocket.message.duration", "metric: seconds in which a message was handled, by route, type and error"
)
CLEW_WEBSOCKET_SENT: Final = _name("clew.websocket.sent.messages", "metric: messages sent to clients, by route")
CLEW_ASYNC_WAIT_MS: Final = _name(
    "clew.async.wait_ms", "milliseconds its coroutines waited for threads, and threads for loops"
)
DJANGO_ASYNC_WAIT_MS: Final = _name("django.async.wait_ms", "milliseconds until the thread, or the loop, came to it")
DJANGO_ASYNC_THREAD_SENSITIVE: Final = _name(
    "django.async.thread_sensitive", "whether it had to be the one thread of the request, or of the process"
)
DJANGO_ASYNC_FUNCTION: Final = _name("django.async.function", "dotted name of what is to be run there")
DJANGO_ASYNC_HELD_BY: Final = _name("django.async.held_by", "the function that thread was busy with until then")
DJANGO_SIGNAL_RECEIVER: Final = _name(
    "django.signal.receiver", "dotted name of the receiver; on a query or publish: the innermost one that made it"
)
DJANGO_SIGNAL_NAME: Final = _name("django.signal.name", "what the signal is called in the code: post_save, order_paid")
DJANGO_SIGNAL_SENDER: Final = _name("django.signal.sender", "the class that sent it, where it is one")
CLEW_SIGNAL_RECEIVER_COUNT: Final = _name(
    "clew.signal.receiver_count", "receivers that were called one after another, most of them too short for a span"
)
CLEW_SIGNAL_DURATION_MS: Final = _name("clew.signal.duration_ms", "milliseconds spent in them")
CLEW_FOLDED_FIRST_MS: Final = _name("clew.folded.first_ms", "milliseconds of the first of the folded spans")
CLEW_FOLDED_LAST_MS: Final = _name("clew.folded.last_ms", "milliseconds of the last of the folded spans")
CLEW_FINDING: Final = _name(
    "clew.finding.<type>",
    "true on the span a finding of that type is about, and on the root; the name of the event that says what is wrong",
)
CLEW_FINDING_ANY: Final = _name("clew.finding.any", "true on the root where anything was found")
CLEW_WARNINGS: Final = _name(
    "clew.warnings",
    "each finding in one line: what, how often, where, how to mend it; on the span it is about, and on the root, which "
    "names that span's id",
)
JAEGER_WARNINGS: Final = _name(
    "@jaeger@warnings",
    "clew.warnings under the name that Jaeger shows as Warnings; only with the setting `jaeger_warnings`",
)
CLEW_FINDING_TYPE: Final = _name("clew.finding.type", "which detector found it")
CLEW_FINDING_MESSAGE: Final = _name(
    "clew.finding.about", "what is wrong, in one sentence; named so that it is the first of the event's fields"
)
CLEW_FINDING_FIX: Final = _name("clew.finding.fix", "how to mend it")
CLEW_FINDING_SEVERITY: Final = _name("clew.finding.severity", "warning or information")
CLEW_FINDINGS: Final = _name(
    "clew.findings", "types of what was found in the request or task; there only if something was"
)
CLEW_FINDING_COUNT: Final = _name("clew.<type>.count", "how many findings of that type")

CACHE_HIT: Final = _name("cache.hit", "whether the key was there")
DJANGO_CACHE_ALIAS: Final = _name("django.cache.alias", "key in CACHES")
DJANGO_CACHE_BACKEND: Final = _name("django.cache.backend", "class of the cache")
DJANGO_CACHE_OPERATION: Final = _name("django.cache.operation", "get, set, add, get_many, incr ...")
DJANGO_CACHE_KEY: Final = _name(
    "django.cache.key", "the key (of several, the first), with `{}` for all that is no literal of the code that asks"
)
DJANGO_CACHE_KEY_COUNT: Final = _name("django.cache.key_count", "keys of a `get_many`, `set_many` or `delete_many`")
DJANGO_CACHE_HITS: Final = _name("django.cache.hits", "keys of a `get_many` that were there")
DJANGO_CACHE_MISSES: Final = _name("django.cache.misses", "keys of a `get_many` that were not there")
DJANGO_CACHE_STORED: Final = _name("django.cache.stored", "whether an `add` or `touch` did something")
DJANGO_CACHE_TTL_S: Final = _name("django.cache.ttl_s", "seconds the value is kept; -1: without an end")
DJANGO_CACHE_SIZE_BYTES: Final = _name(
    "django.cache.size_bytes", "bytes of the value as it is stored; of Django's Redis and local-memory caches"
)
DJANGO_CACHE_SERIALIZE_MS: Final = _name(
    "django.cache.serialize_ms", "milliseconds of pickling or unpickling it; of Django's Redis cache"
)
CLEW_CACHE_COUNT: Final = _name("clew.cache.operation_count", "operations on caches of the request or task")
CLEW_CACHE_DURATION_MS: Final = _name("clew.cache.duration_ms", "milliseconds spent in them")
CLEW_CACHE_HITS: Final = _name("clew.cache.hits", "keys that were found in a cache")
CLEW_CACHE_MISSES: Final = _name("clew.cache.misses", "keys that were not")
CLEW_CACHE_ERRORS: Final = _name(
    "clew.cache.errors", "operations that failed; of those with one error the first is a span, the others are counted"
)

DJANGO_TRANSACTION_OUTCOME: Final = _name(
    "django.db.transaction.outcome", "committed or rolled_back; of a savepoint, released or rolled_back"
)
DJANGO_TRANSACTION_REASON: Final = _name(
    "django.db.transaction.rollback_reason",
    "exception (it left the block), caught_exception (a database error was caught inside), set_rollback, rollback "
    "(autocommit off), aborted (PostgreSQL refuses to commit after an error), commit_failed or connection_closed",
)
DJANGO_TRANSACTION_DURABLE: Final = _name("django.db.transaction.durable", "true of atomic(durable=True)")
DJANGO_TRANSACTION_ATOMIC_REQUEST: Final = _name(
    "django.db.transaction.atomic_request", "true when it is the one ATOMIC_REQUESTS puts around the view"
)
DJANGO_TRANSACTION_MANUAL: Final = _name(
    "django.db.transaction.manual", "true when autocommit is off and the application commits itself"
)
DJANGO_TRANSACTION_QUERIES: Final = _name("django.db.transaction.query_count", "queries in it")
DJANGO_TRANSACTION_WRITES: Final = _name(
    "django.db.transaction.write_count", "those of them that write, but for savepoints' that were rolled back"
)
DJANGO_TRANSACTION_END_MS: Final = _name(
    "django.db.transaction.end_ms", "milliseconds its COMMIT, ROLLBACK or RELEASE took"
)
DJANGO_TRANSACTION_LOCK_HELD_MS: Final = _name(
    "django.db.transaction.lock_held_ms", "milliseconds from the first SELECT ... FOR UPDATE to the end"
)
DJANGO_TRANSACTION_EXTERNAL_MS: Final = _name(
    "django.db.transaction.external_io_ms", "milliseconds spent in calls to other services while it was open"
)
DJANGO_TRANSACTION_SPAN_ID: Final = _name(
    "django.db.transaction.span_id", "the transaction an on_commit hook belongs to (backends drop links' attributes)"
)
DJANGO_ON_COMMIT_ROBUST: Final = _name("django.db.on_commit.robust", "true when Django swallows the hook's errors")
CELERY_PUBLISHED_IN_TRANSACTION: Final = _name(
    "celery.published_in_transaction", "database whose transaction was open when the task was sent"
)
CELERY_HAS_CONSUMERS: Final = _name(
    "celery.has_consumers", "whether a worker reads the queue; there only where that is known (RabbitMQ, Redis)"
)
CELERY_FATE_REASON: Final = _name("celery.fate.reason", "why there is no run, or why the child could not tell of it")
PROCESS_RECYCLED_AFTER: Final = _name(
    "process.recycled_after", "number of requests after which the server replaces the process; this one is the last"
)
CLEW_SERVER_RECYCLED: Final = _name(
    "clew.server.recycled", "metric: processes of a web server that it replaces after a number of requests"
)
PROCESS_MEMORY_DELTA: Final = _name(
    "process.memory.delta",
    "bytes of resident memory the process had more after the request or run than before (Linux; right to some hundred "
    "KiB)",
)
CELERY_FATE_NEXT: Final = _name(
    "celery.fate.next", "what Celery did then: retried (retry_on_worker_lost) or requeued (the message goes back)"
)
CELERY_RUN_OUTCOME: Final = _name(
    "celery.run.outcome", "outcome of a run that was over, but not yet reported, when its child died"
)
CELERY_CHILD_PID: Final = _name("celery.child.pid", "process of the pool that ran the task and died")
CELERY_CHILD_EXIT_CODE: Final = _name("celery.child.exit_code", "exit code it died with, where no signal killed it")
CELERY_CHILD_SIGNAL: Final = _name("celery.child.signal", "signal that killed it: SIGKILL is also the OOM killer's")
CELERY_CHILD_EXIT_REASON: Final = _name(
    "celery.child.exit_reason",
    "max_tasks_per_child, max_memory_per_child, autoscale, pool_shrink, pool_restart, hard_time_limit, terminated (a "
    "task was revoked while it ran), shutdown, exit (by itself, with 0), signal (somebody else's), exit_code or "
    "unknown",
)
CELERY_CHILD_TASK_COUNT: Final = _name("celery.child.task_count", "tasks the process of the pool has finished")
CELERY_CHILD_MAX_RSS_BYTES: Final = _name(
    "celery.child.max_rss_bytes", "largest resident memory of the process of the pool, what it shares included"
)
CELERY_WORKER_OUTCOME: Final = _name(
    "celery.worker.outcome", "of a worker's start: ready, failed, or stopped before it was ready"
)
CELERY_WORKER_POOL: Final = _name("celery.worker.pool", "prefork, solo, threads, eventlet or gevent")
CELERY_WORKER_CONCURRENCY: Final = _name(
    "celery.worker.concurrency", "size of the pool, as Celery is told; the largest, of one that scales"
)
CELERY_WORKER_AUTOSCALE: Final = _name("celery.worker.autoscale", "largest and smallest size of a pool that scales")
CELERY_WORKER_QUEUES: Final = _name("celery.worker.queues", "queues the worker reads")
CELERY_WORKER_PREFETCH_MULTIPLIER: Final = _name(
    "celery.worker.prefetch_multiplier", "messages taken ahead for each of the tasks that run at once; 0: all there are"
)
CELERY_WORKER_TASK_COUNT: Final = _name("celery.worker.task_count", "registered tasks, without Celery's own")
CELERY_WORKER_MAX_TASKS: Final = _name("celery.worker.max_tasks_per_child", "tasks after which a child is replaced")
CELERY_WORKER_MAX_MEMORY_KB: Final = _name(
    "celery.worker.max_memory_per_child_kb", "kilobytes of resident memory above which a child is replaced"
)
CELERY_VERSION: Final = _name("celery.version", "version of Celery")
CELERY_SHUTDOWN: Final = _name(
    "celery.shutdown",
    "how a worker ended: warm (it waited for its tasks), soft (for a while, then it cut them short), cold or hard",
)
CELERY_SHUTDOWN_STEPS: Final = _name(
    "celery.shutdown.steps", "the ways it was asked to, in order: warm, soft, cold, hard"
)
CELERY_SHUTDOWN_SIGNALS: Final = _name("celery.shutdown.signals", "signals that asked for it, in order")
CELERY_SHUTDOWN_RUNNING_COUNT: Final = _name("celery.shutdown.running_count", "tasks that ran when it began")
CELERY_SHUTDOWN_RESTORED_COUNT: Final = _name(
    "celery.shutdown.restored_count", "messages the worker had and did not acknowledge: the broker delivers them again"
)
CELERY_SHUTDOWN_EXIT_CODE: Final = _name("celery.shutdown.exit_code", "exit code of the worker")
CELERY_BEAT_ENTRY: Final = _name("celery.beat.entry", "name of the entry of beat's schedule")
CELERY_BEAT_SCHEDULE: Final = _name("celery.beat.schedule", "when it is due, as Celery writes it")
CELERY_BEAT_TOTAL_RUN_COUNT: Final = _name("celery.beat.total_run_count", "how often it was due before")
CELERY_BEAT_DELAY_MS: Final = _name("celery.beat.delay_ms", "milliseconds between when it was due and when it was sent")
CELERY_BEAT_SCHEDULER: Final = _name("celery.beat.scheduler", "class of the scheduler")
CELERY_BEAT_ENTRIES: Final = _name("celery.beat.entries", "names of the entries that were due in a tick")
CELERY_BEAT_ENTRY_TRACE_IDS: Final = _name(
    "celery.beat.entry_trace_ids", "their traces, which the tick is linked to (backends drop links' attributes)"
)
CELERY_BEAT_SCHEDULED_COUNT: Final = _name("celery.beat.scheduled_count", "entries the tick had to look at")
CELERY_BEAT_TICK_TRACE_ID: Final = _name("celery.beat.tick.trace_id", "trace of the tick an entry was due in")
CELERY_BEAT_TICK_SPAN_ID: Final = _name("celery.beat.tick.span_id", "the tick's span")

# What may hold words of a request, of an error or of a site: a collector looks for secrets in these, and in whatever is
# not clew's; the values of all others are numbers, ids of clew's making and names from the source code.
FREE_TEXT: Final = frozenset(
    {
        *(URL_PATH, URL_QUERY, USER_AGENT_ORIGINAL, HTTP_REQUEST_METHOD_ORIGINAL, CLIENT_ADDRESS, SERVER_ADDRESS),
        *(EXCEPTION_MESSAGE, EXCEPTION_STACKTRACE, DB_QUERY_TEXT, DB_QUERY_PARAMETER, DB_NAMESPACE),
        *(CLEW_WARNINGS, JAEGER_WARNINGS, CLEW_FINDING_MESSAGE, CLEW_FINDING_FIX),
        *(WEBSOCKET_CLOSE_REASON, WEBSOCKET_SUBPROTOCOL, WEBSOCKET_MESSAGE_TYPE),
        *(CELERY_RETRY_REASON, CELERY_FATE_REASON, CELERY_DELIVERY_INFO, CELERY_REPLY_TO, CELERY_ORIGIN),
        *(CELERY_HOSTNAME, CELERY_BEAT_ENTRY, CELERY_BEAT_ENTRIES, CELERY_BEAT_SCHEDULE),
        *(DJANGO_CACHE_KEY, DJANGO_AUTH_PERMISSION, DJANGO_VIEW_DENIED_REASON),
        # Ids of a message may be the application's own.
        *(CLEW_FAN_OUT_FIRST_MESSAGE_ID, CLEW_FAN_OUT_LAST_MESSAGE_ID, GRAPHQL_OPERATION_NAME),
        *(MESSAGING_MESSAGE_ID, CELERY_ROOT_ID, CELERY_PARENT_ID, CELERY_GROUP_ID, CELERY_CHORD_GROUP_ID),
    }
)


def is_free_of_secrets(name: str) -> bool:
    """Whether a collector need not look into the values of this attribute of clew's."""
    return name in DESCRIPTIONS and name not in FREE_TEXT and not name.startswith("messaging.") and "<" not in name


# What any span of clew's may have, and what the first one of a request, a task or a trace may have besides.
ON_ANY_SPAN: Final = (
    *(CLEW_SPANS_DROPPED_BELOW, ERROR_TYPE, CLEW_CANCELLED, CLEW_FOLDED_COUNT, CLEW_FOLDED_DURATION_MS),
    *(CLEW_FOLDED_FIRST_MS, CLEW_FOLDED_LAST_MS, CLEW_FINDING, CLEW_WARNINGS, JAEGER_WARNINGS),
)
ON_ROOTS: Final = (
    *(CLEW_DB_QUERY_COUNT, CLEW_DB_DURATION_MS, CLEW_DB_ROWS, CLEW_DB_CONNECTIONS_OPENED, CLEW_DB_ALIAS_QUERY_COUNT),
    *(CLEW_DB_ALIAS_DURATION_MS, CLEW_CACHE_COUNT, CLEW_CACHE_DURATION_MS, CLEW_CACHE_HITS, CLEW_CACHE_MISSES),
    *(CLEW_CACHE_ERRORS, CLEW_SIGNAL_RECEIVER_COUNT, CLEW_SIGNAL_DURATION_MS),
    *(CLEW_ASYNC_HOP_COUNT, CLEW_ASYNC_WAIT_MS),
    *(CLEW_EXTERNAL_COUNT, CLEW_EXTERNAL_DURATION_MS, CLEW_EXTERNAL_SYSTEM_COUNT, CLEW_EXTERNAL_SYSTEM_DURATION_MS),
    *(CLEW_FINDINGS, CLEW_FINDING_ANY, CLEW_FINDING_COUNT, CLEW_SPANS_DROPPED),
)


def db_alias_query_count(alias: str) -> str:
    """Name of the query count of one database."""
    return CLEW_DB_ALIAS_QUERY_COUNT.replace("<alias>", alias)


def db_alias_duration_ms(alias: str) -> str:
    """Name of the milliseconds spent in one database."""
    return CLEW_DB_ALIAS_DURATION_MS.replace("<alias>", alias)


def finding(kind: str) -> str:
    """Name of the mark, and of the event, of one type of finding."""
    return CLEW_FINDING.replace("<type>", kind)


def finding_count(kind: str) -> str:
    """Name of the count of one type of finding."""
    return CLEW_FINDING_COUNT.replace("<type>", kind)
