//! CertificateSigningRequest -> its certificate, for the signers that this cluster has.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Step, Write, pods::set_condition, with_status};
use crate::{
    engine::Object,
    json,
    tls::{Authority, CERTIFICATE_VALIDITY},
};

/// Signers of client certificates.
const CLIENT_SIGNERS: &[&str] = &["kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet"];
/// Signers of serving certificates.
const SERVING_SIGNERS: &[&str] = &["kubernetes.io/kubelet-serving"];

/// True if a request is approved and waits for one of our signers.
pub(super) fn due(request: &Value) -> bool {
    let signer = json::text(request, &["spec", "signerName"]);
    let has = |kind: &str| json::list(request, &["status", "conditions"]).iter().any(|c| c["type"] == kind);
    (CLIENT_SIGNERS.contains(&signer) || SERVING_SIGNERS.contains(&signer))
        && has("Approved")
        && !has("Denied")
        && !has("Failed")
        && json::text(request, &["status", "certificate"]).is_empty()
}

/// Signs a request that is due.
pub(super) fn sign(authority: &Authority, request: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("certificate-controller");
    let asked = json::int(request, &["spec", "expirationSeconds"]).and_then(|s| u64::try_from(s).ok());
    let valid = asked.map_or(CERTIFICATE_VALIDITY, Duration::from_secs).min(CERTIFICATE_VALIDITY);
    let client = CLIENT_SIGNERS.contains(&json::text(request, &["spec", "signerName"]));
    let pem = BASE64.decode(json::text(request, &["spec", "request"])).ok().and_then(|raw| String::from_utf8(raw).ok());
    let signed = pem.ok_or_else(|| "the request is not PEM".to_owned());
    let mut status = request.get("status").cloned().unwrap_or_else(|| json!({}));
    match signed.and_then(|pem| authority.sign_request(&pem, client, now, valid).map_err(|e| e.to_string())) {
        Ok(certificate) => status["certificate"] = BASE64.encode(certificate).into(),
        Err(why) => {
            set_condition(&mut status, "Failed", true, "SignerValidationFailure", &why, &now.rfc3339(), true);
        }
    }
    step.writes.push(Write::Status(with_status(request, status)));
    step
}
