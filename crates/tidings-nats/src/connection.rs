//! The connection to NATS, and requests to its servers.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, Message, Request, RequestErrorKind,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::condition::Condition;
use crate::error::{NatsError, VERSION};
use crate::limits::{NATS_PAUSE_MAX, NATS_REQUEST_TIME};
use crate::options::{NatsLogin, NatsOptions};

/// How often the connection is checked with a ping. Two answers may be missing.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// The maximum time for connecting to one server.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Connects, and waits for a server up to the options' `start_wait`.
pub(crate) async fn connect(
    options: &NatsOptions,
    condition: &Arc<Condition>,
) -> Result<Client, NatsError> {
    let urls = Urls::read(options)?;
    let servers: Vec<_> = urls.servers.iter().map(Url::as_str).collect();
    let until = Instant::now() + options.start_wait;
    let mut pause = Pause::default();
    loop {
        let settings = settings(options, &urls, Arc::clone(condition)).await?;
        let error = match settings.connect(servers.as_slice()).await {
            Ok(client) => {
                check_version(&client)?;
                return Ok(client);
            }
            Err(error) => error,
        };
        let reason = words(&error);
        match error.kind() {
            ConnectErrorKind::ServerParse => {
                let reason = format!("{} is not a list of NATS servers: {reason}", options.shown());
                return Err(NatsError::Setting { reason });
            }
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                return Err(NatsError::Refused { reason });
            }
            _ if Instant::now() >= until => {
                return Err(NatsError::Unreachable { waited: options.start_wait, reason });
            }
            _ => {
                tracing::info!(servers = options.shown(), reason, "waiting for NATS");
                pause.wait().await;
            }
        }
    }
}

/// The servers' URLs, and the login in them.
struct Urls {
    servers: Vec<Url>,
    login: Option<(String, Option<String>)>,
}

impl Urls {
    fn read(options: &NatsOptions) -> Result<Self, NatsError> {
        let wrong = |text: &str, why: &str| NatsError::Setting {
            // The error omits the text before `@`, which may hold a secret.
            reason: format!("the server {:?} {why}", text.rsplit('@').next().unwrap_or_default()),
        };
        let mut urls = Self { servers: Vec::new(), login: None };
        for text in &options.servers {
            let mut url = Url::parse(text).map_err(|error| wrong(text, &error.to_string()))?;
            if !matches!(url.scheme(), "nats" | "tls") || url.host().is_none() {
                return Err(wrong(text, "must have the form nats://host:4222 or tls://host:4222"));
            }
            if !url.username().is_empty() {
                let decoded = |text: &str| {
                    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
                };
                let login = (decoded(url.username()), url.password().map(decoded));
                if urls.login.as_ref().is_some_and(|other| *other != login) {
                    return Err(wrong(text, "has a different login than another server"));
                }
                urls.login = Some(login);
                // A URL with a host can have none.
                let _ = url.set_username("");
                let _ = url.set_password(None);
            }
            urls.servers.push(url);
        }
        if urls.login.is_some() && options.login != NatsLogin::None {
            return Err(NatsError::Setting {
                reason: "there is a login in the servers' URLs and another one in the options"
                    .to_owned(),
            });
        }
        Ok(urls)
    }
}

async fn settings(
    options: &NatsOptions,
    urls: &Urls,
    condition: Arc<Condition>,
) -> Result<ConnectOptions, NatsError> {
    let unreadable = |what: &str, error: &dyn std::fmt::Display| NatsError::Setting {
        reason: format!("cannot use the {what} for NATS: {error}"),
    };
    let mut settings = ConnectOptions::new()
        .name("tidings")
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIME)
        .request_timeout(Some(NATS_REQUEST_TIME))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let exponent = u32::try_from(attempts.min(6)).unwrap_or(6);
            (Duration::from_millis(10) * 2_u32.pow(exponent)).min(NATS_PAUSE_MAX)
        })
        .event_callback(move |event| {
            match event {
                Event::Disconnected => condition.unreachable("lost connection"),
                Event::ClientError(error) => condition.unreachable(&error.to_string()),
                Event::ServerError(error) => {
                    let error = error.to_string();
                    tracing::warn!(error, "NATS reports an error");
                    condition.reported(&error);
                }
                event => tracing::debug!(event = event.to_string(), "NATS"),
            }
            std::future::ready(())
        });
    settings = match &options.login {
        NatsLogin::None => match urls.login.clone() {
            None => settings,
            Some((user, Some(password))) => settings.user_and_password(user, password),
            // A single word is a token, as in other NATS clients.
            Some((token, None)) => settings.token(token),
        },
        NatsLogin::Token(token) => settings.token(token.clone()),
        NatsLogin::Nkey(seed) => settings.nkey(seed.clone()),
        NatsLogin::Credentials(path) => {
            let read = settings.credentials_file(path).await;
            read.map_err(|error| {
                unreadable(&format!("credentials file {}", path.display()), &error)
            })?
        }
    };
    if let Some(ca) = &options.ca {
        check_file(ca).map_err(|error| unreadable("certificate authorities", &error))?;
        settings = settings.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &options.certificate {
        for path in [certificate, key] {
            check_file(path).map_err(|error| unreadable("client certificate", &error))?;
        }
        settings = settings.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(settings)
}

/// The client's own error would not name the file.
fn check_file(path: &std::path::Path) -> Result<(), String> {
    std::fs::read(path).map(drop).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether the connected server supports the features that the journal needs.
pub(crate) fn check_version(client: &Client) -> Result<(), NatsError> {
    let (major, minor, patch) = VERSION;
    if client.is_server_compatible(major, minor, patch) {
        return Ok(());
    }
    Err(NatsError::Version { version: client.server_info().version })
}

/// An error with its causes, in one line.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No server answered, or the answer may change: a retry may help.
    Temporary(String),
    /// JetStream refused the request.
    Refused { code: ErrorCode, reason: String },
    /// The login may not publish to this subject.
    Denied(String),
}

/// The stream or its disk is full. JetStream reports this as if it were temporary.
const FULL: [u64; 4] = [10023, 10028, 10047, 10077];
/// Temporary refusals that look permanent: a message with this id is being stored, or a server is
/// not ready for its role yet, or lost it.
const PASSING: [u64; 6] = [10007, 10009, 10040, 10041, 10044, 10158];

impl Failure {
    /// Whether retries are useless until an operator changes something.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Temporary(_) => false,
            Self::Refused { code, .. } => !PASSING.contains(&code.0),
            Self::Denied(_) => true,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Temporary(reason) | Self::Refused { reason, .. } | Self::Denied(reason) => {
                f.write_str(reason)
            }
        }
    }
}

impl std::error::Error for Failure {}

/// An error of JetStream.
#[derive(Debug, Deserialize)]
struct ErrorAnswer {
    error: Option<JetStreamError>,
}

#[derive(Debug, Deserialize)]
struct JetStreamError {
    err_code: Option<u64>,
    #[serde(default)]
    description: String,
    code: u64,
}

/// Sends a request and waits for its answer.
pub(crate) async fn ask(
    client: &Client,
    subject: String,
    request: Request,
    time: Duration,
) -> Result<Message, Failure> {
    let asked = client.send_request(subject, request.timeout(Some(time)));
    // The client's own wait for room in its connection's queue has no bound.
    let asked = tokio::time::timeout(time, asked).await;
    let slow = || Failure::Temporary(format!("no answer within {} ms", time.as_millis()));
    asked.map_err(|_| slow())?.map_err(|error| match error.kind() {
        RequestErrorKind::TimedOut => slow(),
        RequestErrorKind::NoResponders => Failure::Temporary(
            "JetStream does not answer; check that it is enabled and has a leader".to_owned(),
        ),
        _ => Failure::Temporary(words(&error)),
    })
}

/// Queues a message for the connection. While the connection is lost its queue fills, and the
/// client's own wait for room has no bound.
pub(crate) async fn queued<T, E: std::error::Error>(
    handed: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(NATS_REQUEST_TIME, handed).await {
        Ok(handed) => handed.map_err(|error| Failure::Temporary(words(&error))),
        Err(_) => Err(Failure::Temporary("the connection is full".to_owned())),
    }
}

/// Like [`ask`], but ends at once if the server reports that this login may not publish there. The
/// server does not answer such a request.
pub(crate) async fn ask_allowed(
    client: &Client,
    condition: &Condition,
    subject: &str,
    request: Request,
    time: Duration,
) -> Result<Message, Failure> {
    let denied = condition.until_denied(subject);
    tokio::select! {
        answer = ask(client, subject.to_owned(), request, time) => answer,
        reason = denied => Err(Failure::Denied(reason)),
    }
}

/// Reads JetStream's answer.
pub(crate) fn read<T: DeserializeOwned>(message: &Message) -> Result<T, Failure> {
    let unreadable = |error: serde_json::Error| {
        Failure::Temporary(format!("cannot read JetStream's answer: {error}"))
    };
    let answer: ErrorAnswer = serde_json::from_slice(&message.payload).map_err(unreadable)?;
    if let Some(error) = answer.error {
        let code = ErrorCode(error.err_code.unwrap_or(error.code));
        let reason = error.description;
        // The stream has no leader now, is starting, or has too many requests (10167).
        let passes = matches!(error.code, 429 | 503) && !FULL.contains(&code.0);
        return Err(match passes {
            true => Failure::Temporary(reason),
            false => Failure::Refused { code, reason },
        });
    }
    serde_json::from_slice(&message.payload).map_err(unreadable)
}

/// Sends a request to JetStream's API.
pub(crate) async fn api<T: DeserializeOwned>(
    client: &Client,
    call: &str,
    body: &Value,
) -> Result<T, Failure> {
    let subject = format!("$JS.API.{call}");
    read(&ask(client, subject, request(body), NATS_REQUEST_TIME).await?)
}

/// Like [`api`], but reports at once if this login may not send the request.
pub(crate) async fn api_allowed<T: DeserializeOwned>(
    client: &Client,
    condition: &Condition,
    call: &str,
    body: &Value,
) -> Result<T, Failure> {
    let subject = format!("$JS.API.{call}");
    read(&ask_allowed(client, condition, &subject, request(body), NATS_REQUEST_TIME).await?)
}

fn request(body: &Value) -> Request {
    let payload = if body.is_null() { String::new() } else { body.to_string() };
    Request::new().payload(payload.into())
}

/// Pauses that grow.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

impl Pause {
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0.mul_f64(0.5 + fastrand::f64())).await;
        self.0 = (2 * self.0).min(NATS_PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(payload: &'static str) -> Failure {
        let message = Message {
            subject: "_INBOX.a".into(),
            reply: None,
            payload: payload.into(),
            headers: None,
            status: None,
            description: None,
            length: payload.len(),
        };
        read::<serde_json::Value>(&message).unwrap_err()
    }

    #[test]
    fn too_many_requests_pass_and_a_full_stream_does_not() {
        let busy = r#"{"error":{"code":429,"err_code":10167,"description":"too many requests"}}"#;
        assert!(!answer(busy).is_final());
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages"}}"#;
        assert!(answer(full).is_final());
    }
}
