"""`rolled_back_but_succeeded`: rollbacks that are meant, and writes that are lost."""

from __future__ import annotations

import contextlib
import logging
import uuid

from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.http import HttpResponse, JsonResponse

from tests.detectors.others.case import found, silent

TYPE = "rolled_back_but_succeeded"
logger = logging.getLogger("shop")


class DryRunError(Exception):
    """The application's own."""


class PaymentError(Exception):
    """The application's own, of another function."""


def charge(should_fail=True):
    if should_fail:
        raise PaymentError("no")


def number(text):
    return int(text)


def place(name, should_fail=True):
    with transaction.atomic():
        Group.objects.create(name=name)
        charge(should_fail)


def told():
    place("a")


@found(TYPE, "by tests.detectors.others.rollbacks.PaymentError, yet the request answered 200", mended=told)
def swallowed_and_logged():
    try:
        place("a")
    except Exception:
        logger.exception("could not place it")


@found(TYPE, "its write is lost", mended=told)
def swallowed_by_suppress():
    with contextlib.suppress(Exception):
        place("a")


@found(TYPE, "by ValueError")
def a_librarys_error_passed_over():
    try:
        with transaction.atomic():
            Group.objects.create(name="a")
            number("x")
    except ValueError:
        pass


@found(TYPE, "its write is lost")
def an_order_lost_in_a_loop():
    for each in ("a", "b", "c"):
        try:
            place(each, should_fail=each == "a")
        except PaymentError:
            logger.exception("order %s", each)


@found(TYPE, "its write is lost")
def an_update_lost_in_a_loop():
    first, second = Group.objects.create(name="a"), Group.objects.create(name="b")
    for each in (first, second):
        with contextlib.suppress(PaymentError), transaction.atomic():
            Group.objects.filter(pk=each.pk).update(name="done")
            charge(each is first)
            Group.objects.filter(pk=each.pk).update(name=f"done {each.pk}")


@found(TYPE, "the task succeeded", is_task=True)
def swallowed_in_a_task():
    try:
        place("a")
    except Exception:
        logger.exception("could not place it")
        return


@found(TYPE, "caught inside it, had broken it")
def goes_on_in_a_broken_transaction():
    skipped = 0
    with transaction.atomic():
        Group.objects.create(name="a")
        try:
            Group.objects.create(name="a")
        except IntegrityError:
            skipped += 1
    return HttpResponse(str(skipped))


def _asked_inside():
    skipped = 0
    with transaction.atomic():
        Group.objects.create(name="a")
        try:
            with transaction.atomic():
                Group.objects.create(name="a")
        except IntegrityError:
            skipped += 1
    return HttpResponse(str(skipped))


@silent(TYPE)
def probed_in_a_savepoint():
    return _asked_inside()


@silent(TYPE)
def dry_run_by_flag():
    with transaction.atomic():
        Group.objects.create(name="a")
        transaction.set_rollback(True)


@silent(TYPE)
def dry_run_by_its_own_exception():
    try:
        with transaction.atomic():
            Group.objects.create(name="a")
            raise DryRunError
    except DryRunError:
        pass


@silent(TYPE)
def dry_run_by_suppress():
    with contextlib.suppress(DryRunError), transaction.atomic():
        Group.objects.create(name="a")
        raise DryRunError


@silent(TYPE)
def its_own_check_by_a_builtin_exception():
    try:
        with transaction.atomic():
            Group.objects.create(name="a")
            if Group.objects.count():
                raise ValueError("too many")
    except ValueError:
        logger.info("too many")


@contextlib.contextmanager
def undone():
    try:
        with transaction.atomic():
            yield
            raise DryRunError
    except DryRunError:
        pass


@silent(TYPE)
def what_a_helper_undoes():
    with undone():
        Group.objects.create(name="a")


@silent(TYPE)
def a_rollback_of_its_own():
    transaction.set_autocommit(False)
    try:
        Group.objects.create(name="a")
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)


@silent(TYPE)
def a_form_shown_again():
    errors = {}
    try:
        place("a")
    except PaymentError as error:
        errors["card"] = str(error)
    return HttpResponse(str(errors))


@silent(TYPE)
def a_form_shown_again_by_return():
    try:
        place("a")
    except Exception:
        logger.exception("card")
        return HttpResponse("try another card")
    return HttpResponse("thanks")


@silent(TYPE)
def a_form_shown_again_below():
    try:
        place("a")
        return HttpResponse("thanks")
    except PaymentError:
        logger.warning("card")
    return HttpResponse("try another card")


@silent(TYPE)
def an_answer_with_errors():
    errors = []
    for each in ("a", "b"):
        try:
            place(each)
        except Exception as error:
            errors.append(str(error))
    return JsonResponse({"data": None, "errors": errors})


@silent(TYPE)
def a_fallback():
    try:
        place("a")
    except PaymentError:
        Group.objects.create(name="unpaid a")


@silent(TYPE)
def a_default():
    outcome = "open"
    try:
        place("a")
        outcome = "paid"
    except PaymentError:
        logger.warning("not paid")
    return HttpResponse(outcome)


@silent(TYPE)
def told_by_another_exception():
    def service():
        try:
            place("a")
        except PaymentError as error:
            raise LookupError("no") from error

    answer = HttpResponse("ok")
    try:
        service()
    except LookupError as error:
        answer = HttpResponse(str(error))
    return answer


@silent(TYPE)
def it_was_there_already():
    Group.objects.create(name="a")
    try:
        with transaction.atomic():
            Group.objects.create(name="b")
            Group.objects.create(name="a")
    except IntegrityError:
        pass


@found(TYPE, "IntegrityError, yet the request answered 200: its write is lost")
def another_rule_of_the_database():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE clew_stock (metres integer CHECK (metres >= 0))")
        try:
            with transaction.atomic():
                Group.objects.create(name="a")
                cursor.execute("INSERT INTO clew_stock VALUES (-1)")
        except IntegrityError:
            logger.warning("the stock was not changed")
        cursor.execute("DROP TABLE clew_stock")


@silent(TYPE)
def tried_again():
    for attempt in range(3):
        try:
            with transaction.atomic():
                Group.objects.create(name="a")
                charge(attempt < 2)
            break
        except PaymentError:
            logger.warning("again")


@silent(TYPE)
def tried_again_with_new_keys():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE clew_orders (key char(32), name varchar(10), at varchar(40))")
    for attempt in range(2):
        with contextlib.suppress(PaymentError), transaction.atomic(), connection.cursor() as cursor:
            values = [uuid.uuid4().hex, "a", f"2026-01-01 00:00:0{attempt}"]
            cursor.execute("INSERT INTO clew_orders VALUES (%s, %s, %s)", values)
            charge(not attempt)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE clew_orders")


@silent(TYPE)
def nothing_was_written():
    with contextlib.suppress(Exception), transaction.atomic():
        Group.objects.filter(pk=4711).update(name="none")
        Group.objects.filter(pk=4711).delete()
        charge()


@silent(TYPE)
def the_caller_is_told():
    place("a")


@silent(TYPE)
def an_answer_that_says_so():
    with contextlib.suppress(PaymentError):
        place("a")
    return HttpResponse(status=409)


@silent(TYPE)
def a_lock_that_another_has():
    done = False
    with contextlib.suppress(DatabaseError), transaction.atomic():
        list(Group.objects.all())
        raise DatabaseError("lock not available")
    return HttpResponse(str(done))
