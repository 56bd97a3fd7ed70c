"""The rights that the documentation names are those that are checked at the start."""

from __future__ import annotations

import re
import shlex

import pytest

from playhead.runtime.log.redis.rights import ROLES, Role, acl_rules, commands_for
from tests.docs.docs_markdown import ROOT, section, table

__all__: list[str] = []

PAGE = (ROOT / "docs/fleet.md").read_text("utf-8")


@pytest.mark.parametrize("role", ROLES)
def test_the_line_to_paste_gives_all_rights_and_no_other(role: Role):
    lines = [shlex.split(line) for line in re.sub(r"\\\n", "", PAGE).splitlines() if line.startswith("$ redis-cli ACL")]
    (line,) = [words for words in lines if words[4] == role]
    assert line == ["$", "redis-cli", "ACL", "SETUSER", role, "on", ">PASSWORD", *acl_rules(role).split()]


@pytest.mark.parametrize("role", ROLES)
def test_the_table_has_every_command_of_a_role_and_no_other(role: Role):
    column = 1 + ROLES.index(role)
    named = {word for row in table(section(PAGE, "Rights")) if row[column] for word in re.findall(r"`(\w+)`", row[0])}
    assert named == {name.lower() for name in commands_for(role)}
