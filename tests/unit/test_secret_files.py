"""Which files may hold secrets: by name, by name and values, by private keys; and that no ordinary one is lost."""

from __future__ import annotations

import base64
import os
import random
from pathlib import Path

import pytest

from codebase_mcp.indexing.read import UnreadableFile, read_source
from codebase_mcp.indexing.secret_files import REMOVED, is_secret_name, text_without_secrets
from codebase_mcp.indexing.skip_rules import SECRET, skip_reason

LETTERS = base64.b64encode(random.Random(5).randbytes(1_190)).decode()
BODY = "\n".join(LETTERS[i : i + 64] for i in range(0, len(LETTERS), 64))


def pem(kind: str, body: str = BODY) -> str:
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n"


PUTTY = f"""PuTTY-User-Key-File-3: ssh-ed25519
Encryption: none
Comment: me@here
Public-Lines: 2
{BODY[:129]}
Private-Lines: 1
{BODY[130:194]}
Private-MAC: {"0f" * 32}
"""
AGE = "# created: 2026-01-01\n# public key: age1abc\nAGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2
KEYS = {
    "PKCS#8": pem("PRIVATE KEY"),
    "encrypted": pem("ENCRYPTED PRIVATE KEY"),
    "RSA with headers": pem("RSA PRIVATE KEY", f"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\n{BODY}"),
    "short EC": pem("EC PRIVATE KEY", BODY[:200]),
    "shortest": pem("PRIVATE KEY", BODY[:64]),
    "OpenSSH": pem("OPENSSH PRIVATE KEY"),
    "PGP": pem("PGP PRIVATE KEY BLOCK", f"Version: GnuPG v2\n\n{BODY}\n=aB3d"),
    "SSH2": f"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{BODY}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----\n",
    "PuTTY": PUTTY,
    "CRLF": pem("PRIVATE KEY").replace("\n", "\r\n"),
    "indented": "\n".join("    " + line for line in pem("PRIVATE KEY").splitlines()),
    "with its certificate": pem("CERTIFICATE", BODY[::-1]) + pem("PRIVATE KEY"),
    "OpenSSL's bag": f"Bag Attributes\n    friendlyName: me\nKey Attributes: <No Attributes>\n{pem('PRIVATE KEY')}",
    "cut off": f"-----BEGIN PRIVATE KEY-----\n{BODY}\n",
    "service account": '{"type": "service_account", "private_key": "' + pem("PRIVATE KEY").replace("\n", "\\n") + '"}',
    "age": AGE,
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("name", ["notes.txt", "deploy", "app.conf", "x.json"])
def test_a_private_key_is_not_indexed_under_any_name(kind: str, name: str) -> None:
    text = text_without_secrets(name, KEYS[kind])
    assert text is None


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("name", ["test_tls.py", "guide.md", "deploy.yaml"])
def test_only_the_letters_of_a_key_are_taken_out_of_a_longer_source(kind: str, name: str) -> None:
    before = "".join(f"line_{number} = {number}\n" for number in range(400))
    whole = before + KEYS[kind] + "\nafter = 1\n"
    cleaned = text_without_secrets(name, whole)
    assert cleaned is not None
    assert cleaned.startswith(before)
    assert cleaned.endswith("\nafter = 1\n")
    assert cleaned.count("\n") == whole.count("\n")
    assert REMOVED in cleaned
    private = cleaned.partition("PRIVATE")[2]
    assert not any(line in private for line in BODY.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        'HEADER = "-----BEGIN PRIVATE KEY-----"\nFOOTER = "-----END PRIVATE KEY-----"\n',
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA...\n-----END RSA PRIVATE KEY-----\n",
        "if '-----BEGIN PRIVATE KEY-----' in text:\n    raise ValueError(text)\n" * 30,
        pem("CERTIFICATE"),
        pem("PUBLIC KEY"),
        pem("PGP PUBLIC KEY BLOCK"),
        pem("PGP SIGNATURE"),
        "ssh-ed25519 " + LETTERS[:68] + " me@here\n",
    ],
)
def test_public_keys_and_talk_about_private_ones_stay_as_they_are(text: str) -> None:
    for name in ("a.py", "a.md", "a.txt"):
        assert text_without_secrets(name, text) == text


def test_a_test_that_is_little_but_keys_is_kept_without_them() -> None:
    text = (
        f'KEY = """{pem("PRIVATE KEY")}"""\n\n\ndef test_it():\n    assert load(KEY).is_valid and load(KEY).size > 3\n'
        * 2
    )
    text += "def test_that():\n    assert load(KEY) != load(OTHER)\n" * 8
    cleaned = text_without_secrets("test_keys.py", text)
    assert cleaned is not None
    assert "def test_it" in cleaned
    assert BODY[:64] not in cleaned


def test_a_hard_link_and_another_encoding_do_not_hide_a_key(tmp_path: Path) -> None:
    (tmp_path / "id_rsa").write_text(KEYS["OpenSSH"])
    os.link(tmp_path / "id_rsa", tmp_path / "notes.txt")
    (tmp_path / "wide.txt").write_bytes(KEYS["PKCS#8"].encode("utf-16"))
    for name in ("notes.txt", "wide.txt"):
        with pytest.raises(UnreadableFile, match=SECRET):
            read_source(tmp_path, name, 1_000_000)


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.local",
        "deploy/.env-prod",
        "prod.env",
        ".envrc",
        ".netrc",
        ".pgpass",
        ".aws/config",
        "a/.aws/credentials",
        ".databrickscfg",
        "rclone.conf",
        ".config/rclone/rclone.conf",
        ".config/gh/hosts.yml",
        "home/.kube/config",
        "kubeconfig",
        "dev.kubeconfig",
        ".yarnrc.yml",
        ".terraformrc",
        ".dockerconfigjson",
        ".docker/config.json",
        "application_default_credentials.json",
        "client_secret_123.apps.json",
        "client_secrets.json",
        "office.ovpn",
        ".bash_history",
        ".zsh_history",
        ".psql_history",
        ".mysql_history",
        ".node_repl_history",
        ".python_history",
        ".sqlite_history",
        ".rediscli_history",
        "fish_history",
        ".my.cnf",
        ".pypirc",
        ".npmrc",
        ".git-credentials",
        ".htpasswd",
        "id_rsa",
        "id_ed25519",
        "server.key",
        "server.pem",
        "cert.p12",
        "cert.pfx",
        "store.jks",
        "my.keystore",
        "vault.kdbx",
        ".vault_pass",
        "wallet.dat",
        "terraform.tfstate",
        "terraform.tfstate.backup",
        "my-service-account-key.json",
        ".cargo/credentials.toml",
        "UTC--2024-01-02T03-04-05.678Z--0123456789abcdef0123456789abcdef01234567",
    ],
)
def test_key_files_and_credential_files_of_tools_are_secret_by_name_alone(path: str) -> None:
    assert skip_reason(path) == SECRET
    assert skip_reason(f"some/{path}".upper()) == SECRET


@pytest.mark.parametrize(
    "path",
    [
        ".env.example",
        ".env.sample",
        "prod.env.template",
        "environment.py",
        "config.json",
        ".config/config.json",
        "hosts.yml",
        "history.py",
        "HISTORY.md",
        "docs/history.rst",
        ".github/config",
        "credentials.py",
        "secrets.go",
        "key.ts",
        "keys.json",
        "terraform.tf",
        "wallet.py",
        "kube/config.go",
        ".gitconfig",
        "passwords.md",
    ],
)
def test_names_of_ordinary_files_say_nothing(path: str) -> None:
    assert not is_secret_name(path)


LITERAL = {
    "secrets.yaml": "db:\n  password: hunter2\n",
    "config/secrets.prod.yml": "# prod\ntoken: 'ghp_0123456789'\n",
    "prod-secrets.json": '{"a": {"b": ["", "s3cr3t"]}}',
    "credentials.toml": '[default]\nkey = "AKIA0123"\n',
    "credentials": "[default]\naws_access_key_id = AKIA0123\n",
    "credentials.csv": "User name,Password\nme,hunter2\n",
    "secrets.properties": "db.password=hunter2\n",
    "prod.tfvars": 'region = "eu-west-1"\n',
    "a/terraform.tfvars.json": '{"password": "x7"}',
    "group_vars/all/vault.yml": "vault_password: Pa$$WORD1\n",
    "vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n6162636465\n",
    "roles/x/main.yml": "$ANSIBLE_VAULT;1.1;AES256\n6162636465\n",
    "passwords.txt": "admin hunter2\n",
    "vault-password": "correct horse\n",
    "credentials.xml": "<a><password>hunter2</password></a>",
    "secrets.ini": "[a]\nuser =\npassword = $uper$ecret\n",
    "db_password.txt": "hunter2",
    "deploy/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\nstringData:\n  token: hunter2\n",
    "secrets.json": '{"url": "postgres://me:hunter2@db/${NAME}"}',
}
HARMLESS = {
    "secrets.yaml": "db:\n  password: ${DB_PASSWORD}\n  user: ''\n  port: 5432\n  tls: true\n",
    "secrets.yml": 'a: {{ vault_a }}\nb: \'{{ lookup("env", "B") }}\'\nc:\n',
    "credentials.json": '{"key": "<your-key>", "arn": "arn:aws:secretsmanager:eu:1:secret:x", "none": null}',
    "secrets.toml": 'url = "postgres://${USER}:${PASSWORD}@db:5432/shop"\n[b]\ntoken = ""\n',
    "prod.tfvars": 'password = ""\n# region = "eu"\n',
    "vault.yaml": "token: op://vault/item/field\nother: vault:secret/data/x#y\n",
    "templates/secret.yaml": "{{- if .Values.x }}\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .N }}-x\n"
    "  labels:\n    app: shop\ntype: Opaque\ndata:\n  token: {{ .Values.token | b64enc | quote }}\n{{- end }}\n",
    "password.txt": "${PASSWORD}\n",
    "secrets.properties": "db.password=%DB_PASSWORD%\ntoken=@TOKEN@\n",
}
ORDINARY = {
    "credentials.py": 'DEFAULT = "hunter2"\n',
    "secrets.go": 'var key = "hunter2"\n',
    "src/vault.rs": 'const A: &str = "b";\n',
    "docs/secrets.md": "Put `password: hunter2` there.\n",
    "password-reset.json": '{"title": "Forgotten?"}',
    "secret_scanning.yml": "paths-ignore:\n  - docs\n",
    "locales/en/passwords.json": '{"reset": "Your password was reset"}',
    "secrets.yaml.example": "password: changeme\n",
    "secrets.schema.json": '{"type": "object"}',
    "plugins/filter/vault.yml": "# licence\nDOCUMENTATION:\n  name: vault\n  author: me\n",
    "vault.tf": 'resource "x" "y" {}\n',
    "config.yaml": "password: hunter2\n",
}


@pytest.mark.parametrize("path", LITERAL)
def test_files_named_after_secrets_are_left_out_when_a_value_is_written_out(path: str) -> None:
    assert text_without_secrets(path, LITERAL[path]) is None


@pytest.mark.parametrize("path", HARMLESS)
def test_files_named_after_secrets_are_kept_when_all_values_are_templates_references_or_empty(path: str) -> None:
    assert skip_reason(path) is None
    assert text_without_secrets(path, HARMLESS[path]) == HARMLESS[path]


@pytest.mark.parametrize("path", ORDINARY)
def test_sources_are_not_lost_by_their_names(path: str) -> None:
    assert skip_reason(path) is None
    assert text_without_secrets(path, ORDINARY[path]) == ORDINARY[path]


@pytest.mark.parametrize("begin", ["-----BEGIN PRIVATE KEY-----\n", "PuTTY-User-Key-File-2: x\n", "-----END A-----"])
def test_hostile_text_is_looked_through_in_a_moment(begin: str) -> None:
    text_without_secrets("secrets.txt", begin * 30_000)
    text_without_secrets("notes.txt", begin + LETTERS * 600)
