//! Certificates, and clients of TLS: over it HTTP/1.1, as it stands, or HTTP/2, into which what
//! a test says in HTTP/1.1 is translated.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tidings_hub::Tls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Connection;

/// A body that lets what it gave be written before it tells of its error, upon which the
/// connection ends.
struct Unhurried {
    body: Incoming,
    error: Option<hyper::Error>,
}

impl Body for Unhurried {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Err(error))) => {
                self.error = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A certificate for `localhost`, whose own issuer it is, and its key: in files, until dropped.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// What a client has to trust.
    pub(crate) root: CertificateDer<'static>,
}

impl Files {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("certificate-{}-{number}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let root = CertificateDer::from(Vec::new());
        let mut files = Self { folder, certificate, key, root };
        files.renew(2124);
        files
    }

    /// Writes a new certificate, good until this year, and its key.
    pub(crate) fn renew(&mut self, year: i32) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("a certificate can be made");
        write(&self.certificate, &certificate.pem());
        write(&self.key, &key.serialize_pem());
        self.root = certificate.der().clone();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file can be written");
}

/// Both sides of TLS.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) files: Files,
    pub(crate) tls: Tls,
}

impl Secure {
    pub(crate) fn new() -> Self {
        let files = Files::new();
        let tls = Tls::of_files(&files.certificate, &files.key).expect("they fit");
        Self { files, tls }
    }

    /// A connection over TLS to a hub that has the certificate, and chooses this protocol.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        protocol: &str,
    ) -> TlsStream<TcpStream> {
        let socket = TcpStream::connect(address).await.expect("the hub listens");
        // Else the second half of a request waits for the acknowledgement of the first.
        socket.set_nodelay(true).expect("a socket of ours");
        let stream = self.shake(socket, protocol).await.expect("the handshake succeeds");
        let chosen = stream.get_ref().1.alpn_protocol();
        assert_eq!(chosen, Some(protocol.as_bytes()));
        stream
    }

    pub(crate) async fn shake(
        &self,
        socket: TcpStream,
        protocol: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.files.root.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }

    pub(crate) async fn http_1(&self, address: SocketAddr) -> Connection {
        Connection::over(self.connect(address, "http/1.1").await, address)
    }

    /// A connection on which a test speaks HTTP/1.1, and the hub HTTP/2.
    pub(crate) async fn http_2(&self, address: SocketAddr) -> Connection {
        let stream = TokioIo::new(self.connect(address, "h2").await);
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), stream).await.expect("the hub speaks HTTP/2");
        tokio::spawn(connection);
        // No more than a few events, so that the hub feels it when a test does not read.
        let (near, far) = tokio::io::duplex(4096);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let mut sender = sender.clone();
            async move {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let path = path.to_owned();
                let host = request.headers_mut().remove("host");
                let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("localhost");
                let uri = format!("https://{host}{path}").parse::<Uri>().expect("a URI");
                *request.uri_mut() = uri;
                request.headers_mut().remove("connection");
                let is_head = request.method() == "HEAD";
                let mut response = sender.send_request(request).await?;
                // HTTP/2 ends a stream without its connection; HTTP/1 may say so only like this.
                let is_stream = response.headers().get("content-type");
                if is_stream.is_some_and(|name| name == "text/event-stream") && !is_head {
                    response.headers_mut().insert("connection", HeaderValue::from_static("close"));
                }
                hyper::Result::Ok(response.map(|body| Unhurried { body, error: None }))
            }
        });
        tokio::spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(far), service).await;
        });
        Connection::over(near, address)
    }
}
