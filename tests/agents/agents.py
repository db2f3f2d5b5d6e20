"""Who the agents are: for each provider of the router the variables of its own, its login, and what it is known to say of its usage.

A new provider is a row here; the cases go over all of them.
"""

import base64
import json
from dataclasses import dataclass, field

NEVER = 4070908800
NO_NPX = "the original has no command with npx for it"


@dataclass(frozen=True)
class Agent:
    """One provider that drives an agent."""

    id: str
    program: str
    # What points it at an address, with a key.
    own: callable
    # The names of its own keys.
    keys: tuple
    # Plants a login in a home; returns the file that holds it. With `stale`, one that has to be refreshed first.
    login: callable
    # What is on the wire of a run that is logged in: the token.
    token: str
    # Hosts that it asks, as what it is.
    hosts: tuple = ()
    # Hosts that it asks besides where it is logged in.
    login_hosts: tuple = ()
    # The arguments of the bare program for one prompt, and what else it needs to be asked without the router.
    bare: tuple = ()
    bare_environment: callable = lambda address: {}
    # The arguments that the user himself would give it for one prompt.
    session: tuple = ()
    # Parts of the usage that it does not report.
    silent: tuple = ()
    # The original's command that has npx find the program, the variable that says so, and what else the bare program is told for it.
    npx: tuple = ()
    # Whether it answers in a form that is asked for.
    takes_schema: bool = True
    # The mode for its tools that is meant where none is named, and one in which it writes into its folder unasked.
    modes: tuple = ()
    # Whether what a folder says to it counts where it works there with its tools.
    trusts_folder: bool = False
    # What becomes of a case where it does not tell as much as the others: the kind of the error, or how the answer ended.
    tells: dict = field(default_factory=dict)
    # Cases that it cannot play, each with the reason.
    excused: dict = field(default_factory=dict)


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    path.chmod(0o600)
    return path


def claude_own(address):
    return {"ANTHROPIC_BASE_URL": address, "ANTHROPIC_API_KEY": "key-of-claude"}


def claude_login(home, stale=False):
    login = {"accessToken": "token-of-claude", "refreshToken": "old-of-claude", "expiresAt": (1 if stale else NEVER) * 1000}
    return write(home / ".claude/.credentials.json", {"claudeAiOauth": {**login, "scopes": ["user:inference", "user:profile"], "subscriptionType": "max"}})


def codex_own(address):
    return {"OPENAI_BASE_URL": f"{address}/v1", "OPENAI_API_KEY": "key-of-codex"}


def jwt(claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}.c2ln"


def codex_token(until):
    """An access token of a ChatGPT account."""
    account = {"chatgpt_plan_type": "pro", "chatgpt_account_id": "acct-planted", "chatgpt_user_id": "somebody"}
    return jwt({"email": "somebody@example.com", "exp": until, "https://api.openai.com/auth": account})


CODEX_TOKEN = codex_token(NEVER)


def codex_login(home, stale=False):
    token = codex_token(1 if stale else NEVER)
    tokens = {"id_token": token, "access_token": token, "refresh_token": "old-of-codex", "account_id": "acct-planted"}
    last = "2020-01-01T00:00:00Z" if stale else "2099-01-01T00:00:00Z"
    return write(home / ".codex/auth.json", {"OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": last})


def gemini_own(address):
    return {"GOOGLE_GEMINI_BASE_URL": address, "GEMINI_API_KEY": "key-of-gemini"}


def gemini_login(home, stale=False):
    write(home / ".gemini/settings.json", {**json.loads((home / ".gemini/settings.json").read_text()), "security": {"auth": {"selectedType": "oauth-personal"}}})
    login = {"access_token": "token-of-gemini", "refresh_token": "old-of-gemini", "scope": "https://www.googleapis.com/auth/cloud-platform", "token_type": "Bearer"}
    return write(home / ".gemini/oauth_creds.json", {**login, "expiry_date": (1 if stale else NEVER) * 1000})


def copilot_own(address):
    return {"COPILOT_PROVIDER_BASE_URL": f"{address}/v1", "COPILOT_PROVIDER_TYPE": "openai", "COPILOT_PROVIDER_API_KEY": "key-of-copilot", "COPILOT_OFFLINE": "true"}


def copilot_login(home, stale=False):
    user = {"host": "https://github.com", "login": "somebody"}
    login = {"loggedInUsers": [user], "lastLoggedInUser": user, "copilotTokens": {"https://github.com:somebody": "gho_token-of-copilot"}}
    return write(home / ".copilot/config.json", login)


CODEX = Agent(
    id="codex_cli",
    program="codex",
    own=codex_own,
    keys=("OPENAI_API_KEY",),
    login=codex_login,
    token=CODEX_TOKEN,
    hosts=("api.openai.com",),
    login_hosts=("chatgpt.com", "auth.openai.com"),
    bare=("exec", "--skip-git-repo-check", "-m", "parrot", "hello"),
    session=("exec", "--skip-git-repo-check", "hello"),
    modes=("read-only", "workspace-write"),
    excused={"tools: outside": "its sandbox bounds what is written; it reads what its user may", "npx": NO_NPX},
)
CLAUDE = Agent(
    id="claude_code",
    program="claude",
    own=claude_own,
    keys=("ANTHROPIC_API_KEY",),
    login=claude_login,
    token="token-of-claude",
    login_hosts=("api.anthropic.com", "platform.claude.com"),
    bare=("-p", "--model", "parrot", "hello"),
    session=("-p", "hello"),
    modes=("dontAsk", "acceptEdits"),
    excused={"npx": NO_NPX},
    # After an answer that broke off it begins another one, whatever the reason was; and Anthropic's format has one word for a filter and a refusal.
    tells={"late failure": "provider_connection", "filtered": "refusal"},
)
GEMINI = Agent(
    id="gemini_cli",
    program="gemini",
    own=gemini_own,
    keys=("GEMINI_API_KEY",),
    login=gemini_login,
    token="token-of-gemini",
    login_hosts=("oauth2.googleapis.com", "www.googleapis.com", "cloudcode-pa.googleapis.com"),
    bare=("--skip-trust", "-m", "parrot", "-p", "hello"),
    session=("--skip-trust", "-p", "hello"),
    npx=("npx @google/gemini-cli {prompt}", "IPFS_DATASETS_PY_GEMINI_CLI_CMD", {"GEMINI_MODEL": "parrot"}),
    takes_schema=False,
    modes=("plan", "auto_edit"),
    trusts_folder=True,
    # It reads over an error in the midst of a stream.
    tells={"late failure": "provider_protocol", "refused": "content_filter"},
)
COPILOT = Agent(
    id="copilot_cli",
    program="copilot",
    own=copilot_own,
    keys=("GITHUB_TOKEN", "COPILOT_PROVIDER_API_KEY"),
    login=copilot_login,
    token="gho_token-of-copilot",
    login_hosts=("api.github.com", "api.githubcopilot.com"),
    bare=("--model", "parrot", "-p", "hello"),
    excused={"refreshed": "a token of GitHub does not run out"},
    session=("-p", "hello"),
    npx=("npx --yes @github/copilot -p {prompt}", "IPFS_DATASETS_PY_COPILOT_CLI_CMD", {"COPILOT_MODEL": "parrot"}),
    takes_schema=False,
    modes=("read-only", "allow-all-tools"),
    # Of a refusal it says that no response was returned.
    tells={"refused": "provider_protocol"},
)


def also(agent, **other):
    """The same program under another provider's name."""
    once = {name: f"the program is that of {agent.id}" for name in ("control", "run", "run: embedded")}
    if not other.get("npx", agent.npx):
        once["npx"] = NO_NPX
    return Agent(**{**agent.__dict__, "excused": {**agent.excused, **once}, **other})


AGENTS = [
    CODEX,
    COPILOT,
    also(COPILOT, id="copilot_sdk", takes_schema=True, modes=("read-only", "allow-all"), tells={}, npx=()),
    GEMINI,
    also(GEMINI, id="gemini_py", npx=()),
    CLAUDE,
    also(CLAUDE, id="claude_py"),
]
