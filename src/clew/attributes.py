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
ERROR_TYPE: Final = _name("error.type", "class of the exception that ended the span, or the status code of a 5xx")
EXCEPTION_TYPE: Final = _name("exception.type", "class of the exception (on the `exception` event)")
EXCEPTION_MESSAGE: Final = _name("exception.message", "its message, redacted (on the `exception` event)")
EXCEPTION_STACKTRACE: Final = _name("exception.stacktrace", "its traceback, redacted (on the `exception` event)")
EXCEPTION_ESCAPED: Final = _name("exception.escaped", "whether it left the span (on the `exception` event)")

HTTP_REQUEST_METHOD: Final = _name("http.request.method", "method, `_OTHER` when unknown")
HTTP_REQUEST_METHOD_ORIGINAL: Final = _name("http.request.method_original", "the method as sent, when it is unknown")
HTTP_RESPONSE_STATUS_CODE: Final = _name("http.response.status_code", "status code of the response")
HTTP_ROUTE: Final = _name("http.route", "the URL pattern that matched, as Django writes it; `/` for the empty pattern")
URL_PATH: Final = _name("url.path", "path of the request")
URL_QUERY: Final = _name("url.query", "query string, secrets redacted")
URL_SCHEME: Final = _name("url.scheme", "http or https")
SERVER_ADDRESS: Final = _name("server.address", "host the client asked for, without the port")
SERVER_PORT: Final = _name("server.port", "port the client asked for")
CLIENT_ADDRESS: Final = _name("client.address", "address of the client")
NETWORK_PROTOCOL_VERSION: Final = _name("network.protocol.version", "HTTP version")
USER_AGENT_ORIGINAL: Final = _name("user_agent.original", "the User-Agent header")

DJANGO_VIEW_REACHED: Final = _name("django.view.reached", "whether a view was called for the request")
DJANGO_VIEW_NAME: Final = _name("django.view.name", "dotted name of the view")
DJANGO_VIEW_KIND: Final = _name("django.view.kind", "function, class, partial, callable or rest_framework")
DJANGO_VIEW_HANDLER: Final = _name("django.view.handler", "method of a class-based view that handles the request")
DJANGO_URL_NAME: Final = _name("django.url.name", "name of the URL pattern")
DJANGO_URL_NAMESPACE: Final = _name("django.url.namespace", "namespace of the URL pattern")
DJANGO_RESPONSE_SHORT_CIRCUITED_BY: Final = _name(
    "django.response.short_circuited_by", "middleware that answered in place of the view"
)
DJANGO_RESPONSE_RAISED_BY: Final = _name("django.response.raised_by", "middleware that raised before the view ran")
DJANGO_REQUEST_CANCELLED: Final = _name("django.request.cancelled", "true when the client went away before the end")
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

MESSAGING_SYSTEM: Final = _name("messaging.system", "rabbitmq, redis, or the name of kombu's transport")
MESSAGING_OPERATION_NAME: Final = _name("messaging.operation.name", "apply_async or run")
MESSAGING_OPERATION_TYPE: Final = _name("messaging.operation.type", "send or process")
MESSAGING_DESTINATION_NAME: Final = _name("messaging.destination.name", "exchange and routing key, or the queue")
MESSAGING_DESTINATION: Final = _name("messaging.destination", "routing key (contrib's name, kept)")
MESSAGING_DESTINATION_KIND: Final = _name("messaging.destination_kind", "queue or topic (contrib's name, kept)")
MESSAGING_MESSAGE_ID: Final = _name("messaging.message.id", "id of the task")
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
    "succeeded, failed, retried, ignored, rejected or expected_failure; told by the worker's main process: timed_out "
    "(hard time limit), lost (the child died, or a cold shutdown), cancelled (by Celery, to be redelivered), "
    "terminated (revoked while it ran), revoked, expired, unknown (not registered), rejected (no valid task) or "
    "undecodable",
)
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
CLEW_CANCELLED: Final = _name("clew.cancelled", "true when the work under the span was cancelled")
CLEW_SPANS_DROPPED: Final = _name("clew.spans.dropped", "spans over the limit of one trace in one process")
CLEW_LINK_KIND: Final = _name("clew.link", "what a link leads to: publish")

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
CLEW_DB_PHASE: Final = _name(
    "clew.db.phase", "what ran the query: middleware, view, template, serializer, signal, hook or task"
)
CLEW_DB_QUERY_COUNT: Final = _name("clew.db.query_count", "queries of the request or task")
CLEW_DB_DURATION_MS: Final = _name("clew.db.duration_ms", "milliseconds spent in them")
CLEW_DB_ROWS: Final = _name("clew.db.rows", "rows they returned, as far as the driver says")
CLEW_DB_CONNECTIONS_OPENED: Final = _name("clew.db.connections_opened", "connections opened during the request or task")
CLEW_DB_ALIAS_QUERY_COUNT: Final = _name(
    "clew.db.alias.<alias>.query_count", "queries on one database, where there is more than one"
)
CLEW_DB_ALIAS_DURATION_MS: Final = _name("clew.db.alias.<alias>.duration_ms", "milliseconds spent in them")
CLEW_FOLDED_FIRST_MS: Final = _name("clew.folded.first_ms", "milliseconds of the first of the folded spans")
CLEW_FOLDED_LAST_MS: Final = _name("clew.folded.last_ms", "milliseconds of the last of the folded spans")
CLEW_FINDING: Final = _name("clew.finding", "the event that says what is wrong")
CLEW_FINDING_TYPE: Final = _name("clew.finding.type", "which detector found it")
CLEW_FINDING_MESSAGE: Final = _name("clew.finding.message", "what is wrong, in one sentence")
CLEW_FINDING_FIX: Final = _name("clew.finding.fix", "how to mend it")
CLEW_FINDING_SEVERITY: Final = _name("clew.finding.severity", "warning or information")
CLEW_FINDINGS: Final = _name(
    "clew.findings", "types of what was found in the request or task; there only if something was"
)
CLEW_FINDING_COUNT: Final = _name("clew.<type>.count", "how many findings of that type")

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
CELERY_FATE_REASON: Final = _name("celery.fate.reason", "why there is no run, or why the child could not tell of it")
CELERY_CHILD_PID: Final = _name("celery.child.pid", "process of the pool that ran the task and died")
CELERY_CHILD_EXIT_CODE: Final = _name("celery.child.exit_code", "exit code it died with, where no signal killed it")
CELERY_CHILD_SIGNAL: Final = _name("celery.child.signal", "signal that killed it: SIGKILL is also the OOM killer's")


def db_alias_query_count(alias: str) -> str:
    """Name of the query count of one database."""
    return CLEW_DB_ALIAS_QUERY_COUNT.replace("<alias>", alias)


def db_alias_duration_ms(alias: str) -> str:
    """Name of the milliseconds spent in one database."""
    return CLEW_DB_ALIAS_DURATION_MS.replace("<alias>", alias)


def finding_count(kind: str) -> str:
    """Name of the count of one type of finding."""
    return CLEW_FINDING_COUNT.replace("<type>", kind)
