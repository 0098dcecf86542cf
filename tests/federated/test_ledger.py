import json
import os
import stat

import msgspec
import pytest

from federated.errors import BudgetError, PrivacyError
from federated.privacy.accountant import Mechanism
from federated.privacy.keys import KEY_BYTES, NoiseKey, draw_key, load_key, read_given_key
from federated.privacy.ledger import begin_ledger, open_ledger
from federated.privacy.plan import PrivacyPlan

pytestmark = pytest.mark.fast

KEY = NoiseKey(bytes(range(KEY_BYTES)), given=True)
PLAN = PrivacyPlan(
    mechanism=Mechanism(sampling="poisson", clients=100, cohort=10),
    epsilon=1.0,
    delta=1e-5,
    rounds=3,
    noise_multiplier=2.0,
    cohort_cap=40,
    curve=[0.0, 0.4, 0.8, 1.2],
)


def test_a_charge_is_on_disk_before_the_call_returns(tmp_path):
    ledger = begin_ledger(tmp_path / "ledger.json", PLAN, KEY)
    ledger.charge(1)
    assert open_ledger(tmp_path / "ledger.json", KEY).charged_rounds == 1
    assert ledger.spent == 0.4


def test_a_round_that_would_pass_the_budget_is_not_charged(tmp_path):
    ledger = begin_ledger(tmp_path / "ledger.json", PLAN, KEY)
    ledger.charge(1)
    ledger.charge(2)
    before = (tmp_path / "ledger.json").read_bytes()
    with pytest.raises(BudgetError, match=r"round 3 was not started: 0\.800 of epsilon 1"):
        ledger.charge(3)
    assert (tmp_path / "ledger.json").read_bytes() == before


def test_a_round_beyond_the_last_is_refused_though_budget_is_left(tmp_path):
    plan = msgspec.structs.replace(PLAN, epsilon=9.0)
    ledger = begin_ledger(tmp_path / "ledger.json", plan, KEY)
    for number in (1, 2, 3):
        ledger.charge(number)
    with pytest.raises(BudgetError, match="round 4 was not started"):
        ledger.charge(4)


def test_resuming_gives_nothing_back_and_charges_a_repeated_round_once(tmp_path):
    ledger = begin_ledger(tmp_path / "ledger.json", PLAN, KEY)
    ledger.charge(1)
    ledger.charge(2)
    resumed = open_ledger(tmp_path / "ledger.json", KEY)
    resumed.charge(1)
    assert resumed.spent == 0.8
    with pytest.raises(BudgetError):
        resumed.charge(3)


def test_a_ledger_older_than_the_model_is_refused(tmp_path):
    with pytest.raises(PrivacyError, match="the last charged one is 0"):
        begin_ledger(tmp_path / "ledger.json", PLAN, KEY).charge(2)


def test_another_key_is_refused(tmp_path):
    begin_ledger(tmp_path / "ledger.json", PLAN, KEY)
    with pytest.raises(PrivacyError, match="another noise key"):
        open_ledger(tmp_path / "ledger.json", draw_key())


def test_a_new_run_may_not_begin_in_the_ledger_of_another(tmp_path):
    begin_ledger(tmp_path / "ledger.json", PLAN, KEY).charge(1)
    with pytest.raises(PrivacyError, match="ledger of another run"):
        begin_ledger(tmp_path / "ledger.json", PLAN, KEY)
    assert open_ledger(tmp_path / "ledger.json", KEY).charged_rounds == 1


def test_the_promise_is_the_one_that_was_made_when_the_run_began(tmp_path):
    begin_ledger(tmp_path / "ledger.json", PLAN, KEY)
    assert open_ledger(tmp_path / "ledger.json", KEY).plan == PLAN


def test_a_run_whose_ledger_is_gone_cannot_go_on(tmp_path):
    with pytest.raises(PrivacyError, match="What the run has spent is unknown"):
        open_ledger(tmp_path / "ledger.json", KEY)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"plan": 1', b"\xff"])
def test_a_damaged_ledger_is_refused(tmp_path, content):
    (tmp_path / "ledger.json").write_bytes(content)
    with pytest.raises(PrivacyError, match="is not a ledger"):
        open_ledger(tmp_path / "ledger.json", KEY)


def test_a_ledger_of_another_version_is_said_to_be_one(tmp_path):
    begin_ledger(tmp_path / "ledger.json", PLAN, KEY)
    content = json.loads((tmp_path / "ledger.json").read_text())
    del content["origin"]
    (tmp_path / "ledger.json").write_text(json.dumps(content))
    with pytest.raises(PrivacyError, match=r"or another version began it: .*origin"):
        open_ledger(tmp_path / "ledger.json", KEY)


def test_a_ledger_that_cannot_be_written_charges_nothing(tmp_path):
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    ledger = begin_ledger(directory / "ledger.json", PLAN, KEY)
    directory.rename(tmp_path / "gone")
    with pytest.raises(PrivacyError, match="No noise was drawn"):
        ledger.charge(1)
    assert ledger.charged_rounds == 0


def test_a_key_survives_its_file_which_only_the_owner_can_read(tmp_path):
    key = draw_key()
    key.save(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    loaded = load_key(tmp_path / "key")
    assert not loaded.given
    assert loaded.stream("noise", 3, 1).random() == key.stream("noise", 3, 1).random()


def test_a_saved_key_is_never_overwritten(tmp_path):
    KEY.save(tmp_path / "key")
    with pytest.raises(FileExistsError):
        draw_key().save(tmp_path / "key")
    assert load_key(tmp_path / "key").given


def test_a_key_that_others_can_read_is_refused(tmp_path):
    KEY.save(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(PrivacyError, match=r"can be read by others \(mode 0640\)"):
        load_key(tmp_path / "key")


@pytest.mark.parametrize("content", ["", "random zz", "random 00ff", "spare " + "00" * KEY_BYTES])
def test_a_damaged_key_is_refused(tmp_path, content):
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text(content)
    with pytest.raises(PrivacyError, match="is not a noise key"):
        load_key(tmp_path / "key")


def test_a_given_key_is_read_and_marked(tmp_path):
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text(bytes(range(KEY_BYTES)).hex() + "\n")
    key = read_given_key(tmp_path / "key")
    assert key.given
    assert key.fingerprint() == KEY.fingerprint()


def test_a_malformed_given_key_is_refused_without_being_quoted(tmp_path):
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text("5ec2e7")
    with pytest.raises(PrivacyError) as refused:
        read_given_key(tmp_path / "key")
    assert "5ec2e7" not in str(refused.value)


def test_a_key_shows_itself_nowhere():
    secret = os.urandom(KEY_BYTES)
    key = NoiseKey(secret, given=False)
    assert secret.hex() not in repr(key) + str(key) + key.fingerprint()
    with pytest.raises(TypeError):
        key.__reduce__()


def test_streams_differ_by_purpose_and_by_each_number():
    firsts = {
        KEY.stream(*words).integers(2**63)
        for words in [("noise", 1, 2), ("noise", 2, 1), ("noise", 12), ("tree", 1, 2), ("noise", 1)]
    }
    assert len(firsts) == 5
    assert KEY.stream("noise", 1, 2).integers(2**63) in firsts
