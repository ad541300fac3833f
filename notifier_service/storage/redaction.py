"""Takes what looks like a secret out of what is about to be kept: parameters, and what people and agents say of them.

A secret is found by the name that it stands under, by its shape, and by what stands before it in text: in commands,
URLs, headers, e-mails, JSON within a string, and where the whole is encoded. Better too much is taken out than too
little: hashes of the whole stand beside what is written.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import math
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any
from urllib.parse import unquote_plus

from ..core.redaction import CREDENTIAL

__all__ = ["REDACTED", "Redaction"]

REDACTED = "[redacted]"

#: Names of secrets as one of their words, in any style: ``userPassword``, ``X-Auth-Token``, ``DB_PASSWD``.
_SECRET_WORD = re.compile(
    r"pass(word|wd|wort|phrase|code)?s?|kennwort|pwd|pw|pin|otp|totp|mfa|cvv|cvc|secrets?|tokens?|jwt|bearer|cred(ential)?s?"
    r"|auth(orization|entication)?|apikeys?|cookies?|signature|sig|sas|seed|mnemonic|sessionid|privkey|pgpassword|sshpass"
    r"|accesskey|secretkey|privatekey|csrf|xsrf|verifier|clave|senha|heslo|parola|mdp|phpsessid|jsessionid"
    r"|(credit|debit)card(number|no)?|cardn(umber|o)|(recovery|backup|verification|security|access|pass)codes?"
)
#: How names of secrets end whose words are not told apart: ``apitoken``, ``dbpassword``, ``storepass``.
_SECRET_END = re.compile(
    r".*(?:password|passwd|passphrase|secret|token|apikey|credentials|(?:store|key|user|db|admin|root|login|smtp|ssh)pass)"
)
#: What people elsewhere call a password or a key; plain, as it may be joined to other words.
_ELSEWHERE = (
    "contraseña", "contrasena", "contrasenya", "motdepasse", "пароль", "密码", "密碼", "口令", "密钥", "密鑰", "令牌",
    "パスワード", "暗証番号", "비밀번호", "암호", "wachtwoord", "hasło", "haslo", "lösenord", "losenord", "şifre",
    "sifre", "salasana", "jelszó", "jelszo", "adgangskode", "passord", "parool", "пароля", "κωδικός", "סיסמה",
    "كلمةالمرور", "كلمةالسر", "mậtkhẩu", "matkhau", "รหัสผ่าน", "पासवर्ड", "kennwort", "passwort", "geheimnis",
    "palavrapasse", "parolachiave", "paroladordine", "zaporka", "lozinka", "slaptažodis",
)  # fmt: skip
#: What makes a secret of a key.
_KEY_WORD = re.compile(
    r"api|access|secret|private|signing|encryption|ssh|auth|account|master|service|client|license|shared|host|deploy|session"
    r"|webhook|app|storage|subscription|rsa|pgp|gpg|aes|hmac|x|recovery|user|admin"
)
_WORD_OF_NAME = re.compile(r"[a-z]*(?:[A-Z]+[a-z]+)*[A-Z]*\d{0,4}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")

#: Secrets by their own shape.
_SHAPES = re.compile(
    "|".join(
        (
            CREDENTIAL,
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)",
            r"PuTTY-User-Key-File-[\s\S]*",
            r"AGE-SECRET-KEY-1[0-9A-Za-z]{20,}",
            r"(?<![^\W_])(?:gh[pousr]_|github_pat_|glpat-|gl[a-z]{2,6}-|xox[a-z]-|xapp-|npm_|pypi-|hf_|dop_v1_|doo_v1_"
            r"|shp(?:at|ss|ca|pa)_|lin_api_|PMAK-|dp\.(?:pt|st|ct|sa)\.|hv[sbr]\.|sq0[a-z]{3}-|sk-|sk_|rk_|pk_live_|whsec_|GOCSPX-|ya29\."
            r"|SG\.|key-|dapi|AccountKey=|EAA|figd_|ntn_|secret_|nvapi-|gsk_|xai-|r8_|pat-|atlasv1\.|ATATT|rubygems_|AQ[ED]"
            r"|sntrys_|glsa_|tskey-|PMAK|CCIPAT_|bkua_|phc_|phx_|rpa_|sbp_|vercel_|fly[v_]|oy2)[\w.+/=-]{12,}",
            r"(?<![^\W_])(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}",
            r"(?<![^\W_])AIza[\w-]{20,}",
            r"(?<![^\W_])(?:SK|AC)[0-9a-f]{32}\b",
            r"(?<![^\W_])\d{8,10}:[\w-]{30,}",
            r"(?<![^\W_])[MNO][\w-]{23,28}\.[\w-]{6}\.[\w-]{27,}",
            r"https://hooks\.slack\.com/\S+",
            r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\S+",
            r"(?<![^\W_])b3BlbnNzaC1rZXktdjE[\w+/=\s]*",
            r"(?<![^\W_])v1\.0-[0-9a-f]{24}-[0-9a-f]{16,}",
            r"\$(?:2[aby]|5|6|y|argon2\w+)\$[\w./$=,+-]{20,}",
        )
    )
)

_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
#: Words that are no part of another one, and those that may be.
_NAMED = (
    r"(?:(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
    r"(?:pass(?:es)?|pwd|pw|creds|cred|cookie|sig|otp|pin|bearer|jwt|auth|x[_-]?auth)(?![a-z])"
    r"|pass(?:word|wd|phrase|code|wort)s?|kennwort|secrets?|tokens?|credentials?|signature|authorization"
    r"|(?:api|access|secret|private|account|signing|encryption|auth)[ _.-]?keys?|auth[ _.-]?token"
    r"|(?:time|verification|security|login|access|2fa)\scode"
    r"|contrase[ñn]a|senha|mot\sde\spasse|пароль|密[码碼钥鑰]|口令|令牌|パスワード|暗証番号|비밀번호|암호|wachtwoord|has[łl]o|l[öo]senord"
    r"|şifre|salasana|jelsz[óo]|adgangskode|passord|κωδικός|סיסמה|كلمة\s(?:المرور|السر)|mật\skhẩu|รหัสผ่าน|पासवर्ड|parola\sd'ordine"
    r"|palavra[\s-]passe|lozinka|phpsessid|jsessionid|connect\.sid)"
)
#: What is hardly a word: digits or signs in it, or several words joined.
_LIKE_SECRET = r"(?= [\w+/=.!@\#$%^*-]{0,500} [\d+/=!@\#$%^*] | \w{1,40} (?:-\w{1,40}){2,} )"  # noqa: S105  # it finds them
_QUOTE = r"""(?:\\{0,8}["'`]|&quot;|&[#]3[49];)"""
#: ``password: x``, ``"token": "x"``, ``DB_PASSWORD=x``, ``the password is x``, ``\"secret\":\"x\"``.
_ASSIGNED = re.compile(
    rf"""(?ix)
    (?P<name> {_NAMED} [\w.-]{{0,20}} {_QUOTE}? \]? [*_]{{0,3}} \s{{0,4}}
        (?: [:=]{{1,3}}>? [*_]{{0,3}} | ,? \s{{0,20}} {_QUOTE}? \b value {_QUOTE}? \s? [:=] | [-=]> | [→⇒：是|]
          | \s[-–—]\s | \b(?:is|was|to|ist|lautet|est|es|er|är|jest)\b:? | [éèは]
          | (?<=[a-z]) \s? > | \bvalue= | <<< )
        (?: \\? \s ){{0,12}}
        (?: (?:bearer|basic|token|digest|apikey) (?: \\? \s ){{1,4}} )? [*_]{{0,3}} )
    (?P<quote> {_QUOTE}? )
    (?P<value> [^\s"'`\\&;,<>|)}}\]]+ )
    """
)
#: The same in quotation marks, with white space in it: ``password "x y"``, ``IDENTIFIED BY 'x'``.
_QUOTED = re.compile(
    rf"""(?isx)
    (?P<name>
        (?: {_NAMED} [\w.-]{{0,20}} {_QUOTE}? \]? \s{{0,4}}
            (?: [:=]{{1,3}}>? | -> | [\s,] | : \s? [&'\w<>]{{1,40}} \s? = )
          | \bidentified\s+by\s )
        \s{{0,4}} )
    (?P<quote> \\{{0,8}}["'`] ) (?P<value> (?: (?!(?P=quote)) . ){{1,8192}} ) (?P=quote)
    """
)
#: ``the password for the server is x9!``: what stands so far off must look like a secret.
_SAID = re.compile(
    rf"""(?ix)
    (?P<name> {_NAMED} (?: [ \t]{{1,2}} [\w'.@-]{{1,30}} ){{1,6}}?
        (?: [ \t]{{1,2}} (?: is | was | to | ist | lautet | est | es ) :? | [ \t]? : ) \s{{1,4}} ["'`]? )
    (?P<value> {_LIKE_SECRET} [^\s"'`\\;<>|]{{4,}} )
    """
)
#: A part of a form, and a block of YAML.
_PART = re.compile(
    rf"""(?ix)
    (?P<name> \b name \s? = \s? ["']? [\w.-]{{0,40}}? {_NAMED} [\w.-]{{0,20}} ["']? [^\n]{{0,200}} \n
        (?: [\w-]{{1,40}} : [^\n]{{0,200}} \n ){{0,4}} \r? \n )
    (?P<value> [^\r\n]+ )
    """
)
_BLOCK = re.compile(
    rf"""(?ix)
    (?P<name> {_NAMED} [\w.-]{{0,20}} {_QUOTE}? \s? : \s{{0,4}}? [|>] [-+\d]{{0,2}} [ \t]* \r? \n (?P<indent> [ \t]+ ) )
    (?P<value> [^\n]+ (?: \n (?P=indent) [^\n]+ )* )
    """
)
#: ``<td>Password</td><td>x</td>``, ``<entry key="password">x</entry>``
_MARKED = re.compile(
    rf"""(?ix)
    (?P<name> {_NAMED} [\w.-]{{0,20}}
        (?: {_QUOTE} [^<>\n]{{0,200}} > \s{{0,8}}
          | [:=]? \s{{0,2}} (?: </?[a-z][^<>]{{0,200}}> \s{{0,8}} [:=]? \s{{0,2}} ){{1,4}} ) )
    (?P<value> [^\s<>]{{4,}} )
    """
)
#: ``use x as the password``
_USED_AS = re.compile(
    rf"""(?ix) (?P<name> \b (?:use|enter|type|with|set) \s ["'`]? ) (?P<value> [^\s"'`]{{4,200}} )
    (?= ["'`]? \s as \s (?:\w{{1,20}}\s){{0,3}} {_NAMED} )"""
)
#: ``auth=("bob", "x")``, ``smtp.login("bob", "x")``.
_CALLED = re.compile(
    r"""(?ix)
    (?P<name> (?: auth | login | credentials? | HTTP \w{0,12} Auth ) \s? =? \s? [\w.]{0,40} \( \s?
        (?P<opening> ["'] ) [^"'\n]{0,200} (?P=opening) \s? , \s? (?:\w{1,20}\s?=\s?)? )
    (?P<quote> ["'] ) (?P<value> (?: (?!(?P=quote)) . ){1,500} ) (?P=quote)
    """
)
#: ``vault kv put secret/x key=y``, ``gh secret set NAME --body y``, and rows for a table with a column of secrets.
_HANDED = re.compile(
    rf"""(?ix)
    (?P<name> \b vault \s+ (?:kv\s+)? (?:put|patch|write) \s+ \S{{1,200}} \s+
      | \b secrets? \s+ (?:set|put|add) \s+
      | \b put-parameter \b [^\n|;]{{0,500}}? \s --value [\s=]+
      | \b insert \s+ into \s+ [^\s(]{{1,200}} \s* \( [^()]{{0,500}}? {_NAMED} [^()]{{0,500}} \) \s* values \s* )
    (?P<value> [^\n|;&]+ )
    """  # noqa: S608  # it finds what others ask of a database
)
#: ``?code=x&sig=y``
_QUERY = re.compile(
    r"(?i)(?P<name>[?&#](?:code|key|ticket|assertion|saml(?:response|request)|hmac|sid)=)(?P<value>[^\s&#\"'<>]{6,})"
)
#: A line of a file of passwords of PostgreSQL.
_PGPASS = re.compile(r"(?P<name>(?<![\w:])[\w.*-]{1,99}:(?:\d{2,5}|\*):[\w.*-]{1,60}:[\w.*-]{1,60}:)(?P<value>[^\s:]+)")
#: What follows an option or a command that takes a secret.
_OPTIONS = re.compile(
    rf"""(?x)
    (?P<name>
        \b wpa_passphrase \s+ \S{{1,100}} \s+
      | (?i: {_NAMED} [\w-]{{0,20}} (?: \s{{1,4}} | \s{{0,2}} [(?\[] \s? ) {_LIKE_SECRET} )
      | \b (?:sudo|su|passwd|login|cryptsetup|gh\s+auth) \b [^\n|;]{{0,200}}? <<< \s*
      | \b vault \s+ login \s+ (?:-\S{{1,40}}\s+){{0,3}}
      | (?i: \b (?: sqlplus|sqlldr|expdp|impdp|rman \s+ target | (?:log|sign)(?:ged)?\s?[io]n\s(?:with|as) ) \s+
          | \bthin: ) [\w.@-]{{1,60}} /
      | (?i: (?<=[-\w]) {_NAMED} [\s=]{{1,4}} (?<=\s) )
      | (?i: \b (?:bearer|basic|digest) \s{{1,4}} )
      | \b (?:curl|wget|https?|httpie|xh) \s [^\n|;]{{0,500}}? (?<=\s)
          (?: (?:-u|--user|-U|--proxy-user|-a|--auth) [\s=]* ["']? [^\s:"']{{0,200}} :
            | (?:-b|--cookie|--oauth2-bearer|--proxy-header|--pass) [\s=]+ )
      | \b lftp \s [^\n|;]{{0,500}}? (?<=\s) (?:-u|--user) [\s=]* [^\s,]{{1,200}} ,
      | (?i: \b ConvertTo-SecureString \s+ (?:-String\s+)? )
      | \b net \s+ (?: use \s+ (?:\S{{1,9}}\s+)? \\{{2,8}} \S{{1,200}} | user \s+ \S{{1,100}} ) \s+ (?! [/&|<>] )
      | \b (?:sshpass|az|zip|7z|unzip|rar|mysql|mysqldump|mysqladmin|mongo|mongosh|mariadb|sqlcmd|redis-cli
          |ldapsearch|ldapadd|ldapmodify|smbclient|rdesktop|xfreerdp|keytool|login|twine|psexec|svn|mycli|cqlsh|cypher-shell
          |influx|ipmitool|evil-winrm|crackmapexec|netexec|nxc|useradd|usermod|ncftp|ncftpget|ncftpput|mysqlimport|mysqlcheck|mongodump)
          \s [^\n|;]{{0,500}}? (?<=\s) (?:-p|-P|-a|-w) \s? ["']?
      | \b (?:openssl|ssh-keygen) \s [^\n|;]{{0,500}}? (?<=\s) (?:-k|-N|-P) \s{{1,4}} ["']?
      | \b net \s+ use \s [^\n|;]{{0,200}}? /user:\S{{1,100}} \s+
      | --from-literal[=\s] [\w.-]{{1,100}} =
      | (?i: \b (?:login|log-in|access|account|zugang\w{{0,10}}) \s? : \s? [\w.@-]{{1,100}} \s? / \s? )
      | (?i: \b pass (?:in|out|phrase)? [:\s] \s? (?:pass|env|str): )
      | \b htpasswd \s+ -\S{{0,9}}b\S{{0,9}} \s+ \S{{1,200}} \s+ \S{{1,200}} \s+
      | \b smbclient \s [^\n|;]{{0,500}}? -U \s* [^\s%]{{1,200}} %
      | \b (?:echo|printf) \s+ (?:-\w+\s+)? (?:['"]?%s(?:\\n)?['"]?\s+)?
          (?= [^\n|;]{{1,500}} \| \s*
              (?:sudo\s+-S|chpasswd|passwd|su\b|docker\s+login|gh\s+auth|cryptsetup|openssl|base64) )
    )
    (?P<quote> ["'] ? )
    (?P<value> (?: (?<=["']) [^"'\n]+ | [^\s"'\n|;]+ ) )
    """
)
#: ``scheme://user:secret@host``, and a secret without a user.
_USERINFO = re.compile(r"(?P<name>\b[A-Za-z][\w+.-]{0,40}:/{2})(?P<value>[^\s/?#@\"'<>]{1,2000})(?=@)")
#: ``root:secret`` where it is handed to what sets passwords.
_BEFORE_HOST = re.compile(r"(?P<name>(?<![\w/:.-])[\w.-]{1,64}:)(?P<value>[^\s:/@]{6,200})(?=@(?!sha\d)[\w.-]{1,200})")
_CHPASSWD = re.compile(r"(?P<name>chpasswd\s*<<<?-?\s*['\"]?\w{0,20}['\"]?\s*[\w.-]{1,64}:)(?P<value>\S+)")

#: Random characters of at least this many, of three kinds.
_RANDOM = re.compile(r"(?<![\w+/=-])[A-Za-z0-9_+-]{28,}={0,2}|(?<![\w+/=.-])[A-Za-z0-9/+]{40}(?![\w+/=-])")
_PACKED = re.compile(r"[A-Za-z0-9+/_-]{12,}(?:\r?\n[ \t]*[A-Za-z0-9+/_-]{4,})*={0,2}")
_HEX = re.compile(
    r"(?<![0-9A-Za-z])(?:\\x)?[0-9A-Fa-f]{2}(?P<between>\\x|[ :]|)[0-9A-Fa-f]{2}(?:(?P=between)[0-9A-Fa-f]{2}){6,}"
)
#: Characters that are not seen, or that only look like those of ASCII.
_UNSEEN = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_CODED = re.compile(
    r"%[0-9A-Fa-f]{2}|&#?\w{2,8};|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[0-7]{3}|=[0-9A-F]{2}|\+"
    rf"|[{_UNSEEN}\uff01-\uff5e]"
)
_BACKSLASHED = re.compile(r"\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})|\\([0-3][0-7]{2})")
_BASE32 = re.compile(r"(?<![\w=])[A-Z2-7]{16,}={0,6}")
_PRINTABLE_PART = 0.85
#: Bytes that are looked at of what was compressed.
_MOST_INFLATED = 16 * 1024

#: How often an encoded text within an encoded text is looked into.
_MOST_LAYERS = 4


class Redaction:
    """Takes out what looks like a credential; ``keys`` are more names, or parts of names, whose values are secret."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = tuple(_plain(key) for key in keys if _plain(key))

    def of(self, value: Any) -> Any:
        """The same JSON value, with ``[redacted]`` in the place of each secret in it. Never raises for JSON."""
        return self._value(value, _MOST_LAYERS)

    def name(self, text: str) -> str:
        """A name or an id without what has the shape of a credential; one that is only random stays."""
        return text if len(text) < _SHORTEST_SHAPE else _SHAPES.sub(_unless_words, text)

    def is_secret(self, key: str) -> bool:
        """Whether what stands under this name is taken for a secret."""
        plain = _plain(key)
        if any(name in plain for name in self._keys):
            return True
        words = [word.lower() for word in _WORD.findall(key)]
        if any(map(_SECRET_WORD.fullmatch, (plain, *words))) or _SECRET_END.fullmatch(plain):
            return True
        if not plain.isascii() or len(plain) >= _SHORTEST_ELSEWHERE:
            composed = unicodedata.normalize("NFC", plain)
            if any(name in composed for name in _ELSEWHERE):
                return True
        return any(word in ("key", "keys") and _KEY_WORD.fullmatch(before) for before, word in pairwise(words))

    def _value(self, value: Any, layers: int) -> Any:
        if isinstance(value, str):
            return self._text(value, layers)
        if isinstance(value, Mapping):
            return self._mapping(value, layers)
        if isinstance(value, list | tuple):
            return self._list(value, layers)
        return value

    def _mapping(self, mapping: Mapping[str, Any], layers: int) -> dict[str, Any]:
        redacted = {}
        for key, value in mapping.items():
            name = self._text(key, 1) if len(key) >= _SHORTEST else key
            redacted[name] = _hidden(key, value) if self.is_secret(key) else self._value(value, layers)
        # ``{"name": "password", "value": "x"}``, as environments, headers and forms are written.
        named = next((value for key, value in mapping.items() if key.lower() in _NAMING and type(value) is str), None)
        if named is not None and self.is_secret(named):
            for key in mapping:
                if key.lower() in _HOLDING:
                    redacted[key] = REDACTED
        return redacted

    def _list(self, values: Iterable[Any], layers: int) -> list[Any]:
        redacted: list[Any] = []
        before: Any = None
        is_in_key = False
        for value in values:
            if isinstance(value, str) and (is_in_key or _KEY_BEGINS.search(value)):
                # A private key, line by line.
                redacted.append(REDACTED)
                is_in_key = "-----END" not in value
            elif isinstance(before, str) and isinstance(value, str) and self._announces(before):
                redacted.append(REDACTED)
            else:
                redacted.append(self._value(value, layers))
            before = value
        # Words of one command, of which each alone says nothing.
        texts = [value for value in redacted if isinstance(value, str)]
        if len(texts) == len(redacted) > 1 and sum(map(len, texts)) < 4096:
            line = " ".join(texts)
            if line != _by_pattern(line):
                words = _by_pattern("\0".join(texts).replace("\0", " ")).split(" ")
                if len(words) == len(texts):
                    return list(words)
        return redacted

    def _announces(self, word: str) -> bool:
        """Whether the next of a list of words is the secret: ``--password``, ``Authorization``, ``-p``."""
        if len(word) > 64 or " " in word or "=" in word:
            return False
        return word in ("-p", "-P", "-u", "--user", "-w") or self.is_secret(word.lstrip("-"))

    def _text(self, text: str, layers: int) -> str:
        if len(text) < _SHORTEST:
            return text
        if _is_plain(text):
            return self._by_keys(text)
        if layers and text[:1] in '{["' and (told := _json_in(text)) is not None:
            redacted = self._value(told, layers - 1)
            if redacted != told:
                return json.dumps(redacted, ensure_ascii=False)
        redacted = self._by_keys(_by_pattern(self._table(text)))
        if layers:
            redacted = self._packed(redacted, layers)
            redacted = self._coded(redacted, layers)
        return redacted

    def _by_keys(self, text: str) -> str:
        for key in self._keys:
            text = _of_key(key).sub(_behind, text)
        return text

    def _table(self, text: str) -> str:
        """Without what stands in the columns of a table (CSV, Markdown) whose heads are names of secrets."""
        lines = text.splitlines(keepends=True)
        if len(lines) < 2:
            return text
        for number, (line, following) in enumerate(pairwise(lines)):
            for mark in _MARKS:
                heads = line.split(mark)
                if len(heads) < 2 or len(line) > 1024 or following.count(mark) != line.count(mark):
                    continue
                secret = [at for at, head in enumerate(heads) if self._is_head(head)]
                if secret:
                    rows = (_row(row, mark, secret) for row in lines[number + 1 :])
                    return "".join((*lines[: number + 1], *rows))
        return text

    def _is_head(self, cell: str) -> bool:
        name = cell.strip().strip("\"'`*")
        return 0 < len(name) <= 40 and not re.search(r"[=:(){}<>$/]", name) and self.is_secret(name)

    def _packed(self, text: str, layers: int) -> str:
        """Without pieces that are base64 or hexadecimal of something with a secret in it."""

        def unpacked(found: re.Match[str], unpack: Callable[[str], Iterable[bytes]]) -> str:
            for data in unpack(found[0]):
                for plain in _texts(data):
                    if self._text(plain, layers - 1) != plain:
                        return REDACTED
            return found[0]

        text = _BASE32.sub(lambda found: unpacked(found, _from_base32), text)
        text = _PACKED.sub(lambda found: unpacked(found, _from_base64), text)
        return _HEX.sub(lambda found: unpacked(found, _from_hex), text)

    def _coded(self, text: str, layers: int) -> str:
        """Without words that hide a secret by writing some characters otherwise."""
        if not _CODED.search(text):
            return text
        plain = _decoded(text)
        if plain == text or not self._is_dirty(plain, layers):
            return text
        words = re.split(r"(\s+)", text)
        cleaned = [REDACTED if self._is_dirty(_decoded(word), layers) else word for word in words]
        redacted = "".join(cleaned)
        # A secret that is spread over words: then nothing of the text is safe.
        return REDACTED if self._is_dirty(_decoded(redacted), layers) else redacted

    def _is_dirty(self, text: str, layers: int) -> bool:
        return self._text(text, layers - 1) != text


#: No credential that is known by its shape is shorter.
_SHORTEST_SHAPE = 14
#: Without any of these, and without a long word, there is no secret that could be found: most text is told so at once.
_TRACES = (
    "pass", "pw", "secret", "token", "key", "cred", "cookie", "auth", "bearer", "basic", "digest", "jwt", "otp", "pin",
    "sig", "identified", "login", "access", "account", "zugang", "kennwort", "密", "口令", "令牌", "@", " -",
    "sid", "code", "senha", "mot de", "wachtwoord", "haslo", "losenord", "salasana", "jelszo", "adgangs", "parola",
    "palavra", "lozinka", "contrasena", "ticket", "assert", "saml", "hmac", ":", "net", "<<<", "--", "echo", "printf",
    "$", "%", "&", "\\u", "\\x", "=", "{", "[", '"',
)  # fmt: skip
_LONGEST_PLAIN_WORD = 11


def _is_plain(text: str) -> bool:
    """Whether it is certain, after a short look, that no pattern matches."""
    if len(text) > 4096 or not text.isascii():
        return False
    lowered = text.lower()
    if any(trace in lowered for trace in _TRACES):
        return False
    words = text.split()
    return max(map(len, words), default=0) <= _LONGEST_PLAIN_WORD and not (len(words) > 7 and _HEX.search(text))


#: No name of a secret in Latin letters from elsewhere is shorter.
_SHORTEST_ELSEWHERE = min(len(name) for name in _ELSEWHERE if name.isascii())
#: No secret, and no name of one with its value, is shorter.
_SHORTEST = 6

_NAMING = frozenset({"name", "key", "field", "header", "variable", "var", "id", "param", "parameter", "option"})
_HOLDING = frozenset({"value", "val", "values", "data", "content", "default", "text"})

_SAFE_VALUE = re.compile(
    r"(?i)(?:true|false|null|none|yes|no|\[redacted\]?|\*+|required|optional|[A-Z_]*\$\{?[\w]+\}?)\Z"
)


#: What stands between the columns of tables.
_MARKS = (",", ";", "\t", "|")


def _row(row: str, mark: str, secret: Iterable[int]) -> str:
    cells = row.split(mark)
    for at in secret:
        cell = cells[at] if at < len(cells) else ""
        if (value := cell.strip()) and value.strip("-: "):
            cells[at] = cell.replace(value, REDACTED)
    return mark.join(cells)


def _plain(key: str) -> str:
    return re.sub(r"[\W_]+", "", key).lower()


def _hidden(key: str, value: Any) -> Any:
    """What stands in the place of a value with a secret name. What cannot hold one stays: yes, no, nothing, empty."""
    if value is None or isinstance(value, bool) or value in ("", [], {}):
        return value
    if isinstance(value, int | float) and re.search(r"(?i)tokens|count|max|min|limit|size|length|seconds|ttl", key):
        return value
    return REDACTED


def _behind(found: re.Match[str]) -> str:
    if _SAFE_VALUE.match(found["value"]):
        return found[0]
    groups = found.groupdict()
    quote = groups.get("quote") or ""
    closing = quote if found[0].endswith(quote) and len(found[0]) > len(found["name"] + quote + found["value"]) else ""
    return f"{found['name']}{quote}{REDACTED}{closing}"


def _by_pattern(text: str) -> str:
    text = _SHAPES.sub(REDACTED, text)
    for pattern in (
        _USERINFO, _CALLED, _HANDED, _PART, _BLOCK, _MARKED, _USED_AS, _BEFORE_HOST, _PGPASS, _QUERY, _SAID,
        _QUOTED, _ASSIGNED, _OPTIONS, _CHPASSWD,
    ):  # fmt: skip
        text = pattern.sub(_behind, text)
    return _RANDOM.sub(_if_random, text)


def _of_key(key: str) -> re.Pattern[str]:
    """Finds a setting of this name in text, however its words are joined."""
    name = r"[\W_]?".join(map(re.escape, key))
    return re.compile(
        rf"(?i)(?P<name>{name}\w{{0,20}}{_QUOTE}?\s{{0,4}}[:=\s]\s{{0,4}})(?P<quote>{_QUOTE}?)(?P<value>[^\s\"'`\\&;,<>]+)"
    )


def _unless_words(found: re.Match[str]) -> str:
    """``secret_manager_get_value`` and ``npm_install_packages`` are names, whatever they begin with."""
    pieces = re.split(r"[_.-]", found[0])
    return found[0] if all(len(piece) < 25 and _WORD_OF_NAME.fullmatch(piece) for piece in pieces) else REDACTED


def _if_random(found: re.Match[str]) -> str:
    text = found[0]
    kinds = (any(map(str.islower, text)), any(map(str.isupper, text)), any(map(str.isdigit, text)))
    return REDACTED if all(kinds) and _entropy(text) > 3.5 else text


def _entropy(text: str) -> float:
    """Bits a character, as its own characters say."""
    return -sum(share * math.log2(share) for share in (text.count(each) / len(text) for each in set(text)))


def _json_in(text: str) -> Any:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict | list | str) else None


def _from_base64(text: str) -> Iterable[bytes]:
    packed = re.sub(r"\s+", "", text).rstrip("=").replace("-", "+").replace("_", "/")
    packed = packed[: len(packed) - (len(packed) % 4 == 1)]
    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return
    yield data
    if data.startswith((b"\x1f\x8b", b"\x78")):
        with suppress(zlib.error):
            yield zlib.decompressobj(wbits=47).decompress(data, _MOST_INFLATED)


def _from_base32(text: str) -> Iterable[bytes]:
    packed = text.rstrip("=")
    with suppress(binascii.Error, ValueError):
        yield base64.b32decode(packed + "=" * (-len(packed) % 8))


def _from_hex(text: str) -> Iterable[bytes]:
    try:
        yield bytes.fromhex(re.sub(r"\\x|[ :]", "", text))
    except ValueError:
        return


def _texts(data: bytes) -> Iterable[str]:
    """What text the bytes may be, if any."""
    for encoding in ("utf-8", "utf-16-le"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text and sum(each.isprintable() or each.isspace() for each in text) >= _PRINTABLE_PART * len(text):
            yield text


def _decoded(text: str) -> str:
    text = _BACKSLASHED.sub(lambda found: chr(int(found[3], 8) if found[3] else int(found[1] or found[2], 16)), text)
    text = unicodedata.normalize("NFKC", re.sub(f"[{_UNSEEN}]", "", text)) if not text.isascii() else text
    text = html.unescape(text)
    text = re.sub(r"=\r?\n", "", text)
    text = re.sub(r"=([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), text)
    return unquote_plus(text, errors="replace") if "%" in text else text
