//! `/metrics`: who may read it, in which format, compressed or not.
//!
//! Protected as controller-runtime protects it. A client either shows a certificate of the configured authority in the handshake,
//! or a bearer token that the API server knows (`TokenReview`) and whose user may get `/metrics` (`SubjectAccessReview`). What the API server said is
//! remembered for a little while, so that a scrape every few seconds is not two requests every few seconds.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;

use super::{
    Telemetry,
    export::with_sources,
    registry::{Format, Registry},
    server::{Answer, CONNECTIONS_MAX, Ending, Port, serve, text, without_body},
};
use crate::{host::BoxedListener, tls::server::ServerTls};

/// How long a token that was found good and allowed is let in without asking again.
pub const ALLOWED_FOR: Duration = Duration::from_secs(60);
/// How long a token that was refused is refused without asking again.
pub const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Tokens that are remembered.
const VERDICTS_MAX: usize = 256;
/// A longer token is none.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Below this many bytes nothing is compressed.
const COMPRESSED_FROM_BYTES: usize = 1024;

/// Who may read the metrics.
#[derive(Clone)]
pub enum Guard {
    /// Everybody: only where it was asked for aloud.
    Nobody,
    /// A client with a certificate of the authority, or with a token that the API server lets in.
    Reviews(Arc<Reviews>),
}

/// What the API server said of tokens.
pub struct Reviews {
    client: Client,
    verdicts: Mutex<BTreeMap<String, (Instant, Verdict)>>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Reviews(_) => "Reviews",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Allowed,
    /// No user is known by this token.
    Unknown,
    /// This user may not.
    Forbidden(String),
}

impl Guard {
    /// Asks the API server about tokens.
    pub fn reviews(client: Client) -> Self {
        Self::Reviews(Arc::new(Reviews { client, verdicts: Mutex::default() }))
    }

    /// Nothing, or the answer that sends the client away.
    async fn refusal(&self, headers: &HeaderMap, known: bool) -> Option<Answer> {
        let Self::Reviews(reviews) = self else { return None };
        if known {
            return None;
        }
        let Some(token) = bearer(headers) else { return Some(unauthorized()) };
        match reviews.verdict(token).await {
            Ok(Verdict::Allowed) => None,
            Ok(Verdict::Unknown) => Some(unauthorized()),
            Ok(Verdict::Forbidden(user)) => {
                Some(text(StatusCode::FORBIDDEN, format!("Authorization denied for user {user}\n")))
            }
            Err(error) => {
                tracing::warn!(error = %with_sources(&error), "the API server cannot be asked who reads the metrics");
                Some(text(StatusCode::INTERNAL_SERVER_ERROR, "Authentication failed\n"))
            }
        }
    }
}

fn unauthorized() -> Answer {
    let mut answer = text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= TOKEN_BYTES_MAX).then_some(token)
}

impl Reviews {
    fn verdicts(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, Verdict)>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn verdict(&self, token: &str) -> Result<Verdict, kube::Error> {
        let now = Instant::now();
        if let Some((until, verdict)) = self.verdicts().get(token)
            && now < *until
        {
            return Ok(verdict.clone());
        }
        let verdict = self.ask(token).await?;
        let until = now + if verdict == Verdict::Allowed { ALLOWED_FOR } else { REFUSED_FOR };
        let mut verdicts = self.verdicts();
        verdicts.retain(|_, (until, _)| now < *until);
        if verdicts.len() < VERDICTS_MAX {
            verdicts.insert(token.to_owned(), (until, verdict.clone()));
        }
        Ok(verdict)
    }

    async fn ask(&self, token: &str) -> Result<Verdict, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let user = match (status.authenticated, status.user) {
            (Some(true), Some(user)) => user,
            _ => return Ok(Verdict::Unknown),
        };
        let name = user.username.clone().unwrap_or_default();
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let status = api.create(&PostParams::default(), &access(user)).await?.status.unwrap_or_default();
        Ok(if status.allowed { Verdict::Allowed } else { Verdict::Forbidden(name) })
    }
}

fn access(user: UserInfo) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some("/metrics".to_owned()),
                verb: Some("get".to_owned()),
            }),
            resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    }
}

/// Serves `/metrics` in the format that the `Accept` header asks for, until the operator's end.
pub async fn serve_metrics(
    listener: BoxedListener,
    tls: Option<ServerTls>,
    guard: Guard,
    registry: Arc<Registry>,
    ending: Ending,
    telemetry: Telemetry,
) {
    let handler = without_body(move |request, known| {
        let (guard, registry) = (guard.clone(), registry.clone());
        async move {
            match guard.refusal(request.headers(), known).await {
                Some(refusal) => refusal,
                None => metrics(&request, &registry),
            }
        }
    });
    serve(Port { listener, tls, connections_max: CONNECTIONS_MAX, ending }, telemetry, handler).await;
}

fn metrics(request: &Request<Bytes>, registry: &Registry) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    }
    if request.uri().path() != "/metrics" {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    let format = Format::negotiate(&listed(request.headers(), header::ACCEPT));
    let plain = registry.encode(format).into_bytes();
    let wants_gzip = listed(request.headers(), header::ACCEPT_ENCODING).split(',').any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let gzip = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        gzip && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    });
    let compressed = if wants_gzip && plain.len() >= COMPRESSED_FROM_BYTES { gzip(&plain) } else { None };
    let encoded = compressed.is_some();
    let mut answer = Response::new(Full::from(compressed.unwrap_or(plain)));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if encoded {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// All values of a header that is a list.
fn listed(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
}

fn gzip(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt;

    use super::*;
    use crate::testing::in_runtime;

    fn body(answer: Answer) -> Vec<u8> {
        in_runtime(async { answer.into_body().collect().await.unwrap().to_bytes().to_vec() })
    }

    fn ask(registry: &Registry, encoding: &str) -> Answer {
        let request = Request::get("/metrics").header("accept-encoding", encoding).body(Bytes::new()).unwrap();
        metrics(&request, registry)
    }

    #[test]
    fn what_is_long_is_compressed_for_who_wants_it() {
        let registry = Registry::default();
        registry.counter("short_total", "Short", &[]).inc(&[]);
        assert!(ask(&registry, "gzip").headers().get("content-encoding").is_none());
        let many = registry.counter("many_total", "Many", &["name"]);
        (0..100).for_each(|n| many.inc(&[&format!("series-{n}")]));
        let plain = body(ask(&registry, "identity"));
        let answer = ask(&registry, "deflate, gzip;q=0.5");
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(body(answer).as_slice()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        assert!(ask(&registry, "gzip;q=0").headers().get("content-encoding").is_none());
    }

    #[test]
    fn only_a_bearer_token_is_one() {
        let with = |value: &str| {
            let headers = [(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())].into_iter().collect();
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(with("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(with("bearer  abc "), Some("abc".to_owned()));
        for wrong in ["Bearer ", "Bearer", "Basic abc", ""] {
            assert_eq!(with(wrong), None, "{wrong:?}");
        }
        assert_eq!(with(&format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1))), None);
    }
}
