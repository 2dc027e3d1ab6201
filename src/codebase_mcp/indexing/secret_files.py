"""Files that may hold secrets: told from their names, from their names and values, or from the private keys in them.

A private key that is most of a file makes the file one that is not indexed. Inside of a longer source (a test, a page
of documentation) only its letters are taken out, line by line, and the rest is indexed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from codebase_mcp.indexing.languages import detect_language

REMOVED = "[private key removed]"
_KEY_SHARE, _KEY_SHARE_OF_CODE = 0.5, 0.9
"""A file of which keys and certificates are more is no source; a test may consist of little else."""
_LEAST_KEY_CHARACTERS = 40
"""A placeholder between the marks of a key has fewer; the shortest real one has 64."""

# --- by name alone ---

_NAMES = frozenset(
    {"id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "identity.key", "wallet.dat"}
    | {".npmrc", ".pypirc", ".netrc", "_netrc", ".authinfo", ".git-credentials", ".gitcredentials", ".dockercfg"}
    | {".dockerconfigjson", ".htpasswd", ".htdigest", ".pgpass", "pgpass.conf", ".my.cnf", ".mylogin.cnf", ".s3cfg"}
    | {".boto", ".databrickscfg", ".terraformrc", "terraform.rc", "credentials.tfrc.json", "rclone.conf"}
    | {".yarnrc.yml", ".envrc", ".vault_pass", ".vault-token", ".vault_password", "vault_pass.txt", ".msmtprc"}
    | {".fetchmailrc", ".smbcredentials", ".my.cnf.bak", "kubeconfig", "kubeconfig.yaml", "kubeconfig.yml"}
    | {"application_default_credentials.json", "client_secret.json", "client_secrets.json", "wpa_supplicant.conf"}
    | {"service-account.json", "service_account.json", "serviceaccount.json", "msal_token_cache.json"}
    | {"accesstokens.json", ".dbshell", ".lesshst", ".viminfo", ".histfile", ".zhistory", ".history", "fish_history"}
    | {"consolehost_history.txt", "secring.gpg", ".mc_config.json", ".passwd-s3fs", ".ngrok2.yml"}
)
_ENDINGS = (
    *(".pem", ".key", ".p8", ".p12", ".pfx", ".pkcs12", ".keystore", ".jks", ".jceks", ".bks", ".ppk", ".pvk"),
    *(".kdbx", ".kdb", ".agekey", ".agilekeychain", ".psafe3", ".keychain", ".keychain-db", ".keyring", ".wallet"),
    *(".ovpn", ".nmconnection", ".kubeconfig", ".tfstate", ".tfstate.backup", ".vault_pass", ".git-credentials"),
)
_PATH_ENDINGS = (
    *("/.docker/config.json", "/.kube/config", "/.aws/config", "/.aws/credentials", "/.oci/config", "/.vnc/passwd"),
    *("/.config/gh/hosts.yml", "/.config/hub", "/.config/glab-cli/config.yml", "/.config/doctl/config.yaml"),
    *("/.config/rclone/rclone.conf", "/.config/composer/auth.json", "/.composer/auth.json", "/.codex/auth.json"),
    *("/.cargo/credentials", "/.cargo/credentials.toml", "/.gem/credentials", "/.mc/config.json", "/.snowsql/config"),
    *("/.config/op/config", "/.config/ngrok/ngrok.yml", "/.azure/azureprofile.json", "/.bundle/config"),
)
_NAME_PATTERNS = re.compile(
    r"client_secrets?[_.-].*\.json|.*service[_-]?account.*key.*\.json|\.[\w.-]*_history|utc--\d{4}-.*--[0-9a-f]{40}"
)
_ENVIRONMENT_PREFIXES = (".env.", ".env-", ".env_")
_TEMPLATE_WORDS = frozenset({"example", "sample", "template", "tmpl", "tpl", "dist", "default", "defaults", "schema"})
_WORDS = re.compile(r"[a-z0-9]+")


def is_secret_name(relative_path: str) -> bool:
    """Whether the name alone says so. Letter case is ignored."""
    path = relative_path.lower()
    name = path.rpartition("/")[2]
    if name in _NAMES or name.endswith(_ENDINGS) or f"/{path}".endswith(_PATH_ENDINGS):
        return True
    if _NAME_PATTERNS.fullmatch(name):
        return True
    is_environment = name.endswith(".env") or name.startswith(_ENVIRONMENT_PREFIXES)
    return is_environment and name.rpartition(".")[2] not in _TEMPLATE_WORDS


# --- by name and values ---

_SECRET_WORDS = frozenset(
    {"secret", "secrets", "credential", "credentials", "creds", "password", "passwords", "passwd", "vault"}
)
_ENVIRONMENTS = frozenset(
    {"prod", "production", "dev", "development", "staging", "stage", "test", "testing", "qa", "uat", "ci", "live"}
    | {"local", "private", "all", "common", "shared", "global", "base", "values", "vars", "enc", "sops", "file"}
    | {"backup", "bak", "old", "new", "pass", "key", "keys", "yaml", "yml", "json"}
)
_TRANSLATIONS = frozenset({"locale", "locales", "lang", "langs", "i18n", "l10n", "translations", "messages"})
_SWITCHES = frozenset({"null", "none", "nil", "~", "true", "false", "yes", "no", "on", "off", "---", "..."})
_TEMPLATE = re.compile(
    r"\{\{.*?\}\}|\{%.*?%\}|\$\{[^}]*\}|\$\([^)]*\)|\$[A-Z_][A-Z0-9_]*\b|%\(\w+\)s|%[A-Z_]+%|#\{[^}]*\}|<%.*?%>"
    r"|<[\w .:/-]+>|@@?[A-Z_]+@@?|__[A-Z_]+__"
)
# An address may be written out around its user and password.
_AROUND_TEMPLATES = re.compile(r"[a-z][a-z0-9+.-]*://[^\w/]*@|(?i:bearer|basic|token)\W*$")
_REFERENCE = re.compile(
    r"(?i)(arn:|vault:|op://|ref\+|ssm:|sm://|secretsmanager:|awssm|gcpsm|azurekms|env:|env\.|env\(|env\[|file:|keyring:"
    r"|@microsoft\.keyvault|projects/[^/]+/secrets/|!ref|!getatt|!sub|!env|!secret|!vault_ref|var\.|local\.|data\."
    r"|module\.|lookup\(|process\.env|os\.environ|your[ _-]|x{3,}$|\*{3,}$|\.{3}$)"
)
_LINE = re.compile(r"""(?:-\s+)*(?:["']?[\w.$/-]+["']?\s*(?:=>|:=|[:=])(?:\s+|(?=\S)))?(?P<value>.*)""")
_COMMENT = re.compile(r"^\s*(?:#|;|//|<!--).*$|\s#\s.*$")
_PLUGIN_DOCUMENTATION = re.compile(r"\A(?:#.*\n|\s|---)*DOCUMENTATION:\s*$", re.MULTILINE)
"""A page of Ansible's manual, kept as data and named after what it is about."""
_MANIFEST = re.compile(r"^(apiVersion|kind|type|metadata):", re.MULTILINE)


def must_look_inside(relative_path: str) -> bool:
    """Whether a file of this name is indexed only when no value in it is written out."""
    *folders, name = relative_path.lower().split("/")
    words = _WORDS.findall(name)
    if not _TEMPLATE_WORDS.isdisjoint(words) or not _TRANSLATIONS.isdisjoint(folders):
        return False
    if name.endswith((".tfvars", ".tfvars.json", ".auto.tfvars")):
        return True
    stem = words[:-1] if "." in name and len(words) > 1 else words
    is_named_so = stem[-1:] != [] and (stem[-1] in _SECRET_WORDS or _ENVIRONMENTS.issuperset(stem[1:]))
    if not is_named_so or _SECRET_WORDS.isdisjoint((stem[0], stem[-1])):
        return False
    language = detect_language(relative_path, "")
    return language.category == "config" or language.name in ("text", "xml")


def has_literal_values(relative_path: str, text: str) -> bool:
    """Whether any value is written out: neither empty nor a switch, a small number, a template or a reference."""
    name = relative_path.lower()
    if name.endswith((".json", ".jsonc")):
        try:
            return any(not _is_harmless(value) for value in _leaves(json.loads(text)))
        except (ValueError, RecursionError):
            pass
    if _PLUGIN_DOCUMENTATION.search(text):
        return False
    if name.endswith(".xml"):
        return any(not _is_harmless(value) for value in _xml_values(text))
    return any(not _is_harmless(value) for value in _line_values(text))


def _leaves(document: object) -> Iterator[str]:
    waiting = [document]
    while waiting:
        match waiting.pop():
            case dict() as fields:
                waiting += fields.values()
            case list() as items:
                waiting += items
            case value:
                yield "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _xml_values(text: str) -> Iterator[str]:
    yield from re.findall(r"""(?i)\b(?:value|password|secret|token|pwd|connectionstring)\s*=\s*["']([^"']*)""", text)
    yield from re.sub(r"<!--.*?-->|<[^>]*>", "\n", text, flags=re.DOTALL).split("\n")


def _line_values(text: str) -> Iterator[str]:
    is_manifest = len(_MANIFEST.findall(text)) >= 2
    is_inside_metadata = False
    for line in text.splitlines():
        stripped = _COMMENT.sub("", line).strip()
        if is_manifest and line[:1].strip():
            is_inside_metadata = stripped.startswith("metadata:")
            if _MANIFEST.match(stripped):
                continue
        if is_inside_metadata or not stripped or (stripped[0], stripped[-1]) == ("[", "]"):
            continue
        match = _LINE.fullmatch(stripped)
        value = match["value"] if match else stripped
        if value != stripped or not stripped.endswith((":", "{", "[", "=")):
            yield value


def _is_harmless(value: str) -> bool:
    value = value.strip().strip("\"'`,; ")
    if value.lower() in _SWITCHES or not re.search(r"\w", value) or re.fullmatch(r"[\d.]{1,5}", value):
        return True
    if _REFERENCE.match(value):
        return True
    rest, templates = _TEMPLATE.subn("", value)
    if templates == 0:
        return False
    return not re.search(r"\w", rest) or bool(_AROUND_TEMPLATES.match(rest))


# --- by content under any name ---

_KEY_BEGIN = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY ----"
    r"|^PuTTY-User-Key-File-\d:[^\n]*\n",
    re.MULTILINE,
)
_KEY_END = re.compile(r"-----END |---- END |^Private-(?:MAC|Hash):[^\n]*", re.MULTILINE)
_LONGEST_KEY = 100_000
_KEY_LINE = re.compile(r"""[\s"'`+,;\\\w/=:.#*>|-]*""")
_KEY_LETTERS = re.compile(r"(?:\\[rn])+|[A-Za-z0-9+/=]{8,}")
_KEY_RUN = re.compile(r"[A-Za-z0-9+/=]{16,}")
_AGE_KEY = re.compile(r"AGE-SECRET-KEY-1[A-Z0-9]{58}")
_BLOCK = re.compile(r"-{4,5} ?BEGIN [A-Z0-9 ]+-{4,5}.*?-{4,5} ?END [A-Z0-9 ]+-{4,5}", re.DOTALL)
_ENCRYPTED_VAULT = "$ANSIBLE_VAULT;"
KEY_SIGNS = ("PRIVATE KEY", "PuTTY-User-Key-File-", "AGE-SECRET-KEY-1", _ENCRYPTED_VAULT)
"""A text without any of them holds no private key."""


def without_private_keys(text: str, *, is_code: bool) -> str | None:
    """The text with the letters of private keys taken out, line for line; None when it is a key and little else."""
    if text.startswith(_ENCRYPTED_VAULT):
        return None
    if not any(sign in text for sign in KEY_SIGNS):
        return text
    parts: list[str] = []
    position = 0
    for begin, end in sorted(_key_spans(text)):
        parts += [text[position:begin], _KEY_LETTERS.sub(_removed, text[begin:end])]
        position = end
    if not parts:
        return text
    cleaned = "".join([*parts, text[position:]])
    rest = _written_characters(_BLOCK.sub("", cleaned), is_code=is_code)
    rest_share = rest / max(1, _written_characters(text, is_code=is_code))
    return None if rest_share <= 1 - (_KEY_SHARE_OF_CODE if is_code else _KEY_SHARE) else cleaned


def _written_characters(text: str, *, is_code: bool) -> int:
    """Without the comments of key generators, which are no reason to keep a file."""
    lines = text.replace(REMOVED, "").splitlines()
    return sum(len(line.strip()) for line in lines if is_code or not line.startswith("#"))


def _key_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the letters of keys are, in order."""
    position = 0
    for begin in _KEY_BEGIN.finditer(text):
        if begin.start() < position:
            continue
        end = _KEY_END.search(text, begin.end(), begin.end() + _LONGEST_KEY)
        position = end.end() if end and end[0].startswith("Private-") else end.start() if end else 0
        position = position or _end_of_run(text, begin.end())
        letters = sum(len(run) for run in _KEY_RUN.findall(text, begin.end(), position))
        if letters >= _LEAST_KEY_CHARACTERS:
            yield begin.end(), position
    for key in _AGE_KEY.finditer(text):
        yield key.span()


def _end_of_run(text: str, begin: int) -> int:
    """Where a key without an end stops: at the first line that holds no letters of a key."""
    position = begin
    for line in text[begin : begin + _LONGEST_KEY].splitlines(keepends=True):
        if position > begin and not (_KEY_LINE.fullmatch(line.rstrip("\n")) and _KEY_RUN.search(line)):
            break
        position += len(line)
    return position


def _removed(letters: re.Match[str]) -> str:
    return letters[0] if letters[0].startswith("\\") else REMOVED


def text_without_secrets(relative_path: str, text: str) -> str | None:
    """What may be indexed of a file: its text, without private keys; None when it may hold secrets as a whole."""
    if must_look_inside(relative_path) and has_literal_values(relative_path, text):
        return None
    return without_private_keys(text, is_code=detect_language(relative_path, text[:500]).category == "code")
