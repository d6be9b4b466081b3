"""The doctor tells what runs here, and what to do about the rest."""

from __future__ import annotations

from sim2street.apps.cli import run
from sim2street.apps.commands import doctor


def test_a_healthy_installation(capsys) -> None:
    assert run(["doctor"]) == 0
    shown = capsys.readouterr().out
    for part in ("panda3d", "torch", "embedded town", "ticks/s", "libx264"):
        assert part in shown


def test_a_missing_package_is_named_with_its_cure(monkeypatch, capsys) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"town": ("panda3d", "no-such-package")})
    monkeypatch.setattr(doctor, "TRIALS", {})
    assert run(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "no-such-package" in shown
    assert "missing" in shown
    assert 'pip install "sim2street[town]"' in shown


def test_what_fails_is_shown_with_its_reason(monkeypatch, capsys) -> None:
    trials = {"neural renderer": lambda: doctor.render_with("no.safetensors")}
    monkeypatch.setattr(doctor, "TRIALS", trials)
    assert run(["doctor"]) == 0
    assert "no weights at no.safetensors" in capsys.readouterr().out
