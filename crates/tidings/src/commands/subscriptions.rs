//! `tidings subscriptions`: lists and ends the subscriptions of a hub.

use std::io::Write as _;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, Url};
use serde_json::Value;
use tidings_client::transport::ReqwestTransport;

use super::ask::{Ask, Response};
use super::output::printable;
use super::{hub, saved};
use crate::args::{HubArgs, SubscriptionsArgs, SubscriptionsCommand};
use crate::console::{self, put};
use crate::outcome::{Ended, Outcome};

/// The maximum of bytes of a list.
const LIST_BYTES_MAX: usize = 256 << 20;

pub(crate) async fn run(args: SubscriptionsArgs) -> anyhow::Result<Outcome> {
    match args.command {
        SubscriptionsCommand::List { topic, json, hub } => list(topic, json, &hub).await,
        SubscriptionsCommand::End { id, hub } => end(&id, &hub).await,
    }
}

async fn list(topic: Option<String>, json: bool, hub: &HubArgs) -> anyhow::Result<Outcome> {
    let (mut url, headers) = saved::target(hub)?;
    extend(&mut url, [Some("subscriptions"), topic.as_deref()].into_iter().flatten());
    let answer = ask(Method::GET, url, headers, hub).await?;
    let mut out = console::out();
    if json {
        out.write_all(&answer.body)?;
        out.write_all(b"\n")?;
        return Ok(Outcome::Done);
    }
    let document: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| anyhow::anyhow!("the answer is no list of subscriptions; is this a hub?"))?;
    let members = document["subscriptions"].as_array().map(Vec::as_slice).unwrap_or_default();
    for member in members {
        let text = |name: &str| member[name].as_str().unwrap_or_default();
        let selector = if text("topic").is_empty() { text("match") } else { text("topic") };
        writeln!(out, "{}  {}", printable(text("id")), printable(selector))?;
    }
    Ok(Outcome::Done)
}

async fn end(id: &str, hub: &HubArgs) -> anyhow::Result<Outcome> {
    let (base, headers) = saved::target(hub)?;
    let path = format!("{}/subscriptions/", hub::HUB_PATH);
    // The id is a path on the hub, or a URL with that path.
    let Some((_, rest)) = id.split_once(&path) else {
        return Err(Ended::usage(format!(
            "{id:?} is not the id of a subscription; `tidings subscriptions list` prints them, such \
             as {path}TOPIC/SUBSCRIBER"
        )));
    };
    let mut url = base.clone();
    // The segments are encoded already.
    url.set_path(&format!("{}/subscriptions/{rest}", base.path()));
    ask(Method::DELETE, url, headers, hub).await?;
    put!("ended {id}");
    Ok(Outcome::Done)
}

/// Revokes a token by its id, and ends its streams.
pub(crate) async fn revoke(id: &str, hub: &HubArgs) -> anyhow::Result<()> {
    let (mut url, headers) = saved::target(hub)?;
    extend(&mut url, ["tokens", id]);
    ask(Method::DELETE, url, headers, hub).await.map(drop)
}

/// Appends segments to the path, encoded.
fn extend<'a>(url: &mut Url, segments: impl IntoIterator<Item = &'a str>) {
    // http URLs can have paths.
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend(segments);
    }
}

async fn ask(
    method: Method,
    url: Url,
    headers: HeaderMap,
    hub: &HubArgs,
) -> anyhow::Result<Response> {
    let has_token = headers.contains_key(AUTHORIZATION);
    let within = hub.request.common.timeout;
    let ask = Ask { method, url, headers, within, bytes_max: LIST_BYTES_MAX };
    let answer = ask.send(&ReqwestTransport::new()?).await?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    let hint = match answer.status.as_u16() {
        401 if !has_token => "; set --token",
        _ => "",
    };
    Err(Ended::refused(format!(
        "the hub refused the request ({}): {}{hint}",
        answer.status,
        answer.reason()
    )))
}
