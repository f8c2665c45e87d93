//! `tidings health`: asks a hub whether it works.

use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use tidings_client::transport::ReqwestTransport;

use super::ask::Ask;
use super::output::printable;
use super::{hub, saved};
use crate::args::{HealthArgs, ServeArgs};
use crate::config::Config;
use crate::config::place::Place;
use crate::console::put;
use crate::outcome::{Ended, Outcome};

/// The maximum of bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Every error has the exit code 1: Docker reserves 2.
pub(crate) async fn run(args: HealthArgs) -> anyhow::Result<Outcome> {
    check(args).await.map_err(|error| anyhow::anyhow!("{error:#}"))
}

async fn check(args: HealthArgs) -> anyhow::Result<Outcome> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let (transport, mut url) = match &args.url {
        Some(url) => (ReqwestTransport::new()?, saved::url(url)?),
        None => of_configuration(&args)?,
    };
    let base = url.path().trim_end_matches(hub::HUB_PATH).trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}{path}"));
    let ask = Ask {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        within: args.timeout,
        bytes_max: ANSWER_BYTES_MAX,
    };
    let answer = ask.send(&transport).await?;
    let text = answer.text();
    let text = printable(&text);
    match answer.status.as_u16() {
        200 => {
            put!("{}", if text.is_empty() { "ok" } else { &*text });
            Ok(Outcome::Done)
        }
        404 => anyhow::bail!(
            "there is no {path} at this address; it is on the admin address (--admin-listen), or on \
             the main address if that is of this machine only"
        ),
        _ => anyhow::bail!("the hub is not well ({}): {text}", answer.status),
    }
}

/// The address of the hub that has these settings, as this machine reaches it.
fn of_configuration(args: &HealthArgs) -> anyhow::Result<(ReqwestTransport, Url)> {
    let serve = ServeArgs {
        listen: args.listen.clone(),
        admin_listen: args.admin_listen.clone(),
        config: args.config.clone(),
        tls_cert: args.tls_cert.clone(),
        ..ServeArgs::default()
    };
    let (place, has_tls) = Config::health_place(&serve)?;
    let address = match place {
        Place::Unix(path) => return unix(&path),
        Place::Localhost { port } => format!("localhost:{port}"),
        Place::Address(address) if address.ip().is_unspecified() => {
            format!("localhost:{}", address.port())
        }
        Place::Address(address) => address.to_string(),
    };
    if has_tls {
        return Err(Ended::usage(format!(
            "the hub speaks https at {address}; give the URL with the name of its certificate \
             (tidings health https://NAME:PORT), or set --admin-listen, which is plain http"
        )));
    }
    Ok((ReqwestTransport::new()?, format!("http://{address}").parse()?))
}

#[cfg(unix)]
fn unix(path: &std::path::Path) -> anyhow::Result<(ReqwestTransport, Url)> {
    let client = reqwest::Client::builder().no_proxy().unix_socket(path).build()?;
    Ok((ReqwestTransport::with_client(client), "http://localhost".parse()?))
}

#[cfg(not(unix))]
fn unix(path: &std::path::Path) -> anyhow::Result<(ReqwestTransport, Url)> {
    Err(Ended::usage(format!("this system has no Unix sockets, such as {}", path.display())))
}
