//! Tokens of service accounts: signed JSON Web Tokens (ES256), bound to an account, and to a pod if asked for.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::UserInfo;
use crate::{engine::Engine, json};

/// Who issues, and the audience of the API server itself.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// A longer token is refused unread.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// A pod that is being deleted keeps its tokens for so long, in seconds.
const DELETION_LEEWAY_SECONDS: i64 = 60;

/// The key that signs tokens. It follows the world's seed inside a world, and the system's randomness elsewhere.
pub struct Signer {
    key: EcdsaKeyPair,
    id: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Default for Signer {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the issuer's keys are, and what it signs with, as OpenID Connect's discovery tells it.
pub fn issuer() -> Value {
    json!({"issuer": ISSUER, "jwks_uri": format!("https://{}:{}/openid/v1/jwks", crate::API_ADDRESS, crate::API_TLS_PORT),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"]})
}

/// What a token is for.
#[derive(Clone, Debug)]
pub struct Claims<'a> {
    /// The service account.
    pub account: &'a Value,
    /// The pod it is bound to, if any.
    pub pod: Option<&'a Value>,
    /// The node of that pod: name and uid.
    pub node: Option<(String, String)>,
    /// Audiences.
    pub audiences: Vec<String>,
    /// When it is issued.
    pub now: Timestamp,
    /// Seconds until it expires.
    pub seconds: i64,
    /// Seconds until its use is worth a warning, if that is earlier.
    pub warn_after: Option<i64>,
    /// The token's own id.
    pub id: String,
}

impl Signer {
    /// A new key.
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .expect("the system's randomness (or the world's seed) gives a key");
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .expect("a key that was just made can be read");
        let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key().as_ref());
        Self { key, id: BASE64.encode(digest) }
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    pub fn keys(&self) -> Value {
        const COORDINATE_BYTES: usize = 32;
        // An uncompressed point: a byte that says so, then both coordinates.
        let point = self.key.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(COORDINATE_BYTES.min(point.len()));
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": BASE64.encode(x), "y": BASE64.encode(y)}]})
    }

    /// A token of these claims.
    pub fn issue(&self, claims: &Claims<'_>) -> String {
        let (namespace, name) = (json::namespace(claims.account), json::name(claims.account));
        let issued = claims.now.as_secs();
        let named = |o: &Value| json!({"name": json::name(o), "uid": json::uid(o)});
        let mut private = json!({"namespace": namespace});
        if let Some((name, uid)) = &claims.node {
            private["node"] = json!({"name": name, "uid": uid});
        }
        if let Some(pod) = claims.pod {
            private["pod"] = named(pod);
        }
        private["serviceaccount"] = named(claims.account);
        if let Some(seconds) = claims.warn_after {
            private["warnafter"] = (issued + seconds).into();
        }
        self.sign(&json!({
            "aud": claims.audiences,
            "exp": issued + claims.seconds,
            "iat": issued,
            "iss": ISSUER,
            "jti": claims.id,
            "kubernetes.io": private,
            "nbf": issued,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        }))
    }

    /// A token of any content.
    pub(super) fn sign(&self, content: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.id});
        let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(content.to_string()));
        let signed =
            self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("signing fails only without randomness");
        format!("{text}.{}", BASE64.encode(signed.as_ref()))
    }

    /// What a token says, if this key signed it.
    ///
    /// # Errors
    /// [`NotOurs`](Refused::NotOurs) for what is no token of this issuer; [`Bad`](Refused::Bad) for one that is not
    /// signed by this key.
    pub fn read(&self, token: &str) -> Result<Value, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::NotOurs);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(content), Some(signed), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refused::NotOurs);
        };
        let read = |part: &str| -> Option<Value> { serde_json::from_slice(&BASE64.decode(part).ok()?).ok() };
        let claims = read(content).ok_or(Refused::NotOurs)?;
        if claims["iss"] != ISSUER {
            return Err(Refused::NotOurs);
        }
        let bad = || Refused::Bad("go-jose/go-jose: error in cryptographic primitive".into());
        let header = read(header).ok_or_else(bad)?;
        if header["alg"] != "ES256" {
            return Err(Refused::Bad(format!(
                "unexpected signature algorithm {}; expected [\"ES256\"]",
                header["alg"]
            )));
        }
        let signed = BASE64.decode(signed).map_err(|_| bad())?;
        let text = &token[..token.rfind('.').unwrap_or(0)];
        let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, self.key.public_key());
        key.verify(text.as_bytes(), &signed).map_err(|_| bad())?;
        Ok(claims)
    }
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is no token of ours.
    NotOurs,
    /// It is, and is not good.
    Bad(String),
}

impl Refused {
    /// As `TokenReview` tells it.
    pub fn message(&self) -> String {
        match self {
            Self::NotOurs => "invalid bearer token".into(),
            Self::Bad(why) => format!("[invalid bearer token, {why}]"),
        }
    }
}

/// Who shows a token whose signature is good: checks time, audience, and that what it is bound to still exists. Gives
/// the user and the audiences that both sides share.
///
/// # Errors
/// Why it is not taken.
pub fn identify(
    engine: &Engine,
    claims: &Value,
    audiences: &[String],
    now: Timestamp,
) -> Result<(UserInfo, Vec<String>), Refused> {
    let bad = |why: &str| Err(Refused::Bad(why.to_owned()));
    let now = now.as_secs();
    if json::int(claims, &["exp"]).is_none_or(|exp| now > exp) {
        return bad("service account token has expired");
    }
    if json::int(claims, &["nbf"]).is_some_and(|nbf| now < nbf) {
        return bad("service account token is not valid yet");
    }
    let named: Vec<String> =
        json::list(claims, &["aud"]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    let shared: Vec<String> = audiences.iter().filter(|a| named.contains(a)).cloned().collect();
    if shared.is_empty() {
        let quoted = super::rbac::quoted;
        let why =
            format!("token audiences {} is invalid for the target audiences {}", quoted(&named), quoted(audiences));
        return Err(Refused::Bad(why));
    }
    let private = &claims["kubernetes.io"];
    let namespace = json::text(private, &["namespace"]);
    let bound = |kind: &str| (json::text(private, &[kind, "name"]), json::text(private, &[kind, "uid"]));
    let (name, uid) = bound("serviceaccount");
    if json::text(claims, &["sub"]) != format!("system:serviceaccount:{namespace}:{name}") {
        return bad("sub claim is invalid");
    }
    let late = |object: &Value| {
        let deleted = json::text(object, &["metadata", "deletionTimestamp"]).parse::<jiff::Timestamp>();
        deleted.is_ok_and(|at| now > at.as_second() + DELETION_LEEWAY_SECONDS)
    };
    match engine.peek("serviceaccounts", namespace, name) {
        None => return Err(Refused::Bad(format!("serviceaccounts {name:?} not found"))),
        Some(account) if late(account) => return bad("service account has been deleted"),
        Some(account) if json::uid(account) != uid => {
            let found = json::uid(account);
            return Err(Refused::Bad(format!("service account UID ({found}) does not match claim ({uid})")));
        }
        Some(_) => {}
    }
    let mut extra = BTreeMap::new();
    let mut put = |key: &str, value: &str| {
        extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    if let Some(id) = claims["jti"].as_str() {
        put("credential-id", &format!("JTI={id}"));
    }
    if private["pod"].is_object() {
        let (pod_name, pod_uid) = bound("pod");
        let pod = engine.peek("pods", namespace, pod_name).filter(|p| json::uid(p) == pod_uid && !late(p));
        if pod.is_none() {
            return bad("service account token has been invalidated");
        }
        put("pod-name", pod_name);
        put("pod-uid", pod_uid);
    }
    if private["node"].is_object() {
        let (node_name, node_uid) = bound("node");
        put("node-name", node_name);
        put("node-uid", node_uid);
    }
    Ok((UserInfo { extra, ..UserInfo::service_account(namespace, name, uid) }, shared))
}
