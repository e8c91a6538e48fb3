"""Loading the configuration: layers, variables, secrets, and errors that say what, where and how to mend it."""

import base64
import pickle
import stat
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import get_args

import pytest
import yaml

from conf import secrets
from conf.load import SHIPPED, ConfigurationError, Problem, check, load, show
from conf.settings import Settings, Withholdable
from tests.schemas import schemas

HUNTER = "hunter2-very-secret"


def write(folder: Path, text: str, name: str = "arimon.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | None = None, environ: dict[str, str] | None = None) -> dict[str, Problem]:
    """What is wrong, by key (by place where there is none); each key once."""
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ=environ or {})
    found = caught.value.problems
    by_key = {problem.key or problem.where: problem for problem in found}
    assert len(by_key) == len(found), found
    assert str(caught.value).splitlines() == [str(problem) for problem in found]
    return by_key


# Layers


def test_the_defaults_are_a_configuration() -> None:
    """With nothing given, arimon watches the Asterisk of this host."""
    settings = load(environ={})
    assert type(settings) is Settings
    assert [(pbx.name, pbx.url) for pbx in settings.pbx] == [("pbx1", "ws://127.0.0.1:8088/ari")]
    assert settings.application.environment == "production"


def test_the_yaml_says_what_the_classes_say() -> None:
    """default.yaml repeats defaults for people; the two do not disagree."""
    settings = load(environ={})
    assert settings is SHIPPED
    assert replace(settings, pbx=()) == Settings()


def test_what_needs_no_validation_is_what_validation_gives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The defaults are taken unchecked where the layers say nothing else, and checking them changes nothing."""
    monkeypatch.setattr("conf.load.SHIPPED", Settings())
    assert load(environ={}) == load(write(tmp_path, "pbx: [{name: pbx1}]"), environ={}) == SHIPPED


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("pbx: [{}]", "pbx.0.name"),
        ("pbx: [pbx1]", "pbx.0"),
        ("pbx: [{name: pbx1, retry: {minimum: 0.5, maximun: 5.0}}]", "pbx.0.retry.maximun"),
        ("rabbitmq: [5672]", "rabbitmq"),
        ("rabbitmq: {tls: 0.5}", "rabbitmq.tls"),
        ("rabbitmq: {port: null}", "rabbitmq.port"),
        ("state_dir: {}", "state_dir"),
        ("logging: {levels: INFO}", "logging.levels"),
    ],
)
def test_what_is_nearly_the_defaults_is_checked(tmp_path: Path, text: str, key: str) -> None:
    """What differs from them in a key, a type or a shape does not pass for them."""
    assert list(problems(write(tmp_path, text))) == [key]


def test_each_layer_lies_over_the_one_before(tmp_path: Path) -> None:
    """Default, environment's file, --config, variables, command line: the later wins, key by key."""
    path = write(tmp_path, "application: {environment: development}\nrabbitmq: {host: a, port: 1, vhost: v}\n")
    environ = {"ARIMON_RABBITMQ__PORT": "2", "ARIMON_RABBITMQ__HOST": "b"}
    settings = load(path, {"rabbitmq": {"host": "c"}}, environ=environ)
    assert settings.publisher.sink == "file"  # development.yaml
    assert (settings.rabbitmq.vhost, settings.rabbitmq.port, settings.rabbitmq.host) == ("v", 2, "c")
    assert settings.rabbitmq.exchange == "arimon.calls"  # default.yaml


@pytest.mark.parametrize("how", ["file", "variable", "command line"])
def test_whoever_names_the_environment_gets_its_layer(tmp_path: Path, how: str) -> None:
    """The file between default and --config is chosen by whichever layer names the environment."""
    name = {"application": {"environment": "development"}}
    settings = load(
        write(tmp_path, yaml.safe_dump(name)) if how == "file" else None,
        name if how == "command line" else None,
        environ={"ARIMON_APPLICATION__ENVIRONMENT": "development"} if how == "variable" else {},
    )
    assert settings.logging.level == "DEBUG"


def test_a_list_replaces_a_list(tmp_path: Path) -> None:
    """The PBXs of --config are all there are."""
    settings = load(write(tmp_path, "pbx: [{name: north}, {name: south}]\n"), environ={})
    assert [pbx.name for pbx in settings.pbx] == ["north", "south"]


def test_settings_are_frozen_and_travel() -> None:
    """Nothing can be changed after loading, and a pickled copy is equal."""
    settings = load(environ={})
    with pytest.raises(FrozenInstanceError):
        settings.rabbitmq.port = 1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


# Environment variables


def test_a_variable_overrides_one_field_of_one_pbx(tmp_path: Path) -> None:
    """An index into the list changes that field and keeps the others; the first free index adds a PBX."""
    path = write(tmp_path, "pbx: [{name: north, url: 'ws://n/ari'}, {name: south, url: 'ws://s/ari'}]\n")
    environ = {"ARIMON_PBX__1__PASSWORD": HUNTER, "ARIMON_PBX__2__NAME": "west"}
    north, south, west = load(path, environ=environ).pbx
    assert (north.url, south.url, south.password.get_secret_value()) == ("ws://n/ari", "ws://s/ari", HUNTER)
    assert (north.password.get_secret_value(), west.name) == ("arimon", "west")


def test_items_are_added_in_order_of_their_numbers() -> None:
    """Eleven PBXs by variables alone: 10 comes after 2."""
    environ = {f"ARIMON_PBX__{index}__NAME": f"p{index}" for index in reversed(range(11))}
    assert [pbx.name for pbx in load(environ=environ).pbx] == [f"p{index}" for index in range(11)]


def test_whole_lists_and_mappings_are_json() -> None:
    """A variable for a list or a mapping holds JSON; a mapping's item can be named, its dots written as `__`."""
    environ = {
        "ARIMON_PBX": '[{"name": "north"}, {"name": "south"}]',
        "ARIMON_PBX__0__TRUNKS": '["PJSIP/trunk-*"]',
        "ARIMON_LOGGING__LEVELS": '{"wire.ari": "DEBUG"}',
        "ARIMON_LOGGING__LEVELS__actors__call": "ERROR",
    }
    settings = load(environ=environ)
    assert [(pbx.name, pbx.trunks) for pbx in settings.pbx] == [("north", ("PJSIP/trunk-*",)), ("south", ())]
    assert settings.logging.levels == {"wire.ari": "DEBUG", "actors.call": "ERROR"}


def test_an_empty_variable_is_null_where_null_may_be() -> None:
    """An empty value unsets an optional key."""
    assert load(environ={"ARIMON_CONTROL__GROUP": ""}).control.group is None


@pytest.mark.parametrize(
    ("variable", "mend"),
    [
        ("ARIMON_RABITMQ__PORT", "Did you mean ARIMON_RABBITMQ__PORT?"),
        ("ARIMON_PBX__0__PASWORD", "Did you mean ARIMON_PBX__0__PASSWORD?"),
        ("ARIMON_PBX__7__NAME", "The next item's index is 1."),
        ("ARIMON_PBX__NAME", "Write 0 for its first item."),
        ("ARIMON_PBX", "Write it as JSON, or set one of its items: ARIMON_PBX__…"),
        ("ARIMON_STATE_DIR__X", "Did you mean ARIMON_STATE_DIR?"),
        ("ARIMON_NOTHING_LIKE_IT", "See docs/configuration.md for the keys, or unset it."),
    ],
)
def test_a_variable_that_names_no_key_is_an_error(variable: str, mend: str) -> None:
    """It is named, with what was probably meant, and its value is not shown."""
    [problem] = check(environ={variable: HUNTER})
    assert problem.where == f"environment variable {variable}"
    assert problem.mend == mend
    assert HUNTER not in str(problem)


def test_variables_of_tests_and_launchers_are_not_settings() -> None:
    """ARIMON_TEST_… and ARIMON_PYTHON are somebody else's."""
    assert load(environ={"ARIMON_TEST_ARI_URL": "x", "ARIMON_PYTHON": "python3"}) == load(environ={})


# Variables in YAML


def test_variables_in_yaml(tmp_path: Path) -> None:
    """`${NAME}`, `${NAME:default}` with an empty or a colon-filled default, `$$`, several in one text, any type."""
    path = write(
        tmp_path,
        """
rabbitmq:
  host: "${HOST}"
  port: ${PORT:5673}
  vhost: /${A:}${B:x:y}
  password: pa$$${HOST}$
  tls: ${TLS:true}
control: {group: "${GROUP:}"}
statsd: {enabled: "${STATSD:no}"}
""",
    )
    settings = load(path, environ={"HOST": "rabbit"})
    rabbitmq = settings.rabbitmq
    assert (rabbitmq.host, rabbitmq.port, rabbitmq.vhost, rabbitmq.tls) == ("rabbit", 5673, "/x:y", True)
    assert rabbitmq.password.get_secret_value() == "pa$rabbit$"
    assert settings.control.group is None
    assert settings.statsd.enabled is False


def test_a_variable_that_is_not_set_is_an_error(tmp_path: Path) -> None:
    """It is named with key, file and line, and no second error is made of its absence."""
    found = problems(write(tmp_path, "rabbitmq:\n  host: ${NOPE}\n"))
    assert list(found) == ["rabbitmq.host"]
    assert "NOPE" in found["rabbitmq.host"].what
    assert found["rabbitmq.host"].where.endswith("arimon.yaml:2")


def test_a_variables_text_is_only_text(tmp_path: Path) -> None:
    """What comes from the environment is no YAML and is not expanded again."""
    path = write(tmp_path, "rabbitmq: {password: '${P}', vhost: '${V}'}\n")
    settings = load(path, environ={"P": "{a: ${V}}", "V": "[1, 2]"})
    assert settings.rabbitmq.password.get_secret_value() == "{a: ${V}}"
    assert settings.rabbitmq.vhost == "[1, 2]"


@pytest.mark.parametrize("text", ["${PASS", "${}", "a ${A B} c", "${9}", "$${A} ${B-c}"])
def test_a_variable_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    """A `${` without its name or its end would otherwise be taken for a part of the password."""
    found = problems(write(tmp_path, f"rabbitmq:\n  password: '{text}'\n"))
    assert list(found) == ["rabbitmq.password"]
    assert found["rabbitmq.password"].where.endswith("arimon.yaml:2")
    assert "$$" in found["rabbitmq.password"].mend


# Errors


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Each problem has its key, its file and line or variable, and what to do, in one pass."""
    path = write(
        tmp_path,
        """statsd: {port: 99999}
rabbitmq:
  prot: 5672
  port: abc
  password: 12345
pbx:
  - url: http://h/ari
  - {name: a, retry: {minimum: 5, maximum: 1}}
  - name: A
publisher: {form: xml}
sink: file
call: nonsense
""",
    )
    found = problems(path, {"ARIMON_JOURNAL__SEGMENT_BYTES": "1", "ARIMON_PUBLISHER__WINDO": "1"})
    lines = {key: problem.where.rpartition(":")[2] for key, problem in found.items()}
    assert lines == {
        "environment variable ARIMON_PUBLISHER__WINDO": "environment variable ARIMON_PUBLISHER__WINDO",
        "journal.segment_bytes": "environment variable ARIMON_JOURNAL__SEGMENT_BYTES",
        "statsd.port": "1",
        "rabbitmq.prot": "3",
        "rabbitmq.port": "4",
        "rabbitmq.password": "5",
        "pbx.0.name": "7",
        "pbx.0.url": "7",
        "pbx.1.retry": "8",
        "pbx.2.name": "9",
        "publisher.form": "10",
        "sink": "11",
        "call": "12",
    }
    assert found["statsd.port"].what == "must be less than or equal to 65535, not 99999"
    assert found["rabbitmq.prot"].mend == "Did you mean port?"
    assert found["rabbitmq.password"].mend.startswith("Put it in quotes.")
    assert found["pbx.0.name"].what == "is missing"
    assert found["pbx.1.retry"].what == "minimum is above maximum"
    assert found["pbx.2.name"].what == "the name is that of pbx.1 already"
    assert found["publisher.form"].what == "must be 'v3', 'legacy' or 'both', not 'xml'"
    assert found["sink"].mend == "Remove it; publisher.sink exists."


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: [1", "expected"),
        ("just text", "has no keys at its top"),
        ("- 1\n- 2", "has no keys at its top"),
        ("a: !!python/object/apply:os.system [id]", "is no known key"),
        ("rabbitmq: {host: !!python/name:os.system x}", "is no YAML that can be used"),
        ("? [a]\n: b", "a key that is no text"),
        ("[" * 100_000, "is no YAML that can be used"),
        ("<<: 5\n", "`<<` with something other than a mapping in line 1"),
        ("a: *b", "is no YAML that can be used"),
        ("statsd: {port: " + "9" * 10_000 + "}", "is no YAML that can be used"),
        ("#" * (1024 * 1024 + 1), "larger than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_clear_error(tmp_path: Path, text: str, what: str) -> None:
    """Broken, unsafe, absurdly deep or huge files are refused in a line, and nothing of them is executed."""
    found = check(write(tmp_path, text), environ={})
    assert what in str(found[0])
    assert "arimon.yaml" in found[0].where


def test_aliases_cannot_fill_the_memory(tmp_path: Path) -> None:
    """A billion laughs, by aliases or by merges, are refused at once."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert "values" in check(write(tmp_path, "\n".join(lines)), environ={})[0].what
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 10)]
    assert "values" in check(write(tmp_path, "\n".join(lines)), environ={})[0].what
    assert "levels" in check(write(tmp_path, "a: &a [*a]"), environ={})[0].what


def test_merges_serve_many_pbxs(tmp_path: Path) -> None:
    """`<<` takes what several PBXs have in common; a PBX's own keys win."""
    path = write(
        tmp_path,
        """
pbx:
  - &common {name: north, username: watcher, dead_after: 7}
  - {<<: *common, name: south}
""",
    )
    south = load(path, environ={}).pbx[1]
    assert (south.name, south.username, south.dead_after) == ("south", "watcher", 7.0)


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    """YAML would silently take the last one."""
    found = problems(write(tmp_path, "rabbitmq:\n  port: 1\n  port: 2\n"))
    assert found["rabbitmq.port"].what == "the key is given twice"
    assert found["rabbitmq.port"].where.endswith(":3")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """So are a folder in its place and bytes that are no text."""
    assert "No such file" in problems(tmp_path / "none.yaml")[str(tmp_path / "none.yaml")].what
    assert "directory" in problems(tmp_path)[str(tmp_path)].what
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\xfe")
    assert "is not UTF-8" in problems(tmp_path / "x.yaml")[str(tmp_path / "x.yaml")].what


def test_without_a_pbx_there_is_nothing_to_do(tmp_path: Path) -> None:
    """An empty list of PBXs is an error."""
    assert problems(write(tmp_path, "pbx: []\n"))["pbx"].what == "no PBX is configured"


def test_a_pattern_that_does_not_compile_is_an_error(tmp_path: Path) -> None:
    """Regular expressions are tried when the configuration is read, not when a call comes."""
    found = problems(write(tmp_path, "call: {mask_dtmf_pattern: '(['}\n"))
    assert "is no regular expression" in found["call.mask_dtmf_pattern"].what


def test_an_operation_that_cannot_be_withheld_is_an_error(tmp_path: Path) -> None:
    """It is named with its key's path; so is an age that is none, and so is a gap, which is always told."""
    text = "publisher: {withhold_after: {ringing-cal: 60, monitoring-gap: 60, held-call: -1, finished-call: 3600}}\n"
    found = problems(write(tmp_path, text))
    assert found.keys() == {
        f"publisher.withhold_after.{name}" for name in ("ringing-cal", "monitoring-gap", "held-call")
    }
    assert "ringing-call" in str(found["publisher.withhold_after.ringing-cal"])
    assert load(write(tmp_path, "publisher: {withhold_after: {dtmf-received: 60}}\n")).publisher.withhold_after == {
        "dtmf-received": 60.0
    }


def test_every_operation_but_two_may_be_withheld() -> None:
    """Those that say what is missing are never missing themselves."""
    always = {"messages-withheld", "monitoring-gap"}
    assert set(get_args(Withholdable)) == set(schemas().operations) - always


# Secrets


@pytest.mark.parametrize(
    "text",
    [
        f"rabbitmq: {{password: [{HUNTER}]}}",
        f"rabbitmq: {{password: {{x: {HUNTER}}}}}",
        f"rabbitmq: {HUNTER}",
        f"rabbitmq: {{passwrod: {HUNTER}}}",
        f"rabbitmq: {{password: *{HUNTER}}}",
        f"rabbitmq: {{password: !{HUNTER} x}}",
        f"rabbitmq: {{password: '{HUNTER}}}",
        f'rabbitmq: {{password: "{HUNTER}\\q"}}',
        f"pbx: [{{name: p, url: 'ws://u:{HUNTER}@h/ari'}}]",
        f"rabbitmq: {{host: 'amqp://u:{HUNTER}@h'}}",
        f"rabbitmq: {{password: '${{{HUNTER}'}}",
        f"pbx: {HUNTER}",
        "rabbitmq: {port: '${SECRET}'}",
        "rabbitmq: {password_file: '${SECRET}'}",
    ],
)
def test_no_error_quotes_a_secret(tmp_path: Path, text: str) -> None:
    """Wherever a password went wrong, the error says where, and not what it was."""
    found = check(write(tmp_path, text), environ={"SECRET": HUNTER})
    assert found
    assert HUNTER not in "\n".join(map(repr, found))


def test_a_secret_file_wins(tmp_path: Path) -> None:
    """`password_file`'s text is the password, without its line's end; spaces stay."""
    write(tmp_path, f" {HUNTER} \n", "ari")
    write(tmp_path, f"{HUNTER}2", "rabbit")
    path = write(tmp_path, f"pbx: [{{name: p, password: x, password_file: {tmp_path}/ari}}]\n")
    settings = load(path, environ={"ARIMON_RABBITMQ__PASSWORD_FILE": f"{tmp_path}/rabbit"})
    assert settings.pbx[0].password.get_secret_value() == f" {HUNTER} "
    assert settings.rabbitmq.password.get_secret_value() == f"{HUNTER}2"


def test_a_secret_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Missing, empty, or no text: said with the key that names it."""
    write(tmp_path, "\n", "empty")
    (tmp_path / "binary").write_bytes(b"\xff")
    text = f"""
pbx:
  - {{name: a, password_file: {tmp_path}/none}}
  - {{name: b, password_file: {tmp_path}/empty}}
  - {{name: c, password_file: {tmp_path}/binary}}
"""
    found = problems(write(tmp_path, text))
    assert [problem.what for problem in found.values()] == [
        "the secret's file cannot be read: No such file or directory",
        "the secret's file is empty",
        "the secret's file cannot be read: UnicodeDecodeError",
    ]
    assert list(found) == ["pbx.0.password_file", "pbx.1.password_file", "pbx.2.password_file"]


def test_no_view_of_the_settings_has_a_secret(tmp_path: Path) -> None:
    """Neither `config show` nor a repr, str or dump of the settings does."""
    settings = load(environ={"ARI_PASSWORD": HUNTER, "RABBITMQ_PASS": HUNTER})
    assert settings.pbx[0].password.get_secret_value() == HUNTER
    views = [show(settings), repr(settings), str(settings), f"{settings.rabbitmq.password}"]
    assert all(HUNTER not in view for view in views)
    assert show(settings).count(secrets.MASK) == 2


def test_what_is_shown_can_be_used(tmp_path: Path) -> None:
    """The output of `config show` is a configuration: the same but for the secrets."""
    settings = load(environ={"ARIMON_PBX__0__TRUNKS": '["PJSIP/t*"]', "ARIMON_LOGGING__LEVELS__wire": "DEBUG"})
    assert show(load(write(tmp_path, show(settings)), environ={})) == show(settings)


def test_every_form_of_a_secret_is_known() -> None:
    """As it is, in a URL, and in a Basic Authorization header; the public defaults are no secrets."""
    assert secrets.values(load(environ={})) == ()
    forms = secrets.values(load(environ={"ARI_PASSWORD": "p/ä?"}))
    assert set(forms) == {"p/ä?", "p/%C3%A4%3F", "p%2F%C3%A4%3F", base64.b64encode("arimon:p/ä?".encode()).decode()}
    assert list(forms) == sorted(forms, key=lambda form: (-len(form), form))


# --check


def test_check_looks_at_the_host(tmp_path: Path) -> None:
    """Files, groups and folders that the settings name are looked for, once all values are right."""
    blocked = write(tmp_path, "", "file")
    environ = {
        "ARIMON_RABBITMQ__CA_FILE": f"{tmp_path}/none.pem",
        "ARIMON_PBX__0__CA_FILE": f"{tmp_path}/none.pem",
        "ARIMON_CONTROL__GROUP": "no-such-group",
        "ARIMON_CONTROL__SOCKET": f"{tmp_path}/run/control.sock",
        "ARIMON_STATE_DIR": f"{blocked}/state",
        "ARIMON_LOGGING__FILE": f"{tmp_path}/arimon.log",
    }
    assert load(environ=environ).control.group == "no-such-group"
    assert [problem.key for problem in check(environ=environ)] == [
        "pbx.0.ca_file",
        "rabbitmq.ca_file",
        "control.group",
        "state_dir",
    ]


def test_check_finds_nothing_wrong_with_a_good_host(tmp_path: Path) -> None:
    """No problem is no problem, and looking makes nothing."""
    environ = {"ARIMON_STATE_DIR": f"{tmp_path}/state", "ARIMON_CONTROL__SOCKET": f"{tmp_path}/run/control.sock"}
    assert check(environ=environ) == []
    assert list(tmp_path.iterdir()) == []
    assert stat.S_ISDIR(tmp_path.stat().st_mode)
