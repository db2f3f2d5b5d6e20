//! The rules of the graph, as tables. `ARCHITECTURE.md` gives their reasons; `../rooms.rs` holds the tree against them.
//!
//! An exception is one name, with its reason; a room that needs many of them is the wrong room.

/// Modules of `src/` and the modules they may name besides each other.
pub(crate) struct Room {
    pub(crate) modules: &'static [&'static str],
    pub(crate) knows: &'static [&'static str],
}

/// From the words to the router; a room knows only rooms above it.
pub(crate) const ROOMS: &[Room] = &[
    Room { modules: &["ids", "error", "secret"], knows: &[] },
    Room { modules: DOMAIN, knows: WORDS },
    Room { modules: &["telemetry"], knows: &["usage", "trace"] },
    Room {
        modules: &["dialect"],
        knows: &["ids", "error", "secret", "request", "response", "delta", "usage", "embedding", "image"],
    },
    Room {
        modules: &["config"],
        knows: &["ids", "error", "secret", "request", "response", "delta", "usage", "pricing", "dialect"],
    },
    Room {
        modules: &["provider"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "pricing",
            "trace",
            "embedding",
            "image",
            "dialect",
            "config",
            "telemetry",
        ],
    },
    Room { modules: &["store"], knows: &["ids", "error", "secret", "telemetry"] },
    Room {
        modules: &["limits"],
        knows: &["ids", "error", "secret", "request", "usage", "pricing", "store", "telemetry"],
    },
    Room { modules: &["books"], knows: &["ids", "error", "secret", "usage", "pricing", "store", "telemetry"] },
    Room {
        modules: &["cache"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "trace",
            "dialect",
            "provider",
            "store",
            "telemetry",
        ],
    },
    Room {
        modules: &["deps"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "pricing",
            "trace",
            "dialect",
            "config",
            "provider",
            "store",
            "limits",
            "books",
            "cache",
            "telemetry",
        ],
    },
    Room {
        modules: &["router"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "pricing",
            "trace",
            "embedding",
            "image",
            "dialect",
            "config",
            "provider",
            "store",
            "limits",
            "books",
            "cache",
            "deps",
            "telemetry",
        ],
    },
    // Helpers for tests stand outside the order: they may name everything, and nothing names them.
    Room {
        modules: &["testing"],
        knows: &[
            "ids",
            "error",
            "secret",
            "request",
            "response",
            "delta",
            "usage",
            "pricing",
            "trace",
            "embedding",
            "image",
            "dialect",
            "config",
            "provider",
            "store",
            "limits",
            "books",
            "cache",
            "deps",
            "router",
            "telemetry",
        ],
    },
];

pub(crate) const WORDS: &[&str] = &["ids", "error", "secret"];
pub(crate) const DOMAIN: &[&str] = &["request", "response", "delta", "usage", "pricing", "trace", "embedding", "image"];

/// One name that a room may use against the order.
pub(crate) struct Exception {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    /// Why: printed nowhere, read by whoever adds the next one.
    #[expect(dead_code, reason = "it is for the reader of this table")]
    pub(crate) reason: &'static str,
}

pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        module: "request",
        name: "dialect::Dialect",
        reason: "a request remembers which wire format it came in",
    },
    Exception { module: "request", name: "dialect::RequestHead", reason: "and the head it came with" },
    Exception { module: "delta", name: "dialect::Dialect", reason: "an unknown event says whose it is" },
    Exception { module: "response", name: "dialect::Dialect", reason: "as the deltas it is folded from" },
    Exception { module: "trace", name: "dialect::FieldPath", reason: "the trace names the fields that were dropped" },
    Exception {
        module: "dialect",
        name: "trace::Trace",
        reason: "an encoder may say at the end how the answer came about",
    },
    Exception {
        module: "dialect",
        name: "provider::Call",
        reason: "the trait Codec writes and reads the answer to a call",
    },
    Exception {
        module: "config",
        name: "provider::process::Template",
        reason: "a command line is checked by what will split it",
    },
    Exception { module: "provider", name: "deps::Clock", reason: "the trait of the clock in every call's context" },
    Exception { module: "provider", name: "deps::IpfsBackend", reason: "the trait that a libp2p node implements" },
    Exception { module: "cache", name: "deps::Clock", reason: "entries grow old by the clock tests can set" },
    Exception { module: "limits", name: "deps::Clock", reason: "rates are per time, by the clock tests can set" },
    Exception { module: "books", name: "deps::Clock", reason: "the day is that of the clock tests can set" },
    Exception { module: "store", name: "deps::Clock", reason: "entries expire by the clock tests can set" },
];

/// Paths that may stand only in some files.
pub(crate) struct Reserved {
    /// Folders and files below `crates/` the rule holds for.
    pub(crate) within: &'static [&'static str],
    /// Where the paths are at home.
    pub(crate) except: &'static [&'static str],
    pub(crate) paths: &'static [&'static str],
    pub(crate) reason: &'static str,
}

pub(crate) const RESERVED: &[Reserved] = &[
    Reserved {
        within: &["core/src/"],
        except: &["core/src/provider/http.rs", "core/src/provider/http/"],
        paths: &["hyper", "hyper_util", "hyper_rustls", "rustls"],
        reason: "only provider/http.rs knows the HTTP library",
    },
    Reserved {
        within: &["core/src/dialect.rs", "core/src/dialect/"],
        except: &[],
        paths: &["tokio", "std::fs", "std::io", "std::net", "std::process", "SystemTime", "Instant"],
        reason: "a codec is pure: no I/O, no clock",
    },
    Reserved {
        within: &["core/src/router.rs", "core/src/router/"],
        except: &[],
        paths: &[
            "http",
            "dialect::codec",
            "dialect::sse",
            "dialect::native",
            "dialect::openai_chat",
            "dialect::openai_responses",
            "dialect::anthropic",
            "dialect::gemini",
        ],
        reason: "the router knows no wire format and no HTTP",
    },
    Reserved {
        within: &["core/src/", "local/src/", "app/src/", "cli/src/"],
        except: &["core/src/config/env.rs"],
        paths: &["env::var", "env::var_os", "env::vars", "env::vars_os", "env::set_var", "env::remove_var"],
        reason: "only config/env.rs reads the environment",
    },
    Reserved {
        within: &["core/src/"],
        except: &["core/src/config/env.rs"],
        paths: &["std::env"],
        reason: "core is handed its surroundings as values",
    },
];

/// The workspace's packages, each with those it may depend on.
pub(crate) const CRATES: &[(&str, &[&str])] = &[
    ("ipfs-llm-router", &[]),
    ("llm-router-local", &["ipfs-llm-router"]),
    ("llm-router-redis", &["ipfs-llm-router"]),
    ("llm-router-peers", &["ipfs-llm-router"]),
    ("llm-router-server", &["ipfs-llm-router"]),
    ("llm-router-app", &["ipfs-llm-router", "llm-router-local", "llm-router-peers", "llm-router-redis"]),
    ("llm-router-cli", &["ipfs-llm-router", "llm-router-local", "llm-router-app", "llm-router-server"]),
];

/// What the router alone may cost whoever takes it as a library. The lock file holds every platform's packages, so this is a bound from above.
pub(crate) const MAX_PACKAGES: usize = 150;
pub(crate) const UNWANTED: &[&str] =
    &["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "cmake", "bindgen", "clang-sys"];
