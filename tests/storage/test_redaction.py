"""No secret is kept, however it is written; what is none stays readable."""

from __future__ import annotations

import base64
import gzip
import json
import quopri
import time
import urllib.parse
from typing import Any

import pytest

from notifier_service.storage.redaction import REDACTED, Redaction

PASSWORD = "hunter2-Correct!"
TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAuXq8\nabcdEFGH0123\n-----END RSA PRIVATE KEY-----"
MAIL = f"Hi Bob,\n\nthe password is {PASSWORD} and the token {TOKEN}.\n\nBye"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def each(form: str, text: str) -> str:
    return "".join(form % byte for byte in text.encode())


SHAPES: dict[str, Any] = {
    "by key": {"password": PASSWORD},
    "by key in camel case": {"dbPassword": PASSWORD},
    "by key, nested": {"a": [{"b": {"apiKey": PASSWORD}}]},
    "by key, a structure": {"credentials": {"user": "bob", "value": [PASSWORD]}},
    "header": {"headers": {"Authorization": f"Bearer {PASSWORD}"}},
    "headers in pairs": {"headers": [["Authorization", f"Bearer {PASSWORD}"]]},
    "headers as text": f"GET / HTTP/1.1\nCookie: sid={PASSWORD}\nX-Api-Key: {PASSWORD}",
    "environment": {"env": [{"name": "DB_PASSWORD", "value": PASSWORD}]},
    "token by shape": {"text": f"use {TOKEN}"},
    "token as a key": {TOKEN: 1},
    "token behind a name": f"tool_{TOKEN}",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc123DEF",
    "random": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY9",
    "option": {"command": f"mysql -u root --password={PASSWORD} db"},
    "option apart": {"command": f"tool --password {PASSWORD}"},
    "option in quotation marks": {"command": f"tool --password '{PASSWORD} x'"},
    "option without a space": {"command": f"mysql -u root -p{PASSWORD} db"},
    "option in a list": {"argv": ["mysql", "--password", PASSWORD]},
    "option in a list, joined": {"argv": ["mysql", f"-p{PASSWORD}"]},
    "user of curl": {"command": f"curl -u bob:{PASSWORD} https://example.org"},
    "user of curl in a list": {"argv": ["curl", "-u", f"bob:{PASSWORD}", "https://example.org"]},
    "header of curl": {"command": f"curl -H 'X-Api-Key: {PASSWORD}' https://example.org"},
    "sshpass": {"command": f"sshpass -p {PASSWORD} ssh host"},
    "openssl": {"command": f"openssl rsa -passin pass:{PASSWORD}"},
    "docker login": {"command": f"docker login -u bob -p {PASSWORD}"},
    "here string": {"command": f"gh auth login --with-token <<< {PASSWORD}"},
    "pipe": {"command": f"echo {PASSWORD} | sudo -S ls"},
    "chpasswd": {"command": f"echo 'root:{PASSWORD}' | chpasswd"},
    "assignment": {"command": f"export API_TOKEN={PASSWORD}; run"},
    "assignment before a command": {"command": f"PGPASSWORD={PASSWORD} psql"},
    "here document": {"command": f"cat > .env <<EOF\nSECRET={PASSWORD}\nEOF"},
    "url with user": {"url": f"https://bob:{PASSWORD}@example.org/x"},
    "url with token": {"url": f"https://{TOKEN}@github.com/x.git"},
    "query": {"url": f"https://example.org/?a=1&token={PASSWORD}&b=2"},
    "connection string": {"dsn": f"Server=x;User Id=sa;Password={PASSWORD};"},
    "database url": {"dsn": f"postgres://u:{PASSWORD}@host/db"},
    "private key": {"text": KEY},
    "private key, cut": {"text": KEY[:60]},
    "mail": {"to": "bob@example.org", "body": MAIL},
    "mail, on a line of its own": {"body": f"Your new password:\r\n\r\n    {PASSWORD}\r\n"},
    "German": f"Das Passwort ist {PASSWORD}",
    "Chinese": f"密码是 {PASSWORD}, 密码：{PASSWORD}",
    "yaml": {"text": f"db:\n  password: {PASSWORD}\n  user: x"},
    "toml": {"text": f'secret_key = "{PASSWORD}"'},
    "xml": {"text": f'<password>{PASSWORD}</password><input type="password" value="{PASSWORD}">'},
    "table": {"text": f"| password | {PASSWORD} |"},
    "sql": {"text": f"ALTER USER bob WITH PASSWORD '{PASSWORD}'; CREATE USER x IDENTIFIED BY '{PASSWORD}'"},
    "json in a string": {"body": json.dumps({"password": PASSWORD})},
    "json in json in a string": {"body": json.dumps({"b": json.dumps({"secret": PASSWORD})})},
    "escaped json in a command": {"command": f"curl -d '{json.dumps(json.dumps({'password': PASSWORD}))}'"},
    "cookie of curl": {"command": f"curl -b 'session={PASSWORD}' https://example.org"},
    "part of a form": f'--b\r\nContent-Disposition: form-data; name="api_key"\r\nX: y\r\n\r\n{PASSWORD}\r\n--b--',
    "block of yaml": f"password: |\n  first\n  {PASSWORD}\nuser: x",
    "variable of a pod": f"env:\n  - name: DB_PASSWORD\n    value: '{PASSWORD}'",
    "column of csv": f"name,password\nbob,{PASSWORD}\nann,{PASSWORD}x\n",
    "column of markdown": f"| user | Password |\n|---|---|\n| bob | {PASSWORD} |",
    "cells of html": f"<tr><td>Password</td><td>{PASSWORD}</td></tr>",
    "entry of xml": f'<entry key="db.password">{PASSWORD}</entry>',
    "rows of sql": f"INSERT INTO users (name, password) VALUES ('bob', '{PASSWORD}')",
    "call": {"code": f"requests.get(url, auth=('bob', '{PASSWORD}')); smtp.login('a@example.org', '{PASSWORD}')"},
    "typed": {"code": f'let api_key: &str = "{PASSWORD}";'},
    "defined": {"code": f"define('DB_PASSWORD', '{PASSWORD}');"},
    "stores of secrets": {"command": f"vault kv put secret/x key={PASSWORD}; gh secret set X --body {PASSWORD}"},
    "upload": {"command": f"twine upload -u __token__ -p {PASSWORD} dist/*"},
    "share": {"command": f"net use Z: \\\\server\\share {PASSWORD} /user:bob"},
    "database tool": {"command": f"sqlplus scott/{PASSWORD}@db"},
    "secure string": {"command": f'ConvertTo-SecureString "{PASSWORD}" -AsPlainText'},
    "code of a sign-in": {"url": f"https://example.org/cb?code={PASSWORD}&state=1"},
    "private key, line by line": {"lines": KEY.split("\n")},
    "said far off": f"The password for the server is {PASSWORD}. Use the following token to sign in: {PASSWORD}",
    "said before": f"Use {PASSWORD} as the password",
    "names of two words in one": {"apitoken": PASSWORD, "storepass": PASSWORD, "backupCodes": [PASSWORD]},
    "names elsewhere": {
        "contraseña": PASSWORD,
        "motDePasse": PASSWORD,
        "пароль": PASSWORD,
        "パスワード": PASSWORD,
        "db_senha": PASSWORD,
    },
    "texts elsewhere": f"contraseña: {PASSWORD}\nmot de passe : {PASSWORD}\nпароль — {PASSWORD}\n비밀번호: {PASSWORD}",
    "unseen characters": f"pass\u200bword: {PASSWORD}",
    "quoted printable": {"body": quopri.encodestring(f"päßword password={PASSWORD} ".encode()).decode()},
}

#: How the whole or the secret is written otherwise, so that it must not be there in this form either.
ENCODED: dict[str, str] = {
    "base64": b64(f"user=bob\npassword={PASSWORD}"),
    "base64 of a token": b64(TOKEN),
    "base64 for urls, of a key": base64.urlsafe_b64encode(KEY.encode()).decode(),
    "base64 of json": b64(json.dumps({"password": PASSWORD})),
    "base64 twice": b64(b64(f"token={TOKEN}")),
    "base64 in lines": base64.encodebytes(MAIL.encode() * 3).decode(),
    "base64 of utf-16": base64.b64encode(f"$password = '{PASSWORD}'".encode("utf-16-le")).decode(),
    "percent": urllib.parse.quote(f"password={PASSWORD}", safe=""),
    "percent, each": each("%%%02X", f"password={PASSWORD}"),
    "percent, a token": each("%%%02X", TOKEN),
    "hexadecimal": f"password={PASSWORD}".encode().hex(),
    "hexadecimal, apart": f"password={PASSWORD}".encode().hex(" "),
    "base32": base64.b32encode(f"password={PASSWORD}".encode()).decode(),
    "compressed": base64.b64encode(gzip.compress(MAIL.encode())).decode(),
    "octal": each("\\%03o", f"password={PASSWORD}"),
    "escaped bytes": each("\\x%02x", TOKEN),
    "escaped characters": each("\\u%04x", f"password={PASSWORD}"),
    "entities": each("&#%d;", f"password: {PASSWORD}"),
}


@pytest.mark.parametrize("value", SHAPES.values(), ids=SHAPES)
def test_a_secret_is_nowhere_in_what_is_kept(value: Any) -> None:
    kept = json.dumps(Redaction().of({"value": value}), ensure_ascii=False)

    assert REDACTED in kept
    for secret in (PASSWORD, "hunter2", TOKEN, "MIIEowIBAAKCAQEA", "K7MDENG", "eyJzdWIi"):
        assert secret not in kept


@pytest.mark.parametrize("text", ENCODED.values(), ids=ENCODED)
def test_a_secret_that_is_encoded_is_not_kept_in_that_form(text: str) -> None:
    kept = Redaction().of({"data": f"see {text} here", "whole": text})

    assert REDACTED in kept["data"]
    assert REDACTED in kept["whole"]
    assert text not in json.dumps(kept)


@pytest.mark.parametrize(
    "value",
    [
        {"path": "/srv/app/Documents/Projects2024/src/NotifierService/main.py"},
        {"command": "git commit -m 'fix the token bucket' && git push"},
        {"command": "python -m pytest tests/test_token.py"},
        {"command": "docker run -p 8080:80 nginx && ssh -p 2222 host && mkdir -p /a/b"},
        {"max_tokens": 1000, "temperature": 0.2, "password": None, "secret": True},
        {"text": "Please reset your password on the page."},
        {"sha": "3f786850e387550fdab836ed7e6dc881de23001b", "id": "550e8400-e29b-41d4-a716-446655440000"},
        {"url": "https://example.org/a/b?page=2&sort=asc", "t": "a=b%20c"},
        {"to": "bob@example.org", "body": "See you at 10:30.\nBob"},
        {"query": "SELECT * FROM users WHERE id = 42"},
        {"amount": 100, "key": "value", "list": [1, None, True, []]},
    ],
)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert Redaction().of(value) == value


@pytest.mark.parametrize(
    "name",
    ["secret_manager_get_value", "npm_install_packages", "key-value-store-get", "hf_searchModels_2024",
     "pat-list-all-users", "sk-kubernetes-deploy", "session-550e8400-e29b-41d4-a716-446655440000",
     "EAA_account_balance"],
)  # fmt: skip
def test_names_of_tools_and_sessions_stay(name: str) -> None:
    assert Redaction().name(name) == name


@pytest.mark.parametrize(
    "token",
    [
        TOKEN,
        f"tool_{TOKEN}",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc123DEF",
        "xoxb-123456789012-AbCdEfGhIj",
        "npm_a1B2c3D4e5F6g7H8i9J0",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_a_name_that_is_a_token_does_not(token: str) -> None:
    assert REDACTED in Redaction().name(token)


def test_names_of_secrets_may_be_added() -> None:
    redaction = Redaction(["customer_no"])

    kept = redaction.of({"customerNo": "8812-77", "text": "the customer-no=8812-77x", "other": "8812"})

    assert kept == {"customerNo": REDACTED, "text": f"the customer-no={REDACTED}", "other": "8812"}


@pytest.mark.parametrize(
    "piece",
    ["a", "password ", "=", "\\", "a-", "--", "http://", "echo ", "curl ", "AbC1", "%41", "&#65;", "\\u0041", "'",
     '"password" ', "mysql ", "token ", " ", "[", "a.b-", "ghp_", "eyJ", "SG.", "curl -u ", "pass", "1:",
     "-----BEGIN PRIVATE KEY-----", "<b>", "password</b>", "name=password\n", "password:|\n ", "a,password\n", "login(",
     "use x as ", "word-word-", "insert into a (password", "\u200b", "passwort für "],
)  # fmt: skip
def test_hostile_text_takes_no_long_time(piece: str) -> None:
    text = piece * (8000 // len(piece))
    began = time.process_time()

    Redaction().of({"text": text})

    assert time.process_time() - began < 0.5
