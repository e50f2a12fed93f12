"""`tinymlops token` and `tinymlops access`."""

import json

import pytest
from command_line import ask, run, succeed, write_shop

import tinymlops as tm


@pytest.fixture
def shop(tmp_path):
    folder = write_shop(tmp_path / "shop")
    succeed("init", folder)
    succeed("apply", "--project", folder)
    return folder


def test_a_token_is_printed_once(shop):
    made = run("token", "create", "billing", "--role", "predictor", "--expires", "90d", "--project", shop)
    assert made.exit_code == 0
    text = made.stdout.splitlines()[0]
    assert "first token" in made.stdout
    with tm.connect(shop / "shop.tm") as ws:
        assert ws.tokens.verify(text).role == "predictor"
    listed = run("token", "list", "--project", shop)
    assert "billing" in listed.stdout
    assert text.split("_")[2] not in listed.stdout
    again = json.loads(
        run("token", "create", "ana", "--role", "admin", "--rate", "5", "--json", "--project", shop).stdout
    )
    assert (again["name"], again["role"], again["rate"]) == ("ana", "admin", 5.0)
    assert again["token"].startswith("tm_")


def test_a_revoked_token_stays_in_the_list(shop):
    succeed("token", "create", "billing", "--role", "reader", "--project", shop)
    succeed("token", "revoke", "billing", "--project", shop)
    (state,) = ask("token", "list", "--project", shop)
    assert (state["name"], state["state"]) == ("billing", "revoked")
    failed = run("token", "revoke", "biling", "--project", shop)
    assert failed.exit_code != 0


def test_a_role_that_does_not_exist_is_refused_with_the_near_one(shop):
    failed = run("token", "create", "billing", "--role", "reeder", "--project", shop)
    assert failed.exit_code != 0
    assert "did you mean 'reader'?" in failed.stderr


def test_the_access_log_is_shown(shop):
    with tm.connect(shop / "shop.tm") as ws:
        ws.get_online_features(["browsing"], [{"customer_id": 1}], consumer="billing")
    (row,) = ask("access", "--name", "browsing", "--project", shop)
    assert (row["consumer"], row["kind"], row["names"], row["calls"]) == ("billing", "online", "browsing", 1)
    assert ask("access", "--who", "nobody", "--project", shop) == []
