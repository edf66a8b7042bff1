"""`silent_failure`: exceptions that only the log knows of, and those that are handled besides."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

from django.dispatch import Signal

from tests.detectors.others.case import found, silent

TYPE = "silent_failure"
logger = logging.getLogger("shop")
saved = Signal()


class ShopError(Exception):
    """The application's own."""


def fetch(should_fail=True):
    if should_fail:
        raise ShopError("no answer")
    return "fetched"


def _raised_again():
    fetch()


@found(TYPE, "and succeeded all the same", mended=_raised_again, is_task=True)
def passed_over():
    try:
        fetch()
    except Exception:
        logger.exception("no")


@found(TYPE, "logged tests.detectors.others.failures.ShopError (no answer)", is_task=True)
def passed_over_and_returned():
    try:
        return fetch()
    except ShopError:
        logger.error("no", exc_info=True)
        return None


@found(TYPE, "succeeded all the same", is_task=True)
def bare_except():
    try:
        fetch()
    except:  # noqa: E722
        logger.exception("no")


@found(TYPE, "2 times", is_task=True)
def items_lost_in_a_loop():
    for each in (True, False, True):
        try:
            fetch(each)
        except ShopError:
            logger.exception("no")
            continue


def complain(error):
    logger.error("no", exc_info=error)


@found(TYPE, "succeeded all the same", is_task=True)
def logged_by_a_helper():
    try:
        fetch()
    except ShopError as error:
        complain(error)


def _work():
    try:
        return fetch()
    except ShopError:
        logger.exception("no")


@found(TYPE, "succeeded all the same", is_task=True)
def lost_in_a_function_nobody_asks():
    _work()


def _broken_receiver(**_):
    raise ShopError("broken")


@found(TYPE, "succeeded all the same", is_task=True)
def lost_in_a_robust_signal():
    saved.connect(_broken_receiver)
    try:
        saved.send_robust(None)
    finally:
        saved.disconnect(_broken_receiver)


@silent(TYPE, is_task=True)
def a_fallback():
    try:
        return fetch()
    except ShopError:
        logger.exception("no")
        return fetch(should_fail=False)


@silent(TYPE, is_task=True)
def a_fallback_below():
    try:
        return fetch()
    except ShopError:
        logger.exception("no")
    return fetch(should_fail=False)


@silent(TYPE, is_task=True)
def a_default():
    answer = "known"
    try:
        answer = fetch()
    except ShopError:
        logger.exception("no")
    return answer


@silent(TYPE, is_task=True)
def what_was_there_before_is_kept():
    rate = fetch(should_fail=False)
    try:
        rate = fetch()
    except ShopError:
        logger.exception("no")
    print(rate)


@silent(TYPE, is_task=True)
def a_value_the_caller_tests():
    if _work() is None:
        fetch(should_fail=False)


def _decorated(function):
    def wrapper():
        return function()

    return wrapper


@silent(TYPE, is_task=True)
def a_value_the_caller_tests_behind_a_decorator():
    work = _decorated(_work)
    answer = work()
    return answer or "nothing"


@silent(TYPE, is_task=True)
def kept_in_a_list():
    errors = []
    for each in (True, False):
        try:
            fetch(each)
        except ShopError as error:
            logger.exception("no")
            errors.append(str(error))
    return errors


@silent(TYPE, is_task=True)
def counted():
    failed = 0
    for each in (True, False):
        try:
            fetch(each)
        except ShopError:
            logger.exception("no")
            failed += 1
    return {"failed": failed}


@silent(TYPE, is_task=True)
def stored_on_the_object():
    class Order:
        state = "open"

    order = Order()
    try:
        fetch()
    except ShopError:
        logger.exception("no")
        order.state = "failed"


@silent(TYPE, is_task=True)
def told_by_the_result():
    try:
        fetch()
    except ShopError as error:
        logger.exception("no")
        return {"ok": False, "error": str(error)}


@silent(TYPE, is_task=True)
def raised_again_and_handled_outside():
    def inner():
        try:
            fetch()
        except ShopError:
            logger.exception("no")
            raise

    answer = "none"
    try:
        answer = inner()
    except ShopError:
        answer = "fallback"
    return answer


@silent(TYPE, is_task=True)
def raised_as_another_and_handled_outside():
    try:
        try:
            fetch()
        except ShopError as error:
            logger.exception("no")
            raise LookupError("no") from error
    except LookupError:
        return "fallback"


@silent(TYPE, is_task=True)
def an_attempt_that_worked_later():
    for attempt in range(3):
        try:
            fetch(attempt < 2)
            break
        except ShopError:
            logger.exception("attempt %s", attempt)


@silent(TYPE, is_task=True)
def an_attempt_that_worked_later_in_a_while():
    attempt = 0
    while True:
        attempt += 1
        try:
            answer = fetch(attempt < 3)
        except ShopError:
            logger.exception("attempt %s", attempt)
            continue
        return answer


@silent(TYPE, is_task=True)
def one_server_after_the_other():
    for each in (True, False):
        try:
            return fetch(each)
        except ShopError:
            logger.exception("no")
    raise ShopError("none of them")


@silent(TYPE, is_task=True)
def a_warning_with_a_default():
    try:
        fetch()
    except ShopError:
        logger.warning("no", exc_info=True)


@silent(TYPE, is_task=True)
def a_cleanup_that_fails_is_noted():
    errors = []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(fetch)
        try:
            future.result()
        except ShopError as error:
            logger.exception("no")
            errors.append(error)
    return len(errors)


@silent(TYPE, is_task=True)
def another_task_is_told():
    told = []
    try:
        fetch()
    except ShopError:
        logger.exception("no")
        told.append("somebody")
