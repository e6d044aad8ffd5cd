//! Calling a webhook: by Service or URL, over TLS, through the world's network; errors in the real client's words.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig, Error as TlsFailure, InvalidMessage, pki_types::ServerName};
use sim_net::Host;

use super::webhook::{Destination, Webhook};
use crate::{engine::Engine, json, tls};

/// Longest answer of a webhook, as the real server's.
pub const ANSWER_BYTES_MAX: usize = 3 << 20;

/// Where a call goes, as resolved from the engine before it starts.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The address with `?timeout=…`, as messages show it.
    url: String,
    /// `name:port` for the network.
    dial: String,
    /// The same as messages show it (the Service's address).
    shown: String,
    /// The name the certificate must be for.
    host: String,
    authority: String,
    timeout: Duration,
    /// Found out while resolving.
    failed: Option<String>,
}

impl Call {
    /// Resolves a webhook's destination.
    pub(super) fn to(engine: &Engine, webhook: &Webhook) -> Self {
        let timeout = webhook.timeout;
        let query = format!("timeout={}s", timeout.as_secs());
        let mut call = Self {
            url: String::new(),
            dial: String::new(),
            shown: String::new(),
            host: String::new(),
            authority: webhook.authority.clone(),
            timeout,
            failed: None,
        };
        match &webhook.destination {
            Destination::Url(url) => {
                call.url = format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' });
                let rest = url.strip_prefix("https://").unwrap_or(url);
                let place = rest.split(['/', '?']).next().unwrap_or("");
                let (host, port) = place.rsplit_once(':').unwrap_or((place, "443"));
                host.clone_into(&mut call.host);
                call.dial = format!("{host}:{port}");
                call.shown.clone_from(&call.dial);
            }
            Destination::Service { namespace, name, port, path } => {
                let path = if path.is_empty() { "/" } else { path };
                call.host = format!("{name}.{namespace}.svc");
                call.url = format!("https://{}:{port}{path}?{query}", call.host);
                call.dial = format!("{}:{port}", call.host);
                match engine.peek("services", namespace, name) {
                    None => call.failed = Some(format!("service \"{name}\" not found")),
                    Some(service) => {
                        let ports = json::list(service, &["spec", "ports"]);
                        if !ports.iter().any(|p| json::int(p, &["port"]) == Some(i64::from(*port))) {
                            call.failed = Some(format!("no service port {port} found for service \"{name}\""));
                        }
                        call.shown = format!("{}:{port}", json::text(service, &["spec", "clusterIP"]));
                    }
                }
            }
        }
        call
    }

    /// Posts a review and returns the answer's body.
    ///
    /// # Errors
    /// `failed to call webhook: …`, as the real server words it.
    pub(super) async fn post(&self, from: Option<Host>, body: Bytes) -> Result<Bytes, String> {
        if let Some(why) = &self.failed {
            return Err(self.failure(why));
        }
        let Some(from) = from else { return Err(self.failure(&self.no_such_host())) };
        match tokio::time::timeout(self.timeout, self.exchange(&from, body)).await {
            Err(_) => Err(self.failure("context deadline exceeded")),
            Ok(Err(why)) => Err(self.failure(&why)),
            Ok(Ok((status, answer))) if (200..300).contains(&status) => Ok(answer),
            Ok(Ok((status, answer))) => Err(format!("failed to call webhook: {}", unexpected(status, &answer))),
        }
    }

    fn failure(&self, why: &str) -> String {
        format!("failed to call webhook: Post \"{}\": {why}", self.url)
    }

    fn no_such_host(&self) -> String {
        format!("dial tcp: lookup {} on 10.96.0.10:53: no such host", self.host)
    }

    async fn exchange(&self, from: &Host, body: Bytes) -> Result<(u16, Bytes), String> {
        let stream = from.connect(&self.dial).await.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => self.no_such_host(),
            io::ErrorKind::ConnectionRefused => format!("dial tcp {}: connect: connection refused", self.shown),
            io::ErrorKind::ConnectionReset => format!("dial tcp {}: connect: connection reset by peer", self.shown),
            io::ErrorKind::HostUnreachable => format!("dial tcp {}: connect: no route to host", self.shown),
            _ => e.to_string(),
        })?;
        let name = ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(self.config()?);
        let stream = connector.connect(name, stream).await.map_err(|e| self.handshake(&e))?;
        let (mut send, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        // The connection is driven beside the request and ends with it.
        let driven = sim_clock::spawn("webhook", async move { drop(connection.await) });
        let path = self.url.strip_prefix("https://").and_then(|u| u.find('/').map(|at| &u[at..])).unwrap_or("/");
        let request = Request::post(path)
            .header("host", &self.dial)
            .header("accept", "application/json, */*")
            .header("content-type", "application/json")
            .header("user-agent", "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|e| e.to_string())?;
        let answered = async {
            let response = send.send_request(request).await.map_err(|_| "EOF".to_owned())?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|e| {
                if e.is::<http_body_util::LengthLimitError>() {
                    format!("http: request body too large: the answer is limited to {ANSWER_BYTES_MAX} bytes")
                } else {
                    "unexpected EOF".to_owned()
                }
            })?;
            Ok((status, body.to_bytes()))
        };
        let answer = answered.await;
        driven.abort();
        answer
    }

    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let config = if self.authority.is_empty() {
            tls::client_config_without_authority()
        } else {
            tls::client_config(&self.authority, None)
        };
        let mut config = (*config.map_err(|e| e.to_string())?).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// What Go's TLS says where rustls says this.
    fn handshake(&self, error: &io::Error) -> String {
        let x509 = "tls: failed to verify certificate: x509: ";
        let Some(failure) = error.get_ref().and_then(|e| e.downcast_ref::<TlsFailure>()) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
                io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
                _ => error.to_string(),
            };
        };
        let date = |t: rustls::pki_types::UnixTime| {
            i64::try_from(t.as_secs()).map(|s| sim_clock::Timestamp::from_secs(s).rfc3339()).unwrap_or_default()
        };
        match failure {
            TlsFailure::InvalidCertificate(why) => match why {
                CertificateError::UnknownIssuer => format!("{x509}certificate signed by unknown authority"),
                CertificateError::ExpiredContext { time, not_after } => format!(
                    "{x509}certificate has expired or is not yet valid: current time {} is after {}",
                    date(*time),
                    date(*not_after)
                ),
                CertificateError::NotValidYetContext { time, not_before } => format!(
                    "{x509}certificate has expired or is not yet valid: current time {} is before {}",
                    date(*time),
                    date(*not_before)
                ),
                CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                    format!("{x509}certificate is not valid for any names, but wanted to match {}", self.host)
                }
                CertificateError::NotValidForNameContext { presented, .. } => {
                    let names: Vec<String> = presented.iter().map(|p| plain_name(p)).collect();
                    format!("{x509}certificate is valid for {}, not {}", names.join(", "), self.host)
                }
                other => format!("{x509}{other}"),
            },
            TlsFailure::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "http: server gave HTTP response to HTTPS client".to_owned()
            }
            other => format!("remote error: tls: {other}"),
        }
    }
}

/// `DnsName("a")` as `a`.
fn plain_name(presented: &str) -> String {
    presented.split('"').nth(1).unwrap_or(presented).to_owned()
}

/// What client-go makes of an answer that is no success.
fn unexpected(status: u16, body: &[u8]) -> String {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body)
        && json::text(&value, &["kind"]) == "Status"
    {
        return json::text(&value, &["message"]).to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    match status {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => "the server does not allow access to the requested resource".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => format!(
            "the server was unable to return a response in the time allotted, but may still be processing the request ({text})"
        ),
        500.. => format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        _ => format!("the server responded with the status code {status} but did not return more information"),
    }
}
