"""What the vendors answer to an agent that is logged in, beside the API itself: who one is, what one may use, a new token for an old one.

Only what the agents ask on the way to an answer; anything else is 404, which they live with.
"""

from script import MODELS

# Doors of the APIs at hosts that put them elsewhere.
DOORS = {"/backend-api/codex/responses": "/v1/responses", "/chat/completions": "/v1/chat/completions", "/responses": "/v1/responses"}
REFRESHED = "refreshed"

ACCOUNT = {"id": "acct-planted", "plan_type": "pro", "workspace_backend_origin": "https://chatgpt.com", "account_routing_override": "NO_CONSTRAINT"}


def offered(name):
    """A model as GitHub lists it."""
    limits = {"max_context_window_tokens": 128000, "max_prompt_tokens": 120000, "max_output_tokens": 8000}
    capabilities = {"family": name, "type": "chat", "object": "model_capabilities", "limits": limits, "supports": {"streaming": True, "tool_calls": True}}
    state = {"model_picker_enabled": True, "policy": {"state": "enabled"}, "supported_endpoints": ["/chat/completions"]}
    return {"id": name, "name": name, "object": "model", "vendor": "scripted", "version": name, "preview": False, "capabilities": capabilities, **state}


GET = {
    # Google: is the token good, whose is it.
    "/tokeninfo": {"aud": "scripted", "scope": "https://www.googleapis.com/auth/cloud-platform", "expires_in": "3599", "access_type": "offline"},
    "/oauth2/v2/userinfo": {"id": "1", "email": "somebody@example.com"},
    # OpenAI: the workspace of a ChatGPT account, and the models of its API as Codex reads them.
    "/backend-api/wham/accounts/check": {"accounts": [ACCOUNT], "account_ordering": ["acct-planted"], "default_account_id": "acct-planted"},
    "/v1/models": {"models": [], "object": "list", "data": []},
    "/backend-api/codex/models": {"models": []},
    # GitHub: what the account may use, and where.
    "/models": {"object": "list", "data": [offered(name) for name in MODELS]},
    "/user": {"login": "somebody", "id": 1},
    "/copilot_internal/user": {
        "login": "somebody",
        "access_type_sku": "plus_monthly_subscriber_quota",
        "copilot_plan": "individual_pro",
        "chat_enabled": True,
        "endpoints": {"api": "https://api.githubcopilot.com", "proxy": "https://proxy.githubcopilot.com", "telemetry": "https://telemetry.githubcopilot.com"},
    },
}


def token(body):
    """A new token for a token that says how to come by one."""
    if body.get("grant_type") != "refresh_token":
        return None
    return {
        "access_token": f"{body.get('refresh_token', '')}-{REFRESHED}",
        "refresh_token": f"{body.get('refresh_token', '')}-again",
        "token_type": "Bearer",
        "expires_in": 3600,
        "expires_at": 4070908800,
        "scope": body.get("scope") or "user:inference user:profile",
    }


POST = {"/token": token, "/oauth/token": token, "/v1/oauth/token": token, "/tokeninfo": lambda _: GET["/tokeninfo"]}


def get(path):
    """What is answered to a GET; None where there is nothing."""
    return GET.get(path.split("?")[0])


def post(path, body):
    """What is answered to a POST; None where that is for the script to say."""
    return POST[path](body) if path in POST else None


def door(path):
    """The path of the API that a path stands for."""
    return DOORS.get(path, path)
