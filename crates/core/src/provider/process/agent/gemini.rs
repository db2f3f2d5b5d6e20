//! The Gemini CLI: how `gemini -o stream-json` is started, in which settings, and how its lines are read. What it says when it fails: `gemini/failed.rs`.
//!
//! A line is an object with a `type`: `init` names the model, `message` of the role `assistant` is a piece of text, `error` a complaint, `result` the last
//! word. Its exit status is that of an HTTP answer modulo 256, or 0 where an answer broke off: `result.status` and lines of type `error` tell. Why an answer
//! ended it prints nowhere; its own log of answers, which it writes into the private home and sends to nobody, has that.
//!
//! What it would make of a prompt that is no plain text: a `/` in front is a command to it, so such a prompt goes behind a line's end; `@path` names a file
//! below its working folder, which is empty. With tools it works in a folder of the user's, and `@path` may name a file there.

mod failed;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Ended, Reader};
use super::home::{Home, Layout};
use super::{Ask, Driver, Launch, NEUTRAL, Once, Picture, Tools, Way, known, report};
use crate::delta::FinishReason;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Capabilities;
use crate::provider::process::{Environment, Report};
use crate::usage::Usage;

pub(in super::super) const GEMINI: Driver = Driver {
    layout: Layout {
        variable: "GEMINI_CLI_HOME",
        folder: ".gemini",
        names_home: true,
        logins: &["oauth_creds.json", "google_accounts.json"],
        members: &[],
        elsewhere: |users| {
            let named = users.get("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
            named.into_iter().chain(gcloud_login(users)).collect()
        },
    },
    keys: &["GEMINI_API_KEY"],
    takes: Capabilities {
        images: true,
        json_schema: false,
        tools: false,
        audio: false,
        files: false,
        multiple_choices: false,
    },
    takes_effort: false,
    takes_max_tokens: true,
    modes: &["plan", "default", "auto_edit", "yolo"],
    way: Way::Once(Once { launch, reader: |_| Box::new(Lines::default()) }),
};

/// What it reads of standard input; it cuts the rest off without an error.
const LONGEST: usize = 8 << 20;

/// Media types of pictures that it knows by the ends of file names.
const PICTURES: &[(&str, &str)] = &[
    ("image/png", "png"),
    ("image/jpeg", "jpg"),
    ("image/webp", "webp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/heif", "heif"),
    ("image/bmp", "bmp"),
];

/// Variables that a `.env` of the folder in which an agent with tools works must not set: where requests go, and who may listen. It leaves alone what is set.
const SETTLED: &[(&str, &str)] = &[
    ("GOOGLE_GEMINI_BASE_URL", ""),
    ("GOOGLE_VERTEX_BASE_URL", ""),
    ("CODE_ASSIST_ENDPOINT", "https://cloudcode-pa.googleapis.com"),
    ("GEMINI_CLI_CUSTOM_HEADERS", ""),
    ("GEMINI_CLI_IDE_WORKSPACE_PATH", ""),
    ("GOOGLE_CLOUD_UNIVERSE_DOMAIN", ""),
    ("HTTPS_PROXY", ""),
    ("https_proxy", ""),
    ("HTTP_PROXY", ""),
    ("http_proxy", ""),
    ("NODE_TLS_REJECT_UNAUTHORIZED", "1"),
];

fn launch(ask: &Ask, home: &Home) -> Result<Launch> {
    let log = home.write("answers.log", b"")?;
    home.write_own("settings.json", settings(ask, account(ask, home)?).to_string().as_bytes())?;
    // It looks for one of these in the folder it works in and in all above, up to the disk's root, where others may have put one.
    home.write(".env", b"")?;
    let system = home.write("system.md", ask.system.as_deref().unwrap_or(NEUTRAL).as_bytes())?;
    let mut args: Vec<String> = ["-o", "stream-json"].map(String::from).into();
    args.extend(ask.model.iter().flat_map(|model| ["-m".into(), model.clone()]));
    if let Some(tools) = &ask.tools {
        harmless(tools)?;
        args.extend(["--approval-mode".into(), tools.mode.clone()]);
        // Its settings are those of the folder too. Of the servers that they name, those of this name may be started: one that nobody knows before.
        let nobodys = home.path().parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        args.extend(["--allowed-mcp-server-names".into(), nobodys]);
    }
    let stdin = prompt(ask, home, &mut args)?;
    let text = |path: PathBuf| path.display().to_string();
    let mut variables = vec![
        ("GEMINI_SYSTEM_MD", text(system)),
        ("GEMINI_CLI_TRUST_WORKSPACE", "true".to_owned()),
        // Else it starts itself anew to have more memory, which takes as long again.
        ("GEMINI_CLI_NO_RELAUNCH", "true".to_owned()),
        // Whoever is not logged in is told so; else it asks on its standard input whether to open a browser, and takes the prompt for the answer.
        ("NO_BROWSER", "true".to_owned()),
        ("NO_COLOR", "1".to_owned()),
        ("GEMINI_TELEMETRY_ENABLED", "true".to_owned()),
        ("GEMINI_TELEMETRY_TARGET", "local".to_owned()),
        ("GEMINI_TELEMETRY_OUTFILE", text(log.clone())),
        ("GEMINI_TELEMETRY_OTLP_ENDPOINT", String::new()),
        ("GEMINI_TELEMETRY_LOG_PROMPTS", "false".to_owned()),
        ("GEMINI_TELEMETRY_TRACES_ENABLED", "false".to_owned()),
    ];
    let get = |name: &str| ask.environment.get(name);
    if let Some(cache) = get("XDG_CACHE_HOME").map(str::to_owned).or_else(|| Some(format!("{}/.cache", get("HOME")?))) {
        // Node keeps there what it compiled: a sixth of the processor time of a start.
        variables.push(("NODE_COMPILE_CACHE", format!("{cache}/ipfs-llm-router/node")));
    }
    if ask.tools.is_some() {
        let unset = SETTLED.iter().filter(|(name, _)| get(name).is_none());
        variables.extend(unset.map(|(name, value)| (*name, (*value).to_owned())));
    }
    if let Some(file) = machine_login(ask) {
        variables.push(("GOOGLE_APPLICATION_CREDENTIALS", file));
    }
    Ok(Launch { args, stdin, variables, report: Some(Report::new(move || report::end(&log))) })
}

/// Settings of a folder that would run commands, or let the agent run them, whatever it is allowed to.
const FOLDERS_OWN: &[&str] = &[
    "hooks",
    "hooksConfig",
    "tools",
    "mcp",
    "mcpServers",
    "policyPaths",
    "adminPolicyPaths",
    "security",
    "telemetry",
    "agents",
];

/// Who lets it work in a folder makes it trust that folder: what settings stand there count, hooks among them. Only where everything is allowed they may.
fn harmless(tools: &Tools) -> Result<()> {
    let folder = tools.folder.join(".gemini");
    let refused = |what: &str| {
        let file = folder.join(what);
        Err(Error::invalid(format!(
            "{} may run commands that the permission mode {} does not allow",
            file.display(),
            tools.mode
        ))
        .with_hint("move it away, or set permission_mode = \"yolo\""))
    };
    if tools.mode == "yolo" {
        return Ok(());
    }
    if folder.join("policies").exists() {
        return refused("policies");
    }
    let Ok(text) = std::fs::read(folder.join("settings.json")) else { return Ok(()) };
    match serde_json::from_slice::<serde_json::Map<String, Value>>(&text) {
        Ok(settings) if !settings.keys().any(|key| FOLDERS_OWN.contains(&key.as_str())) => Ok(()),
        _ => refused("settings.json"),
    }
}

/// Whose account it goes by, in its own word.
fn account(ask: &Ask, home: &Home) -> Result<&'static str> {
    let on = |name: &str| ask.environment.get(name) == Some("true");
    let has = |name: &str| ask.environment.get(name).is_some();
    Ok(match () {
        () if on("GOOGLE_GENAI_USE_VERTEXAI") => "vertex-ai",
        () if ask.has_key => "gemini-api-key",
        () if home.has_login("oauth_creds.json") => "oauth-personal",
        () if on("GOOGLE_GENAI_USE_GCA") || has("GOOGLE_APPLICATION_CREDENTIALS") => "oauth-personal",
        () if on("GEMINI_CLI_USE_COMPUTE_ADC") || on("CLOUD_SHELL") => "compute-default-credentials",
        () if has("GOOGLE_API_KEY") => "vertex-ai",
        () => return Err(failed::not_logged_in("gemini: nobody is logged in, and no key is set")),
    })
}

/// The file that `gcloud auth application-default login` leaves in the user's home, where nothing else says who asks Vertex AI.
fn machine_login(ask: &Ask) -> Option<String> {
    let get = |name: &str| ask.environment.get(name);
    let named = get("GOOGLE_APPLICATION_CREDENTIALS").or(get("GOOGLE_API_KEY"));
    if get("GOOGLE_GENAI_USE_VERTEXAI") != Some("true") || named.is_some() {
        return None;
    }
    gcloud_login(&ask.environment).filter(|file| file.is_file()).map(|file| file.display().to_string())
}

/// Where `gcloud auth application-default login` leaves a login.
fn gcloud_login(users: &Environment) -> Option<PathBuf> {
    let named = users.get("CLOUDSDK_CONFIG").map(PathBuf::from);
    let folder = named.or_else(|| users.get("HOME").map(|home| Path::new(home).join(".config/gcloud")))?;
    Some(folder.join("application_default_credentials.json"))
}

fn settings(ask: &Ask, account: &str) -> Value {
    let mut settings = json!({
        "security": {"auth": {"selectedType": account}},
        "privacy": {"usageStatisticsEnabled": false},
        "general": {
            "enableAutoUpdate": false,
            "enableAutoUpdateNotification": false,
            // The router asks again, and the next target too.
            "maxAttempts": 1,
            "retryFetchErrors": false,
            "sessionRetention": {"enabled": false},
        },
        "advanced": {"autoConfigureMemory": false},
        "ide": {"enabled": false},
        "hooksConfig": {"enabled": false},
    });
    if let Some(most) = ask.max_tokens {
        let settled = json!({"generateContentConfig": {"maxOutputTokens": most}});
        settings["modelConfigs"] =
            json!({"customOverrides": [{"match": {"overrideScope": "core"}, "modelConfig": settled}]});
    }
    if ask.tools.is_none() {
        settings["tools"] = json!({"core": [], "useRipgrep": false});
        // Without tools there is nothing to loop over; text that repeats itself may well be what was asked for.
        settings["model"] = json!({"maxSessionTurns": 1, "disableLoopDetection": true});
        settings["skills"] = json!({"enabled": false});
        settings["experimental"] = json!({"enableAgents": false});
        settings["context"] = json!({
            "includeDirectoryTree": false,
            // Instructions are looked for in the folders above as well.
            "fileName": ".no-instructions",
            // The pictures are in its folder, whatever somebody's .gitignore above says.
            "fileFiltering": {"respectGitIgnore": false, "respectGeminiIgnore": false},
        });
    }
    settings
}

/// What it is given to read.
fn prompt(ask: &Ask, home: &Home, args: &mut Vec<String>) -> Result<Bytes> {
    let prompt = match ask.pictures.as_slice() {
        [] if ask.prompt.starts_with('/') => format!("\n{}", ask.prompt),
        [] => ask.prompt.clone(),
        pictures => {
            // A command of its own may put files before the text, and leaves the text as it is.
            let names = pictures.iter().enumerate().map(|(at, picture)| place(at, picture, home));
            let shown: String = names.map(|name| Ok(format!("@{{{}}}", name?))).collect::<Result<_>>()?;
            home.write_own("commands/see.toml", format!("prompt = {}\n", json!(shown)).as_bytes())?;
            if ask.tools.is_some() {
                args.extend(["--include-directories".into(), home.work().display().to_string()]);
            }
            format!("/see {}", ask.prompt)
        }
    };
    if prompt.trim().is_empty() {
        return Err(Error::invalid("nothing is asked").with_hint("give a prompt"));
    }
    if prompt.len() > LONGEST {
        return Err(Error::new(
            ErrorKind::CallerTooLarge,
            format!("gemini reads {LONGEST} bytes, and the prompt has {}", prompt.len()),
        )
        .with_hint("shorten it, or ask the provider gemini"));
    }
    Ok(prompt.into())
}

/// Puts a picture where it may be read; its path.
fn place(at: usize, picture: &Picture, home: &Home) -> Result<String> {
    let Some((_, end)) = PICTURES.iter().find(|(mime, _)| *mime == picture.mime) else {
        return Err(Error::unsupported(format!("gemini is given no pictures of the type {}", picture.mime))
            .with_hint("send it as PNG, JPEG or WebP"));
    };
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &picture.data)
        .map_err(|error| Error::invalid(format!("picture {} is no base64: {error}", at + 1)).with_source(error))?;
    let path = home.write(&format!("work/picture-{}.{end}", at + 1), &bytes)?;
    Ok(path.display().to_string())
}

/// What it printed so far.
#[derive(Debug, Default)]
struct Lines {
    result: Option<Last>,
    /// The last complaint that is no warning.
    complaint: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Init {
        #[serde(default)]
        model: String,
    },
    Message {
        role: String,
        #[serde(default)]
        content: String,
    },
    Error {
        #[serde(default)]
        severity: String,
        #[serde(default)]
        message: String,
    },
    Result(Last),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Last {
    #[serde(default)]
    status: String,
    error: Option<Said>,
    #[serde(default)]
    stats: Counts,
}

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    total_tokens: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached: u64,
}

impl Reader for Lines {
    fn line(&mut self, line: &[u8], answer: &mut Answer) -> Result<()> {
        match known::<Line>("gemini", line)? {
            Some(Line::Init { model }) => answer.model(&model),
            Some(Line::Message { role, content }) if role == "assistant" => answer.text(content),
            Some(Line::Error { severity, message }) if severity != "warning" => self.complaint = Some(message),
            Some(Line::Result(last)) => {
                // `output_tokens` leaves thoughts out, the sum has them.
                let Counts { total_tokens, input_tokens, output_tokens, cached } = last.stats;
                let output = total_tokens.saturating_sub(input_tokens).max(output_tokens);
                let mut usage = Usage::new(input_tokens, output);
                usage.cache_read = cached.min(input_tokens);
                usage.reasoning = output - output_tokens;
                answer.usage(usage);
                self.result = Some(last);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, ended: &Ended<'_>, answer: &mut Answer) -> Result<()> {
        let Some(last) = &self.result else {
            return failed::unsaid(ended).map_or(Ok(()), Err);
        };
        if let Some(Said { message }) = &last.error {
            return Err(failed::said(message, ended));
        }
        if let Some(complaint) = &self.complaint {
            return match failed::of_complaint(complaint) {
                Some(reason) => {
                    answer.finish(reason, None);
                    Ok(())
                }
                None => Err(Error::protocol(format!("gemini: {complaint}"))),
            };
        }
        if last.status != "success" {
            return Err(Error::protocol("gemini says that it failed, and not why"));
        }
        if !answer.has_begun() && last.stats.total_tokens == 0 {
            // It reckons up what a prompt takes, and where that is too much it asks nobody and says nothing.
            return Err(Error::new(
                ErrorKind::CallerContextLength,
                "gemini finds the prompt longer than what the model takes",
            )
            .with_hint("shorten it, or name a model with a larger context"));
        }
        let raw = ended.report.and_then(reason);
        let reason = match raw.as_deref() {
            Some("length") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            _ => FinishReason::Stop,
        };
        answer.finish(reason, raw);
        Ok(())
    }
}

/// Why the last answer ended, from its log: objects over many lines, in which each piece of an answer has a reason and the last one counts. No text that
/// anybody wrote can look like it: within a text a line's end is escaped.
fn reason(log: &[u8]) -> Option<String> {
    let log = String::from_utf8_lossy(log);
    let (_, list) = log.rsplit_once("\n    \"finish_reasons\": [")?;
    let (list, _) = list.split_once(']')?;
    list.rsplit('"').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_of_the_last_answer_counts() {
        let log = |reasons: &str| {
            format!(
                "{{\n  \"attributes\": {{\n    \"finish_reasons\": [\n      {reasons}\n    ],\n    \"a\": 1\n  }}\n}}\n"
            )
        };
        assert_eq!(reason(log("\"stop\",\n      \"length\"").as_bytes()), Some("length".into()));
        assert_eq!(reason((log("\"length\"") + &log("\"stop\"")).as_bytes()), Some("stop".into()));
        assert_eq!(reason(log("").as_bytes()), None);
        assert_eq!(reason(b"\"finish_reasons\": [\"length\"]"), None);
    }
}
