//! The modules of a crate form layers, and each uses only those below it.
//!
//! A module here is a file or folder right under `src`, or right under a folder that has an order of
//! its own. Its tests may use any other module: code behind `#[cfg(test)]` is not checked. Only names
//! are checked: a method that a higher module defines on a type of a lower one can be called from
//! anywhere.
//!
//! Some names of other crates belong to a few modules only: HTTP to `http` and `serve`, tokens to `access`.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, ExprMethodCall, ImplItem, Item, ItemMod, ItemUse, Macro, Meta, UseTree, Visibility,
};

use crate::outcome::Outcome;

/// A crate or a folder of it, and its modules, the lowest layer first.
struct Layers {
    /// The file that declares the modules. It may use all of them, and they may not use it.
    root: &'static str,
    /// The names from the crate's root to that file's module; none for a crate.
    within: &'static [&'static str],
    order: &'static [&'static str],
    /// Names that only some modules may use.
    boundaries: &'static [Boundary],
}

/// A name of another crate, and the modules that may use it.
struct Boundary {
    /// The path, or its last names: `rusqlite`, or `Instant::now`. A method of any type is `.elapsed`.
    name: &'static str,
    modules: &'static [&'static str],
    /// A name below it that all modules may use.
    except: Option<&'static str>,
}

const fn only(name: &'static str, modules: &'static [&'static str]) -> Boundary {
    Boundary { name, modules, except: None }
}

const fn none_but(name: &'static str, except: &'static str) -> Boundary {
    Boundary { name, modules: &[], except: Some(except) }
}

/// The rules of ARCHITECTURE.md for the hub's modules.
const HUB_BOUNDARIES: &[Boundary] = &[
    // HTTP. The callback `Authorize` is given the head of a request; a stream may be a body.
    only("axum", &["http", "serve"]),
    only("httparse", &["serve"]),
    only("http", &["access"]),
    only("http_body", &["http", "serve", "shard"]),
    only("http_body_util", &["http"]),
    only("hyper", &["serve"]),
    only("hyper_util", &["serve"]),
    only("tower", &["http", "serve"]),
    only("tower_http", &["http"]),
    only("tower_service", &[]),
    // Sockets and TLS. Issuers' key sets are fetched from addresses that are looked up first.
    only("tokio::net", &["access", "serve", "transport"]),
    only("std::net::TcpListener", &["serve"]),
    only("std::net::TcpStream", &["serve", "transport"]),
    only("std::os::unix::net", &["serve", "transport"]),
    only("socket2", &["serve", "transport"]),
    only("rustls", &["serve"]),
    only("tokio_rustls", &["serve"]),
    only("webpki", &["serve"]),
    // Tokens.
    only("aws_lc_rs", &["access"]),
    only("base64", &["access"]),
    only("jsonwebtoken", &["access"]),
    only("reqwest", &["access"]),
    // Metrics.
    only("prometheus_client", &["metrics"]),
    // Clocks: what decides from plain values is in tidings-core.
    only("Instant::now", CLOCKS),
    only("SystemTime::now", CLOCKS),
    only(".elapsed", CLOCKS),
];

const CLOCKS: &[&str] =
    &["access", "admission", "budget", "http", "hub", "journal", "serve", "shard"];

/// In `access/`, what is needed to read and verify tokens belongs to `tokens/`.
const ACCESS_BOUNDARIES: &[Boundary] = &[
    only("http", &["authorize"]),
    only("tokio::net", &["tokens"]),
    only("aws_lc_rs", &["tokens"]),
    only("base64", &["tokens"]),
    only("jsonwebtoken", &["tokens"]),
    only("reqwest", &["tokens"]),
];

/// In `serve/`, few files know hyper, TLS and the kinds of sockets.
const SERVE_BOUNDARIES: &[Boundary] = &[
    only("httparse", &["bad_head"]),
    only("hyper", &["bad_head", "body_lane", "direct_lane", "unread"]),
    only("hyper_util", &["body_lane", "direct_lane"]),
    only("tokio::net", &["handshake", "listen", "movable"]),
    only("std::net::TcpListener", &["listen"]),
    only("std::net::TcpStream", &["handshake", "movable"]),
    only("std::os::unix::net", &["listen"]),
    only("socket2", &["listen", "movable"]),
    only("rustls", &["tls"]),
    only("tokio_rustls", &["body_lane", "handshake"]),
    only("webpki", &["tls"]),
];

/// A library that does no I/O, reads no clock and starts no task.
const NO_SYSTEM: &[Boundary] = &[
    only("std::fs", &[]),
    only("std::io", &[]),
    only("std::net", &[]),
    only("std::thread", &[]),
    only("Instant::now", &[]),
    only("SystemTime::now", &[]),
    only(".elapsed", &[]),
    only("tokio", &[]),
];

/// The same, but for wake-ups and locks that need no runtime, and for the slices of bytes that a
/// socket is given.
const CORE_BOUNDARIES: &[Boundary] = &[
    only("std::fs", &[]),
    none_but("std::io", "std::io::IoSlice"),
    only("std::net", &[]),
    only("std::os", &[]),
    only("std::env", &[]),
    only("std::thread", &[]),
    only("std::process", &[]),
    only("Instant::now", &[]),
    only("SystemTime::now", &[]),
    only(".elapsed", &[]),
    none_but("tokio", "tokio::sync"),
];

/// The journal on disk: the bytes of updates, the state in memory and the queue know no SQL.
const DISK_BOUNDARIES: &[Boundary] = &[
    only("rusqlite", SQL),
    only("crc32fast", &["group", "sum"]),
    only("parking_lot", &["damage", "queue", "readers"]),
    only("std::thread", &["readers", "writer"]),
    only("tokio::sync", &["journal", "queue", "readers"]),
    only("tokio::time", &["journal"]),
    only("std::fs", &["folder", "in_place", "inspect", "lock"]),
    only("std::os", &["in_place", "lock"]),
    // The journal's path is held with names of sockets.
    only("std::net", &[]),
    only("tokio::net", &["lock"]),
    only("tokio::runtime", &["lock"]),
    only("socket2", &["lock"]),
    only("siphasher", &["lock"]),
    // The writer has a schedule. The system's clock is a default of the options.
    only("Instant::now", &["clock", "writer"]),
    only("SystemTime::now", &["options"]),
    only(".elapsed", &["clock"]),
];

const SQL: &[&str] = &[
    "sum",
    "table",
    "meta",
    "identity",
    "rows",
    "updates",
    "draft",
    "rewrite",
    "ids",
    "index",
    "keys",
    "revoked",
    "retain",
    "dropped",
    "layout",
    "upgrade",
    "open_error",
    "folder",
    "rebuild",
    "query",
    "readers",
    "writer",
    "start",
    "inspect",
];

/// The journal on NATS: the modules that speak to the servers, and those that read a clock.
const NATS_BOUNDARIES: &[Boundary] = &[
    only(
        "async_nats",
        &[
            "connection",
            "read",
            "stream",
            "losses",
            "revocation_stream",
            "revocations",
            "other_hubs",
            "shared",
            "append",
            "revoke",
            "revocation_tail",
            "tail",
            "nodes",
        ],
    ),
    only("serde_json", &["connection", "message", "read", "stream", "revocation_stream"]),
    only("base64", &["read"]),
    only("chrono", &["read"]),
    only("percent_encoding", &["connection"]),
    only("url::Url", &["connection"]),
    only("std::fs", &["connection"]),
    only("std::net", &[]),
    // One thread, and one task for each answer to another hub.
    only("std::thread", &["journal"]),
    only("tokio::runtime", &["journal"]),
    only("tokio::spawn", &["nodes"]),
    only("Instant::now", NATS_CLOCKS),
    only("SystemTime::now", &["restore", "revocations", "revoke"]),
    only(".elapsed", &["strangers", "condition", "state", "revocations", "other_hubs", "restore"]),
];

const NATS_CLOCKS: &[&str] = &[
    "strangers",
    "condition",
    "connection",
    "state",
    "read",
    "stream",
    "revocations",
    "other_hubs",
    "append",
    "revoke",
    "restore",
    "nodes",
    "journal",
];

const CRATES: &[Layers] = &[
    Layers {
        root: "crates/tidings-core/src/lib.rs",
        within: &[],
        order: &["limits", "log_rate", "random", "setters", "model", "journal", "stream"],
        boundaries: CORE_BOUNDARIES,
    },
    Layers {
        root: "crates/tidings-core/src/model.rs",
        within: &["model"],
        order: &[
            "position", "token", "cursor", "options", "update", "presence", "selector", "rights",
            "id", "record",
        ],
        boundaries: &[],
    },
    Layers {
        root: "crates/tidings-core/src/journal.rs",
        within: &["journal"],
        order: &[
            "error",
            "retention",
            "found",
            "batch",
            "follower",
            "room",
            "once",
            "keys",
            "ids",
            "followers",
            "dropped",
            "recent",
            "same_id",
            "log",
            "history",
            "revoked",
            "health",
            "nodes",
            "sum",
            "memory",
        ],
        boundaries: &[],
    },
    Layers {
        root: "crates/tidings-core/src/stream.rs",
        within: &["stream"],
        order: &[
            "framing", "notice", "window", "feed", "wire", "start", "replay", "resume", "router",
        ],
        boundaries: &[],
    },
    Layers {
        root: "crates/tidings-disk/src/lib.rs",
        within: &[],
        order: &[
            "limits",
            "options",
            "clock",
            "files",
            "in_place",
            "columns",
            "sum",
            "damage",
            "table",
            "meta",
            "identity",
            "record",
            "group",
            "rows",
            "updates",
            "draft",
            "rewrite",
            "ids",
            "index",
            "keys",
            "revoked",
            "retain",
            "dropped",
            "layout",
            "upgrade",
            "open_error",
            "lock",
            "folder",
            "state",
            "queue",
            "rebuild",
            "query",
            "readers",
            "writer",
            "start",
            "journal",
            "inspect",
        ],
        boundaries: DISK_BOUNDARIES,
    },
    Layers {
        root: "crates/tidings-nats/src/lib.rs",
        within: &[],
        order: &[
            "limits",
            "error",
            "options",
            "strangers",
            "condition",
            "connection",
            "message",
            "state",
            "read",
            "stream",
            "losses",
            "revocation_stream",
            "revocations",
            "other_hubs",
            "newest",
            "shared",
            "history",
            "last_updates",
            "append",
            "revoke",
            "restore",
            "revocation_tail",
            "tail",
            "nodes",
            "journal",
        ],
        boundaries: NATS_BOUNDARIES,
    },
    Layers {
        root: "crates/tidings-sse/src/lib.rs",
        within: &[],
        order: &["event", "encode", "decode"],
        boundaries: NO_SYSTEM,
    },
    Layers {
        root: "crates/tidings-server/src/lib.rs",
        within: &[],
        order: &[
            "query",
            "place",
            "last_event_id",
            "head",
            "heartbeat",
            "source",
            "body",
            "response",
            "json",
            "axum",
        ],
        boundaries: &[],
    },
    Layers {
        root: "crates/tidings-client/src/lib.rs",
        within: &[],
        order: &[
            "login",
            "coding",
            "content_type",
            "reconnect",
            "transport",
            "connect",
            "received",
            "notice",
            "end",
            "instead",
            "incoming",
            "events",
            "subscribe",
            "publish",
            "hub",
            "blocking",
        ],
        boundaries: &[],
    },
    Layers {
        root: "crates/tidings-hub/src/lib.rs",
        within: &[],
        order: &[
            "transport",
            "limits",
            "admission",
            "budget",
            "access",
            "journal",
            "compile",
            "metrics",
            "presence",
            "shard",
            "subscription",
            "operator",
            "hub",
            "http",
            "serve",
        ],
        boundaries: HUB_BOUNDARIES,
    },
    Layers {
        root: "crates/tidings-hub/src/access.rs",
        within: &["access"],
        order: &[
            "payloads",
            "revoked",
            "dialect",
            "origin",
            "token_error",
            "grants",
            "authorize",
            "tokens",
            "rules",
            "no_tokens",
            "verifier",
            "gate",
            "inspect",
        ],
        boundaries: ACCESS_BOUNDARIES,
    },
    Layers {
        root: "crates/tidings-hub/src/presence.rs",
        within: &["presence"],
        order: &["address", "subscription", "path", "announce", "members", "list"],
        boundaries: &[],
    },
    Layers {
        root: "crates/tidings-hub/src/http.rs",
        within: &["http"],
        order: &[
            "refusal",
            "forwarded",
            "certificate",
            "arriving",
            "accept",
            "query",
            "content",
            "ambiguous",
            "body",
            "body_format",
            "admission",
            "origin",
            "credentials",
            "listing",
            "publish",
            "subscribe",
            "subscriptions",
            "clock",
            "metrics",
            "app",
            "door",
            "asset",
            "browser",
            "page",
            "operator",
            "health",
        ],
        boundaries: &[],
    },
    Layers {
        root: "crates/tidings-hub/src/serve.rs",
        within: &["serve"],
        order: &[
            "date",
            "listen",
            "waiting",
            "head_room",
            "exchange",
            "header_blocks",
            "handshake_turns",
            "movable",
            "tls",
            "linger",
            "unread",
            "bad_head",
            "service_stream",
            "direct_lane",
            "body_lane",
            "handshake",
            "accept",
        ],
        boundaries: SERVE_BOUNDARIES,
    },
    Layers {
        root: "crates/tidings/src/main.rs",
        within: &[],
        order: &["log", "console", "outcome", "args", "config", "commands"],
        boundaries: &[],
    },
    Layers {
        root: "xtask/src/main.rs",
        within: &[],
        order: &[
            "outcome",
            "tally",
            "command",
            "workspace",
            "packages",
            "nodes",
            "zoo",
            "setup",
            "tree",
            "links",
            "layers",
            "embedded",
            "platform",
            "steps",
            "report",
            "allocators",
            "bench",
            "soak",
            "args",
        ],
        boundaries: &[],
    },
];

/// Looks at every path of every crate that names another module of it.
///
/// # Errors
/// If a module uses one above it, or is on no layer, with every finding in the text.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let mut findings = Vec::new();
    for layers in CRATES {
        let read = |file: &str| fs::read_to_string(root.join(file)).ok();
        findings.extend(of_crate(layers, &read)?);
    }
    if findings.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!(
        "modules use names against the order and the boundaries in xtask/src/layers.rs:\n  {}",
        findings.join("\n  ")
    )
}

/// The faults in the layers of one crate. `read` returns the text of an existing file.
fn of_crate(layers: &Layers, read: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let Layers { root, within, order, boundaries } = *layers;
    let folder = match within {
        [] => root.rsplit_once('/').map_or("", |(folder, _)| folder),
        _ => root.trim_end_matches(".rs"),
    };
    let depth = within.len();
    let text = read(root).with_context(|| format!("{root} does not exist"))?;
    let within: Vec<String> = within.iter().map(|name| (*name).to_owned()).collect();
    let declared = parse(root, &text, within.clone())?.children;
    let mut findings = Vec::new();
    let names = || declared.iter().map(|child| child.path[depth].as_str());
    for name in order.iter().filter(|name| !names().any(|declared| declared == **name)) {
        findings.push(format!("{root}: the layer `{name}` is not a module of the crate"));
    }
    let mut modules = VecDeque::new();
    for child in &declared {
        if order.contains(&child.path[depth].as_str()) {
            modules.push_back(child.path.clone());
        } else {
            findings.push(format!(
                "{root}:{}: the module `{}` has no layer",
                child.line, child.path[depth]
            ));
        }
    }
    while let Some(path) = modules.pop_front() {
        let stem = format!("{folder}/{}", path[depth..].join("/"));
        let files = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
        let (file, text) = files
            .iter()
            .find_map(|file| Some((file, read(file)?)))
            .with_context(|| format!("neither {} nor {} exists", files[0], files[1]))?;
        let parsed = parse(file, &text, path)?;
        modules.extend(parsed.children.into_iter().map(|child| child.path));
        let from = &parsed.module[depth];
        for Foreign { line, names } in &parsed.foreign {
            let crossed = boundaries.iter().find(|boundary| boundary.forbids(from, names));
            findings.extend(crossed.map(|boundary| {
                format!(
                    "{file}:{line}: {from} -> {}: only {:?} may use it",
                    boundary.name, boundary.modules
                )
            }));
        }
        let layer = |name: &str| order.iter().position(|one| *one == name);
        for Used { line, path } in &parsed.used {
            let Some([name, ..]) = path.strip_prefix(within.as_slice()) else { continue };
            if name == from {
                continue;
            }
            if !names().any(|declared| declared == name) {
                findings.push(format!(
                    "{file}:{line}: {from} -> crate::{name}: use it from the module that defines it"
                ));
            } else if layer(name) > layer(from) {
                findings.push(format!(
                    "{file}:{line}: {from} -> {name}: the layer `{name}` is above `{from}`"
                ));
            }
        }
    }
    // Several names from one module, in one line.
    findings.dedup();
    Ok(findings)
}

impl Boundary {
    fn forbids(&self, module: &str, names: &[String]) -> bool {
        let parts: Vec<_> = self.name.split("::").collect();
        // A crate's name is first; an item of a crate may be in scope by its last names.
        let windows = if parts.len() == 1 { 1 } else { names.len() };
        let is_named = names.windows(parts.len()).take(windows).any(|window| window == parts);
        let is_excepted = self.except.is_some_and(|except| {
            let parts: Vec<_> = except.split("::").collect();
            names.windows(parts.len()).any(|window| window == parts)
        });
        is_named && !is_excepted && !self.modules.contains(&module)
    }
}

/// The uses of modules in one file.
struct File {
    /// The module that is being read: the names from the crate's root to it.
    module: Vec<String>,
    /// The modules that are files, except tests.
    children: Vec<Child>,
    used: Vec<Used>,
    foreign: Vec<Foreign>,
}

/// A path that does not begin in this crate's own modules.
struct Foreign {
    line: usize,
    names: Vec<String>,
}

struct Child {
    line: usize,
    path: Vec<String>,
}

/// A path that names something of this crate.
#[derive(Debug, PartialEq)]
struct Used {
    line: usize,
    /// The names after the crate's root.
    path: Vec<String>,
}

fn parse(file: &str, text: &str, module: Vec<String>) -> Result<File> {
    let parsed = syn::parse_file(text)
        .map_err(|error| anyhow::anyhow!("{file}:{}: {error}", error.span().start().line))?;
    let mut file = File { module, children: Vec::new(), used: Vec::new(), foreign: Vec::new() };
    file.visit_file(&parsed);
    Ok(file)
}

impl File {
    /// Notes a path, by its names from its first one on.
    fn note(&mut self, names: &[String], span: Span) {
        let above = names.iter().take_while(|name| *name == "super").count();
        let (depth, rest) = match names.first().map(String::as_str) {
            Some("crate") => (0, &names[1..]),
            Some("self") => {
                let above = names[1..].iter().take_while(|name| *name == "super").count();
                (self.module.len().saturating_sub(above), &names[1 + above..])
            }
            Some("super") => (self.module.len().saturating_sub(above), &names[above..]),
            // The name of another crate, of a module below this one, or of something in scope.
            _ => {
                let names = names.to_vec();
                return self.foreign.push(Foreign { line: span.start().line, names });
            }
        };
        let path = self.module[..depth].iter().chain(rest).cloned().collect();
        self.used.push(Used { line: span.start().line, path });
    }

    fn note_use(&mut self, tree: &UseTree, before: &[String]) {
        let with = |ident: &syn::Ident| {
            // `a::{self}` is `a`.
            let is_self = ident == "self" && !before.is_empty();
            let name = (!is_self).then(|| ident.to_string());
            before.iter().cloned().chain(name).collect::<Vec<_>>()
        };
        match tree {
            UseTree::Path(path) => self.note_use(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.note(&with(&name.ident), name.ident.span()),
            UseTree::Rename(rename) => self.note(&with(&rename.ident), rename.ident.span()),
            UseTree::Glob(glob) => {
                let star = before.iter().cloned().chain(["*".to_owned()]).collect::<Vec<_>>();
                self.note(&star, glob.star_token.spans[0]);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.note_use(item, before));
            }
        }
    }

    /// Records the paths among a macro's tokens. Only the macro knows what else they mean.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Option<(Vec<String>, Span)> = None;
        // The number of colons since the last name.
        let mut colons = 0;
        // The number of dots just before this token: one before a method, two in a range.
        let mut dots = 0;
        for token in tokens {
            let is_method = std::mem::take(&mut dots) == 1;
            match token {
                TokenTree::Ident(ident) if is_method => {
                    self.note_path(path.take());
                    self.note_method(&ident.to_string(), ident.span());
                }
                TokenTree::Punct(punct) if punct.as_char() == '.' => {
                    self.note_path(path.take());
                    dots = if is_method { 2 } else { 1 };
                }
                TokenTree::Ident(ident) => match &mut path {
                    Some((names, _)) if colons == 2 => names.push(ident.to_string()),
                    _ => {
                        self.note_path(path.take());
                        // `a::super` is not a path, and neither is `::crate`.
                        path = (colons == 0).then(|| (vec![ident.to_string()], ident.span()));
                    }
                },
                TokenTree::Punct(punct)
                    if punct.as_char() == ':'
                        && (punct.spacing() == Spacing::Joint || colons == 1) =>
                {
                    colons += 1;
                    continue;
                }
                other => {
                    self.note_path(path.take());
                    if let TokenTree::Group(group) = other {
                        self.note_tokens(group.stream());
                    }
                }
            }
            colons = 0;
        }
        self.note_path(path);
    }

    fn note_method(&mut self, name: &str, span: Span) {
        self.foreign.push(Foreign { line: span.start().line, names: vec![format!(".{name}")] });
    }

    fn note_path(&mut self, path: Option<(Vec<String>, Span)>) {
        if let Some((names, span)) = path {
            self.note(&names, span);
        }
    }
}

impl<'ast> Visit<'ast> for File {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(one) => &one.attrs,
            ImplItem::Fn(one) => &one.attrs,
            ImplItem::Type(one) => &one.attrs,
            ImplItem::Macro(one) => &one.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        if item.content.is_some() {
            visit::visit_item_mod(self, item);
        } else {
            let line = item.ident.span().start().line;
            self.children.push(Child { line, path: self.module.clone() });
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // `::crate` names no module, but `::http` a crate.
        self.note_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.note(&names, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.note_method(&call.method.to_string(), call.method.span());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, one: &'ast Macro) {
        visit::visit_macro(self, one);
        self.note_tokens(one.tokens.clone());
    }

    // `pub(super)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(one) => &one.attrs,
        Item::Enum(one) => &one.attrs,
        Item::ExternCrate(one) => &one.attrs,
        Item::Fn(one) => &one.attrs,
        Item::ForeignMod(one) => &one.attrs,
        Item::Impl(one) => &one.attrs,
        Item::Macro(one) => &one.attrs,
        Item::Mod(one) => &one.attrs,
        Item::Static(one) => &one.attrs,
        Item::Struct(one) => &one.attrs,
        Item::Trait(one) => &one.attrs,
        Item::TraitAlias(one) => &one.attrs,
        Item::Type(one) => &one.attrs,
        Item::Union(one) => &one.attrs,
        Item::Use(one) => &one.attrs,
        _ => &[],
    }
}

/// Whether an item with these attributes is compiled for tests only.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<Meta>().is_ok_and(|condition| is_test(&condition))
        }
        _ => false,
    })
}

fn is_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(all) if all.path.is_ident("all") => all
            .parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated)
            .is_ok_and(|conditions| conditions.iter().any(is_test)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a crate of these files, whose modules are `a`, `b` and `c` from the lowest up.
    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let read = |name: &str| {
            let file = files.iter().find(|(file, _)| *file == name);
            file.map(|(_, text)| (*text).to_owned())
        };
        const BOUNDARIES: &[Boundary] = &[
            only("db", &["a"]),
            only("Instant::now", &["a"]),
            only(".elapsed", &["a"]),
            none_but("runtime", "runtime::sync"),
        ];
        let layers = Layers {
            root: "src/lib.rs",
            within: &[],
            order: &["a", "b", "c"],
            boundaries: BOUNDARIES,
        };
        of_crate(&layers, &read).expect("the files can be read")
    }

    /// Checks the text of the module `b`.
    fn check(text: &str, expected: &[&str]) {
        let found = findings(&[
            ("src/lib.rs", "mod c;\nmod b;\nmod a;\npub use c::C;\n"),
            ("src/a.rs", ""),
            ("src/b.rs", text),
            ("src/b/inner.rs", "use super::super::c::C;\nuse super::B;\nuse self::x::Y;\n"),
            ("src/c/mod.rs", "use crate::{a::A, b::B};\n"),
        ]);
        let arrow = |one: &String| one.split(": ").take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(found.iter().map(arrow).collect::<Vec<_>>(), expected, "{text}");
    }

    const UP: &[&str] = &["src/b.rs:1 b -> c"];

    #[test]
    fn a_module_may_use_what_is_below_it_and_itself() {
        check("use crate::a::A;\nuse crate::b::B;\nuse super::a;\nuse std::fmt;\nuse c::C;", &[]);
    }

    #[test]
    fn an_arrow_that_runs_up_is_found_however_it_is_spelled() {
        check("use crate::c::C;", UP);
        check("use crate::c;", UP);
        check("use crate::c::*;", UP);
        check("use crate::c::C as D;", UP);
        check("use crate::{a::{self, A}, c::{C, D}};", UP);
        check("use super::c::C;", UP);
        check("use self::super::c::C;", UP);
        check("pub(crate) use crate::c::C;", UP);
        check("fn f() -> crate::c::C { todo!() }", UP);
        check("fn f() { crate::c::f(); }", UP);
        check("impl crate::c::T for B {}", UP);
        check("fn f(b: &impl Into<super::c::C>) {}", UP);
        check("fn f() { assert!(1 == { crate::c::f() }, \"{}\", a::b); }", UP);
        check("macro_rules! m { () => { $crate::c::f() }; }", UP);
        check("crate::c::m!();", UP);
        check("fn f() {\n    use crate::c::C;\n}", &["src/b.rs:2 b -> c"]);
        check("mod deep {\n    use super::super::c::C;\n}", &["src/b.rs:2 b -> c"]);
    }

    #[test]
    fn modules_in_files_below_count_as_the_one_right_under_the_root() {
        check("mod inner;", &["src/b/inner.rs:1 b -> c"]);
    }

    #[test]
    fn names_that_the_root_exports_are_to_be_used_from_their_module() {
        check("use crate::C;", &["src/b.rs:1 b -> crate::C"]);
        check("use super::*;", &["src/b.rs:1 b -> crate::*"]);
    }

    #[test]
    fn names_that_only_look_like_a_module_are_ignored() {
        check("/// [`crate::c::C`]\nfn f(c: C) { c::d(); other::c::d(); c.c() }", &[]);
        check("pub(crate) fn f() {}\npub(super) fn g() {}\npub(in crate::b) fn h() {}", &[]);
        check("fn f() { m!(a: crate, other::crate, x::super::c); }", &[]);
        check("mod deep { use super::c::C; }", &[]);
    }

    #[test]
    fn tests_may_use_any_module() {
        check("#[cfg(test)]\nmod tests { use crate::c::C; }", &[]);
        check("#[cfg(test)]\nmod tests;", &[]);
        check("#[cfg(all(test, unix))]\nuse crate::c::C;", &[]);
        check("impl B {\n    #[cfg(test)]\n    fn f() { crate::c::f() }\n}", &[]);
        check("#[cfg(not(test))]\nuse crate::c::C;", &["src/b.rs:2 b -> c"]);
    }

    #[test]
    fn a_name_of_another_crate_stays_within_its_boundary() {
        check("use db::Row;", &["src/b.rs:1 b -> db"]);
        check("use ::db::{self, Row};", &["src/b.rs:1 b -> db"]);
        check("fn f(row: db::Row) {}", &["src/b.rs:1 b -> db"]);
        check("fn f() { let at = Instant::now(); }", &["src/b.rs:1 b -> Instant::now"]);
        check("fn f() { x(std::time::Instant::now()); }", &["src/b.rs:1 b -> Instant::now"]);
        check("use crate::a::db;\nfn f(now: Instant, db: u8) { now.db::<u8>(); b::db(); }", &[]);
        check("#[cfg(test)]\nmod tests { use db::Row; }", &[]);
        assert_eq!(
            findings(&[
                ("src/lib.rs", "mod a;\nmod b;\nmod c;\n"),
                ("src/a.rs", "use db::Row;"),
                ("src/b.rs", ""),
                ("src/c.rs", ""),
            ]),
            [""; 0]
        );
    }

    #[test]
    fn a_method_stays_within_its_boundary() {
        check("fn f() { begun.elapsed(); }", &["src/b.rs:1 b -> .elapsed"]);
        check("fn f() { assert!(begun.elapsed() < g); }", &["src/b.rs:1 b -> .elapsed"]);
        check("fn f() { m!(0..elapsed()); a.elapsed; elapsed() }\nfn elapsed() {}", &[]);
        check("fn f() { m!(0..crate::c::C); }", UP);
        check("fn f() { m!(0..=crate::c::C); }", UP);
    }

    #[test]
    fn a_part_of_another_crate_can_be_allowed_to_all() {
        check("use runtime::sync::Notify;\nfn f(one: runtime::sync::Mutex) {}", &[]);
        check("use runtime::{sync, time};", &["src/b.rs:1 b -> runtime"]);
        check("use runtime::task;", &["src/b.rs:1 b -> runtime"]);
    }

    #[test]
    fn a_folder_may_have_an_order_of_its_own() {
        let root = "mod low;\nmod high;\npub use high::H;\n";
        let found = |low: &str| {
            let read = |name: &str| {
                let text = match name {
                    "src/m.rs" => root,
                    "src/m/low.rs" => low,
                    "src/m/high.rs" => "use super::low::L;\nuse crate::m::low;\n",
                    _ => return None,
                };
                Some(text.to_owned())
            };
            let layers = Layers {
                root: "src/m.rs",
                within: &["m"],
                order: &["low", "high"],
                boundaries: &[],
            };
            of_crate(&layers, &read).expect("the files can be read")
        };
        assert_eq!(found("use crate::other::C;\nuse super::low::x;\nuse self::y;"), [""; 0]);
        let up = "src/m/low.rs:1: low -> high: the layer `high` is above `low`";
        assert_eq!(found("use super::high::H;"), [up]);
        assert_eq!(found("use crate::m::high::H;"), [up]);
        let exported = "src/m/low.rs:1: low -> crate::H: use it from the module that defines it";
        assert_eq!(found("use crate::m::H;"), [exported]);
    }

    #[test]
    fn each_module_has_a_layer_and_each_layer_is_a_module() {
        let root = "mod a;\nmod new;\nmod c;\n#[cfg(test)]\nmod tests;\n";
        let found = findings(&[("src/lib.rs", root), ("src/a.rs", ""), ("src/c.rs", "")]);
        let expected = [
            "src/lib.rs: the layer `b` is not a module of the crate",
            "src/lib.rs:2: the module `new` has no layer",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_that_is_missing_or_not_rust_is_named() {
        let error = |text: &str| {
            let read = |name: &str| (name == "src/lib.rs").then(|| text.to_owned());
            let layers = Layers { root: "src/lib.rs", within: &[], order: &["a"], boundaries: &[] };
            of_crate(&layers, &read).unwrap_err().to_string()
        };
        assert_eq!(error("mod a;"), "neither src/a.rs nor src/a/mod.rs exists");
        let error = error("\nmod 1;");
        assert!(error.starts_with("src/lib.rs:2: "), "{error}");
    }
}
