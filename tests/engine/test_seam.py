"""Patching: once, everywhere, and taken back to the identical objects."""

from __future__ import annotations

import inspect
import sys
import types

import pytest
import wrapt

from clew.engine.needs import Need
from clew.engine.seam import Patch, Seam, replace
from clew.engine.wrapper import Around


@pytest.fixture
def module():
    made = types.ModuleType("clew_test_target")
    exec(
        """
class Base:
    def inherited(self): return "inherited"
class Target(Base):
    def method(self, a, *, b=1): return (a, b)
    @staticmethod
    def static(a): return a
    @classmethod
    def made(cls, a): return (cls, a)
def function(a): return a
""",
        made.__dict__,
    )
    sys.modules[made.__name__] = made
    user = types.ModuleType("clew_test_user")
    user.function = made.function
    sys.modules[user.__name__] = user
    made.user = user
    yield made
    del sys.modules[made.__name__], sys.modules[user.__name__]


def marked(original):
    def wrapper(*args, **kwargs):
        return ("wrapped", original(*args, **kwargs))

    wrapper.__wrapped__ = original
    return wrapper


def patched(module, *paths, **options):
    return Seam("test", tuple(Patch(module.__name__, path, marked, **options) for path in paths))


def test_every_kind_of_attribute_is_patched_and_the_identical_object_put_back(module):
    names = ["method", "static", "made"]
    before = {name: module.Target.__dict__[name] for name in names}
    function = module.function
    seam = patched(module, "Target.method", "Target.static", "Target.made", "Target.inherited", "function")
    seam.install()
    target = module.Target()
    assert target.method(1, b=2) == ("wrapped", (1, 2))
    assert module.Target.static(1) == ("wrapped", 1)
    assert module.Target.made(1) == ("wrapped", (module.Target, 1))
    assert target.inherited() == ("wrapped", "inherited")
    assert module.Base().inherited() == "inherited"
    seam.uninstall()
    assert {name: module.Target.__dict__[name] for name in names} == before
    assert all(module.Target.__dict__[name] is before[name] for name in names)
    assert module.function is function
    assert "inherited" not in module.Target.__dict__


def test_installing_twice_wraps_once(module):
    seam = patched(module, "function")
    seam.install()
    seam.install()
    assert module.function(1) == ("wrapped", 1)
    seam.uninstall()
    seam.uninstall()
    assert module.function(1) == 1


def test_names_imported_elsewhere_follow(module):
    original = module.function
    seam = patched(module, "function", is_imported_by_name=True)
    seam.install()
    assert module.user.function(1) == ("wrapped", 1)
    late = types.ModuleType("clew_test_late")
    late.function = module.function
    sys.modules[late.__name__] = late
    seam.uninstall()
    assert module.user.function is module.function is late.function is original
    del sys.modules[late.__name__]


def test_a_wrapper_of_someone_else_on_top_is_left_alone(module):
    seam = patched(module, "function")
    seam.install()
    theirs = lambda a: a  # noqa: E731 - what another tracer leaves
    module.function = theirs
    seam.uninstall()
    assert module.function is theirs


def test_a_module_that_is_imported_later_is_patched_then(tmp_path, monkeypatch):
    (tmp_path / "clew_test_later.py").write_text("def function(a): return a\n")
    monkeypatch.syspath_prepend(tmp_path)
    seam = Seam("test", (Patch("clew_test_later", "function", marked),))
    seam.install()
    import clew_test_later

    assert clew_test_later.function(1) == ("wrapped", 1)
    seam.uninstall()
    assert clew_test_later.function(1) == 1
    del sys.modules["clew_test_later"]


def test_installed_again_and_again_before_the_import_it_is_wrapped_once(tmp_path, monkeypatch):
    (tmp_path / "clew_imported_once.py").write_text("def f(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    seam = Seam("test", patches=(Patch("clew_imported_once", "f", marked),))
    for _ in range(3):  # as tests with a fixture do
        seam.install()
        seam.uninstall()
    seam.install()
    import clew_imported_once

    assert clew_imported_once.f() == ("wrapped", 1)
    seam.uninstall()
    assert clew_imported_once.f() == 1


def test_a_seam_that_was_taken_out_does_not_patch_later_imports(tmp_path, monkeypatch):
    (tmp_path / "clew_test_never.py").write_text("def function(a): return a\n")
    monkeypatch.syspath_prepend(tmp_path)
    seam = Seam("test", (Patch("clew_test_never", "function", marked),))
    seam.install()
    seam.uninstall()
    import clew_test_never

    assert clew_test_never.function(1) == 1
    del sys.modules["clew_test_never"]


def test_a_missing_place_switches_the_whole_seam_off_in_one_line(module, caplog):
    method = module.Target.__dict__["method"]
    seam = patched(module, "Target.method", "Target.gone")
    seam.install()
    assert (seam.is_installed, module.Target.__dict__["method"]) == (False, method)
    assert [record.getMessage() for record in caplog.records] == [
        "clew: seam test is switched off: clew_test_target.Target.gone is not there (clew_test_target); everything "
        "else is traced (`clew doctor`)"
    ]


def test_a_place_that_is_missing_in_a_module_imported_later_takes_the_others_down_too(module, caplog):
    del sys.modules[module.__name__]
    patches = (Patch("clew_test_user", "function", marked), Patch(module.__name__, "gone", marked))
    seam, before = Seam("test", patches), module.user.function
    seam.install()
    assert module.user.function is not before
    sys.modules[module.__name__] = module
    wrapt.notify_module_loaded(module)
    assert module.user.function is before
    assert "clew_test_target.gone is not there" in caplog.text


def test_a_parameter_that_a_hook_wants_and_is_gone_switches_the_seam_off(module, caplog):
    seam = Seam("test", (Patch(module.__name__, "Target.method", Around(lambda c: None)),))
    seam.install()
    assert (seam.is_installed, module.Target().method(1)) == (False, (1, 1))
    assert "Target.method has no parameter 'c'" in caplog.text


def test_a_name_that_is_read_and_missing_switches_the_seam_off(module, caplog):
    seam = Seam("test", (Patch(module.__name__, "function", marked),), needs=(Need(module.__name__, "_private"),))
    seam.install()
    assert (seam.is_installed, module.function(1)) == (False, 1)
    assert "clew_test_target._private is not there" in caplog.text


def test_what_another_version_has_is_not_missed(module, caplog):
    module.__version__ = "5.2.1"
    place = Patch(module.__name__, "function", marked)
    seam = Seam("test", (place, Patch(module.__name__, "new", marked, since="6.0")))
    seam.install()
    assert module.function(1) == ("wrapped", 1)
    assert not caplog.records
    module.__version__ = "6.0"
    Seam("test 2", (Patch(module.__name__, "new", marked, since="6.0"),)).install()
    assert "clew_test_target.new is not there (clew_test_target 6.0)" in caplog.text


def test_replace_of_an_object_attribute_is_undone(module):
    target = module.Target()
    undo = replace(target, "method", marked)
    assert target.method(1) == ("wrapped", (1, 1))
    undo()
    assert "method" not in vars(target)


def test_signatures_survive(module):
    wrapped = Around(lambda: None)(module.Target.method)
    assert inspect.signature(wrapped) == inspect.signature(module.Target.__dict__["method"])


def test_a_method_that_somebody_has_wrapped_with_wrapt_keeps_its_instance_and_its_defaults():
    @wrapt.decorator
    def by_scout(wrapped, instance, args, kwargs):
        return instance, wrapped(*args, **kwargs)

    class Template:
        @by_scout
        def render(self, context=None):
            return context

    undo = replace(Template, "render", Around(lambda cursor, /: None))
    template = Template()
    assert (template.render(), template.render(1)) == ((template, None), (template, 1))
    undo()
    assert (template.render(), template.render(1)) == ((template, None), (template, 1))
