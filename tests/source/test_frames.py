"""What is known of frames, while another thread forgets it."""

from __future__ import annotations

import sys

from clew.source import frames


def test_what_was_worked_out_before_a_reset_is_not_kept_after_it(monkeypatch):
    frame, work_out = sys._getframe(), frames._kind

    def interrupted(*told):
        kind = work_out(*told)
        frames.reset()
        return kind

    monkeypatch.setattr(frames, "_kind", interrupted)
    assert frames.learn(frame) == frames.APPLICATION
    assert id(frame.f_code) not in frames.KINDS
    monkeypatch.undo()
    assert frames.kind_of(frame) == frames.APPLICATION
    assert frames.code_of(id(frame.f_code)) is frame.f_code
    assert frames.KINDS[id(frame.f_code)] == frames.APPLICATION


def test_more_code_than_is_kept_makes_what_was_told_of_it_old(monkeypatch):
    monkeypatch.setattr(frames, "_MAX_KNOWN", 0)
    before = frames.epoch
    frames.learn(sys._getframe())
    assert frames.epoch is not before
    frames.reset()
